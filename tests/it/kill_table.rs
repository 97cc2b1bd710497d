//! The table of effects: each state of the target with each kind of request.

use crate::common::{
    CountingWaker, Fixture, MODELS, MODES, ParkedSession, admin, assert_cancelled,
    assert_terminated, kill, kill_now, locked, supervised, user,
};
use safepoint::id::StatementId;
use safepoint::request::{EndReason, RequestError, SessionEnd};
use safepoint::session::WaitMode;
use safepoint::view::SessionState;
use safepoint::{Cancel, Receipt, SessionId, Terminate, TerminateMode, ThreadModel};

fn cancel_running() -> Cancel {
    Cancel::running(admin("root")).comment("because")
}

#[track_caller]
fn assert_killed(how: &EndReason, requester: &str, text: &str) {
    let EndReason::Terminated(request) = how else { panic!("not killed but {how:?}") };
    assert_eq!(*request.requester(), admin(requester));
    assert_eq!(request.comment(), Some(text));
}

#[test]
fn detached_idle() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, session, id, .. } = Fixture::new(model);
                let parked = ParkedSession::leave(session);

                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, RequestError::NoActiveStatement(id));
                assert_eq!(refused.sqlstate(), "55000");
                let never = Cancel::statement(StatementId::try_from(1).unwrap(), admin("root"));
                let refused = manager.cancel(id, never).unwrap_err();
                assert_eq!(
                    refused,
                    RequestError::NoSuchStatement {
                        session: id,
                        statement: StatementId::try_from(1).unwrap()
                    }
                );
                assert_eq!(refused.sqlstate(), "42704");
                assert!(locked(&parked.session).is_some(), "a refused cancel does nothing");

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.session(), id);
                let found = receipt.target();
                assert_eq!(found.state, SessionState::Idle);
                assert_eq!(
                    (found.thread_id, found.statement_id, found.pending_mode),
                    (None, None, None)
                );
                // The session has ended when the request returns, and the client was notified.
                let ended = receipt.try_get().expect("ended at once");
                assert_killed(&ended.reason, "root", "because");
                let pending = locked(&parked.interrupts);
                assert_eq!(pending.len(), 1);
                assert_terminated(&pending[0]);
                assert_eq!(pending[0].request().comment(), Some("because"));
                let detail = pending[0].detail(id).unwrap();
                let (who, why) = detail.split_once(" at ").unwrap();
                assert_eq!(who, "Requested by user \"root\"");
                assert!(why.ends_with(" UTC. because"), "{why}");
                assert!(manager.is_empty());
            }
        }
    });
}

#[test]
fn detached_queued() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, session, id, .. } = Fixture::new(model);
                let queued = session.reserve_statement().unwrap();
                let parked = ParkedSession::leave(session);
                assert_eq!(manager.session_info(id).unwrap().state, SessionState::Queued);
                assert_eq!(
                    manager.cancel(id, cancel_running()).unwrap_err(),
                    RequestError::NoActiveStatement(id),
                    "the command has to be named"
                );
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.target().state, SessionState::Queued);
                assert_eq!(receipt.target().statement_id, Some(queued));
                assert_killed(&receipt.try_get().unwrap().reason, "root", "because");
                assert_eq!(locked(&parked.interrupts).len(), 1);
            }
        }
    });
}

#[test]
fn a_named_queued_command_is_cancelled_when_it_begins() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let queued = session.reserve_statement().unwrap();
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            let cancel = Cancel::statement(queued, admin("root"));
            let receipt = manager.cancel(id, cancel).unwrap();
            assert_eq!(receipt.target().state, SessionState::Queued);
            assert_eq!(receipt.target().statement_id, Some(queued));
            assert!(receipt.try_get().is_none());
            assert_eq!(woken.get(), 0, "a cancel is no reason to end the session");
            assert_eq!(session.check(), Ok(()));

            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(attached.check(), Ok(()));
            assert_cancelled(&attached.begin().unwrap_err());
            assert!(receipt.try_get().unwrap().cancelled, "it is over");
            let next = attached.begin().unwrap();
            assert_ne!(next.statement_id(), queued);
            assert_eq!(next.check(), Ok(()));
        }
    });
}

#[test]
fn a_queued_command_that_never_begins_was_not_cancelled() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let queued = session.reserve_statement().unwrap();
            let receipt = manager.cancel(id, Cancel::statement(queued, admin("root"))).unwrap();
            let attached = session.attach(&thread).unwrap();
            attached.detach().unwrap();
            assert!(!receipt.try_get().unwrap().cancelled);
            let stale = manager.cancel(id, Cancel::statement(queued, admin("root")));
            assert_eq!(
                stale.unwrap_err(),
                RequestError::StatementEnded { session: id, statement: queued }
            );
            assert_ne!(session.reserve_statement(), Some(queued));
        }
    });
}

