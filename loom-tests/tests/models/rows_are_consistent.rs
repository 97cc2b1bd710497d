//! A row is a consistent snapshot, and a rejected requester finds all effects of the ended statement
//! or session.
//!
//! At the same time: a snapshot and moves or next statements; a rejection and the end that it
//! reports.

use crate::common::{immediate, model, spawn};
use loom::sync::atomic::{AtomicUsize, Ordering};
use safepoint_under_loom::request::RequestError;
use safepoint_under_loom::view::SessionInfo;
use safepoint_under_loom::{
    Cancel, ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};

/// A session goes from thread to thread, back, and back again, each time with a command that was
/// queued before.
fn list_against_moves() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let [one, two] = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
    let threads = [one.id(), two.id(), one.id(), two.id()];
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    session.reserve_statement().unwrap();
    drop(session.attach(&one).unwrap());
    let lister = {
        let manager = manager.clone();
        spawn(move || manager.session_info(id).unwrap())
    };
    for worker in [&two, &one, &two] {
        session.reserve_statement().unwrap();
        drop(session.attach(worker).unwrap());
    }
    let row = lister.join().unwrap();
    if let (Some(statement), Some(thread)) = (row.statement_id, row.thread_id) {
        assert_eq!(thread, threads[statement.get() as usize - 1]);
    }
}

#[test]
fn a_row_has_the_thread_of_another_statement() {
    model(
        "rows_are_consistent::a_row_has_the_thread_of_another_statement",
        true,
        list_against_moves,
    );
}

/// The same, but the second thread has the slot of the first, which has ended.
fn list_against_a_reused_slot() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let lister = {
        let manager = manager.clone();
        spawn(move || manager.session_info(id).unwrap())
    };
    let threads = ["one", "two"].map(|name| {
        let worker = manager.register_worker(name).unwrap();
        let mut attached = session.attach(&worker).unwrap();
        drop(attached.begin().unwrap());
        worker.id()
    });
    let row = lister.join().unwrap();
    if let (Some(statement), Some(thread)) = (row.statement_id, row.thread_id) {
        assert_eq!(thread, threads[statement.get() as usize - 1]);
    }
}

#[test]
fn a_row_has_the_thread_of_a_reused_slot() {
    model(
        "rows_are_consistent::a_row_has_the_thread_of_a_reused_slot",
        true,
        list_against_a_reused_slot,
    );
}

/// A statement that has just begun is not taken for the one before it.
fn list_against_next_statement() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let lister = {
        let manager = manager.clone();
        spawn(move || manager.session_info(id).unwrap())
    };
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    for text in ["1", "2"] {
        attached.begin().unwrap().with_text(text).finish().unwrap();
    }
    let SessionInfo {
        statement_id: statement,
        statement_text: text,
        statement_started_at: statement_start,
        ..
    } = lister.join().unwrap();
    if let Some(statement) = statement {
        assert!(text.is_empty() || text == statement.get().to_string(), "{statement} is {text:?}");
        assert_eq!(statement_start.is_some(), !text.is_empty());
    }
}

#[test]
fn a_row_has_the_text_of_another_statement() {
    model(
        "rows_are_consistent::a_row_has_the_text_of_another_statement",
        false,
        list_against_next_statement,
    );
}

/// The pending request of a session, with its requester and its mode: a weak one, then a strong one.
fn list_against_requests() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let requests = [TerminateMode::AfterTransaction, TerminateMode::Immediate];
    let killer = {
        let manager = manager.clone();
        spawn(move || {
            for when in requests {
                let request =
                    Terminate::new(when, Requester::system()).comment(format!("{when:?}"));
                manager.terminate(id, request).unwrap();
            }
        })
    };
    let SessionInfo { pending_mode: mode, pending: interrupt, .. } =
        manager.session_info(id).unwrap();
    assert_eq!(interrupt.as_ref().and_then(|interrupt| interrupt.mode), mode);
    if let (Some(when), Some(interrupt)) = (mode, interrupt) {
        assert_eq!(interrupt.request.comment(), Some(&*format!("{when:?}")));
    }
    killer.join().unwrap();
}

#[test]
fn a_row_has_the_requester_of_another_request() {
    model(
        "rows_are_consistent::a_row_has_the_requester_of_another_request",
        false,
        list_against_requests,
    );
}

loom::lazy_static! {
    /// An effect of the session. Relaxed: the library must order it.
    static ref LEFT: AtomicUsize = AtomicUsize::new(0);
}

/// A requester whose cancel is rejected, because the statement has ended, sees its effects.
fn rejection_against_finish() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let request = Cancel::statement(statement.statement_id(), Requester::system());
    let canceller = {
        let manager = manager.clone();
        spawn(move || {
            let rejected = manager.cancel(id, request).err();
            assert!(rejected.is_none() || LEFT.load(Ordering::Relaxed) == 1, "{rejected:?}");
        })
    };
    LEFT.store(1, Ordering::Relaxed);
    statement.finish().unwrap();
    canceller.join().unwrap();
}

#[test]
fn a_rejection_precedes_the_end_of_the_statement() {
    model(
        "rows_are_consistent::a_rejection_precedes_the_end_of_the_statement",
        false,
        rejection_against_finish,
    );
}

/// A requester whose termination is rejected, because the session has ended, sees its effects.
fn rejection_against_end() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let killer = {
        let manager = manager.clone();
        spawn(move || {
            let rejected = manager.terminate(id, immediate()).err();
            assert!(rejected.is_none() || LEFT.load(Ordering::Relaxed) == 1, "{rejected:?}");
            rejected
        })
    };
    LEFT.store(1, Ordering::Relaxed);
    session.close();
    let rejected = killer.join().unwrap();
    assert!(matches!(
        rejected,
        None | Some(RequestError::AlreadyEnded(_) | RequestError::NoSuchSession(_))
    ));
}

#[test]
fn a_rejection_precedes_the_end_of_the_session() {
    model(
        "rows_are_consistent::a_rejection_precedes_the_end_of_the_session",
        false,
        rejection_against_end,
    );
}
