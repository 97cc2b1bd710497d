//! Draining: the orderly end of all sessions.

use crate::common::{
    ENDLESS, MODELS, ParkedSession, Raises, Scope, TEST_TIMEOUT, joined, kill, locked, of, scope,
    supervised, thread_for, until, wait_until,
};
use safepoint::manager::DrainOptions;
use safepoint::manager::{DrainReport, OpenError};
use safepoint::{
    Interrupt, Session, SessionManager, Terminate, TerminateMode, Thread, ThreadModel,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Runs a statement in a transaction until `done`, or until it has to end.
fn busy<'scope>(
    scope: Scope<'scope, '_>,
    mut session: Session,
    thread: Thread,
    done: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Result<(), Interrupt>> {
    scope.spawn(move || {
        let mut attached = session.attach(&thread).unwrap();
        attached.set_in_transaction(true);
        let statement = attached.begin()?;
        while !done.load(Ordering::SeqCst) {
            statement.sleep(Duration::from_millis(1))?;
        }
        statement.finish()?;
        attached.set_in_transaction(false);
        attached.check()
    })
}

fn opened(model: ThreadModel) -> (SessionManager, Session, Thread) {
    let manager = SessionManager::new(model);
    let session = manager.open(of("ann")).unwrap();
    let thread = thread_for(&manager, &session);
    (manager, session, thread)
}

fn report(sessions: usize, graceful: usize, forced: usize, remaining: usize) -> DrainReport {
    let mut report = DrainReport::default();
    (report.sessions, report.graceful) = (sessions, graceful);
    (report.forced, report.remaining) = (forced, remaining);
    report
}

#[test]
fn a_session_that_finishes_within_the_grace() {
    supervised(|| {
        for model in MODELS {
            let (manager, session, thread) = opened(model);
            let (id, done) = (session.id(), AtomicBool::new(false));
            let drained = scope(|scope| {
                let runs = busy(scope, session, thread, &done);
                wait_until("it runs", || manager.session_info(id).unwrap().statement_id.is_some());
                let done = Raises(&done);
                let drain = scope.spawn(|| {
                    manager.drain(
                        DrainOptions::new(kill(TerminateMode::AfterTransaction))
                            .grace(ENDLESS)
                            .timeout(TEST_TIMEOUT),
                    )
                });
                wait_until("it is told", || {
                    manager.session_info(id).unwrap().pending_mode.is_some()
                });
                assert_eq!(manager.open(of("bob")).unwrap_err(), OpenError::Closed);
                drop(done);
                assert!(joined("it has finished", runs).unwrap_err().is_terminate());
                joined("all have ended", drain)
            });
            let all_in_grace = report(1, 1, 0, 0);
            assert_eq!(drained, all_in_grace);
        }
    });
}

#[test]
fn a_session_that_exceeds_the_grace_is_terminated() {
    supervised(|| {
        for model in MODELS {
            let (manager, session, thread) = opened(model);
            let (id, never) = (session.id(), AtomicBool::new(false));
            let drained = scope(|scope| {
                let runs = busy(scope, session, thread, &never);
                wait_until("it runs", || manager.session_info(id).unwrap().statement_id.is_some());
                let request = kill(TerminateMode::AfterTransaction);
                // If the drain does not terminate the session, it runs until this flag is raised.
                let never = Raises(&never);
                let drained = manager.drain(
                    DrainOptions::new(request.clone())
                        .grace(Duration::from_millis(20))
                        .timeout(TEST_TIMEOUT),
                );
                drop(never);
                let interrupt = joined("it has ended", runs).expect_err("it is cut short");
                assert_eq!(interrupt.request().comment(), Some("because"));
                drained
            });
            let cut_short = report(1, 0, 1, 0);
            assert_eq!(drained, cut_short);
        }
    });
}

#[test]
fn a_session_without_safe_points_remains() {
    supervised(|| {
        for model in MODELS {
            let (manager, session, _thread) = opened(model);
            let request = kill(TerminateMode::AfterTransaction);
            let drained =
                manager.drain(DrainOptions::new(request.clone()).timeout(Duration::from_millis(1)));
            assert_eq!(drained, report(1, 0, 0, 1));
            assert!(session.check().is_err(), "its request stands");
        }
    });
}

#[test]
fn an_empty_manager_is_drained_at_once() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let request = kill(TerminateMode::Immediate);
            let drain = || manager.drain(DrainOptions::new(request.clone()).grace(Duration::MAX));
            assert_eq!(until("nobody is left", drain), DrainReport::default());
        }
    });
}