#[test]
fn attached_between_statements() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, RequestError::NoActiveStatement(id));

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.target().state, SessionState::BetweenStatements);
                assert_eq!(receipt.target().thread_id, Some(thread.id()));
                assert!(receipt.try_get().is_none());
                assert_terminated(&attached.begin().unwrap_err());
                assert_terminated(&attached.check().unwrap_err());
                assert_terminated(&attached.detach().unwrap_err());
                assert!(receipt.try_get().is_none(), "it has not ended before its holder ends it");
                assert_killed(&session.close().reason, "root", "because");
                assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            }
        }
    });
}

#[test]
fn idle_in_transaction() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(true);
                attached.detach().unwrap();
                let parked = ParkedSession::leave(session);
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, RequestError::NoActiveStatement(id));
                assert_eq!(
                    manager.session_info(id).unwrap().state,
                    SessionState::IdleInTransaction
                );

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.target().state, SessionState::IdleInTransaction);
                if when != TerminateMode::AfterTransaction {
                    assert_killed(&receipt.try_get().unwrap().reason, "root", "because");
                    continue;
                }
                assert!(receipt.try_get().is_none());
                assert!(locked(&parked.interrupts).is_empty());
                // The transaction continues, statement after statement.
                let mut session = locked(&parked.session).take().unwrap();
                let mut attached = session.attach(&thread).unwrap();
                attached.begin().unwrap().finish().unwrap();
                assert_eq!(attached.check(), Ok(()));
                let statement = attached.begin().unwrap();
                statement.set_in_transaction(false);
                assert_eq!(statement.check(), Ok(()), "its last statement finishes");
                assert_terminated(&statement.finish().unwrap_err());
                assert_terminated(&attached.check().unwrap_err());
                drop(attached);
                drop(session);
                assert_killed(&receipt.try_get().unwrap().reason, "root", "because");
            }
        }
    });
}

#[test]
fn an_open_transaction_is_ended_by_a_stronger_request() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            session.attach(&thread).unwrap().set_in_transaction(true);
            let parked = ParkedSession::leave(session);
            let first = manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
            assert!(first.try_get().is_none());
            let second = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            assert_eq!(second.target().pending_mode, Some(TerminateMode::AfterTransaction));
            assert!(first.try_get().is_some() && first.try_get() == second.try_get());
            assert_eq!(locked(&parked.interrupts).len(), 1);
        }
    });
}

#[test]
fn running() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();

            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, cancel_running()).unwrap();
            assert_eq!(receipt.target().state, SessionState::Running);
            assert_eq!(receipt.target().thread_id, Some(thread.id()));
            assert_eq!(receipt.target().statement_id, Some(statement.statement_id()));
            let interrupt = statement.check().unwrap_err();
            assert_cancelled(&interrupt);
            assert_eq!(*interrupt.request().requester(), admin("root"));
            assert_eq!(interrupt.request().comment(), Some("because"));
            assert_eq!(statement.check(), Err(interrupt), "repeated until the statement is over");
            assert!(receipt.try_get().is_none());
            statement.finish().unwrap();
            assert!(receipt.try_get().unwrap().cancelled);

            let statement = attached.begin().unwrap();
            let deferred = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            assert_eq!(deferred.target().state, SessionState::Running);
            assert_eq!(statement.check(), Ok(()));
            assert_terminated(&statement.finish().unwrap_err());
            drop(attached);
            drop(session);
            assert_killed(&deferred.try_get().unwrap().reason, "root", "because");
        }
    });
}

#[test]
fn running_with_a_termination_after_the_transaction() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            assert!(attached.in_transaction());
            let statement = attached.begin().unwrap();
            let _receipt = manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
            statement.finish().unwrap();
            assert_eq!(attached.check(), Ok(()));
            attached.set_in_transaction(false);
            assert!(!attached.in_transaction());
            assert_terminated(&attached.check().unwrap_err());
        }
    });
}

#[test]
fn running_with_an_immediate_termination() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            let statement = attached.begin().unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert_terminated(&statement.check().unwrap_err());
            assert_terminated(&statement.finish().unwrap_err());
            drop(attached);
            assert_terminated(&session.check().unwrap_err());
            assert!(receipt.try_get().is_none());
            drop(session);
            assert!(receipt.try_get().is_some());
        }
    });
}

