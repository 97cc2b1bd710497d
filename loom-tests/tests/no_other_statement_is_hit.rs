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
    let canceller = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            manager.cancel(id, Cancel::statement(number, Author::system())).ok()
        })
    };
    let seen = first.check().is_err();
    first.finish().unwrap();

    let second = attached.begin().unwrap();
    second.check().expect("the statement that was not named");
    second.finish().unwrap();

    match canceller.join().unwrap() {
        Some(receipt) => {
            let over = receipt.poll().expect("the statement is over, so the receipt is complete");
            assert!(over.cancelled || !seen, "the receipt says what the statement saw");
        }
        None => assert!(!seen, "refused, and yet it was seen"),
    }
}

#[test]
fn cancel_hits_next_statement() {
    let twins = [Twin::StatementNotCompared, Twin::LoadThenStore];
    model("cancel_hits_next_statement", false, cancel_against_finish, &twins);
}
