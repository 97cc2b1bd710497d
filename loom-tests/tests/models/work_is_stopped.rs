//! An interrupt stops work by its stop function, and no other work.
//!
//! At the same time: work with a stop function, of the runner or of a helper, and a cancel, the end of the statement,
//! or the end of a hold-off.

use crate::common::helpers::{Gate, cancel, canceller, in_statement, manager, reason};
use crate::common::{model, spawn};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::yield_now;
use safepoint_under_loom::model::set_helper_slots;
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::session::WaitMode;
use safepoint_under_loom::{Interrupt, current};
use std::sync::Arc;
use std::sync::atomic::AtomicBool as StdAtomicBool;

/// Works until it is stopped. Work that nothing stops is a deadlock, and loom reports it.
fn works_until_stopped() -> Result<(), Interrupt> {
    let gate = Gate::new();
    let stop = {
        let gate = gate.clone();
        move || gate.open()
    };
    current::with_interrupt_waker(WaitMode::Interruptible, stop, || gate.wait())
}

/// Works for a moment. Returns a flag that says whether the stop function has run later.
fn works_shortly() -> Arc<StdAtomicBool> {
    let (over, late) = (Arc::new(AtomicBool::new(false)), Arc::new(StdAtomicBool::new(false)));
    let stop = {
        let (over, late) = (over.clone(), late.clone());
        move || {
            // Once as it begins, and once as it ends. Nothing else orders this after the work.
            for _ in 0..2 {
                late.fetch_or(over.load(Ordering::Relaxed), Ordering::Relaxed);
                yield_now();
            }
        }
    };
    let _ = current::with_interrupt_waker(WaitMode::Interruptible, stop, || ());
    over.store(true, Ordering::Relaxed);
    late
}

#[test]
fn a_cancel_stops_the_runner() {
    model("work_is_stopped::a_cancel_stops_the_runner", true, || {
        let manager = manager();
        in_statement(&manager, |statement| {
            let canceller = canceller(&manager, &statement);
            let told = works_until_stopped().and_then(|()| statement.check());
            assert_eq!(reason(&told.unwrap_err()), InterruptReason::UserRequest);
            canceller.join().unwrap();
        });
    });
}

#[test]
fn no_later_work_of_the_runner_is_stopped() {
    model("work_is_stopped::no_later_work_of_the_runner_is_stopped", true, || {
        let manager = manager();
        in_statement(&manager, |statement| {
            let canceller = canceller(&manager, &statement);
            let late = works_shortly();
            canceller.join().unwrap();
            assert!(!late.load(Ordering::Relaxed), "called after the work, or still running");
        });
    });
}

/// Another thread ends the hold-off that the work began in.
#[test]
fn the_end_of_a_hold_off_stops_the_runner() {
    model("work_is_stopped::the_end_of_a_hold_off_stops_the_runner", true, || {
        let manager = manager();
        in_statement(&manager, |statement| {
            let held = current::hold_off("a commit");
            cancel(&manager, statement.id(), statement.statement_id());
            let released = Arc::new(AtomicBool::new(false));
            let other = {
                let released = released.clone();
                spawn(move || {
                    released.store(true, Ordering::Relaxed);
                    drop(held);
                })
            };
            let gate = Gate::new();
            let stop = {
                let gate = gate.clone();
                move || {
                    assert!(released.load(Ordering::Relaxed), "within the hold-off");
                    gate.open();
                }
            };
            let worked =
                current::with_interrupt_waker(WaitMode::Interruptible, stop, || gate.wait());
            assert!(worked.is_err() || statement.check().is_err());
            other.join().unwrap();
        });
    });
}

/// Runs `work` on a helper while its statement is cancelled, or ends.
fn helper<T: 'static>(ends: bool, work: fn() -> T, check: fn(T)) {
    set_helper_slots(1);
    let manager = manager();
    in_statement(&manager, |statement| {
        let handle = statement.handle("help");
        let canceller = (!ends).then(|| canceller(&manager, &statement));
        let helper = spawn(move || handle.enter().ok().map(|_helper| work()));
        if ends {
            statement.finish().unwrap();
        }
        let worked = helper.join().unwrap();
        if let Some(canceller) = canceller {
            canceller.join().unwrap();
        }
        worked.into_iter().for_each(check);
    });
}

fn until_stopped() {
    let told = works_until_stopped().and_then(|()| safepoint_under_loom::check());
    told.expect_err("nothing else stops it");
}

#[test]
fn a_cancel_stops_a_helper() {
    let name = "work_is_stopped::a_cancel_stops_a_helper";
    model(name, true, || helper(false, until_stopped, |()| ()));
}

#[test]
fn the_end_of_the_statement_stops_a_helper() {
    let name = "work_is_stopped::the_end_of_the_statement_stops_a_helper";
    model(name, true, || helper(true, until_stopped, |()| ()));
}

#[test]
fn no_later_work_of_a_helper_is_stopped() {
    let name = "work_is_stopped::no_later_work_of_a_helper_is_stopped";
    model(name, true, || {
        helper(false, works_shortly, |late| {
            assert!(!late.load(Ordering::Relaxed), "called after the work, or still running");
        });
    });
}
