//! A receipt completes with the outcome of its request, and wakes its waiters.
//!
//! At the same time: a waiting requester and the end; a request and moves of its target.

use crate::common::{immediate, model, spawn};
use safepoint_under_loom::request::{EndReason, TargetSnapshot};
use safepoint_under_loom::{
    Cancel, ClientInfo, Requester, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::time::Duration;

/// "OK" although nothing happened, and waiters that poll ten times a second.
#[test]
fn ok_although_nothing_happened() {
    model("receipts_match_the_outcome::ok_although_nothing_happened", true, wait_against_end);
}

fn wait_against_end() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let waiter = {
        let manager = manager.clone();
        spawn(move || {
            let mut receipt = manager.terminate(id, immediate()).ok()?;
            // Time does not pass in a model: a waiter that is not woken is a deadlock.
            let ended = receipt.wait_timeout(Duration::from_secs(1));
            assert!(
                manager.session_info(id).is_none(),
                "the receipt is complete, and the session is still listed"
            );
            ended
        })
    };
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let seen = attached.check().is_err();
    drop(attached);
    let ended = session.close();
    match waiter.join().unwrap() {
        Some(waited) => {
            assert_eq!(waited, ended);
            // It was due, whether the holder saw it or not.
            assert!(matches!(ended.reason, EndReason::Terminated(_)), "it was accepted");
        }
        None => assert!(!seen, "refused, and yet it was seen"),
    }
}

/// A process id that is stale by the time it is used.
#[test]
fn terminate_reports_a_wrong_thread() {
    model("receipts_match_the_outcome::terminate_reports_a_wrong_thread", true, kill_against_move);
}

fn kill_against_move() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let workers = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
    let threads = [workers[0].id(), workers[1].id()];
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    session.attach(&workers[0]).unwrap().set_in_transaction(true);
    let mut killer = None;
    for worker in &workers {
        let mut attached = session.attach(worker).unwrap();
        // The statement's id shows which attachment the request met.
        let statement = attached.begin();
        killer.get_or_insert_with(|| {
            let manager = manager.clone();
            // Not due before the transaction ends, so nothing holds the session up.
            let later = Terminate::new(TerminateMode::AfterTransaction, Requester::system());
            spawn(move || manager.terminate(id, later).unwrap())
        });
        drop(statement);
    }
    let found = killer.unwrap().join().unwrap().target();
    if let (Some(statement), Some(thread)) = (found.statement_id, found.thread_id) {
        assert_eq!(thread, threads[statement.get() as usize - 1]);
    }
}

/// The same, but the second thread has the slot of the first, which has ended.
#[test]
fn terminate_reports_the_thread_of_a_reused_slot() {
    let scene = || {
        request_against_a_reused_slot(|manager, id| {
            // As above.
            let later = Terminate::new(TerminateMode::AfterTransaction, Requester::system());
            manager.terminate(id, later).ok().map(|receipt| receipt.target())
        });
    };
    model("receipts_match_the_outcome::terminate_reports_the_thread_of_a_reused_slot", true, scene);
}

#[test]
fn cancel_reports_the_thread_of_a_reused_slot() {
    let scene = || {
        request_against_a_reused_slot(|manager, id| {
            let request = Cancel::running(Requester::system());
            manager.cancel(id, request).ok().map(|receipt| receipt.target())
        });
    };
    model("receipts_match_the_outcome::cancel_reports_the_thread_of_a_reused_slot", true, scene);
}

fn request_against_a_reused_slot(tell: fn(&SessionManager, SessionId) -> Option<TargetSnapshot>) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let other = manager.register_worker("other").unwrap();
    session.attach(&other).unwrap().set_in_transaction(true);
    let mut killer = None;
    let threads = ["one", "two"].map(|name| {
        let worker = manager.register_worker(name).unwrap();
        let mut attached = session.attach(&worker).unwrap();
        // As above.
        let statement = attached.begin();
        killer.get_or_insert_with(|| {
            let manager = manager.clone();
            spawn(move || tell(&manager, id))
        });
        drop(statement);
        worker.id()
    });
    if let Some(found) = killer.unwrap().join().unwrap()
        && let (Some(statement), Some(thread)) = (found.statement_id, found.thread_id)
    {
        assert_eq!(thread, threads[statement.get() as usize - 1]);
    }
}

/// A shutdown completes while the last session is still being closed.
#[test]
fn shutdown_misses_a_session_that_is_closing() {
    model(
        "receipts_match_the_outcome::shutdown_misses_a_session_that_is_closing",
        true,
        shutdown_against_end,
    );
}

fn shutdown_against_end() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let leaver = spawn(move || session.close());
    for mut receipt in manager.shutdown(immediate()) {
        assert!(receipt.wait_timeout(Duration::from_secs(1)).is_some());
    }
    assert!(manager.is_empty(), "shut down, and a session is still listed");
    leaver.join().unwrap();
}
