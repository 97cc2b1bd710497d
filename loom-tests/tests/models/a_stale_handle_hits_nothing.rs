//! A handle of a statement that has ended reports that, and never a request for another statement.
//!
//! At the same time: safe points of a helper, the end of its statement, and a cancel of the next one.

use crate::common::helpers::{Gate, cancel, canceller, in_statement, manager, reason};
use crate::common::{model, spawn};
use safepoint_under_loom::Interrupt;
use safepoint_under_loom::model::set_helper_slots;
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::{ClientInfo, current};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

/// The helper's safe points report nothing, or the end of its statement, or its own cancel.
fn allowed(told: Result<(), Interrupt>) {
    if let Err(interrupt) = told {
        let ended = reason(&interrupt) == InterruptReason::StatementEnded;
        let its_own = interrupt.request().comment() == Some("1");
        assert!(ended || its_own, "a request for another statement: {interrupt:?}");
    }
}

fn stale_handle(cancel_first: bool) {
    set_helper_slots(1);
    let manager = manager();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let first = statement.statement_id();
    let (entered, cancelled, next) = (Gate::new(), Gate::new(), Gate::new());
    let handle = statement.handle("help");
    let helper = {
        let (handle, entered, next) = (handle.clone(), entered.clone(), next.clone());
        let cancelled = cancelled.clone();
        spawn(move || {
            let helper = handle.enter().expect("nobody has cancelled it");
            entered.open();
            cancelled.wait();
            if cancel_first {
                allowed(handle.check());
            } else {
                current::without_session(|| ());
                allowed(safepoint_under_loom::check());
            }
            next.wait();
            let late = safepoint_under_loom::check().expect_err("it has ended");
            assert_eq!(reason(&late), InterruptReason::StatementEnded);
            drop(helper);
        })
    };
    entered.wait();
    if cancel_first {
        cancel(&manager, id, first).expect("it runs");
    }
    cancelled.open();
    drop(statement);
    let second = attached.begin().unwrap();
    second.check().expect("the first one's cancel hit the second one");
    let receipt = cancel(&manager, id, second.statement_id()).expect("it runs");
    let told = second.check().expect_err("the cancel names this statement");
    assert_eq!(told.request().comment(), Some("2"));
    drop(second);
    assert!(receipt.try_get().expect("it has ended").cancelled);
    let stale = handle.check().expect_err("it has ended");
    assert_eq!(reason(&stale), InterruptReason::StatementEnded);
    next.open();
    helper.join().unwrap();
    drop(attached);
    session.close();
}

#[test]
fn the_next_statement_is_cancelled() {
    let name = "a_stale_handle_hits_nothing::the_next_statement_is_cancelled";
    model(name, true, || stale_handle(false));
}

#[test]
fn both_statements_are_cancelled() {
    let name = "a_stale_handle_hits_nothing::both_statements_are_cancelled";
    model(name, true, || stale_handle(true));
}

/// A waker that counts.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task of the second statement is not woken for a cancel of the first one.
#[test]
fn a_late_requester_wakes_nobody() {
    let name = "a_stale_handle_hits_nothing::a_late_requester_wakes_nobody";
    model(name, true, || {
        set_helper_slots(0);
        let manager = manager();
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let _first = statement.handle("first");
        let canceller = canceller(&manager, &statement);
        drop(statement);
        let statement = attached.begin().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut task =
            Box::pin(statement.handle("second").wrap_future(std::future::pending::<()>()));
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        canceller.join().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "for another statement's cancel");
        drop(task);
        drop(statement);
        drop(attached);
        session.close();
    });
}

/// The set of a statement that has ended serves no other one.
#[test]
fn a_statement_has_a_set_of_its_own() {
    let name = "a_stale_handle_hits_nothing::a_statement_has_a_set_of_its_own";
    model(name, true, || {
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let handle = statement.handle("help");
            let helper = {
                let handle = handle.clone();
                spawn(move || drop(handle.enter()))
            };
            statement.finish().unwrap();
            helper.join().unwrap();
            let stale = handle.enter().expect_err("it has ended");
            assert_eq!(reason(&stale), InterruptReason::StatementEnded);
        });
    });
}
