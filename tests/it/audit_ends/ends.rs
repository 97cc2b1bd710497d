//! Deferred requests, limits, panics, and the end of all.

use crate::audit_ends::recorder::each;
use crate::common::{
    ENDLESS, ParkedSession, admin, joined, locked, of, scope, supervised, until, user, wait_until,
};
use safepoint::manager::BulkOptions;
use safepoint::manager::DrainOptions;
use safepoint::request::RequestError;
use safepoint::session::Timeouts;
use safepoint::view::SessionInfo;
use safepoint::{Requester, Terminate, TerminateMode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_transaction_that_may_finish() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            requester.kill(TerminateMode::AfterTransaction, "later");
            requester.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            let statement = attached.begin().unwrap();
            statement.check().unwrap();
            statement.finish().unwrap();
            requester.heard(&[]);
            attached.set_in_transaction(false);
            requester.heard(&[]);
            attached.check().unwrap_err();
            requester.heard(&["ann saw Terminate: later"]);
            drop(attached);
            drop(session);
            requester.heard(&["ann killed: later"]);
        });
    });
}

#[test]
fn a_transaction_whose_client_disconnects_first() {
    supervised(|| {
        each(|requester, mut session, thread| {
            session.attach(&thread).unwrap().set_in_transaction(true);
            requester.kill(TerminateMode::AfterTransaction, "later");
            requester.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            session.close();
            requester.heard(&["ann Closed"]);
        });
    });
}

#[test]
fn a_statement_that_may_finish() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            requester.kill(TerminateMode::AfterStatement, "later");
            requester.heard(&["Terminate AfterStatement for ann, running: later"]);
            statement.check().unwrap();
            statement.finish().unwrap_err();
            requester.heard(&["ann saw Terminate: later"]);
            attached.detach().unwrap_err();
            session.close();
            requester.heard(&["ann killed: later"]);
        });
    });
}

/// The stronger request is another one, and is seen as such.
#[test]
fn a_request_followed_by_a_stronger_one() {
    supervised(|| {
        for looks_between in [true, false] {
            for looks_after in [true, false] {
                each(|requester, session, _| {
                    requester.kill(TerminateMode::AfterStatement, "one");
                    requester.heard(&["Terminate AfterStatement for ann, idle: one"]);
                    if looks_between {
                        session.check().unwrap_err();
                        requester.heard(&["ann saw Terminate: one"]);
                    }
                    requester.kill(TerminateMode::Immediate, "two");
                    requester.kill(TerminateMode::AfterStatement, "three");
                    requester.heard(&[
                        "Terminate Immediate for ann, idle after AfterStatement: two",
                        "Terminate AfterStatement for ann, idle after Immediate: three",
                    ]);
                    if looks_after {
                        session.check().unwrap_err();
                        session.check().unwrap_err();
                        requester.heard(&["ann saw Terminate: two"]);
                    }
                    session.close();
                    // The reason of the end is the observed request.
                    let first = looks_between && !looks_after;
                    requester.heard(if first {
                        &["ann killed: one"]
                    } else {
                        &["ann killed: two"]
                    });
                });
            }
        }
    });
}

/// A stronger request ends an idle transaction on its killer's thread.
#[test]
fn an_idle_transaction() {
    supervised(|| {
        each(|requester, mut session, thread| {
            session.attach(&thread).unwrap().set_in_transaction(true);
            let _desk = ParkedSession::leave(session);
            requester.kill(TerminateMode::AfterTransaction, "later");
            requester.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            requester.kill(TerminateMode::AfterStatement, "now");
            requester.heard(&[
                "Terminate AfterStatement for ann, idle in transaction after AfterTransaction: now",
                "ann saw Terminate: now",
                "ann killed: now",
            ]);
        });
    });
}

#[test]
fn an_expired_grace() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let request =
                Terminate::new(TerminateMode::AfterStatement, admin("root")).comment("soon");
            let receipt = requester.manager.terminate(requester.id, request.grace(SHORT)).unwrap();
            requester.watch(receipt);
            until("its grace is over", || statement.sleep(ENDLESS)).unwrap_err();
            requester.heard(&[
                "Terminate AfterStatement for ann, running: soon",
                "ann saw Terminate: soon",
            ]);
            drop(statement);
            drop(attached);
            session.close();
            requester.heard(&["ann killed: soon"]);
        });
    });
}

#[test]
fn a_statement_timeout() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let limits = Timeouts::new().with_statement(SHORT);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            requester.sleep(&statement, || statement.set_timeouts(limits).unwrap());
            statement.check().unwrap_err();
            requester.heard(&["ann hit StatementTimeout", "ann saw Cancel: StatementTimeout"]);
            statement.finish().unwrap();
            requester.heard(&["ann's statement cancelled: StatementTimeout"]);
        });
    });
}

#[test]
fn a_lock_timeout() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let limits = |lock| Timeouts::new().with_lock(lock);
            // A lock wait that begins without a limit has none to its end.
            session.set_timeouts(limits(ENDLESS)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            statement.with_lock_timeout(Instant::now(), || {
                requester.sleep(&statement, || statement.set_timeouts(limits(SHORT)).unwrap());
            });
            statement.check().unwrap_err();
            requester.heard(&["ann hit LockTimeout", "ann saw Cancel: LockTimeout"]);
            statement.finish().unwrap();
            requester.heard(&["ann's statement cancelled: LockTimeout"]);
        });
    });
}

