//! Statements that leave their thread, and continue later.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, ParkedSession, admin, assert_cancelled, assert_terminated,
    each_model, joined, kill, kill_now, locked, outcome, scope, supervised, thread_for, until,
    wait_until,
};
use safepoint::diagnose::{PendingReason, ProbeResult};
use safepoint::id::ThreadId;
use safepoint::request::{EndReason, InterruptReason};
use safepoint::session::{SuspendedStatement, Timeouts, WaitMode};
use safepoint::view::SessionState;
use safepoint::{
    Cancel, ClientInfo, Interrupt, SessionManager, TerminateMode, Thread, ThreadModel, current,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

const TEXT: &str = "select * from big";

fn cancel() -> Cancel {
    Cancel::running(admin("root"))
}

#[track_caller]
fn assert_over(interrupt: &Interrupt) {
    assert_eq!(interrupt.request().reason(), InterruptReason::StatementEnded);
}

/// Suspends a statement of the session, and detaches it.
fn suspended(fixture: &mut Fixture, wake: &Waker) -> SuspendedStatement {
    let mut attached = fixture.session.attach(&fixture.thread).unwrap();
    let suspended = attached.begin().unwrap().with_text(TEXT).suspend(WaitMode::Interruptible);
    attached.detach_suspended(&suspended, wake).unwrap();
    suspended
}

/// The thread that a row shows of a session that no thread runs.
fn own(fixture: &Fixture) -> Option<ThreadId> {
    fixture.session.own_thread().map(|thread| thread.id())
}

/// Another thread that may run the session.
fn another(fixture: &Fixture) -> Thread {
    thread_for(&fixture.manager, &fixture.session)
}

#[test]
fn a_suspended_statement_continues_on_any_thread() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let suspended = suspended(&mut fixture, &waker);
            let number = suspended.statement_id();
            let row = fixture.manager.session_info(fixture.id).unwrap();
            assert_eq!((row.state, row.thread_id), (SessionState::Waiting, own(&fixture)));
            assert_eq!(row.statement_id, Some(number));
            assert_eq!(row.statement_text, TEXT);
            assert!(matches!(fixture.manager.probe(fixture.id), Some(ProbeResult::NotRunning)));
            let thread = another(&fixture);
            let (manager, session) = (&fixture.manager, &mut fixture.session);
            scope(|scope| {
                let other = scope.spawn(move || {
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.resume(suspended).unwrap();
                    assert_eq!(statement.statement_id(), number);
                    let row = manager.session_info(statement.id()).unwrap();
                    assert_eq!(row.statement_text, TEXT);
                    statement.check().unwrap();
                    statement.finish().unwrap();
                    assert!(attached.begin().unwrap().statement_id() > number);
                });
                joined("the other thread", other);
            });
            assert_eq!(woken.get(), 0);
        });
    });
}

#[test]
fn a_cancel_of_a_suspended_statement() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let suspended = suspended(&mut fixture, &waker);
            let mut receipt = fixture.manager.cancel(fixture.id, cancel()).unwrap();
            assert_eq!(woken.get(), 1);
            drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
            assert_eq!(woken.get(), 1, "once");
            assert_eq!(receipt.pending_reason(), Some(PendingReason::Queued));
            // The session need not end.
            fixture.session.check().unwrap();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            assert_cancelled(&attached.resume(suspended).unwrap_err());
            assert!(outcome(&mut receipt).cancelled);
            attached.begin().unwrap().finish().unwrap();
        });
    });
}

/// The cancel comes before the session has left its thread.
#[test]
fn a_cancelled_statement_is_not_suspended() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let suspended =
                attached.begin().unwrap().with_text(TEXT).suspend(WaitMode::Interruptible);
            let mut receipt = fixture.manager.cancel(fixture.id, cancel()).unwrap();
            assert_cancelled(&attached.detach_suspended(&suspended, &waker).unwrap_err());
            assert!(outcome(&mut receipt).cancelled);
            let row = fixture.manager.session_info(fixture.id).unwrap();
            assert_eq!((row.state, row.thread_id), (SessionState::Idle, own(&fixture)));
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            assert_over(&attached.resume(suspended).unwrap_err());
            attached.begin().unwrap().finish().unwrap();
            drop(attached);
            assert_eq!(woken.get(), 0);
        });
    });
}

