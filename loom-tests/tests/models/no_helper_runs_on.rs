//! Each helper of a statement that must stop gets the interrupt at a safe point.
//!
//! At the same time: a cancel, and a helper that enters and works.

use crate::common::helpers::{
    Gate, cancel, canceller, in_statement, manager, manager_that_holds_back, works,
};
use crate::common::{model, spawn};
use safepoint_under_loom::model::set_helper_slots;
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::{ClientInfo, current};

fn enter_against_cancel(slots: usize, raised: bool) {
    set_helper_slots(slots);
    let manager = manager();
    in_statement(&manager, |statement| {
        let handle = statement.handle("help");
        let canceller = canceller(&manager, &statement);
        let helper = spawn(move || works(&handle, raised, || drop(canceller.join().unwrap())));
        assert_eq!(helper.join().unwrap(), InterruptReason::UserRequest);
        statement.check().expect_err("the runner as well");
    });
}

#[test]
fn a_helper_enters_as_its_statement_is_cancelled() {
    let name = "no_helper_runs_on::a_helper_enters_as_its_statement_is_cancelled";
    model(name, true, || enter_against_cancel(1, false));
}

/// Another thread has created the slots, so the helper finds its own free.
#[test]
fn a_helper_finds_its_slot_as_its_statement_is_cancelled() {
    let name = "no_helper_runs_on::a_helper_finds_its_slot_as_its_statement_is_cancelled";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            current::without_session(|| drop(handle.enter().expect("nobody has cancelled it")));
            let canceller = canceller(&manager, &statement);
            let helper = spawn(move || works(&handle, false, || drop(canceller.join().unwrap())));
            assert_eq!(helper.join().unwrap(), InterruptReason::UserRequest);
        });
    });
}

/// The flag of its thread was raised for another reason.
#[test]
fn a_raised_helper_is_cancelled() {
    model("no_helper_runs_on::a_raised_helper_is_cancelled", true, || {
        enter_against_cancel(1, true)
    });
}

/// It finds no slot at a fixed address.
#[test]
fn a_helper_without_a_fixed_slot_is_cancelled() {
    let name = "no_helper_runs_on::a_helper_without_a_fixed_slot_is_cancelled";
    model(name, true, || enter_against_cancel(0, false));
}

#[test]
fn a_set_is_created_as_its_statement_is_cancelled() {
    let name = "no_helper_runs_on::a_set_is_created_as_its_statement_is_cancelled";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let canceller = canceller(&manager, &statement);
            let handle = statement.handle("help");
            let helper = spawn(move || works(&handle, false, || drop(canceller.join().unwrap())));
            assert_eq!(helper.join().unwrap(), InterruptReason::UserRequest);
        });
    });
}

/// One helper creates the slots, and the other finds them.
#[test]
fn slots_are_created_by_another_helper() {
    let name = "no_helper_runs_on::slots_are_created_by_another_helper";
    model(name, true, || {
        set_helper_slots(2);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (handle, asked) = (statement.handle("help"), Gate::new());
            let other = {
                let handle = handle.clone();
                spawn(move || drop(handle.enter()))
            };
            let helper = {
                let asked = asked.clone();
                spawn(move || works(&handle, false, || asked.wait()))
            };
            cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
            asked.open();
            assert_eq!(helper.join().unwrap(), InterruptReason::UserRequest);
            other.join().unwrap();
        });
    });
}

/// The system holds the requester back after its step. The runner reports the cancel, and wakes the
/// helpers.
#[test]
fn the_runner_wakes_for_a_requester_that_is_held_back() {
    let name = "no_helper_runs_on::the_runner_wakes_for_a_requester_that_is_held_back";
    model(name, true, || {
        set_helper_slots(1);
        let (manager, held) = manager_that_holds_back();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let canceller = canceller(&manager, &statement);
            let helper = spawn(move || {
                let Ok(_helper) = handle.enter() else { return };
                current::block_on(std::future::pending::<()>()).expect_err("nothing else ends it");
            });
            held.asked.wait();
            statement.check().expect_err("it is cancelled");
            helper.join().unwrap();
            held.goes_on.open();
            canceller.join().unwrap();
        });
    });
}

/// A helper of one statement enters another session's statement for a while. Meanwhile the first one is
/// cancelled.
#[test]
fn a_helper_returns_to_a_cancelled_statement() {
    let name = "no_helper_runs_on::a_helper_returns_to_a_cancelled_statement";
    model(name, true, || {
        set_helper_slots(1);
        let (manager, others) = (manager(), manager());
        let mut other = others.open(ClientInfo::default()).unwrap();
        let thread = other.own_thread().unwrap();
        let mut attached = other.attach(&thread).unwrap();
        let inner = attached.begin().unwrap();
        let inner_handle = inner.handle("inner");
        let outer = {
            let manager = manager.clone();
            spawn(move || {
                in_statement(&manager, |statement| {
                    let handle = statement.handle("outer");
                    let canceller = canceller(&manager, &statement);
                    current::without_session(|| {
                        let Ok(helper) = handle.enter() else { return };
                        if let Ok(inner) = inner_handle.enter() {
                            safepoint_under_loom::check().expect("nobody cancels the inner one");
                            drop(inner);
                        }
                        canceller.join().unwrap();
                        safepoint_under_loom::check().expect_err("the outer one is cancelled");
                        drop(helper);
                    });
                });
            })
        };
        outer.join().unwrap();
        drop(inner);
        drop(attached);
        other.close();
    });
}