/// A thread that waits for its client's next command, between statements: each mode ends the session,
/// and wakes the wait; in a transaction the deferred modes do what they do without a thread.
#[test]
fn idle_on_its_own_thread() {
    supervised(|| {
        for when in MODES {
            for in_transaction in [false, true] {
                let Fixture { manager, mut session, thread, id } =
                    Fixture::new(ThreadModel::PerSession);
                let attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(in_transaction);
                let (woken, waker) = CountingWaker::waker();
                let waited = attached.wait(WaitMode::Interruptible, &waker, || {
                    let refused = manager.cancel(id, cancel_running()).unwrap_err();
                    assert_eq!(refused, RequestError::NoActiveStatement(id));
                    let receipt = manager.terminate(id, kill(when)).unwrap();
                    let idle = match in_transaction {
                        true => SessionState::IdleInTransaction,
                        false => SessionState::Idle,
                    };
                    assert_eq!(receipt.target().state, idle);
                    assert!(receipt.try_get().is_none(), "its thread must see it first");
                    7
                });
                assert_eq!(waited, Ok(7), "what it returned is not lost");
                let continues = in_transaction && when == TerminateMode::AfterTransaction;
                assert_eq!(woken.get(), usize::from(!continues), "{when:?}, {in_transaction}");
                if continues {
                    assert_eq!(attached.check(), Ok(()), "the wait goes on");
                    attached.set_in_transaction(false);
                }
                assert_terminated(&attached.check().unwrap_err());
            }
        }
    });
}

#[test]
fn in_an_interruptible_wait() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let (woken, waker) = CountingWaker::waker();
                let slept = statement.wait(WaitMode::Interruptible, &waker, || {
                    assert!(manager.session_info(id).unwrap().waiting);
                    let receipt = manager.terminate(id, kill(when)).unwrap();
                    assert_eq!(receipt.target().state, SessionState::Waiting);
                    assert!(receipt.try_get().is_none());
                    7
                });
                assert_eq!(slept, Ok(7), "what it returned is not lost");
                assert_eq!(woken.get(), usize::from(when == TerminateMode::Immediate));
                match when {
                    TerminateMode::Immediate => assert_terminated(&statement.check().unwrap_err()),
                    _ => assert_eq!(statement.check(), Ok(()), "the wait goes on"),
                }
                assert_terminated(&statement.finish().unwrap_err());
            }

            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (woken, waker) = CountingWaker::waker();
            let slept = statement.wait(WaitMode::Interruptible, &waker, || {
                let receipt = manager.cancel(id, cancel_running()).unwrap();
                assert_eq!(receipt.target().state, SessionState::Waiting);
                receipt
            });
            assert!(slept.unwrap().try_get().is_none(), "what it returned is not lost");
            assert_cancelled(&statement.check().unwrap_err());
            let not_begun = statement.wait(WaitMode::Interruptible, &waker, || panic!("it is due"));
            assert_cancelled(&not_begun.unwrap_err());
            assert_eq!(woken.get(), 1);
            statement.finish().unwrap();
            assert_eq!(attached.check(), Ok(()));
        }
    });
}

#[test]
fn in_a_hold_off() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let outer = statement.hold_off("a test");
                let inner = statement.hold_off("a test");
                let cancel = manager.cancel(id, cancel_running()).unwrap();
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.target().state, SessionState::Running);
                assert_eq!(statement.check(), Ok(()));
                assert_eq!(safepoint::check(), Ok(()));
                drop(outer);
                assert_eq!(statement.check(), Ok(()), "held off twice");
                drop(inner);
                let interrupt = statement.check().unwrap_err();
                // The deferred forms are not due yet, so the cancel is what is reported.
                match when {
                    TerminateMode::Immediate => assert_terminated(&interrupt),
                    _ => assert_cancelled(&interrupt),
                }
                assert_terminated(&statement.finish().unwrap_err());
                assert_eq!(cancel.try_get().unwrap().cancelled, when != TerminateMode::Immediate);
            }
        }
    });
}

#[test]
fn running_a_later_statement() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let old = statement.statement_id();
            statement.finish().unwrap();
            let named = || Cancel::statement(old, admin("root"));
            assert_eq!(
                manager.cancel(id, named()).unwrap_err(),
                RequestError::StatementEnded { session: id, statement: old }
            );
            let statement = attached.begin().unwrap();
            let refused = manager.cancel(id, named()).unwrap_err();
            assert_eq!(refused, RequestError::StatementEnded { session: id, statement: old });
            assert_eq!(refused.sqlstate(), "55000");
            let future = StatementId::try_from(statement.statement_id().get() + 1).unwrap();
            assert_eq!(
                manager.cancel(id, Cancel::statement(future, admin("root"))).unwrap_err(),
                RequestError::NoSuchStatement { session: id, statement: future }
            );
            assert_eq!(statement.check(), Ok(()));
            statement.finish().unwrap();
        }
    });
}

