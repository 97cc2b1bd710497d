//! A helper that waits is woken when its statement must stop, and when it has ended.
//!
//! At the same time: a wait of a helper or a task, and a cancel or the end of the statement.

use crate::common::helpers::{
    Gate, cancel, canceller, in_statement, manager, manager_that_holds_back, reason,
};
use crate::common::{TwoWakers, model, spawn};
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use safepoint_under_loom::model::set_helper_slots;
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::{Interrupt, current};
use std::future::pending;
use std::sync::Arc;

fn sleep() -> Interrupt {
    current::block_on(pending::<()>()).expect_err("nothing else ends it")
}

/// The first requester is held back after its step. The second one comes then, and changes nothing.
#[test]
fn a_second_requester_wakes() {
    let name = "no_helper_sleeps_on::a_second_requester_wakes";
    model(name, true, || {
        set_helper_slots(1);
        let (manager, held) = manager_that_holds_back();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let first = canceller(&manager, &statement);
            let helper = spawn(move || {
                let Ok(_helper) = handle.enter() else { return };
                assert_eq!(reason(&sleep()), InterruptReason::UserRequest);
            });
            held.asked.wait();
            cancel(&manager, statement.id(), statement.statement_id()).expect("it runs");
            helper.join().unwrap();
            held.goes_on.open();
            first.join().unwrap();
        });
    });
}

#[test]
fn a_helper_sleeps_as_its_statement_is_cancelled() {
    let name = "no_helper_sleeps_on::a_helper_sleeps_as_its_statement_is_cancelled";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let canceller = canceller(&manager, &statement);
            let helper = spawn(move || {
                let Ok(_helper) = handle.enter() else { return };
                assert_eq!(reason(&sleep()), InterruptReason::UserRequest);
            });
            helper.join().unwrap();
            canceller.join().unwrap();
        });
    });
}

#[test]
fn a_helper_sleeps_as_its_statement_ends() {
    let name = "no_helper_sleeps_on::a_helper_sleeps_as_its_statement_ends";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let helper = spawn(move || {
                let Ok(_helper) = handle.enter() else { return };
                assert_eq!(reason(&sleep()), InterruptReason::StatementEnded);
            });
            statement.finish().unwrap();
            helper.join().unwrap();
        });
    });
}

/// A task's last waker is woken. The first poll has another one.
#[test]
fn a_task_is_polled_again() {
    let name = "no_helper_sleeps_on::a_task_is_polled_again";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let task = statement.handle("help").wrap_future(pending::<()>());
            let canceller = canceller(&manager, &statement);
            let task = spawn(move || block_on(TwoWakers(Box::pin(task))));
            let told = task.join().unwrap().expect_err("nothing else ends it");
            assert_eq!(reason(&told), InterruptReason::UserRequest);
            canceller.join().unwrap();
        });
    });
}

#[test]
fn a_task_is_polled_again_at_the_end() {
    let name = "no_helper_sleeps_on::a_task_is_polled_again_at_the_end";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let task = statement.handle("help").wrap_future(pending::<()>());
            let task = spawn(move || block_on(Box::pin(task)));
            statement.finish().unwrap();
            let told = task.join().unwrap().expect_err("nothing else ends it");
            assert_eq!(reason(&told), InterruptReason::StatementEnded);
        });
    });
}

/// A task that was polled on one thread is polled on another, whose flag is raised.
#[test]
fn a_task_moves_to_another_thread() {
    let name = "no_helper_sleeps_on::a_task_moves_to_another_thread";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let canceller = canceller(&manager, &statement);
            let mut canceller = Some(canceller);
            let mut polls = 0;
            let mut task =
                Box::pin(statement.handle("help").wrap_future(std::future::poll_fn(move |_| {
                    polls += 1;
                    if polls == 2 {
                        canceller.take().unwrap().join().unwrap();
                        safepoint_under_loom::check().expect_err("the flag of the present thread");
                    }
                    std::task::Poll::<()>::Pending
                })));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if task.as_mut().poll(&mut context).is_pending() {
                let other = spawn(move || {
                    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                    let _ = task.as_mut().poll(&mut context);
                });
                other.join().unwrap();
            }
        });
    });
}

/// The runner's hold-off holds for its helpers. `sleeps`: the helper has entered before the cancel, and
/// waits.
fn held(sleeps: bool) {
    set_helper_slots(1);
    let manager = manager();
    in_statement(&manager, |statement| {
        let held = statement.hold_off("a commit");
        let (handle, released) = (statement.handle("help"), Arc::new(AtomicBool::new(false)));
        let entered = Gate::new();
        if !sleeps {
            entered.open();
        }
        let canceller = {
            let (manager, entered) = (manager.clone(), entered.clone());
            let (session, number) = (statement.id(), statement.statement_id());
            spawn(move || {
                entered.wait();
                cancel(&manager, session, number)
            })
        };
        let helper = {
            let released = released.clone();
            spawn(move || {
                let after = |told: &Interrupt| {
                    assert_eq!(reason(told), InterruptReason::UserRequest);
                    assert!(released.load(Ordering::Relaxed), "within the hold-off");
                };
                let helper = handle.enter();
                match &helper {
                    Err(told) => after(told),
                    Ok(_) if sleeps => {
                        entered.open();
                        after(&sleep());
                    }
                    Ok(_) => {
                        for told in [safepoint_under_loom::check(), handle.check()] {
                            told.inspect_err(after).ok();
                        }
                    }
                }
                // In each case: the statics of a model end with its first thread.
                canceller.join().unwrap();
                drop(helper);
            })
        };
        released.store(true, Ordering::Relaxed);
        drop(held);
        helper.join().unwrap();
    });
}

#[test]
fn a_hold_off_holds_for_helpers() {
    model("no_helper_sleeps_on::a_hold_off_holds_for_helpers", true, || held(false));
}

#[test]
fn a_hold_off_holds_for_a_helper_that_sleeps() {
    model("no_helper_sleeps_on::a_hold_off_holds_for_a_helper_that_sleeps", true, || held(true));
}

/// After the hold-off the helper's safe points report what has come in it.
#[test]
fn the_end_of_a_hold_off_reaches_helpers() {
    let name = "no_helper_sleeps_on::the_end_of_a_hold_off_reaches_helpers";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let held = statement.hold_off("a commit");
            let (handle, entered, goes) = (statement.handle("help"), Gate::new(), Gate::new());
            let canceller = canceller(&manager, &statement);
            let helper = {
                let (entered, goes) = (entered.clone(), goes.clone());
                spawn(move || {
                    let helper = handle.enter().expect("in the hold-off");
                    entered.open();
                    goes.wait();
                    safepoint_under_loom::check().expect_err("the hold-off is over");
                    drop(helper);
                })
            };
            entered.wait();
            drop(held);
            canceller.join().unwrap();
            goes.open();
            helper.join().unwrap();
        });
    });
}

/// A hold-off of the helper's own.
#[test]
fn a_helper_holds_off() {
    let name = "no_helper_sleeps_on::a_helper_holds_off";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (handle, entered) = (statement.handle("help"), Gate::new());
            let helper = {
                let entered = entered.clone();
                spawn(move || {
                    let helper = handle.enter().expect("nobody has cancelled it");
                    let held = helper.hold_off("a page");
                    entered.open();
                    safepoint_under_loom::check().expect("held off");
                    helper.check().expect("held off");
                    drop(held);
                    sleep()
                })
            };
            entered.wait();
            let canceller = canceller(&manager, &statement);
            assert_eq!(reason(&helper.join().unwrap()), InterruptReason::UserRequest);
            canceller.join().unwrap();
        });
    });
}
