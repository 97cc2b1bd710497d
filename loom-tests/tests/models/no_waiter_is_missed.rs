//! A session that begins a wait as a request arrives is woken, or does not wait.
//!
//! At the same time: a termination or a cancel, and the begin of a wait, of a thread and of a task.

use crate::common::{killed, killer, model, spawn};
use loom::future::block_on;
use safepoint_under_loom::task::RunError;
use safepoint_under_loom::{
    Cancel, ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::future;
use std::task::Waker;

/// MariaDB retries its wake-up for two seconds; openGauss checks once a second.
fn kill_against_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let killers = [killer(&manager, id), killer(&manager, id)];
    // A waiter that is not woken is a deadlock, and loom reports it.
    let interrupt = attached.block_on(future::pending::<()>()).unwrap_err();
    assert!(interrupt.is_terminate());
    let receipts = killers.map(|killer| killer.join().unwrap().expect("it is alive"));
    drop(attached);
    session.close();
    assert!(receipts.iter().all(killed));
}

#[test]
fn lost_wake_up() {
    model("no_waiter_is_missed::lost_wake_up", true, kill_against_wait);
}

fn cancel_against_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let number = statement.statement_id();
    let canceller = {
        let manager = manager.clone();
        spawn(move || manager.cancel(id, Cancel::statement(number, Requester::system())).unwrap())
    };
    let interrupt = statement.block_on(future::pending::<()>()).unwrap_err();
    assert!(!interrupt.is_terminate());
    statement.finish().unwrap();
    let receipt = canceller.join().unwrap();
    assert!(receipt.try_get().unwrap().cancelled);
    attached.check().unwrap();
}

#[test]
fn lost_wake_up_of_a_cancel() {
    model("no_waiter_is_missed::lost_wake_up_of_a_cancel", false, cancel_against_wait);
}

/// A task stores its waker in each poll. A kill between the poll and the store finds no waker.
fn kill_against_suspension() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    let ran = block_on(session.run(future::pending::<()>()));
    assert!(matches!(ran, Err(RunError::Interrupted(interrupt)) if interrupt.is_terminate()));
    session.close();
    assert!(killer.join().unwrap().is_none_or(|receipt| killed(&receipt)));
}

#[test]
fn lost_wake_up_of_a_task() {
    model("no_waiter_is_missed::lost_wake_up_of_a_task", true, kill_against_suspension);
}

/// The same where the task goes on: its statement and the cancel of that go along.
fn cancel_against_suspension() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let number = session.reserve_statement().unwrap();
    let canceller = {
        let manager = manager.clone();
        spawn(move || manager.cancel(id, Cancel::statement(number, Requester::system())).unwrap())
    };
    let ran = block_on(session.run(future::pending::<()>()));
    assert!(matches!(ran, Err(RunError::Interrupted(interrupt)) if !interrupt.is_terminate()));
    assert!(canceller.join().unwrap().try_get().unwrap().cancelled);
    block_on(session.run(async {})).expect("the session goes on");
}

#[test]
fn lost_cancel_of_a_task() {
    model("no_waiter_is_missed::lost_cancel_of_a_task", true, cancel_against_suspension);
}

/// Between its commands a task waits for the next command, or for an interrupt.
fn kill_against_idle_task() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    assert!(block_on(session.interrupted()).is_terminate());
    session.close();
    assert!(killed(&killer.join().unwrap().unwrap()));
}

#[test]
fn lost_wake_up_of_an_idle_task() {
    model("no_waiter_is_missed::lost_wake_up_of_an_idle_task", false, kill_against_idle_task);
}

/// A session that was woken for a weak request, and had no choice but to go on, sleeps in its
/// transaction: a stronger one wakes it again.
fn stronger_kill_against_wait() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    session.set_detached_waker(Some(Waker::noop().clone()));
    let weak = Terminate::new(TerminateMode::AfterTransaction, Requester::system());
    manager.terminate(id, weak).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let held = safepoint_under_loom::current::hold_off("a test");
    attached.set_in_transaction(true);
    let statement = attached.begin().expect("it is held off");
    drop(held);
    statement.check().expect("the transaction is open");
    let killer = killer(&manager, id);
    statement.block_on(future::pending::<()>()).unwrap_err();
    killer.join().unwrap().expect("it is alive");
}

#[test]
fn lost_wake_up_of_the_stronger() {
    model("no_waiter_is_missed::lost_wake_up_of_the_stronger", false, stronger_kill_against_wait);
}