#[test]
fn a_termination_of_a_suspended_statement() {
    supervised(|| {
        for resumes in [true, false] {
            each_model(|mut fixture| {
                let (woken, waker) = CountingWaker::waker();
                let suspended = suspended(&mut fixture, &waker);
                let mut receipt = fixture.manager.terminate(fixture.id, kill_now()).unwrap();
                assert_eq!(woken.get(), 1);
                if resumes {
                    let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                    assert_terminated(&attached.resume(suspended).unwrap_err());
                } else {
                    assert_terminated(&fixture.session.check().unwrap_err());
                }
                fixture.session.close();
                assert!(matches!(outcome(&mut receipt).reason, EndReason::Terminated(_)));
                assert!(fixture.manager.is_empty());
            });
        }
    });
}

/// The requester ends a parked session by itself if a termination is due, and leaves it alone if a cancel is.
#[test]
fn a_parked_session_with_a_suspended_statement() {
    supervised(|| {
        each_model(|Fixture { manager, session, thread, id }| {
            let parked = ParkedSession::leave(session);
            let waker = Waker::from(parked.clone());
            let suspended = {
                let mut session = locked(&parked.session);
                let session = session.as_mut().unwrap();
                let mut attached = session.attach(&thread).unwrap();
                let suspended = attached.begin().unwrap().suspend(WaitMode::Interruptible);
                attached.detach_suspended(&suspended, &waker).unwrap();
                suspended
            };
            drop(manager.cancel(id, cancel()).unwrap());
            assert!(locked(&parked.session).is_some(), "a cancel ends no session");
            {
                let mut session = locked(&parked.session);
                let mut attached = session.as_mut().unwrap().attach(&thread).unwrap();
                assert_cancelled(&attached.resume(suspended).unwrap_err());
                let suspended = attached.begin().unwrap().suspend(WaitMode::Interruptible);
                attached.detach_suspended(&suspended, &waker).unwrap();
            }
            let mut receipt = manager.terminate(id, kill_now()).unwrap();
            assert!(matches!(outcome(&mut receipt).reason, EndReason::Terminated(_)));
            assert!(locked(&parked.session).is_none());
        });
    });
}

#[test]
fn a_deferred_termination_waits_for_the_end() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let suspended = suspended(&mut fixture, &waker);
            let after = kill(TerminateMode::AfterStatement);
            drop(fixture.manager.terminate(fixture.id, after).unwrap());
            assert_eq!(woken.get(), 0);
            fixture.session.check().unwrap();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let statement = attached.resume(suspended).unwrap();
            statement.check().unwrap();
            assert_terminated(&statement.finish().unwrap_err());
        });
        // A cancel ends the statement, and then the deferred termination is due.
        each_model(|mut fixture| {
            let (_, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let suspended = attached.begin().unwrap().suspend(WaitMode::Interruptible);
            let after = kill(TerminateMode::AfterStatement);
            drop(fixture.manager.terminate(fixture.id, after).unwrap());
            drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
            assert_terminated(&attached.detach_suspended(&suspended, &waker).unwrap_err());
            assert_terminated(&fixture.session.check().unwrap_err());
        });
    });
}

#[test]
fn the_timeout_of_a_suspended_statement() {
    supervised(|| {
        each_model(|mut fixture| {
            let limit = Timeouts::new().with_statement(Duration::from_millis(10));
            let limit = limit.with_idle(Duration::ZERO);
            let (woken, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let statement = attached.begin().unwrap();
            statement.set_timeouts(limit).unwrap();
            let suspended = statement.suspend(WaitMode::Interruptible);
            if let Err(told) = attached.detach_suspended(&suspended, &waker) {
                // A thread that was slow to get here.
                assert_eq!(told.request().reason(), InterruptReason::StatementTimeout);
                return;
            }
            wait_until("its time has passed", || woken.get() == 1);
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let told = attached.resume(suspended).unwrap_err();
            assert_eq!(told.request().reason(), InterruptReason::StatementTimeout);
        });
    });
}

/// A cancel of a killable suspension waits for the next safe point after the resume, or has no effect.
#[test]
fn a_cancel_leaves_a_killable_suspension_alone() {
    supervised(|| {
        for checks in [true, false] {
            each_model(|mut fixture| {
                let (woken, waker) = CountingWaker::waker();
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let suspended = attached.begin().unwrap().suspend(WaitMode::Killable);
                attached.detach_suspended(&suspended, &waker).unwrap();
                let mut receipt = fixture.manager.cancel(fixture.id, cancel()).unwrap();
                assert_eq!(woken.get(), 0);
                assert!(!matches!(receipt.pending_reason(), None | Some(PendingReason::Queued)));
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let statement = attached.resume(suspended).unwrap();
                // Again, as the cancel is pending.
                let suspended = statement.suspend(WaitMode::Killable);
                attached.detach_suspended(&suspended, &waker).unwrap();
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let statement = attached.resume(suspended).unwrap();
                if checks {
                    assert_cancelled(&statement.check().unwrap_err());
                }
                statement.finish().unwrap();
                assert_eq!(outcome(&mut receipt).cancelled, checks);
                // The next statement can be cancelled.
                let next = attached.begin().unwrap();
                drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
                assert_cancelled(&next.check().unwrap_err());
                assert_eq!(woken.get(), 0);
            });
        }
    });
}

#[test]
fn a_termination_ends_a_killable_suspension() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let suspended = attached.begin().unwrap().suspend(WaitMode::Killable);
            attached.detach_suspended(&suspended, &waker).unwrap();
            drop(fixture.manager.terminate(fixture.id, kill_now()).unwrap());
            assert_eq!(woken.get(), 1);
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            assert_terminated(&attached.resume(suspended).unwrap_err());
        });
        // One that ends without a resume leaves nothing to the next statement.
        each_model(|mut fixture| {
            let (_, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let suspended = attached.begin().unwrap().suspend(WaitMode::Killable);
            attached.detach_suspended(&suspended, &waker).unwrap();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let next = attached.begin().unwrap();
            drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
            assert_cancelled(&next.check().unwrap_err());
        });
    });
}

