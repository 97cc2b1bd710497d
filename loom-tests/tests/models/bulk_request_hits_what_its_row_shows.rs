//! A bulk request reaches a session only in the state that its row shows.
//!
//! At the same time: the rows of a dry run, and closes and next statements.

use crate::common::{immediate, model, spawn};
use safepoint_under_loom::manager::BulkOptions;
use safepoint_under_loom::view::SessionInfo;
use safepoint_under_loom::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel};

fn all(_: &SessionInfo) -> bool {
    true
}

/// A row of a session that has closed reaches neither this session nor the next one in its slot.
#[test]
fn dry_run_against_close() {
    model("bulk_request_hits_what_its_row_shows::dry_run_against_close", false, rows_against_close);
}

fn rows_against_close() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let first = manager.open(ClientInfo::default()).unwrap();
    let id = first.id();
    let rows = manager.dry_run(all, &Requester::system(), BulkOptions::new());
    let requester = {
        let manager = manager.clone();
        spawn(move || manager.terminate_rows(&rows, immediate(), BulkOptions::new()))
    };
    drop(first);
    let successor = manager.open(ClientInfo::default()).unwrap();
    let result = requester.join().unwrap();
    assert_eq!(result.accepted() + result.already_ended, 1);
    for receipt in &result.receipts {
        assert_eq!(receipt.session(), id);
        assert!(receipt.try_get().is_some(), "it has ended, so the receipt is complete");
    }
    successor.check().expect("the next session in the same slot");
}

/// Tied to its row, a request does not hit a session that runs another statement by now.
#[test]
fn terminate_rows_against_next_statement() {
    let name = "bulk_request_hits_what_its_row_shows::terminate_rows_against_next_statement";
    model(name, false, rows_against_next);
}

fn rows_against_next() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap().with_text("slow");
    let rows = manager.dry_run(
        |row| row.statement_text == "slow",
        &Requester::system(),
        BulkOptions::new(),
    );
    assert_eq!(rows.len(), 1);
    let requester = {
        let manager = manager.clone();
        let options = BulkOptions::new().only_if_unchanged();
        spawn(move || manager.terminate_rows(&rows, immediate(), options).accepted())
    };
    let interrupted = statement.finish().is_err();
    let interrupted = match attached.begin() {
        Ok(next) => {
            next.check().expect("no other statement is hit for the first one's sake");
            interrupted
        }
        Err(_) => true,
    };
    assert_eq!(requester.join().unwrap() == 1, interrupted || attached.check().is_err());
}

/// A bulk cancel names each statement: it does not reach the next one of the same session.
#[test]
fn cancel_where_against_next_statement() {
    let name = "bulk_request_hits_what_its_row_shows::cancel_where_against_next_statement";
    model(name, false, cancel_where_against_next);
}

fn cancel_where_against_next() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap().with_text("slow");
    let requester = {
        let manager = manager.clone();
        spawn(move || {
            let request = Cancel::running(Requester::system());
            manager.cancel_where(|row| row.statement_text == "slow", request, BulkOptions::new())
        })
    };
    statement.finish().unwrap();
    let next = attached.begin().unwrap().with_text("quick");
    next.check().expect("no other statement is hit for the first one's sake");
    let result = requester.join().unwrap();
    next.check().expect("no other statement is hit for the first one's sake");
    assert!(result.receipts.iter().all(|receipt| receipt.try_get().is_some()), "it is over");
    assert!(result.accepted() + result.changed <= 1);
}
