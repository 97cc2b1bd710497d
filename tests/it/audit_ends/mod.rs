//! The audit events of each end of a session or a statement: all of them, in order, and before any
//! receipt completes.

mod ends;
#[cfg(target_os = "linux")]
mod pool;
mod recorder;
mod threads;

use crate::common::{
    ENDLESS, MODES, ParkedSession, admin, joined, of, scope, supervised, until, user,
};
use recorder::{Requesting, each};
use safepoint::id::StatementId;
use safepoint::request::{RequestError, Target};
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{Cancel, Requester, Session, Terminate, TerminateMode, Thread};
use std::task::Waker;
use std::time::Duration;

#[test]
fn a_session_that_is_closed_or_dropped() {
    supervised(|| {
        each(|requester, session, _| {
            session.close();
            requester.heard(&["ann Closed"]);
            drop(requester.manager.open(of("bob")).unwrap());
            requester.heard(&["bob opened", "bob Closed"]);
        });
    });
}

#[test]
fn an_idle_session_ended_by_its_requester() {
    supervised(|| {
        for when in MODES {
            each(|requester, session, _| {
                let _desk = ParkedSession::leave(session);
                requester.kill(when, "idle");
                let asked = format!("Terminate {when:?} for ann, idle: idle");
                requester.heard(&[&asked, "ann saw Terminate: idle", "ann killed: idle"]);
            });
        }
    });
}

#[test]
fn an_idle_session_with_or_without_a_check() {
    supervised(|| {
        for asks in [true, false] {
            each(|requester, session, _| {
                requester.kill(TerminateMode::Immediate, "one");
                requester.heard(&["Terminate Immediate for ann, idle: one"]);
                if asks {
                    session.check().unwrap_err();
                    session.check().unwrap_err();
                    requester.heard(&["ann saw Terminate: one"]);
                }
                session.close();
                requester.heard(&["ann killed: one"]);
            });
        }
    });
}

#[test]
fn a_queued_session_ended_by_its_requester() {
    supervised(|| {
        each(|requester, session, _| {
            session.reserve_statement().unwrap();
            let _desk = ParkedSession::leave(session);
            requester.cancel("slow");
            requester.heard(&["Cancel for ann, queued: slow"]);
            requester.kill(TerminateMode::AfterStatement, "queued");
            requester.heard(&[
                "Terminate AfterStatement for ann, queued: queued",
                "ann saw Terminate: queued",
                "ann's statement over: slow",
                "ann killed: queued",
            ]);
        });
    });
}

/// For each way to end a statement whose guard was leaked.
#[test]
fn a_cancelled_queued_command() {
    supervised(|| {
        let (over, cancelled) = ("ann's statement over: slow", "ann's statement cancelled: slow");
        let saw = "ann saw Cancel: slow";
        type Route<'a> = (&'a dyn Fn(Session, &Thread) -> Option<Session>, &'a [&'a str]);
        let begun = |mut session: Session, thread: &Thread| {
            session.attach(thread).unwrap().begin().unwrap_err();
            Some(session)
        };
        let not_begun = |mut session: Session, thread: &Thread| {
            session.attach(thread).unwrap().detach().unwrap();
            Some(session)
        };
        let void = |mut session: Session, thread: &Thread| {
            session.attach(thread).unwrap().discard_reserved();
            Some(session)
        };
        let closed = |session: Session, _: &Thread| {
            session.close();
            None
        };
        let ways: [Route<'_>; 4] = [
            (&begun, &[saw, cancelled]),
            (&not_begun, &[over]),
            (&void, &[over]),
            (&closed, &[over, "ann Closed"]),
        ];
        for (route, expected) in ways {
            each(|requester, session, thread| {
                session.reserve_statement().unwrap();
                requester.cancel("slow");
                requester.heard(&["Cancel for ann, queued: slow"]);
                let session = route(session, &thread);
                requester.heard(expected);
                if let Some(session) = session {
                    drop(session);
                    requester.heard(&["ann Closed"]);
                }
            });
        }
    });
}

