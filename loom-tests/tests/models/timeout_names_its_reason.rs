//! A timeout ends only what has expired, no timeout is lost, and a grace keeps its requester.
//!
//! At the same time: the timer and the next statement, or the end.

use crate::common::{model, spawn};
use safepoint_under_loom::audit::Event;
use safepoint_under_loom::model::set_clock;
use safepoint_under_loom::request::{EndReason, InterruptReason};
use safepoint_under_loom::session::Timeouts;
use safepoint_under_loom::{
    ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TEN: Duration = Duration::from_secs(10);

fn timeouts(statement: Option<Duration>) -> Timeouts {
    Timeouts::new().with_statement(statement)
}

/// The timeout of the first statement has expired as the timer checks it, and that of the second has
/// not.
fn timeout_against_finish_scene() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    session.set_timeouts(timeouts(Some(TEN))).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let first = attached.begin().unwrap();
    let timer = {
        let manager = manager.clone();
        spawn(move || manager.expire_timeouts(TEN))
    };
    if let Err(interrupt) = first.check() {
        assert_eq!(interrupt.request().reason(), InterruptReason::StatementTimeout);
    }
    first.finish().unwrap();
    set_clock(TEN);
    let second = attached.begin().unwrap();
    second.check().expect("its own time has not run out");
    timer.join().unwrap();
    second.check().expect("its own time has not run out");
    assert_eq!(manager.timed(), 1, "the timer would not check it in time");
    second.finish().unwrap();
}

#[test]
fn timeout_against_finish() {
    model("timeout_names_its_reason::timeout_against_finish", true, timeout_against_finish_scene);
}

/// The limit is lifted, as the timer looks and finds that it has run out. The audit hears of it
/// where it was hit nevertheless.
fn timeout_against_removal_scene() {
    set_clock(Duration::ZERO);
    let hits = Arc::new(AtomicUsize::new(0));
    let audit = {
        let hits = hits.clone();
        move |event: &Event<'_>| {
            let hit = matches!(event, Event::TimeoutExpired { .. });
            hits.fetch_add(usize::from(hit), Ordering::Relaxed);
        }
    };
    let manager = SessionManager::builder(ThreadModel::PerSession).audit(audit).build();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    session.set_timeouts(timeouts(Some(TEN))).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let timer = {
        let manager = manager.clone();
        spawn(move || manager.expire_timeouts(TEN))
    };
    statement.set_timeouts(Timeouts::default()).unwrap();
    let interrupted = statement.check().is_err();
    timer.join().unwrap();
    if !interrupted {
        statement.check().expect("it has no limit any more");
    }
    assert_eq!(
        hits.load(Ordering::Relaxed),
        usize::from(interrupted),
        "the event and the interrupt agree"
    );
}

#[test]
fn timeout_against_removal() {
    model("timeout_names_its_reason::timeout_against_removal", true, timeout_against_removal_scene);
}

/// The timer checks an idle transaction as it ends and the next one begins.
fn idle_timeout_against_the_next_transaction_scene() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let timeouts = Timeouts::new().with_idle_in_transaction(TEN);
    session.set_timeouts(timeouts).unwrap();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    attached.set_in_transaction(true);
    let timer = {
        let manager = manager.clone();
        spawn(move || manager.expire_timeouts(TEN))
    };
    attached.set_in_transaction(false);
    set_clock(TEN);
    attached.set_in_transaction(true);
    let interrupted = attached.check().is_err();
    timer.join().unwrap();
    if !interrupted {
        attached.check().expect("it has not been idle for long");
    }
}

#[test]
fn idle_timeout_against_the_next_transaction() {
    let scene = idle_timeout_against_the_next_transaction_scene;
    model("timeout_names_its_reason::idle_timeout_against_the_next_transaction", true, scene);
}

/// The timer checks an idle session, and would drop its entry, as a statement begins.
fn begin_against_disarm_scene() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    session.set_timeouts(timeouts(Some(TEN))).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    attached.begin().unwrap().finish().unwrap();
    let timer = {
        let manager = manager.clone();
        spawn(move || manager.expire_timeouts(TEN))
    };
    set_clock(TEN);
    let second = attached.begin().unwrap();
    timer.join().unwrap();
    assert_eq!(manager.timed(), 1, "the timer has no entry for it");
    manager.expire_timeouts(TEN * 2);
    let interrupt = second.check().expect_err("its time has run out");
    assert_eq!(interrupt.request().reason(), InterruptReason::StatementTimeout);
}

#[test]
fn begin_against_disarm() {
    model("timeout_names_its_reason::begin_against_disarm", true, begin_against_disarm_scene);
}

/// A grace runs out as the session ends.
fn escalation_against_end_scene() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    // What the record needs for this is made here: loom knows nothing of `OnceLock`.
    session.set_timeouts(timeouts(Some(TEN * 9))).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let killer = {
        let manager = manager.clone();
        let request =
            Terminate::new(TerminateMode::AfterStatement, Requester::system()).comment("mine");
        spawn(move || {
            let receipt = manager.terminate(id, request.grace(TEN)).ok();
            manager.expire_timeouts(TEN);
            receipt
        })
    };
    loom::thread::yield_now();
    let seen = statement.check();
    if let Err(interrupt) = &seen {
        assert_eq!(interrupt.request().comment(), Some("mine"));
    }
    drop(statement);
    drop(attached);
    session.close();
    let receipt = killer.join().unwrap();
    assert!(seen.is_ok() || receipt.is_some());
    if let Some(receipt) = receipt {
        match receipt.try_get().expect("it has ended").reason {
            EndReason::Terminated(request) => assert_eq!(request.comment(), Some("mine")),
            how => assert!(seen.is_ok(), "it saw the request, and yet: {how:?}"),
        }
    }
    assert_eq!(manager.timed(), 0, "the timer keeps one that has ended");
}

#[test]
fn escalation_against_end() {
    model("timeout_names_its_reason::escalation_against_end", true, escalation_against_end_scene);
}

/// A grace is noted as the session ends.
fn grace_against_end_scene() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    // As above.
    session.set_timeouts(timeouts(Some(TEN * 9))).unwrap();
    let id = session.id();
    let killer = {
        let manager = manager.clone();
        let request = Terminate::new(TerminateMode::AfterStatement, Requester::system()).grace(TEN);
        spawn(move || manager.terminate(id, request).is_ok())
    };
    loom::thread::yield_now();
    session.close();
    killer.join().unwrap();
    assert_eq!(manager.timed(), 0, "the timer keeps one that has ended");
}

#[test]
fn grace_against_end() {
    model("timeout_names_its_reason::grace_against_end", true, grace_against_end_scene);
}
