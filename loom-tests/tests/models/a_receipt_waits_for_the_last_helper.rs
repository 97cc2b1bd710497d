//! The receipt of a cancel completes after the last helper of the statement has left.
//!
//! At the same time: the end of the statement, and helpers that enter or leave.

use crate::common::helpers::{Gate, cancel, canceller, in_statement, manager};
use crate::common::{model, spawn};
use loom::sync::atomic::{AtomicUsize, Ordering};
use safepoint_under_loom::model::set_helper_slots;
use std::sync::Arc;
use std::time::Duration;

/// Helpers, of which the slots hold so many, leave as the statement is finished.
fn leave_against_finish(slots: usize, helpers: usize) {
    set_helper_slots(slots);
    let manager = manager();
    in_statement(&manager, |statement| {
        let handle = statement.handle("help");
        let memory = Arc::new(AtomicUsize::new(helpers));
        let threads: Vec<_> = (0..helpers)
            .map(|_| {
                let (handle, memory, gate) = (handle.clone(), memory.clone(), Gate::new());
                let entered = gate.clone();
                let thread = spawn(move || {
                    let helper = handle.enter().expect("nobody has cancelled it");
                    entered.open();
                    memory.fetch_sub(1, Ordering::Relaxed);
                    drop(helper);
                });
                gate.wait();
                thread
            })
            .collect();
        let mut receipt =
            cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
        statement.finish().unwrap();
        let end = receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
        assert!(!end.cancelled, "nobody has observed it");
        assert_eq!(memory.load(Ordering::Relaxed), 0, "a receipt before the last helper has left");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_helper_leaves_as_the_statement_ends() {
    let name = "a_receipt_waits_for_the_last_helper::a_helper_leaves_as_the_statement_ends";
    model(name, true, || leave_against_finish(1, 1));
}

#[test]
fn a_helper_without_a_fixed_slot_leaves() {
    let name = "a_receipt_waits_for_the_last_helper::a_helper_without_a_fixed_slot_leaves";
    model(name, true, || leave_against_finish(0, 1));
}

#[test]
fn two_helpers_leave() {
    let name = "a_receipt_waits_for_the_last_helper::two_helpers_leave";
    model(name, true, || leave_against_finish(1, 2));
}

const WORKS: usize = 1;
const RECEIPT: usize = 2;

/// A helper enters, a requester cancels and waits, and the statement ends.
fn enter_against_finish(slots: usize, created: bool) {
    set_helper_slots(slots);
    let manager = manager();
    in_statement(&manager, |statement| {
        let handle = statement.handle("help");
        if created {
            let handle = handle.clone();
            spawn(move || drop(handle.enter())).join().unwrap();
        }
        let seen = Arc::new(AtomicUsize::new(0));
        let helper = {
            let seen = seen.clone();
            spawn(move || {
                let Ok(helper) = handle.enter() else { return };
                let before = seen.fetch_or(WORKS, Ordering::Relaxed);
                assert_eq!(before & RECEIPT, 0, "works after the receipt");
                seen.fetch_and(!WORKS, Ordering::Relaxed);
                drop(helper);
            })
        };
        let canceller = canceller(&manager, &statement);
        statement.finish().unwrap();
        if let Some(mut receipt) = canceller.join().unwrap() {
            receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
            let before = seen.fetch_or(RECEIPT, Ordering::Relaxed);
            assert_eq!(before & WORKS, 0, "a receipt while a helper works");
        }
        helper.join().unwrap();
    });
}

#[test]
fn a_helper_enters_as_the_statement_ends() {
    let name = "a_receipt_waits_for_the_last_helper::a_helper_enters_as_the_statement_ends";
    model(name, true, || enter_against_finish(1, true));
}

#[test]
fn slots_are_created_as_the_statement_ends() {
    let name = "a_receipt_waits_for_the_last_helper::slots_are_created_as_the_statement_ends";
    model(name, true, || enter_against_finish(1, false));
}

#[test]
fn a_helper_without_a_fixed_slot_enters() {
    let name = "a_receipt_waits_for_the_last_helper::a_helper_without_a_fixed_slot_enters";
    model(name, true, || enter_against_finish(0, false));
}

/// A job is created and dropped as the statement ends: it is counted, or it does not run.
#[test]
fn a_job_is_created_as_the_statement_ends() {
    let name = "a_receipt_waits_for_the_last_helper::a_job_is_created_as_the_statement_ends";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let seen = Arc::new(AtomicUsize::new(0));
            let mut receipt =
                cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
            let helper = {
                let seen = seen.clone();
                spawn(move || {
                    let job = handle.track_fn(|| ());
                    // A handle of a statement that has ended has no helpers.
                    if handle.helper_count() > 0 {
                        let before = seen.fetch_or(WORKS, Ordering::Relaxed);
                        assert_eq!(before & RECEIPT, 0, "created after the receipt");
                        seen.fetch_and(!WORKS, Ordering::Relaxed);
                    }
                    drop(job);
                })
            };
            statement.finish().unwrap();
            receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
            let before = seen.fetch_or(RECEIPT, Ordering::Relaxed);
            assert_eq!(before & WORKS, 0, "a receipt while a helper works");
            helper.join().unwrap();
        });
    });
}

/// What a job owns is gone when the receipt completes.
#[test]
fn a_job_drops_what_it_owns() {
    struct Memory(Arc<AtomicUsize>);
    impl Drop for Memory {
        fn drop(&mut self) {
            self.0.store(0, Ordering::Relaxed);
        }
    }
    let name = "a_receipt_waits_for_the_last_helper::a_job_drops_what_it_owns";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let left = Arc::new(AtomicUsize::new(1));
            let mut receipt =
                cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
            let memory = Memory(left.clone());
            let job = statement.handle("help").wrap_fn(move || drop(memory));
            let helper = spawn(move || job().expect_err("it is cancelled"));
            statement.finish().unwrap();
            receipt.wait_timeout(Duration::from_secs(1)).expect("it completes");
            assert_eq!(left.load(Ordering::Relaxed), 0, "the job still owned it");
            helper.join().unwrap();
        });
    });
}

/// The runner waits for its helpers.
#[test]
fn the_runner_waits_for_its_helpers() {
    let name = "a_receipt_waits_for_the_last_helper::the_runner_waits_for_its_helpers";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (handle, entered) = (statement.handle("help"), Gate::new());
            let memory = Arc::new(AtomicUsize::new(1));
            let helper = {
                let (entered, memory) = (entered.clone(), memory.clone());
                spawn(move || {
                    let helper = handle.enter().expect("nobody has cancelled it");
                    entered.open();
                    memory.store(0, Ordering::Relaxed);
                    drop(helper);
                })
            };
            entered.wait();
            assert!(statement.wait_for_helpers(Duration::from_secs(1)).unwrap());
            assert_eq!(memory.load(Ordering::Relaxed), 0, "a helper is there");
            helper.join().unwrap();
        });
    });
}