#[test]
fn a_session_between_statements() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            requester.kill(TerminateMode::AfterTransaction, "now");
            requester.heard(&["Terminate AfterTransaction for ann, between statements: now"]);
            attached.begin().unwrap_err();
            requester.heard(&["ann saw Terminate: now"]);
            attached.check().unwrap_err();
            attached.detach().unwrap_err();
            session.close();
            requester.heard(&["ann killed: now"]);
        });
    });
}

/// The way off the thread is the first to look.
#[test]
fn a_session_that_observes_it_in_its_detach() {
    supervised(|| {
        for queued in [true, false] {
            each(|requester, mut session, thread| {
                let attached = session.attach(&thread).unwrap();
                requester.kill(TerminateMode::Immediate, "now");
                requester.heard(&["Terminate Immediate for ann, between statements: now"]);
                let left = if queued { attached.detach_to_queue() } else { attached.detach() };
                left.unwrap_err();
                requester.heard(&[]);
                session.close();
                requester.heard(&["ann saw Terminate: now", "ann killed: now"]);
            });
        }
    });
}

#[test]
fn a_statement_that_runs() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            requester.kill(TerminateMode::Immediate, "now");
            requester.heard(&["Terminate Immediate for ann, running: now"]);
            statement.check().unwrap_err();
            requester.heard(&["ann saw Terminate: now"]);
            safepoint::check().unwrap_err();
            statement.finish().unwrap_err();
            drop(attached);
            requester.heard(&[]);
            session.close();
            requester.heard(&["ann killed: now"]);
        });
    });
}

#[test]
fn a_statement_without_safe_points() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            requester.cancel("slow");
            requester.kill(TerminateMode::AfterStatement, "later");
            requester.heard(&[
                "Cancel for ann, running: slow",
                "Terminate AfterStatement for ann, running: later",
            ]);
            drop(statement);
            requester.heard(&["ann's statement over: slow"]);
            drop(attached);
            requester.heard(&[]);
            drop(session);
            requester.heard(&["ann killed: later"]);
        });
    });
}

#[test]
fn a_statement_that_waits() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            statement
                .wait(WaitMode::Interruptible, Waker::noop(), || requester.cancel("slow"))
                .unwrap();
            requester.heard(&["Cancel for ann, waiting: slow"]);
            until("what is due keeps it awake", || statement.sleep(ENDLESS)).unwrap_err();
            requester.heard(&["ann saw Cancel: slow"]);
            statement
                .wait(WaitMode::Killable, Waker::noop(), || {
                    requester.kill(TerminateMode::Immediate, "now")
                })
                .unwrap();
            requester.heard(&["Terminate Immediate for ann, waiting: now"]);
            let deaf = statement.wait(WaitMode::Killable, Waker::noop(), || ());
            deaf.unwrap_err();
            requester.heard(&["ann saw Terminate: now"]);
            statement.finish().unwrap_err();
            requester.heard(&["ann's statement cancelled: slow"]);
            drop(attached);
            session.close();
            requester.heard(&["ann killed: now"]);
        });
    });
}

/// The audit receives the request before the waiting session is woken.
#[test]
fn a_waiting_statement_is_woken_after_the_audit() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            requester.sleep(&attached.begin().unwrap(), || requester.cancel("slow"));
            requester.heard(&["Cancel for ann, waiting: slow", "ann's statement over: slow"]);
            let limits = Timeouts::new().with_statement(Duration::from_millis(5));
            let statement = attached.begin().unwrap();
            requester.sleep(&statement, || statement.set_timeouts(limits).unwrap());
            statement.finish().unwrap();
            let over = "ann's statement over: StatementTimeout";
            requester.heard(&["ann hit StatementTimeout", over]);
            attached.set_timeouts(Timeouts::default()).unwrap();
            let kills = || requester.kill(TerminateMode::Immediate, "now");
            requester.sleep(&attached.begin().unwrap(), kills);
            requester.heard(&["Terminate Immediate for ann, waiting: now"]);
        });
    });
}

