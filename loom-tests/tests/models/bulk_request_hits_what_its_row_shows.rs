//! A bulk request reaches a session only in the state that its row shows.
//!
//! At the same time: the rows of a dry run, and closes and next statements.

use crate::common::{immediate, model};
use safepoint_under_loom::manager::BulkOptions;
use safepoint_under_loom::view::SessionInfo;
use safepoint_under_loom::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel};

fn all(_: &SessionInfo) -> bool {
    true
}

/// A row of a session that closes meanwhile hits neither that nor its successor in the same place.
#[test]
fn dry_run_against_close() {
    model("bulk_request_hits_what_its_row_shows::dry_run_against_close", false, rows_against_close);
}

fn rows_against_close() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let first = manager.open(ClientInfo::default()).unwrap();
    let id = first.id();
    let rows = manager.dry_run(all, &Requester::system(), BulkOptions::new());
    let sweeper = {
        let manager = manager.clone();
        loom::thread::spawn(move || manager.terminate_rows(&rows, immediate(), BulkOptions::new()))
    };
    drop(first);
    let successor = manager.open(ClientInfo::default()).unwrap();
    let swept = sweeper.join().unwrap();
    assert_eq!(swept.accepted() + swept.already_ended, 1);
    for receipt in &swept.receipts {
        assert_eq!(receipt.session(), id);
        assert!(receipt.try_get().is_some(), "it has ended, so the receipt is complete");
    }
    successor.check().expect("the successor in the same place");
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
    let sweeper = {
        let manager = manager.clone();
        let sweep = BulkOptions::new().only_if_unchanged();
        loom::thread::spawn(move || manager.terminate_rows(&rows, immediate(), sweep).accepted())
    };
    let told = statement.finish().is_err();
    let told = match attached.begin() {
        Ok(next) => {
            next.check().expect("no other statement is hit for the first one's sake");
            told
        }
        Err(_) => true,
    };
    assert_eq!(sweeper.join().unwrap() == 1, told || attached.check().is_err());
}

/// A sweep of statements names each of them: the next one in the same session is not hit.
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
    let sweeper = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            let request = Cancel::running(Requester::system());
            manager.cancel_where(|row| row.statement_text == "slow", request, BulkOptions::new())
        })
    };
    statement.finish().unwrap();
    let next = attached.begin().unwrap().with_text("quick");
    next.check().expect("no other statement is hit for the first one's sake");
    let swept = sweeper.join().unwrap();
    next.check().expect("no other statement is hit for the first one's sake");
    assert!(swept.receipts.iter().all(|receipt| receipt.try_get().is_some()), "it is over");
    assert!(swept.accepted() + swept.changed <= 1);
}
