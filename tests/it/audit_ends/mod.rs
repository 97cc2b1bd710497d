//! The audit events of each end of a session or a statement: all of them, in order, and before any
//! receipt completes.

mod ear;
mod ends;
#[cfg(target_os = "linux")]
mod pool;
mod threads;

use crate::common::{
    Desk, ENDLESS, WHENS, admin, eventually, joined, of, scope, supervised, until, user,
};
use ear::{Killer, each};
use safepoint::id::StatementId;
use safepoint::request::{RequestError, Target};
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{Cancel, Requester, Session, Statement, Terminate, TerminateMode, Thread};
use std::task::Waker;
use std::time::Duration;

#[test]
fn a_session_that_is_closed_or_dropped() {
    supervised(|| {
        each(|killer, session, _| {
            session.close();
            killer.heard(&["ann Closed"]);
            drop(killer.manager.open(of("bob")).unwrap());
            killer.heard(&["bob opened", "bob Closed"]);
        });
    });
}

#[test]
fn an_idle_session_that_its_killer_ends() {
    supervised(|| {
        for when in WHENS {
            each(|killer, session, _| {
                let _desk = Desk::leave(session);
                killer.kill(when, "idle");
                let asked = format!("Terminate {when:?} for ann, idle: idle");
                killer.heard(&[&asked, "ann saw Terminate: idle", "ann killed: idle"]);
            });
        }
    });
}

#[test]
fn an_idle_session_whose_holder_asks_or_does_not() {
    supervised(|| {
        for asks in [true, false] {
            each(|killer, session, _| {
                killer.kill(TerminateMode::Immediate, "one");
                killer.heard(&["Terminate Immediate for ann, idle: one"]);
                if asks {
                    session.check().unwrap_err();
                    session.check().unwrap_err();
                    killer.heard(&["ann saw Terminate: one"]);
                }
                session.close();
                killer.heard(&["ann killed: one"]);
            });
        }
    });
}

#[test]
fn a_queued_session_that_its_killer_ends() {
    supervised(|| {
        each(|killer, session, _| {
            session.reserve_statement().unwrap();
            let _desk = Desk::leave(session);
            killer.cancel("slow");
            killer.heard(&["Cancel for ann, queued: slow"]);
            killer.kill(TerminateMode::AfterStatement, "queued");
            killer.heard(&[
                "Terminate AfterStatement for ann, queued: queued",
                "ann saw Terminate: queued",
                "ann's statement over: slow",
                "ann killed: queued",
            ]);
        });
    });
}

/// In each way in which a command that was cancelled in the queue is over.
#[test]
fn a_queued_command_that_is_cancelled() {
    supervised(|| {
        let (over, cancelled) = ("ann's statement over: slow", "ann's statement cancelled: slow");
        let saw = "ann saw Cancel: slow";
        type Way<'a> = (&'a dyn Fn(Session, &Thread) -> Option<Session>, &'a [&'a str]);
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
        let ways: [Way<'_>; 4] = [
            (&begun, &[saw, cancelled]),
            (&not_begun, &[over]),
            (&void, &[over]),
            (&closed, &[over, "ann Closed"]),
        ];
        for (way, expected) in ways {
            each(|killer, session, thread| {
                session.reserve_statement().unwrap();
                killer.cancel("slow");
                killer.heard(&["Cancel for ann, queued: slow"]);
                let session = way(session, &thread);
                killer.heard(expected);
                if let Some(session) = session {
                    drop(session);
                    killer.heard(&["ann Closed"]);
                }
            });
        }
    });
}

#[test]
fn a_session_between_statements() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            killer.kill(TerminateMode::AfterTransaction, "now");
            killer.heard(&["Terminate AfterTransaction for ann, between statements: now"]);
            attached.begin().unwrap_err();
            killer.heard(&["ann saw Terminate: now"]);
            attached.check().unwrap_err();
            attached.detach().unwrap_err();
            session.close();
            killer.heard(&["ann killed: now"]);
        });
    });
}

/// The way off the thread is the first to look.
#[test]
fn a_session_that_sees_it_as_it_leaves_its_thread() {
    supervised(|| {
        for queued in [true, false] {
            each(|killer, mut session, thread| {
                let attached = session.attach(&thread).unwrap();
                killer.kill(TerminateMode::Immediate, "now");
                killer.heard(&["Terminate Immediate for ann, between statements: now"]);
                let left = if queued { attached.detach_to_queue() } else { attached.detach() };
                left.unwrap_err();
                killer.heard(&[]);
                session.close();
                killer.heard(&["ann saw Terminate: now", "ann killed: now"]);
            });
        }
    });
}

#[test]
fn a_statement_that_runs() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            killer.kill(TerminateMode::Immediate, "now");
            killer.heard(&["Terminate Immediate for ann, running: now"]);
            statement.check().unwrap_err();
            killer.heard(&["ann saw Terminate: now"]);
            safepoint::check().unwrap_err();
            statement.finish().unwrap_err();
            drop(attached);
            killer.heard(&[]);
            session.close();
            killer.heard(&["ann killed: now"]);
        });
    });
}

#[test]
fn a_statement_that_never_looks() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            killer.cancel("slow");
            killer.kill(TerminateMode::AfterStatement, "later");
            killer.heard(&[
                "Cancel for ann, running: slow",
                "Terminate AfterStatement for ann, running: later",
            ]);
            drop(statement);
            killer.heard(&["ann's statement over: slow"]);
            drop(attached);
            killer.heard(&[]);
            drop(session);
            killer.heard(&["ann killed: later"]);
        });
    });
}