#[test]
fn a_statement_in_a_hold_off() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let held = statement.hold_off("a test");
            requester.cancel("slow");
            requester.kill(TerminateMode::Immediate, "now");
            let asked = "Terminate Immediate for ann, running: now";
            requester.heard(&["Cancel for ann, running: slow", asked]);
            statement.check().unwrap();
            requester.heard(&[]);
            drop(held);
            requester.heard(&[]);
            statement.check().unwrap_err();
            requester.heard(&["ann saw Terminate: now"]);
            drop(statement);
            requester.heard(&["ann's statement over: slow"]);
        });
    });
}

#[test]
fn an_observed_cancel_and_an_unobserved_one() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            for (looks, expected) in [
                (true, ["ann saw Cancel: slow", "ann's statement cancelled: slow"].as_slice()),
                (false, &["ann's statement over: slow"]),
            ] {
                let statement = attached.begin().unwrap();
                requester.cancel("slow");
                requester.cancel("slower");
                requester
                    .heard(&["Cancel for ann, running: slow", "Cancel for ann, running: slower"]);
                if looks {
                    statement.check().unwrap_err();
                    statement.check().unwrap_err();
                }
                statement.finish().unwrap();
                requester.heard(expected);
            }
        });
    });
}

/// For each way to end a statement whose guard was leaked.
#[test]
fn a_leaked_statement() {
    supervised(|| {
        fn begin_and_leak(session: &mut Session, thread: &Thread, requester: &Requesting) {
            let mut attached = session.attach(thread).unwrap();
            std::mem::forget(attached.begin().unwrap());
            requester.cancel("slow");
            requester.heard(&["Cancel for ann, running: slow"]);
            std::mem::forget(attached);
        }
        type Route = fn(Session, &Thread);
        let detached: Route = |mut session, thread| drop(session.attach(thread).unwrap());
        let due: Route = |session, _| session.check().unwrap();
        let closed: Route = |session, _| drop(session.close());
        for route in [detached, due, closed] {
            each(|requester, mut session, thread| {
                let forgotten = || {
                    let thread = thread;
                    begin_and_leak(&mut session, &thread, &requester);
                    thread
                };
                // It stays with the system's thread.
                let thread = scope(|scope| joined("the thread ends", scope.spawn(forgotten)));
                route(session, &thread);
                requester.heard(&["ann's statement over: slow", "ann Closed"]);
            });
        }
    });
}

/// Each rejection is emitted once, with the error that the requester gets.
#[test]
fn rejected_requests() {
    supervised(|| {
        each(|requester, mut session, thread| {
            let (manager, id) = (&requester.manager, requester.id);
            let now = |by: Requester| Terminate::new(TerminateMode::Immediate, by);
            let terminate = |target: Target, by: Requester| {
                let refused = manager.terminate(target, now(by)).unwrap_err();
                requester.heard(&[&format!("Terminate refused: {refused}")]);
                refused
            };
            let first = StatementId::try_from(1).unwrap();
            let cancel = |named: StatementId| {
                let request = Cancel::statement(named, admin("root"));
                let refused = manager.cancel(id, request).unwrap_err();
                requester.heard(&[&format!("Cancel refused: {refused}")]);
                refused
            };
            assert_eq!(terminate(id.into(), user("bob")), RequestError::PermissionDenied(id));
            let pair = Target::Pair(thread.id(), id);
            assert_eq!(
                terminate(pair, admin("root")),
                RequestError::NotAttached { thread: thread.id(), session: id }
            );
            let alone = Target::AttachedTo(thread.id());
            assert_eq!(terminate(alone, admin("root")), RequestError::ThreadIdle(thread.id()));
            assert_eq!(
                cancel(first),
                RequestError::NoSuchStatement { session: id, statement: first }
            );
            session.attach(&thread).unwrap().begin().unwrap().finish().unwrap();
            assert_eq!(
                cancel(first),
                RequestError::StatementEnded { session: id, statement: first }
            );
            let refused = manager.cancel(id, Cancel::running(admin("root"))).unwrap_err();
            assert_eq!(refused, RequestError::NoActiveStatement(id));
            requester.heard(&[&format!("Cancel refused: {refused}")]);
            session.close();
            requester.heard(&["ann Closed"]);
            assert_eq!(terminate(id.into(), admin("root")), RequestError::NoSuchSession(id));
            assert_eq!(cancel(first), RequestError::NoSuchSession(id));
        });
    });
}
