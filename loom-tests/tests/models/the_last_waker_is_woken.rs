//! A waiter is woken by the last waker that it left.
//!
//! At the same time: a termination, an end or a bulk request, and receipts, tasks and threads that
//! change their waker; a late wake and a later wait that must not be woken.
//!
//! A runtime may pass another waker to a future in each poll.

use crate::common::{TwoWakers, immediate, killed, killer, model, spawn};
use loom::future::block_on;
use safepoint_under_loom::manager::BulkOptions;
use safepoint_under_loom::session::WaitMode;
use safepoint_under_loom::task::RunError;
use safepoint_under_loom::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel, current};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

// A waiter that is not woken is a deadlock, and loom reports it.

fn end_against_receipt() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let receipt = manager.terminate(session.id(), immediate()).unwrap();
    let ender = spawn(move || session.close());
    let ended = block_on(TwoWakers(receipt));
    assert_eq!(ender.join().unwrap(), ended);
}

#[test]
fn a_receipt_that_is_polled_again() {
    model("the_last_waker_is_woken::a_receipt_that_is_polled_again", false, end_against_receipt);
}

fn ends_against_bulk_result() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let sessions = [(); 2].map(|()| manager.open(ClientInfo::default()).unwrap());
    let result = manager.terminate_where(|_| true, immediate(), BulkOptions::new());
    assert_eq!(result.accepted(), 2);
    let enders = sessions.map(|session| spawn(move || session.close()));
    let mut result = result;
    block_on(TwoWakers(Box::pin(result.ended())));
    assert!(result.receipts.iter().all(|receipt| receipt.try_get().is_some()), "all of them");
    for ender in enders {
        ender.join().unwrap();
    }
}

#[test]
fn a_bulk_result_that_is_polled_again() {
    model(
        "the_last_waker_is_woken::a_bulk_result_that_is_polled_again",
        true,
        ends_against_bulk_result,
    );
}

fn kill_against_interrupted() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    assert!(block_on(TwoWakers(session.interrupted())).is_terminate());
    session.close();
    assert!(killed(&killer.join().unwrap().unwrap()));
}

#[test]
fn an_idle_task_that_is_polled_again() {
    model(
        "the_last_waker_is_woken::an_idle_task_that_is_polled_again",
        false,
        kill_against_interrupted,
    );
}

fn kill_against_run() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    let ran = block_on(TwoWakers(Box::pin(session.run(pending::<()>()))));
    assert!(matches!(ran, Err(RunError::Interrupted(interrupt)) if interrupt.is_terminate()));
    session.close();
    assert!(killer.join().unwrap().is_none_or(|receipt| killed(&receipt)));
}

#[test]
fn a_task_that_is_polled_again() {
    model("the_last_waker_is_woken::a_task_that_is_polled_again", true, kill_against_run);
}

/// A thread waits, and then waits again in another way.
fn kill_against_two_waits() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let first = attached.wait(WaitMode::Interruptible, Waker::noop(), || ());
    if first.is_ok() {
        attached.block_on(pending::<()>()).expect_err("the termination is due");
    }
    drop(attached);
    session.close();
    assert!(killer.join().unwrap().is_none_or(|receipt| killed(&receipt)));
}

#[test]
fn a_thread_that_waits_again() {
    model("the_last_waker_is_woken::a_thread_that_waits_again", true, kill_against_two_waits);
}

/// A waker that is woken in no correct schedule.
fn never_woken() -> (Arc<AtomicUsize>, Waker) {
    struct Count(Arc<AtomicUsize>);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let woken = Arc::<AtomicUsize>::default();
    (woken.clone(), Waker::from(Arc::new(Count(woken))))
}

