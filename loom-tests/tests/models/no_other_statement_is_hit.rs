//! A cancel reaches the statement that it names, and no later one.
//!
//! At the same time: a cancel and the end of the statement.

use crate::common::{model, spawn};
use loom::future::block_on;
use safepoint_under_loom::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel};
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};

/// PostgreSQL's protocol names a connection, not a statement: the next one is hit.
fn cancel_against_finish() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();

    let first = attached.begin().unwrap();
    let number = first.statement_id();
    let cancellers = [(); 2].map(|()| {
        let manager = manager.clone();
        spawn(move || manager.cancel(id, Cancel::statement(number, Requester::system())).ok())
    });
    let seen = first.check().is_err();
    first.finish().unwrap();

    let second = attached.begin().unwrap();
    second.check().expect("the statement that was not named");
    second.finish().unwrap();

    let receipts: Vec<_> = cancellers.into_iter().filter_map(|c| c.join().unwrap()).collect();
    assert!(!seen || !receipts.is_empty(), "refused, and yet it was seen");
    for receipt in receipts {
        let over = receipt.try_get().expect("the statement is over, so the receipt is complete");
        assert!(over.cancelled || !seen, "the receipt and the statement agree");
    }
}

#[test]
fn cancel_hits_next_statement() {
    model("no_other_statement_is_hit::cancel_hits_next_statement", true, cancel_against_finish);
}

/// A statement of a task goes from thread to thread, and the next begins on the last of them.
fn cancel_against_a_task_that_moves() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let number = session.reserve_statement().unwrap();
    let canceller = {
        let manager = manager.clone();
        spawn(move || manager.cancel(id, Cancel::statement(number, Requester::system())).ok())
    };
    let mut task = Box::pin(async move {
        let mut waited = false;
        let one_turn = poll_fn(|_| match std::mem::replace(&mut waited, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        let first = session.run(one_turn).await;
        session.run(async {}).await.expect("the statement that was not named");
        first.is_err()
    });
    let (mut task, polled) = spawn(move || {
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (task, polled)
    })
    .join()
    .unwrap();
    let seen = match polled {
        Poll::Ready(seen) => seen,
        Poll::Pending => block_on(&mut task),
    };
    match canceller.join().unwrap() {
        Some(receipt) => assert_eq!(receipt.try_get().unwrap().cancelled, seen),
        None => assert!(!seen, "refused, and yet it was seen"),
    }
}

#[test]
fn cancel_follows_a_task() {
    model(
        "no_other_statement_is_hit::cancel_follows_a_task",
        true,
        cancel_against_a_task_that_moves,
    );
}
