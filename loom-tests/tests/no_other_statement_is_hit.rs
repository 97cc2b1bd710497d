//! Promise 3: a cancel names a statement and is void when that one is over.

mod common;

use common::model;
use safepoint_under_loom::{Author, Cancel, Description, SessionManager, ThreadModel, Twin};

/// PostgreSQL's protocol names a connection, not a statement: the next one is hit.
fn cancel_against_finish() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();

    let first = attached.begin().unwrap();
    let number = first.statement();
    let cancellers = [(); 2].map(|()| {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            manager.cancel(id, Cancel::statement(number, Author::system())).ok()
        })
    });
    let seen = first.check().is_err();
    first.finish().unwrap();

    let second = attached.begin().unwrap();
    second.check().expect("the statement that was not named");
    second.finish().unwrap();

    let receipts: Vec<_> = cancellers.into_iter().filter_map(|c| c.join().unwrap()).collect();
    assert!(!seen || !receipts.is_empty(), "refused, and yet it was seen");
    for receipt in receipts {
        let over = receipt.poll().expect("the statement is over, so the receipt is complete");
        assert!(over.cancelled || !seen, "the receipt says what the statement saw");
    }
}

#[test]
fn cancel_hits_next_statement() {
    let twins = [Twin::StatementNotCompared, Twin::LoadThenStore];
    model("cancel_hits_next_statement", true, cancel_against_finish, &twins);
}
