//! A terminated session stays in the registry until its last helper has left. Then its receipt completes.
//!
//! At the same time: the end of the session, and helpers that enter or leave.

use crate::common::helpers::{Gate, manager};
use crate::common::{immediate, killed, model, spawn};
use loom::sync::atomic::{AtomicUsize, Ordering};
use safepoint_under_loom::ClientInfo;
use safepoint_under_loom::model::set_helper_slots;
use std::mem::forget;
use std::sync::Arc;
use std::time::Duration;

/// Statements 1 to `statements` have handles, and one helper works for the first. `leaked`: the last
/// statement ends with its session.
fn leave_against_end(statements: usize, leaked: bool) {
    set_helper_slots(1);
    let manager = manager();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let mut statement = attached.begin().unwrap();
    let (handle, entered, goes) = (statement.handle("help"), Gate::new(), Gate::new());
    let memory = Arc::new(AtomicUsize::new(1));
    let helper = {
        let (manager, memory) = (manager.clone(), memory.clone());
        let (entered, goes) = (entered.clone(), goes.clone());
        spawn(move || {
            let helper = handle.enter().expect("nobody has cancelled it");
            entered.open();
            goes.wait();
            assert!(manager.session_info(id).is_some(), "a helper is there, and not the session");
            memory.store(0, Ordering::Relaxed);
            drop(helper);
        })
    };
    entered.wait();
    for _ in 1..statements {
        statement.finish().unwrap();
        statement = attached.begin().unwrap();
        let _ = statement.handle("another");
    }
    let mut receipt = manager.terminate(id, immediate()).unwrap();
    goes.open();
    if leaked {
        forget(statement);
        forget(attached);
    } else {
        drop(statement);
        drop(attached);
    }
    session.close();
    receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
    assert!(killed(&receipt));
    assert!(manager.session_info(id).is_none());
    assert!(manager.is_empty());
    assert_eq!(memory.load(Ordering::Relaxed), 0, "a receipt before the last helper has left");
    helper.join().unwrap();
}

#[test]
fn a_helper_leaves_as_the_session_ends() {
    let name = "a_session_ends_with_its_last_helper::a_helper_leaves_as_the_session_ends";
    model(name, true, || leave_against_end(1, false));
}

#[test]
fn a_helper_leaves_a_leaked_statement() {
    let name = "a_session_ends_with_its_last_helper::a_helper_leaves_a_leaked_statement";
    model(name, true, || leave_against_end(1, true));
}

#[test]
fn a_helper_of_an_earlier_statement_leaves() {
    let name = "a_session_ends_with_its_last_helper::a_helper_of_an_earlier_statement_leaves";
    model(name, true, || leave_against_end(2, false));
}

/// Once the session is out of the registry, nobody works for it.
#[test]
fn a_helper_enters_as_the_session_ends() {
    const WORKS: usize = 1;
    const RECEIPT: usize = 2;
    let name = "a_session_ends_with_its_last_helper::a_helper_enters_as_the_session_ends";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let id = session.id();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("help");
        let seen = Arc::new(AtomicUsize::new(0));
        let helper = {
            let (manager, seen) = (manager.clone(), seen.clone());
            spawn(move || {
                let Ok(helper) = handle.enter() else { return };
                let before = seen.fetch_or(WORKS, Ordering::Relaxed);
                assert_eq!(before & RECEIPT, 0, "works after the receipt");
                assert!(manager.session_info(id).is_some(), "it is out of the registry");
                seen.fetch_and(!WORKS, Ordering::Relaxed);
                drop(helper);
            })
        };
        let mut receipt = manager.terminate(id, immediate()).unwrap();
        drop(statement);
        drop(attached);
        session.close();
        receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
        assert!(manager.session_info(id).is_none());
        let before = seen.fetch_or(RECEIPT, Ordering::Relaxed);
        assert_eq!(before & WORKS, 0, "a receipt while a helper works");
        helper.join().unwrap();
    });
}
