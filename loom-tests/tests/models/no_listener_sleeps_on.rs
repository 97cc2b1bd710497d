//! A task that waits for the interrupt of a statement is woken when the statement must stop, and when it has
//! ended; and a task that ignores the interrupt ends after its grace.
//!
//! At the same time: a listener, in the statement's own task or elsewhere, and a cancel, the end of the statement,
//! the end of a hold-off, or the timer.

use crate::common::helpers::{
    cancel, canceller, in_statement, manager, manager_that_holds_back_tasks, reason,
};
use crate::common::{TwoWakers, killed, killer, model, spawn};
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use safepoint_under_loom::model::{set_clock, set_helper_slots};
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::session::StatementHandle;
use safepoint_under_loom::task::{Returned, RunError};
use safepoint_under_loom::{
    Cancel, ClientInfo, Interrupt, Requester, Session, SessionManager, ThreadModel,
};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

// A listener that is not woken is a deadlock, and loom reports it.

const TEN: Duration = Duration::from_secs(10);

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn hears(handle: &StatementHandle) -> Interrupt {
    block_on(TwoWakers(handle.interrupted()))
}

/// Each listener has a waker of its own. The first poll has another one.
#[test]
fn two_listeners_of_a_cancel() {
    model("no_listener_sleeps_on::two_listeners_of_a_cancel", true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("listen");
            let listeners = [(); 2].map(|()| {
                let handle = handle.clone();
                spawn(move || hears(&handle))
            });
            cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
            for listener in listeners {
                assert_eq!(reason(&listener.join().unwrap()), InterruptReason::UserRequest);
            }
        });
    });
}

#[test]
fn a_listener_of_a_cancel() {
    model("no_listener_sleeps_on::a_listener_of_a_cancel", true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("listen");
            let canceller = canceller(&manager, &statement);
            assert_eq!(reason(&hears(&handle)), InterruptReason::UserRequest);
            canceller.join().unwrap();
        });
    });
}

#[test]
fn a_listener_of_the_end() {
    model("no_listener_sleeps_on::a_listener_of_the_end", true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("listen");
            let listener = spawn(move || block_on(handle.interrupted()));
            statement.finish().unwrap();
            assert_eq!(reason(&listener.join().unwrap()), InterruptReason::StatementEnded);
        });
    });
}

/// It is ready after the hold-off, and not within.
#[test]
fn a_listener_waits_in_a_hold_off() {
    model("no_listener_sleeps_on::a_listener_waits_in_a_hold_off", true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let held = statement.hold_off("a commit");
            let (handle, released) = (statement.handle("listen"), Arc::new(AtomicBool::new(false)));
            let canceller = canceller(&manager, &statement);
            let listener = {
                let released = released.clone();
                spawn(move || {
                    let interrupt = hears(&handle);
                    assert!(released.load(Ordering::Relaxed), "within the hold-off");
                    interrupt
                })
            };
            released.store(true, Ordering::Relaxed);
            drop(held);
            assert_eq!(reason(&listener.join().unwrap()), InterruptReason::UserRequest);
            canceller.join().unwrap();
        });
    });
}

fn task() -> (SessionManager, Session) {
    set_clock(Duration::ZERO);
    set_helper_slots(0);
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(ClientInfo::default()).unwrap();
    (manager, session)
}

/// The task is polled again, in which it finds the kill, and its output is returned.
#[test]
fn a_task_is_polled_again() {
    model("no_listener_sleeps_on::a_task_is_polled_again", true, || {
        let (manager, mut session) = task();
        let killer = killer(&manager, session.id());
        let run = session.run_with(async |handle| {
            poll_fn(|_| handle.check().map_or_else(Poll::Ready, |()| Poll::Pending)).await
        });
        match block_on(Box::pin(run.with_grace(Duration::MAX))) {
            Ok(Returned { output, interrupt, .. }) => assert_eq!(interrupt, Some(output)),
            Err(RunError::Interrupted(interrupt)) => assert!(interrupt.is_terminate()),
            Err(other) => panic!("{other}"),
        }
        session.close();
        assert!(killer.join().unwrap().is_none_or(|receipt| killed(&receipt)));
    });
}

/// The requester is held back after its step. The task finds the interrupt, and wakes the listeners.
#[test]
fn the_task_wakes_for_a_requester_that_is_held_back() {
    let name = "no_listener_sleeps_on::the_task_wakes_for_a_requester_that_is_held_back";
    model(name, true, || {
        set_clock(Duration::ZERO);
        set_helper_slots(0);
        let (manager, held) = manager_that_holds_back_tasks();
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let (id, kept) = (session.id(), Mutex::new(None));
        let run = session.run_with(async |handle| {
            *kept.lock().unwrap() = Some(handle);
            pending::<()>().await;
        });
        let mut run = Box::pin(run.with_grace(Duration::MAX));
        assert!(poll(run.as_mut()).is_pending());
        let handle = kept.lock().unwrap().take().unwrap();
        let listener = spawn(move || hears(&handle));
        let requester = {
            let manager = manager.clone();
            spawn(move || manager.cancel(id, Cancel::running(Requester::system())).map(drop))
        };
        held.asked.wait();
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(reason(&listener.join().unwrap()), InterruptReason::UserRequest);
        held.goes_on.open();
        requester.join().unwrap().expect("it runs");
        drop(run);
        session.close();
    });
}

/// A cancel is due, and the grace ends while the task is polled.
#[test]
fn a_task_ends_after_its_grace() {
    model("no_listener_sleeps_on::a_task_ends_after_its_grace", true, || {
        let (manager, mut session) = task();
        let id = session.id();
        let mut run = Box::pin(session.run_with(async |_| pending::<()>().await).with_grace(TEN));
        assert!(poll(run.as_mut()).is_pending());
        manager.cancel(id, Cancel::running(Requester::system())).unwrap();
        assert!(poll(run.as_mut()).is_pending(), "the grace begins");
        let timer = {
            let manager = manager.clone();
            spawn(move || {
                set_clock(TEN);
                manager.expire_timeouts(TEN);
            })
        };
        match block_on(run.as_mut()) {
            Err(RunError::Interrupted(interrupt)) => assert!(!interrupt.is_terminate()),
            other => panic!("{other:?}"),
        }
        timer.join().unwrap();
        drop(run);
        session.close();
    });
}

/// The grace was over in a hold-off, which ends on another thread.
#[test]
fn a_task_ends_after_its_hold_off() {
    model("no_listener_sleeps_on::a_task_ends_after_its_hold_off", true, || {
        let (manager, mut session) = task();
        let (id, kept) = (session.id(), Mutex::new(None));
        let run = session.run_with(async |handle| {
            handle.interrupted().await;
            *kept.lock().unwrap() = Some(safepoint_under_loom::current::hold_off("a rollback"));
            pending::<()>().await;
        });
        let mut run = Box::pin(run.with_grace(TEN));
        assert!(poll(run.as_mut()).is_pending());
        manager.cancel(id, Cancel::running(Requester::system())).unwrap();
        assert!(poll(run.as_mut()).is_pending(), "the grace begins");
        set_clock(TEN);
        manager.expire_timeouts(TEN);
        let held = kept.lock().unwrap().take();
        let released = Arc::new(AtomicBool::new(false));
        let release = {
            let released = released.clone();
            spawn(move || {
                released.store(true, Ordering::Relaxed);
                drop(held);
            })
        };
        assert!(matches!(block_on(run.as_mut()), Err(RunError::Interrupted(_))));
        assert!(released.load(Ordering::Relaxed), "within the hold-off");
        release.join().unwrap();
        drop(run);
        session.close();
    });
}
