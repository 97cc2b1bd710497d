//! Deferred requests, limits, panics, and the end of all.

use crate::audit_ends::ear::each;
use crate::common::{
    Desk, ENDLESS, admin, eventually, joined, locked, of, scope, supervised, until, user,
};
use safepoint::manager::BulkOptions;
use safepoint::manager::DrainOptions;
use safepoint::request::RequestError;
use safepoint::session::Timeouts;
use safepoint::view::SessionInfo;
use safepoint::{Requester, Terminate, TerminateMode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_transaction_that_may_finish() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            killer.kill(TerminateMode::AfterTransaction, "later");
            killer.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            let statement = attached.begin().unwrap();
            statement.check().unwrap();
            statement.finish().unwrap();
            killer.heard(&[]);
            attached.set_in_transaction(false);
            killer.heard(&[]);
            attached.check().unwrap_err();
            killer.heard(&["ann saw Terminate: later"]);
            drop(attached);
            drop(session);
            killer.heard(&["ann killed: later"]);
        });
    });
}

#[test]
fn a_transaction_whose_client_disconnects_first() {
    supervised(|| {
        each(|killer, mut session, thread| {
            session.attach(&thread).unwrap().set_in_transaction(true);
            killer.kill(TerminateMode::AfterTransaction, "later");
            killer.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            session.close();
            killer.heard(&["ann Closed"]);
        });
    });
}

#[test]
fn a_statement_that_may_finish() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            killer.kill(TerminateMode::AfterStatement, "later");
            killer.heard(&["Terminate AfterStatement for ann, running: later"]);
            statement.check().unwrap();
            statement.finish().unwrap_err();
            killer.heard(&["ann saw Terminate: later"]);
            attached.detach().unwrap_err();
            session.close();
            killer.heard(&["ann killed: later"]);
        });
    });
}

/// The stronger request is another one, and is seen as such.
#[test]
fn a_request_followed_by_a_stronger_one() {
    supervised(|| {
        for looks_between in [true, false] {
            for looks_after in [true, false] {
                each(|killer, session, _| {
                    killer.kill(TerminateMode::AfterStatement, "one");
                    killer.heard(&["Terminate AfterStatement for ann, idle: one"]);
                    if looks_between {
                        session.check().unwrap_err();
                        killer.heard(&["ann saw Terminate: one"]);
                    }
                    killer.kill(TerminateMode::Immediate, "two");
                    killer.kill(TerminateMode::AfterStatement, "three");
                    killer.heard(&[
                        "Terminate Immediate for ann, idle after AfterStatement: two",
                        "Terminate AfterStatement for ann, idle after Immediate: three",
                    ]);
                    if looks_after {
                        session.check().unwrap_err();
                        session.check().unwrap_err();
                        killer.heard(&["ann saw Terminate: two"]);
                    }
                    session.close();
                    // What it has seen is what killed it.
                    let first = looks_between && !looks_after;
                    killer.heard(if first { &["ann killed: one"] } else { &["ann killed: two"] });
                });
            }
        }
    });
}

/// A stronger request ends an idle transaction on its killer's thread.
#[test]
fn an_idle_transaction() {
    supervised(|| {
        each(|killer, mut session, thread| {
            session.attach(&thread).unwrap().set_in_transaction(true);
            let _desk = Desk::leave(session);
            killer.kill(TerminateMode::AfterTransaction, "later");
            killer.heard(&["Terminate AfterTransaction for ann, idle in transaction: later"]);
            killer.kill(TerminateMode::AfterStatement, "now");
            killer.heard(&[
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
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let request =
                Terminate::new(TerminateMode::AfterStatement, admin("root")).comment("soon");
            let receipt = killer.manager.terminate(killer.id, request.grace(SHORT)).unwrap();
            killer.watch(receipt);
            until("its grace is over", || statement.sleep(ENDLESS)).unwrap_err();
            killer.heard(&[
                "Terminate AfterStatement for ann, running: soon",
                "ann saw Terminate: soon",
            ]);
            drop(statement);
            drop(attached);
            session.close();
            killer.heard(&["ann killed: soon"]);
        });
    });
}

#[test]
fn a_statement_timeout() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let limits = Timeouts::new().with_statement(SHORT);
            session.set_timeouts(limits).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            until("its time is over", || statement.sleep(ENDLESS)).unwrap_err();
            killer.heard(&["ann hit StatementTimeout", "ann saw Cancel: StatementTimeout"]);
            statement.finish().unwrap();
            killer.heard(&["ann's statement cancelled: StatementTimeout"]);
        });
    });
}

#[test]
fn a_lock_timeout() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let limits = Timeouts::new().with_lock(SHORT);
            session.set_timeouts(limits).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let waits = || {
                statement.with_lock_timeout(std::time::Instant::now(), || statement.sleep(ENDLESS))
            };
            until("its time is over", waits).unwrap_err();
            killer.heard(&["ann hit LockTimeout", "ann saw Cancel: LockTimeout"]);
            statement.finish().unwrap();
            killer.heard(&["ann's statement cancelled: LockTimeout"]);
        });
    });
}