#[test]
fn a_statement_that_waits() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            statement
                .wait(WaitMode::Interruptible, Waker::noop(), || killer.cancel("slow"))
                .unwrap();
            killer.heard(&["Cancel for ann, waiting: slow"]);
            until("what is due keeps it awake", || statement.sleep(ENDLESS)).unwrap_err();
            killer.heard(&["ann saw Cancel: slow"]);
            statement
                .wait(WaitMode::Killable, Waker::noop(), || {
                    killer.kill(TerminateMode::Immediate, "now")
                })
                .unwrap();
            killer.heard(&["Terminate Immediate for ann, waiting: now"]);
            let deaf = statement.wait(WaitMode::Killable, Waker::noop(), || ());
            deaf.unwrap_err();
            killer.heard(&["ann saw Terminate: now"]);
            statement.finish().unwrap_err();
            killer.heard(&["ann's statement cancelled: slow"]);
            drop(attached);
            session.close();
            killer.heard(&["ann killed: now"]);
        });
    });
}

/// The audit is the first to hear of a request, and the sleeper the next.
#[test]
fn a_sleeper_is_woken_after_the_audit() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let sleep = |statement: &Statement<'_>, asks: &dyn Fn()| {
                let (woken, waker) = killer.sleeper();
                let sleeps = || {
                    asks();
                    eventually("it is woken", || woken.get() == 1);
                };
                statement.wait(WaitMode::Interruptible, &waker, sleeps).unwrap();
            };
            sleep(&attached.begin().unwrap(), &|| killer.cancel("slow"));
            killer.heard(&["Cancel for ann, waiting: slow", "ann's statement over: slow"]);
            let statement = Some(Duration::from_millis(5));
            attached.set_timeouts(Timeouts::new().with_statement(statement)).unwrap();
            sleep(&attached.begin().unwrap(), &|| ());
            let over = "ann's statement over: StatementTimeout";
            killer.heard(&["ann hit StatementTimeout", over]);
            attached.set_timeouts(Timeouts::default()).unwrap();
            sleep(&attached.begin().unwrap(), &|| killer.kill(TerminateMode::Immediate, "now"));
            killer.heard(&["Terminate Immediate for ann, waiting: now"]);
        });
    });
}

#[test]
fn a_statement_in_a_hold_off() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let held = statement.hold_off("a test");
            killer.cancel("slow");
            killer.kill(TerminateMode::Immediate, "now");
            let asked = "Terminate Immediate for ann, running: now";
            killer.heard(&["Cancel for ann, running: slow", asked]);
            statement.check().unwrap();
            killer.heard(&[]);
            drop(held);
            killer.heard(&[]);
            statement.check().unwrap_err();
            killer.heard(&["ann saw Terminate: now"]);
            drop(statement);
            killer.heard(&["ann's statement over: slow"]);
        });
    });
}

#[test]
fn a_cancel_that_is_seen_and_one_that_is_void() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let mut attached = session.attach(&thread).unwrap();
            for (looks, expected) in [
                (true, ["ann saw Cancel: slow", "ann's statement cancelled: slow"].as_slice()),
                (false, &["ann's statement over: slow"]),
            ] {
                let statement = attached.begin().unwrap();
                killer.cancel("slow");
                killer.cancel("slower");
                killer.heard(&["Cancel for ann, running: slow", "Cancel for ann, running: slower"]);
                if looks {
                    statement.check().unwrap_err();
                    statement.check().unwrap_err();
                }
                statement.finish().unwrap();
                killer.heard(expected);
            }
        });
    });
}

/// In each way in which a statement whose guard was forgotten is over after all.
#[test]
fn a_statement_that_was_forgotten() {
    supervised(|| {
        fn begun_and_forgotten(session: &mut Session, thread: &Thread, killer: &Killer) {
            let mut attached = session.attach(thread).unwrap();
            std::mem::forget(attached.begin().unwrap());
            killer.cancel("slow");
            killer.heard(&["Cancel for ann, running: slow"]);
            std::mem::forget(attached);
        }
        type Way = fn(Session, &Thread);
        let detached: Way = |mut session, thread| drop(session.attach(thread).unwrap());
        let due: Way = |session, _| session.check().unwrap();
        let closed: Way = |session, _| drop(session.close());
        for way in [detached, due, closed] {
            each(|killer, mut session, thread| {
                let forgotten = || {
                    let thread = thread;
                    begun_and_forgotten(&mut session, &thread, &killer);
                    thread
                };
                // It stays with the system's thread.
                let thread = scope(|scope| joined("the thread ends", scope.spawn(forgotten)));
                way(session, &thread);
                killer.heard(&["ann's statement over: slow", "ann Closed"]);
            });
        }
    });
}

/// Each refusal is heard of once, and is the one that its author gets.
#[test]
fn requests_that_are_refused() {
    supervised(|| {
        each(|killer, mut session, thread| {
            let (manager, id) = (&killer.manager, killer.id);
            let now = |by: Requester| Terminate::new(TerminateMode::Immediate, by);
            let terminate = |target: Target, by: Requester| {
                let refused = manager.terminate(target, now(by)).unwrap_err();
                killer.heard(&[&format!("Terminate refused: {refused}")]);
                refused
            };
            let first = StatementId::try_from(1).unwrap();
            let cancel = |named: StatementId| {
                let request = Cancel::statement(named, admin("root"));
                let refused = manager.cancel(id, request).unwrap_err();
                killer.heard(&[&format!("Cancel refused: {refused}")]);
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
            killer.heard(&[&format!("Cancel refused: {refused}")]);
            session.close();
            killer.heard(&["ann Closed"]);
            assert_eq!(terminate(id.into(), admin("root")), RequestError::NoSuchSession(id));
            assert_eq!(cancel(first), RequestError::NoSuchSession(id));
        });
    });
}