/// All that ends a suspended statement.
#[test]
fn what_ends_a_suspended_statement() {
    supervised(|| {
        let ends: [fn(&mut Fixture); 4] = [
            |fixture| drop(fixture.session.attach(&fixture.thread).unwrap()),
            |fixture| fixture.session.attach(&fixture.thread).unwrap().detach().unwrap(),
            |fixture| {
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                attached.begin().unwrap().finish().unwrap();
                attached.detach().unwrap();
            },
            // A leaked attachment.
            |fixture| {
                std::mem::forget(fixture.session.attach(&fixture.thread).unwrap());
                fixture.session.check().unwrap();
            },
        ];
        for end in ends {
            each_model(|mut fixture| {
                let (_, waker) = CountingWaker::waker();
                let suspended = suspended(&mut fixture, &waker);
                end(&mut fixture);
                let row = fixture.manager.session_info(fixture.id).unwrap();
                assert_eq!((row.state, row.statement_id), (SessionState::Idle, None));
                let thread = another(&fixture);
                let mut attached = fixture.session.attach(&thread).unwrap();
                assert_over(&attached.resume(suspended).unwrap_err());
                attached.check().unwrap();
                // Nothing is left of it: a hold-off whose guard is leaked ends with the attachment, as ever.
                std::mem::forget(attached.hold_off("leaked"));
                drop(attached);
                let mut attached = fixture.session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
                assert_cancelled(&statement.check().unwrap_err());
            });
        }
    });
}

/// A statement that was suspended leaves nothing to the next one: a hold-off whose guard is leaked ends with the
/// attachment, as ever.
#[test]
fn a_leaked_hold_off_ends_after_a_suspended_statement() {
    supervised(|| {
        let ends: [fn(&mut Fixture); 2] = [
            |fixture| {
                let (_, waker) = CountingWaker::waker();
                let suspended = suspended(fixture, &waker);
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                attached.resume(suspended).unwrap().finish().unwrap();
            },
            |fixture| {
                let (_, waker) = CountingWaker::waker();
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let statement = attached.begin().unwrap();
                drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
                let suspended = statement.suspend(WaitMode::Interruptible);
                assert_cancelled(&attached.detach_suspended(&suspended, &waker).unwrap_err());
            },
        ];
        for end in ends {
            each_model(|mut fixture| {
                end(&mut fixture);
                let attached = fixture.session.attach(&fixture.thread).unwrap();
                std::mem::forget(attached.hold_off("leaked"));
                drop(attached);
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let statement = attached.begin().unwrap();
                drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
                assert_cancelled(&statement.check().unwrap_err());
            });
        }
    });
}

#[test]
fn what_leaves_a_suspended_statement_alone() {
    supervised(|| {
        each_model(|mut fixture| {
            let (_, waker) = CountingWaker::waker();
            let suspended = suspended(&mut fixture, &waker);
            fixture.session.check().unwrap();
            fixture.session.set_detached_waker(None);
            assert_eq!(fixture.session.reserve_statement(), Some(suspended.statement_id()));
            let attached = fixture.session.attach(&fixture.thread).unwrap();
            attached.check().unwrap();
            // Suspended again, without a resume.
            attached.detach_suspended(&suspended, &waker).unwrap();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            attached.resume(suspended).unwrap().finish().unwrap();
        });
    });
}

