//! A safe point in a hold-off reports nothing, and the first one after it reports what is due.
//!
//! At the same time: a termination and a wait in a hold-off, or the end of the hold-off on another
//! thread.

use crate::common::{immediate, killer, model, spawn};
use loom::future::block_on;
use safepoint_under_loom::task::RunError;
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};
use std::future::{pending, poll_fn};
use std::task::Poll;

#[test]
fn a_kill_gets_into_a_hold_off() {
    model("hold_off_reports_nothing::a_kill_gets_into_a_hold_off", false, kill_against_hold);
}

fn kill_against_hold() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let held = attached.hold_off("a test");
    let killer = {
        let manager = manager.clone();
        spawn(move || manager.terminate(id, immediate()).unwrap())
    };
    attached.check().expect("a hold-off holds");
    // A wait that needs one wake-up of its own.
    let mut polled = false;
    let wait = poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    attached.block_on(wait).expect("a hold-off holds in a wait");
    attached.check().expect("a hold-off holds");
    drop(held);

    killer.join().unwrap();
    attached.check().expect_err("the first safe point after");
}

/// A task keeps its hold-off while it waits, off its thread.
fn kill_against_a_held_task() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let mut killer = {
        let manager = manager.clone();
        Some(spawn(move || manager.terminate(id, immediate()).unwrap()))
    };
    let (mut held_off, mut finished) = (false, false);
    let ran = block_on(session.run(async {
        held_off = true;
        let held = safepoint_under_loom::current::hold_off("a test");
        let mut polled = false;
        poll_fn(|context| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        safepoint_under_loom::check().expect("a hold-off holds");
        finished = true;
        drop(held);
        killer.take().unwrap().join().unwrap();
        pending::<()>().await;
    }));
    assert!(matches!(ran, Err(RunError::Interrupted(_))), "the first safe point after");
    // Where the kill came first it was not polled.
    assert_eq!(held_off, finished, "cut in its hold-off");
    if let Some(killer) = killer {
        killer.join().unwrap();
    }
}

#[test]
fn a_kill_gets_into_a_held_task() {
    model("hold_off_reports_nothing::a_kill_gets_into_a_held_task", true, kill_against_a_held_task);
}

/// What holds a task off may end on another thread, while the task waits.
fn release_against_suspension() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let mut other = None;
    let ran = block_on(session.run(async {
        let held = safepoint_under_loom::current::hold_off("a test");
        manager.terminate(id, immediate()).unwrap();
        other = Some(spawn(move || drop(held)));
        pending::<()>().await;
    }));
    assert!(matches!(ran, Err(RunError::Interrupted(_))));
    other.unwrap().join().unwrap();
}

/// The same for a thread in a wait.
fn release_against_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let held = safepoint_under_loom::current::hold_off("a test");
    let killer = killer(&manager, id);
    let other = spawn(move || drop(held));
    // A waiter that is not woken is a deadlock, and loom reports it.
    attached.block_on(pending::<()>()).expect_err("the first safe point after");
    other.join().unwrap();
    killer.join().unwrap();
}

#[test]
fn lost_wake_up_of_a_thread_after_a_hold_off() {
    let name = "hold_off_reports_nothing::lost_wake_up_of_a_thread_after_a_hold_off";
    model(name, true, release_against_wait);
}

#[test]
fn lost_wake_up_of_a_task_after_a_hold_off() {
    let name = "hold_off_reports_nothing::lost_wake_up_of_a_task_after_a_hold_off";
    model(name, true, release_against_suspension);
}