#[test]
fn the_requesters_session_is_not_waited_for() {
    supervised(|| {
        for model in MODELS {
            let (manager, mut session, thread) = opened(model);
            let idle = manager.open(of("bob")).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let request = Terminate::new(TerminateMode::AfterStatement, statement.requester());
            let drain =
                || manager.drain(DrainOptions::new(request.clone()).timeout(Duration::ZERO));
            let drained = until("its limit is over", drain);
            assert_eq!(drained, report(2, 0, 0, 2));
            drop(idle);
            let drain = || manager.drain(DrainOptions::new(request.clone()).grace(Duration::MAX));
            let drained = until("nobody but the author is left", drain);
            assert_eq!(drained, report(1, 0, 0, 1));
            statement.finish().expect_err("it is told as well");
        }
    });
}

/// Each session without a safe point by the end of the grace is terminated, and not only the first.
/// From there it has the whole timeout, even after a short grace.
#[test]
fn all_sessions_that_exceed_the_grace_are_terminated() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let drained = scope(|scope| {
                for _ in 0..3 {
                    let mut session = manager.open(of("ann")).unwrap();
                    let (id, thread) = (session.id(), thread_for(&manager, &session));
                    scope.spawn(move || {
                        let mut attached = session.attach(&thread).unwrap();
                        let statement = attached.begin().unwrap();
                        statement.sleep(ENDLESS).unwrap_err();
                        // It takes a while to roll back.
                        std::thread::sleep(Duration::from_millis(20));
                    });
                    wait_until("it sleeps", || manager.session_info(id).unwrap().waiting);
                }
                let idle = manager.open(of("bob")).unwrap();
                let parked = ParkedSession::leave(idle);
                let request = kill(TerminateMode::AfterStatement);
                let drained = until("all have ended", || {
                    manager.drain(DrainOptions::new(request.clone()).timeout(ENDLESS))
                });
                assert_eq!(locked(&parked.interrupts).len(), 1);
                drained
            });
            let expected = report(4, 1, 3, 0);
            assert_eq!(drained, expected);
            assert!(manager.is_empty());
        }
    });
}

/// All sessions share one timeout.
#[test]
fn remaining_sessions_share_one_timeout() {
    supervised(|| {
        const MANY: usize = 2000;
        let manager = SessionManager::new(ThreadModel::Pool);
        let sessions: Vec<_> = (0..MANY).map(|_| manager.open(of("ann")).unwrap()).collect();
        let limit = Duration::from_millis(20);
        for (grace, limit) in [(Duration::ZERO, limit), (limit, Duration::ZERO)] {
            let drained = until("the limit is over", || {
                manager.drain(
                    DrainOptions::new(kill(TerminateMode::AfterTransaction))
                        .grace(grace)
                        .timeout(limit),
                )
            });
            assert_eq!(drained, report(MANY, 0, 0, MANY));
        }
        drop(sessions);
    });
}

/// Each session is counted once: as graceful, as forced, or as the requester's.
#[test]
fn a_requester_session_with_graceful_and_forced_ones() {
    supervised(|| {
        for model in MODELS {
            let (manager, session, thread) = opened(model);
            let _idle = ParkedSession::leave(manager.open(of("bob")).unwrap());
            let own = manager.open(of("root")).unwrap();
            let (id, never) = (session.id(), AtomicBool::new(false));
            let drained = scope(|scope| {
                let runs = busy(scope, session, thread, &never);
                wait_until("it runs", || manager.session_info(id).unwrap().statement_id.is_some());
                let never = Raises(&never);
                let request = Terminate::new(TerminateMode::AfterStatement, own.requester());
                let drained = manager.drain(
                    DrainOptions::new(request.clone())
                        .grace(Duration::from_millis(20))
                        .timeout(TEST_TIMEOUT),
                );
                drop(never);
                let interrupt = joined("it has ended", runs).expect_err("it is cut short");
                assert_eq!(*interrupt.request().requester(), own.requester());
                drained
            });
            let expected = report(3, 1, 1, 1);
            assert_eq!(drained, expected);
            own.check().expect_err("it is told as well");
        }
    });
}