#[test]
fn a_suspended_statement_of_another_session() {
    supervised(|| {
        let (_, waker) = CountingWaker::waker();
        let mut ann = Fixture::new(ThreadModel::Pool);
        let mut bob = Fixture::new(ThreadModel::Pool);
        let (anns, bobs) = (suspended(&mut ann, &waker), suspended(&mut bob, &waker));
        assert_eq!(anns.statement_id(), bobs.statement_id());
        let mut attached = ann.session.attach(&ann.thread).unwrap();
        assert_over(&attached.resume(bobs).unwrap_err());
        attached.resume(anns).unwrap().finish().unwrap();
        let first = attached.begin().unwrap().suspend(WaitMode::Interruptible);
        drop(attached);
        let mut attached = ann.session.attach(&ann.thread).unwrap();
        let second = attached.begin().unwrap().suspend(WaitMode::Interruptible);
        assert_over(&attached.detach_suspended(&first, &waker).unwrap_err());
        let mut attached = ann.session.attach(&ann.thread).unwrap();
        assert_over(&attached.resume(second).unwrap_err());
    });
}

#[test]
fn helpers_go_on() {
    supervised(|| {
        each_model(|mut fixture| {
            let (_, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("scan");
            let suspended = statement.suspend(WaitMode::Interruptible);
            attached.detach_suspended(&suspended, &waker).unwrap();
            scope(|scope| {
                let helper = scope.spawn(|| {
                    let helper = handle.enter().unwrap();
                    helper.check().unwrap();
                    until("its statement is cancelled", || current::sleep(ENDLESS)).unwrap_err()
                });
                let (manager, id) = (&fixture.manager, fixture.id);
                wait_until("it waits", || manager.helpers(id).iter().any(|row| row.is_waiting));
                drop(manager.cancel(id, cancel()).unwrap());
                assert_cancelled(&joined("the helper", helper));
            });
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            assert_cancelled(&attached.resume(suspended).unwrap_err());
            assert_over(&handle.check().unwrap_err());
        });
    });
}

/// A hold-off may last while the statement is suspended. Its end wakes the owner.
#[test]
fn a_hold_off_of_a_suspended_statement() {
    supervised(|| {
        each_model(|mut fixture| {
            let (woken, waker) = CountingWaker::waker();
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let suspended = attached.begin().unwrap().suspend(WaitMode::Interruptible);
            let held = current::hold_off("a page");
            attached.detach_suspended(&suspended, &waker).unwrap();
            drop(fixture.manager.cancel(fixture.id, cancel()).unwrap());
            assert_eq!(woken.get(), 0);
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            let statement = attached.resume(suspended).unwrap();
            statement.check().unwrap();
            let suspended = statement.suspend(WaitMode::Interruptible);
            attached.detach_suspended(&suspended, &waker).unwrap();
            drop(held);
            assert_eq!(woken.get(), 1);
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            assert_cancelled(&attached.resume(suspended).unwrap_err());
        });
    });
}

#[test]
fn a_panic_after_a_suspension() {
    supervised(|| {
        each_model(|mut fixture| {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let mut attached = fixture.session.attach(&fixture.thread).unwrap();
                let _suspended = attached.begin().unwrap().suspend(WaitMode::Interruptible);
                panic!("a test");
            }));
            assert!(unwound.is_err());
            let told = fixture.session.check().unwrap_err();
            assert_eq!(told.request().reason(), InterruptReason::InternalError);
        });
    });
}

/// A session that is dropped with its suspended statement completes all receipts.
#[test]
fn a_session_ends_with_its_suspended_statement() {
    supervised(|| {
        each_model(|mut fixture| {
            let (_, waker) = CountingWaker::waker();
            let _suspended = suspended(&mut fixture, &waker);
            let mut cancelled = fixture.manager.cancel(fixture.id, cancel()).unwrap();
            drop(fixture.session);
            assert!(!outcome(&mut cancelled).cancelled, "it has not seen it");
            assert!(fixture.manager.is_empty());
        });
    });
}

#[test]
fn a_suspended_statement_is_send() {
    fn assert_send<T: Send + Sync + 'static>() {}
    assert_send::<SuspendedStatement>();
    let manager = SessionManager::new(ThreadModel::Pool);
    drop(manager.open(ClientInfo::default()).unwrap());
}
