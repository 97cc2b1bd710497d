//! A suspended statement keeps its number and its cancel, and an interrupt reaches its owner.
//!
//! At the same time: a session that suspends and resumes its statement, and a cancel or a termination.

use crate::common::helpers::{Gate, canceller, reason};
use crate::common::{ParkedSession, killed, killer, model, spawn};
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::session::{SuspendedStatement, WaitMode, waker_fn};
use safepoint_under_loom::{
    Cancel, ClientInfo, Requester, Session, SessionManager, Thread, ThreadModel,
};

fn open() -> (SessionManager, Session, Thread) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    (manager, session, thread)
}

/// The cancel comes before the suspension, in it, or after the resume. It is reported once, and nothing else is.
#[test]
fn a_cancel_is_reported() {
    model("a_suspended_statement_is_kept::a_cancel_is_reported", true, || {
        let (manager, mut session, thread) = open();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let canceller = canceller(&manager, &statement);
        let suspended = statement.suspend(WaitMode::Interruptible);
        let told = match attached.detach_suspended(&suspended, &waker_fn(|| ())) {
            Err(told) => {
                canceller.join().unwrap();
                told
            }
            Ok(()) => {
                let mut attached = session.attach(&thread).unwrap();
                match attached.resume(suspended) {
                    Err(told) => {
                        canceller.join().unwrap();
                        told
                    }
                    Ok(statement) => {
                        canceller.join().unwrap();
                        statement.check().expect_err("the cancel is due")
                    }
                }
            }
        };
        assert_eq!(reason(&told), InterruptReason::UserRequest);
        let mut attached = session.attach(&thread).unwrap();
        attached.begin().unwrap().finish().unwrap();
    });
}

/// The owner waits until it is woken. One that is not woken is a deadlock, and loom reports it.
#[test]
fn a_cancel_wakes_the_owner() {
    model("a_suspended_statement_is_kept::a_cancel_wakes_the_owner", true, || {
        let (manager, mut session, thread) = open();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let canceller = canceller(&manager, &statement);
        let suspended = statement.suspend(WaitMode::Interruptible);
        let gate = Gate::new();
        let opened = gate.clone();
        if attached.detach_suspended(&suspended, &waker_fn(move || opened.open())).is_ok() {
            gate.wait();
            let mut attached = session.attach(&thread).unwrap();
            let told = attached.resume(suspended).expect_err("the owner was woken for it");
            assert_eq!(reason(&told), InterruptReason::UserRequest);
        }
        canceller.join().unwrap();
    });
}

/// Puts the session into its slot as its statement is suspended. Returns `None` if it was ended.
fn park(
    parked: &loom::sync::Arc<ParkedSession>,
    mut session: Session,
    thread: &Thread,
) -> Option<SuspendedStatement> {
    let mut slot = parked.session.lock().unwrap();
    let mut attached = session.attach(thread).unwrap();
    let Ok(statement) = attached.begin() else {
        drop((attached, slot));
        parked.end(session);
        return None;
    };
    let suspended = statement.suspend(WaitMode::Interruptible);
    match attached.detach_suspended(&suspended, &ParkedSession::waker(parked)) {
        Ok(()) => {
            *slot = Some(session);
            Some(suspended)
        }
        Err(told) if told.is_terminate() => {
            drop(slot);
            parked.end(session);
            None
        }
        Err(_) => {
            *slot = Some(session);
            None
        }
    }
}

#[test]
fn a_termination_needs_no_resume() {
    model("a_suspended_statement_is_kept::a_termination_needs_no_resume", true, || {
        let (manager, session, thread) = open();
        let parked = ParkedSession::empty();
        let killer = killer(&manager, session.id());
        park(&parked, session, &thread);
        let receipt = killer.join().unwrap().expect("it had not ended");
        assert!(killed(&receipt));
        assert_eq!(parked.closed(), 1);
        assert!(manager.is_empty());
    });
}

#[test]
fn a_cancel_ends_no_session() {
    model("a_suspended_statement_is_kept::a_cancel_ends_no_session", true, || {
        let (manager, session, thread) = open();
        let (id, parked) = (session.id(), ParkedSession::empty());
        let canceller = {
            let manager = manager.clone();
            let cancel = Cancel::running(Requester::system());
            spawn(move || manager.cancel(id, cancel).is_ok())
        };
        let suspended = park(&parked, session, &thread);
        let cancelled = canceller.join().unwrap();
        let mut session = parked.take().expect("a cancel ends no session");
        session.check().expect("nor is it told so");
        if let Some(suspended) = suspended {
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(attached.resume(suspended).is_err(), cancelled);
        }
    });
}