/// A statement with a pending cancel waits once more, in a wait that a cancel does not end. The waker
/// of that wait may close the connection, so a delayed requester must not wake it.
fn cancel_against_a_later_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    // Rather than in the wait: loom does not model `OnceLock`.
    drop(statement.begin_rollback());
    let canceller = {
        let manager = manager.clone();
        spawn(move || {
            let request = Cancel::running(Requester::system());
            manager.cancel(id, request).map(drop).expect("the statement runs");
        })
    };
    let _ = statement.wait(WaitMode::Interruptible, Waker::noop(), || ());
    let (woken, waker) = never_woken();
    statement.wait(WaitMode::Killable, &waker, || ()).expect("a cancel does not end this wait");
    canceller.join().unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 0, "a cancel woke a killable wait");
}

#[test]
fn a_late_cancel_wakes_no_later_wait() {
    model(
        "the_last_waker_is_woken::a_late_cancel_wakes_no_later_wait",
        false,
        cancel_against_a_later_wait,
    );
}

/// The same for a termination, and a later wait in a hold-off.
fn kill_against_a_later_hold_off() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let killer = killer(&manager, session.id());
    let attached = session.attach(&thread).unwrap();
    let _ = attached.wait(WaitMode::Interruptible, Waker::noop(), || ());
    let held = attached.hold_off("a test");
    let (woken, waker) = never_woken();
    attached.wait(WaitMode::Interruptible, &waker, || ()).expect("it is held off");
    killer.join().unwrap();
    drop(held);
    assert_eq!(woken.load(Ordering::Relaxed), 0, "a wait in a hold-off was woken");
}

#[test]
fn a_late_kill_wakes_no_wait_in_a_hold_off() {
    model(
        "the_last_waker_is_woken::a_late_kill_wakes_no_wait_in_a_hold_off",
        true,
        kill_against_a_later_hold_off,
    );
}

/// The same for the thread that ends an earlier hold-off, in which the termination came.
fn release_against_a_later_hold_off() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let first = current::hold_off("ends on another thread");
    manager.terminate(id, immediate()).unwrap();
    let other = spawn(move || drop(first));
    let _ = attached.wait(WaitMode::Interruptible, Waker::noop(), || ());
    let held = attached.hold_off("a test");
    let (woken, waker) = never_woken();
    attached.wait(WaitMode::Interruptible, &waker, || ()).expect("it is held off");
    other.join().unwrap();
    drop(held);
    assert_eq!(woken.load(Ordering::Relaxed), 0, "a wait in a hold-off was woken");
}

#[test]
fn a_late_release_wakes_no_wait_in_a_hold_off() {
    model(
        "the_last_waker_is_woken::a_late_release_wakes_no_wait_in_a_hold_off",
        true,
        release_against_a_later_hold_off,
    );
}

/// The same for a cancel, and a later wait that a cancel does not end.
fn release_against_a_killable_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let held = current::hold_off("ends on another thread");
    manager.cancel(id, Cancel::running(Requester::system())).unwrap();
    let other = spawn(move || drop(held));
    let _ = statement.wait(WaitMode::Interruptible, Waker::noop(), || ());
    let (woken, waker) = never_woken();
    statement.wait(WaitMode::Killable, &waker, || ()).expect("a cancel does not end this wait");
    other.join().unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 0, "a cancel woke a killable wait");
}

#[test]
fn a_late_release_wakes_no_killable_wait() {
    model(
        "the_last_waker_is_woken::a_late_release_wakes_no_killable_wait",
        true,
        release_against_a_killable_wait,
    );
}

/// Two wait for one end. Where one of them waits no more, the other is woken all the same.
fn end_against_two_receipts() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let [given_up, kept] = [(); 2].map(|()| manager.terminate(session.id(), immediate()).unwrap());
    let mut context = std::task::Context::from_waker(Waker::noop());
    let mut given_up = Box::pin(given_up);
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    let waiter = spawn(move || block_on(TwoWakers(kept)));
    drop(given_up);
    let ended = session.close();
    assert_eq!(waiter.join().unwrap(), ended);
}

#[test]
fn one_of_two_waiters_leaves() {
    model("the_last_waker_is_woken::one_of_two_waiters_leaves", false, end_against_two_receipts);
}