#[test]
fn already_terminating() {
    supervised(|| {
        for model in MODELS {
            for first in MODES {
                for second in MODES {
                    let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                    let mut attached = session.attach(&thread).unwrap();
                    attached.set_in_transaction(true);
                    let statement = attached.begin().unwrap();
                    let by = |name: &str, when| Terminate::new(when, admin(name)).comment(name);
                    let one = manager.terminate(id, by("one", first)).unwrap();
                    let two = manager.terminate(id, by("two", second)).unwrap();
                    assert_eq!(one.target().pending_mode, None);
                    assert_eq!(two.target().pending_mode, Some(first));
                    let stronger = first.max(second);
                    assert_eq!(manager.session_info(id).unwrap().pending_mode, Some(stronger));
                    assert_eq!(statement.check().is_err(), stronger == TerminateMode::Immediate);
                    assert_eq!(
                        statement.finish().is_err(),
                        stronger >= TerminateMode::AfterStatement
                    );
                    statement_free(&mut attached, stronger);
                    drop(attached);
                    drop(session);
                    // The first to ask for the strongest form is who did it; both know.
                    let requester = if second > first { "two" } else { "one" };
                    assert_killed(&one.try_get().unwrap().reason, requester, requester);
                    assert_eq!(one.try_get(), two.try_get());
                }
            }
        }
    });
}

fn statement_free(attached: &mut safepoint::Attached<'_>, pending: TerminateMode) {
    assert_eq!(attached.check().is_err(), pending >= TerminateMode::AfterStatement);
    attached.set_in_transaction(false);
    assert_terminated(&attached.check().unwrap_err());
}

#[test]
fn a_terminating_session_can_still_be_cancelled() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let receipt = manager.cancel(id, cancel_running()).unwrap();
            assert_eq!(receipt.target().pending_mode, Some(TerminateMode::AfterStatement));
            assert_cancelled(&statement.check().unwrap_err());
            assert_terminated(&statement.finish().unwrap_err());
            assert!(receipt.try_get().unwrap().cancelled);
        }
    });
}

#[test]
fn a_second_cancel_keeps_the_first_requester() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let one = manager.cancel(id, Cancel::running(admin("one"))).unwrap();
            let two = manager.cancel(id, Cancel::running(user("ann"))).unwrap();
            assert_eq!(*statement.check().unwrap_err().request().requester(), admin("one"));
            drop(statement);
            assert!(one.try_get().unwrap().cancelled && two.try_get().unwrap().cancelled);
        }
    });
}

#[test]
fn ended_or_never_existed() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, thread, id } = Fixture::new(model);
            assert_eq!(session.close().reason, EndReason::Closed);
            let never = SessionId::try_from(i64::MAX as u64).unwrap();
            let one = SessionId::try_from(1).unwrap();
            for id in [id, never, one] {
                for when in MODES {
                    let refused = manager.terminate(id, kill(when)).unwrap_err();
                    assert_eq!(refused, RequestError::NoSuchSession(id));
                    assert_eq!(refused.sqlstate(), "42704");
                }
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, RequestError::NoSuchSession(id));
                assert!(manager.session_info(id).is_none());
            }
            drop(thread);
        }
    });
}

#[test]
fn a_due_request_is_the_reason_even_if_unobserved() {
    supervised(|| {
        let how = |receipt: &Receipt<SessionEnd>| receipt.try_get().unwrap().reason;
        for model in MODELS {
            for when in MODES {
                // Idle.
                let Fixture { manager, session, id, .. } = Fixture::new(model);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                drop(session);
                let EndReason::Terminated(request) = how(&receipt) else { panic!("{when:?}") };
                assert_eq!(*request.requester(), admin("root"));

                // In a transaction, which only its end would have ended.
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(true);
                drop(attached);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(
                    session.close().reason == EndReason::Closed,
                    when == TerminateMode::AfterTransaction
                );
                assert_eq!(
                    how(&receipt) == EndReason::Closed,
                    when == TerminateMode::AfterTransaction
                );

                // A leaked statement ends with its session.
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                std::mem::forget(attached.begin().unwrap());
                std::mem::forget(attached);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                drop(session);
                assert!(matches!(how(&receipt), EndReason::Terminated(_)), "{when:?}");
            }
            // The strongest request counts. An end without a request is `Closed`.
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
            let receipt = manager
                .terminate(id, Terminate::new(TerminateMode::Immediate, admin("two")))
                .unwrap();
            drop(session);
            let EndReason::Terminated(request) = how(&receipt) else { panic!("it was due") };
            assert_eq!(*request.requester(), admin("two"));
            assert_eq!(Fixture::new(model).session.close().reason, EndReason::Closed);
        }
    });
}