#[test]
fn a_transaction_timeout() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let limits = Timeouts::new().with_transaction(SHORT);
            session.set_timeouts(limits).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            until("its time is over", || statement.sleep(ENDLESS)).unwrap_err();
            let hit = "ann hit TransactionTimeout";
            killer.heard(&[hit, "ann saw Terminate: TransactionTimeout"]);
            drop(statement);
            drop(attached);
            session.close();
            killer.heard(&["ann killed: TransactionTimeout"]);
        });
    });
}

/// The timer ends it, on its own thread.
#[test]
fn an_idle_timeout() {
    supervised(|| {
        for (open, reason) in [(false, "IdleSessionTimeout"), (true, "IdleInTransactionTimeout")] {
            each(|killer, mut session, thread| {
                session.attach(&thread).unwrap().set_in_transaction(open);
                let idle = Some(SHORT);
                let limits = Timeouts::new().with_idle(idle).with_idle_in_transaction(idle);
                let desk = Desk::leave(session);
                locked(&desk.session).as_ref().unwrap().set_timeouts(limits).unwrap();
                eventually("it has ended", || killer.count() == 3);
                killer.heard(&[
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
            each(|killer, mut session, thread| {
                let panics = || {
                    let mut attached = session.attach(&thread).unwrap();
                    let _statement = attached.begin().unwrap();
                    if killed {
                        killer.cancel("slow");
                        killer.kill(TerminateMode::Immediate, "now");
                    }
                    panic!("on purpose");
                };
                catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
                if killed {
                    killer.heard(&[
                        "Cancel for ann, running: slow",
                        "Terminate Immediate for ann, running: now",
                        "ann's statement over: slow",
                    ]);
                }
                killer.heard(&[]);
                session.close();
                // Nobody has seen the request that was there before.
                let expected: &[&str] = match killed {
                    true => &["ann Panicked"],
                    false => &["ann saw Terminate: InternalError", "ann Panicked"],
                };
                killer.heard(expected);
            });
        }
    });
}

#[test]
fn a_shutdown() {
    supervised(|| {
        each(|killer, session, _| {
            let _desk = Desk::leave(killer.manager.open(of("bob")).unwrap());
            killer.heard(&["bob opened"]);
            let request = Terminate::new(TerminateMode::AfterTransaction, Requester::system())
                .comment("over");
            for receipt in killer.manager.shutdown(request.clone()) {
                killer.watch(receipt);
            }
            killer.heard(&[
                "Terminate AfterTransaction for ann, idle: over",
                "Terminate AfterTransaction for bob, idle: over",
                "bob saw Terminate: over",
                "bob killed: over",
            ]);
            session.check().unwrap_err();
            session.close();
            killer.heard(&["ann saw Terminate: over", "ann killed: over"]);
        });
    });
}

/// Those that are told once more, now to end at once, and the one that asked for it all.
#[test]
fn a_drain() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let own = killer.manager.open(of("root")).unwrap();
            let idle = Desk::leave(killer.manager.open(of("bob")).unwrap());
            killer.heard(&["root opened", "bob opened"]);
            scope(|scope| {
                let ends = scope.spawn(move || {
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.begin().unwrap();
                    until("it is cut short", || statement.sleep(ENDLESS)).unwrap_err();
                });
                let waiting = || killer.manager.session_info(killer.id).unwrap().waiting;
                eventually("ann's statement waits", waiting);
                let request =
                    Terminate::new(TerminateMode::AfterStatement, own.requester()).comment("over");
                let drained = killer
                    .manager
                    .drain(DrainOptions::new(request.clone()).grace(SHORT).timeout(ENDLESS));
                assert_eq!((drained.graceful, drained.forced, drained.remaining), (1, 1, 1));
                joined("its thread ends", ends);
            });
            drop(idle);
            killer.heard(&[
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
            killer.heard(&["root saw Terminate: over", "root killed: over"]);
        });
    });
}

/// What the audit hears of a session that opens and ends while others are told: each its own.
#[test]
fn a_bulk_request() {
    supervised(|| {
        each(|killer, session, _| {
            let _desk = Desk::leave(session);
            let bob = killer.manager.open(of("bob")).unwrap();
            killer.heard(&["bob opened"]);
            let request = Terminate::new(TerminateMode::Immediate, user("ann")).comment("all");
            let all = |_: &SessionInfo| true;
            let mut swept = killer.manager.terminate_where(all, request, BulkOptions::new());
            assert_eq!(until("all have ended", || swept.wait_timeout(ENDLESS)), 0);
            assert_eq!(swept.rejected.len(), 1);
            killer.heard(&[
                "Terminate Immediate for ann, idle: all",
                "ann saw Terminate: all",
                "ann killed: all",
                &format!("Terminate refused: {}", RequestError::PermissionDenied(bob.id())),
            ]);
        });
    });
}