#[test]
fn a_transaction_timeout() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let limits = Timeouts::new().with_transaction(SHORT);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            requester.sleep(&statement, || statement.set_timeouts(limits).unwrap());
            statement.check().unwrap_err();
            let hit = "ann hit TransactionTimeout";
            requester.heard(&[hit, "ann saw Terminate: TransactionTimeout"]);
            drop(statement);
            drop(attached);
            session.close();
            requester.heard(&["ann killed: TransactionTimeout"]);
        });
    });
}

/// The timer ends it, on its own thread.
#[test]
fn an_idle_timeout() {
    supervised(|| {
        for (open, reason) in [(false, "IdleSessionTimeout"), (true, "IdleInTransactionTimeout")] {
            each(|requester, mut session, thread| {
                session.attach(&thread).unwrap().set_in_transaction(open);
                let idle = Some(SHORT);
                let limits = Timeouts::new().with_idle(idle).with_idle_in_transaction(idle);
                let parked = ParkedSession::leave(session);
                locked(&parked.session).as_ref().unwrap().set_timeouts(limits).unwrap();
                wait_until("it has ended", || requester.count() == 3);
                requester.heard(&[
                    &format!("ann hit {reason}"),
                    &format!("ann saw Terminate: {reason}"),
                    &format!("ann killed: {reason}"),
                ]);
            });
        }
    });
}

#[test]
fn a_panic() {
    supervised(|| {
        for killed in [false, true] {
            each(|requester, mut session, thread| {
                let panics = || {
                    let mut attached = session.attach(&thread).unwrap();
                    let _statement = attached.begin().unwrap();
                    if killed {
                        requester.cancel("slow");
                        requester.kill(TerminateMode::Immediate, "now");
                    }
                    panic!("on purpose");
                };
                catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
                if killed {
                    requester.heard(&[
                        "Cancel for ann, running: slow",
                        "Terminate Immediate for ann, running: now",
                        "ann's statement over: slow",
                    ]);
                }
                requester.heard(&[]);
                session.close();
                // The earlier request was not observed.
                let expected: &[&str] = match killed {
                    true => &["ann Panicked"],
                    false => &["ann saw Terminate: InternalError", "ann Panicked"],
                };
                requester.heard(expected);
            });
        }
    });
}

#[test]
fn a_shutdown() {
    supervised(|| {
        each(|requester, session, _| {
            let _desk = ParkedSession::leave(requester.manager.open(of("bob")).unwrap());
            requester.heard(&["bob opened"]);
            let request = Terminate::new(TerminateMode::AfterTransaction, Requester::system())
                .comment("over");
            for receipt in requester.manager.shutdown(request.clone()) {
                requester.watch(receipt);
            }
            requester.heard(&[
                "Terminate AfterTransaction for ann, idle: over",
                "Terminate AfterTransaction for bob, idle: over",
                "bob saw Terminate: over",
                "bob killed: over",
            ]);
            session.check().unwrap_err();
            session.close();
            requester.heard(&["ann saw Terminate: over", "ann killed: over"]);
        });
    });
}

/// The sessions that get a second request, now immediate, and the requester's own session.
#[test]
fn a_drain() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let own = requester.manager.open(of("root")).unwrap();
            let idle = ParkedSession::leave(requester.manager.open(of("bob")).unwrap());
            requester.heard(&["root opened", "bob opened"]);
            scope(|scope| {
                let ends = scope.spawn(move || {
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.begin().unwrap();
                    until("it is cut short", || statement.sleep(ENDLESS)).unwrap_err();
                });
                let waiting = || requester.manager.session_info(requester.id).unwrap().waiting;
                wait_until("ann's statement waits", waiting);
                let request =
                    Terminate::new(TerminateMode::AfterStatement, own.requester()).comment("over");
                let drained = requester
                    .manager
                    .drain(DrainOptions::new(request.clone()).grace(SHORT).timeout(ENDLESS));
                assert_eq!((drained.graceful, drained.forced, drained.remaining), (1, 1, 1));
                joined("its thread ends", ends);
            });
            drop(idle);
            requester.heard(&[
                "Terminate AfterStatement for ann, waiting: over",
                "Terminate AfterStatement for root, idle: over",
                "Terminate AfterStatement for bob, idle: over",
                "bob saw Terminate: over",
                "bob killed: over",
                "Terminate Immediate for ann, waiting after AfterStatement: over",
                "ann saw Terminate: over",
                "ann killed: over",
            ]);
            own.check().unwrap_err();
            own.close();
            requester.heard(&["root saw Terminate: over", "root killed: over"]);
        });
    });
}

/// The events of a session that opens and ends while others are requested to end.
#[test]
fn a_bulk_request() {
    supervised(|| {
        each(|requester, session, _| {
            let _desk = ParkedSession::leave(session);
            let bob = requester.manager.open(of("bob")).unwrap();
            requester.heard(&["bob opened"]);
            let request = Terminate::new(TerminateMode::Immediate, user("ann")).comment("all");
            let all = |_: &SessionInfo| true;
            let mut result = requester.manager.terminate_where(all, request, BulkOptions::new());
            assert_eq!(until("all have ended", || result.wait_timeout(ENDLESS)), 0);
            assert_eq!(result.rejected.len(), 1);
            requester.heard(&[
                "Terminate Immediate for ann, idle: all",
                "ann saw Terminate: all",
                "ann killed: all",
                &format!("Terminate refused: {}", RequestError::PermissionDenied(bob.id())),
            ]);
        });
    });
}
