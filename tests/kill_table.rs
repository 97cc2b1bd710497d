//! The table of what a kill does: each state of the target against each kind of request.

mod common;

use common::{
    Count, Desk, MODELS, Stage, WHENS, admin, assert_cancelled, assert_told, kill, kill_now,
    locked, supervised, user,
};
use safepoint::{
    Cancel, Doing, Ended, EndedBy, HowEnded, Receipt, Refused, SessionId, StatementId, Terminate,
    When,
};

fn cancel_running() -> Cancel {
    Cancel::running(admin("root")).text("because")
}

#[track_caller]
fn assert_killed(how: &HowEnded, author: &str, text: &str) {
    let HowEnded::Killed(request) = how else { panic!("not killed but {how:?}") };
    assert_eq!(request.author, admin(author));
    assert_eq!(request.text.as_deref(), Some(text));
}

#[test]
fn detached_idle() {
    supervised(|| {
        for model in MODELS {
            for when in WHENS {
                let Stage { manager, session, id, .. } = Stage::new(model);
                let desk = Desk::leave(session);

                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, Refused::NothingRuns(id));
                assert_eq!(refused.sqlstate(), "55000");
                let never = Cancel::statement(StatementId::from(1), admin("root"));
                let refused = manager.cancel(id, never).unwrap_err();
                assert_eq!(refused, Refused::NoSuchStatement(id, StatementId::from(1)));
                assert_eq!(refused.sqlstate(), "42704");
                assert!(locked(&desk.session).is_some(), "a refused cancel does nothing");

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.session(), id);
                let found = receipt.found();
                assert_eq!(found.doing, Doing::Idle);
                assert_eq!((found.thread, found.statement, found.already), (None, None, None));
                // It has ended by the time that the killer's call returns, and was told.
                let ended = receipt.poll().expect("ended at once");
                assert_killed(&ended.how, "root", "because");
                let told = locked(&desk.told);
                assert_eq!(told.len(), 1);
                assert_told(&told[0]);
                assert_eq!(told[0].request().text.as_deref(), Some("because"));
                let detail = told[0].detail(id).unwrap();
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
            for when in WHENS {
                let Stage { manager, session, id, .. } = Stage::new(model);
                let queued = session.queue().unwrap();
                let desk = Desk::leave(session);
                assert_eq!(manager.session(id).unwrap().doing, Doing::Queued);
                assert_eq!(
                    manager.cancel(id, cancel_running()).unwrap_err(),
                    Refused::NothingRuns(id),
                    "the command has to be named"
                );
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.found().doing, Doing::Queued);
                assert_eq!(receipt.found().statement, Some(queued));
                assert_killed(&receipt.poll().unwrap().how, "root", "because");
                assert_eq!(locked(&desk.told).len(), 1);
            }
        }
    });
}

#[test]
fn a_named_queued_command_is_cancelled_when_it_begins() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let queued = session.queue().unwrap();
            let (woken, waker) = Count::waker();
            session.set_detached_waker(Some(waker));
            let cancel = Cancel::statement(queued, admin("root"));
            let receipt = manager.cancel(id, cancel).unwrap();
            assert_eq!(receipt.found().doing, Doing::Queued);
            assert_eq!(receipt.found().statement, Some(queued));
            assert!(receipt.poll().is_none());
            assert_eq!(woken.get(), 0, "a cancel is no reason to end the session");
            assert_eq!(session.due(), Ok(()));

            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(attached.check(), Ok(()));
            assert_cancelled(&attached.begin().unwrap_err());
            assert!(receipt.poll().unwrap().cancelled, "it is over");
            let next = attached.begin().unwrap();
            assert_ne!(next.statement(), queued);
            assert_eq!(next.check(), Ok(()));
        }
    });
}

#[test]
fn a_queued_command_that_is_never_begun_was_not_cancelled() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let queued = session.queue().unwrap();
            let receipt = manager.cancel(id, Cancel::statement(queued, admin("root"))).unwrap();
            let attached = session.attach(&thread).unwrap();
            attached.detach().unwrap();
            assert!(!receipt.poll().unwrap().cancelled);
            let stale = manager.cancel(id, Cancel::statement(queued, admin("root")));
            assert_eq!(stale.unwrap_err(), Refused::Stale(id, queued));
            assert_ne!(session.queue(), Some(queued));
        }
    });
}

#[test]
fn attached_between_statements() {
    supervised(|| {
        for model in MODELS {
            for when in WHENS {
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, Refused::NothingRuns(id));

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.found().doing, Doing::BetweenStatements);
                assert_eq!(receipt.found().thread, Some(thread.id()));
                assert!(receipt.poll().is_none());
                assert_told(&attached.begin().unwrap_err());
                assert_told(&attached.check().unwrap_err());
                assert_told(&attached.detach().unwrap_err());
                assert!(receipt.poll().is_none(), "it has not ended before its holder ends it");
                assert_killed(&session.close().how, "root", "because");
                assert!(matches!(receipt.poll().unwrap().how, HowEnded::Killed(_)));
            }
        }
    });
}

#[test]
fn idle_in_transaction() {
    supervised(|| {
        for model in MODELS {
            for when in WHENS {
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let attached = session.attach(&thread).unwrap();
                attached.set_transaction(true);
                attached.detach().unwrap();
                let desk = Desk::leave(session);
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, Refused::NothingRuns(id));
                assert_eq!(manager.session(id).unwrap().doing, Doing::IdleInTransaction);

                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.found().doing, Doing::IdleInTransaction);
                if when != When::AfterTransaction {
                    assert_killed(&receipt.poll().unwrap().how, "root", "because");
                    continue;
                }
                assert!(receipt.poll().is_none());
                assert!(locked(&desk.told).is_empty());
                // The transaction goes on, statement after statement.
                let mut session = locked(&desk.session).take().unwrap();
                let mut attached = session.attach(&thread).unwrap();
                attached.begin().unwrap().finish().unwrap();
                assert_eq!(attached.check(), Ok(()));
                let statement = attached.begin().unwrap();
                statement.set_transaction(false);
                assert_eq!(statement.check(), Ok(()), "its last statement finishes");
                assert_told(&statement.finish().unwrap_err());
                assert_told(&attached.check().unwrap_err());
                drop(attached);
                drop(session);
                assert_killed(&receipt.poll().unwrap().how, "root", "because");
            }
        }
    });
}

#[test]
fn an_open_transaction_is_ended_by_a_later_statement_form() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            session.attach(&thread).unwrap().set_transaction(true);
            let desk = Desk::leave(session);
            let first = manager.terminate(id, kill(When::AfterTransaction)).unwrap();
            assert!(first.poll().is_none());
            let second = manager.terminate(id, kill(When::AfterStatement)).unwrap();
            assert_eq!(second.found().already, Some(When::AfterTransaction));
            assert!(first.poll().is_some() && first.poll() == second.poll());
            assert_eq!(locked(&desk.told).len(), 1);
        }
    });
}

#[test]
fn running() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();

            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, cancel_running()).unwrap();
            assert_eq!(receipt.found().doing, Doing::Running);
            assert_eq!(receipt.found().thread, Some(thread.id()));
            assert_eq!(receipt.found().statement, Some(statement.statement()));
            let interrupt = statement.check().unwrap_err();
            assert_cancelled(&interrupt);
            assert_eq!(interrupt.request().author, admin("root"));
            assert_eq!(interrupt.request().text.as_deref(), Some("because"));
            assert_eq!(statement.check(), Err(interrupt), "repeated until the statement is over");
            assert!(receipt.poll().is_none());
            statement.finish().unwrap();
            assert!(receipt.poll().unwrap().cancelled);

            let statement = attached.begin().unwrap();
            let deferred = manager.terminate(id, kill(When::AfterStatement)).unwrap();
            assert_eq!(deferred.found().doing, Doing::Running);
            assert_eq!(statement.check(), Ok(()));
            assert_told(&statement.finish().unwrap_err());
            drop(attached);
            drop(session);
            assert_killed(&deferred.poll().unwrap().how, "root", "because");
        }
    });
}

#[test]
fn running_in_a_transaction_and_told_to_end_after_it() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            attached.set_transaction(true);
            assert!(attached.in_transaction());
            let statement = attached.begin().unwrap();
            let _receipt = manager.terminate(id, kill(When::AfterTransaction)).unwrap();
            statement.finish().unwrap();
            assert_eq!(attached.check(), Ok(()));
            attached.set_transaction(false);
            assert!(!attached.in_transaction());
            assert_told(&attached.check().unwrap_err());
        }
    });
}

#[test]
fn running_and_told_to_end_now() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            attached.set_transaction(true);
            let statement = attached.begin().unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert_told(&statement.check().unwrap_err());
            assert_told(&statement.finish().unwrap_err());
            drop(attached);
            assert_told(&session.due().unwrap_err());
            assert!(receipt.poll().is_none());
            drop(session);
            assert!(receipt.poll().is_some());
        }
    });
}

#[test]
fn in_an_interruptible_wait() {
    supervised(|| {
        for model in MODELS {
            for when in WHENS {
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let (woken, waker) = Count::waker();
                let slept = statement.wait(EndedBy::AnyInterrupt, &waker, || {
                    assert!(manager.session(id).unwrap().waiting);
                    let receipt = manager.terminate(id, kill(when)).unwrap();
                    assert_eq!(receipt.found().doing, Doing::Waiting);
                    assert!(receipt.poll().is_none());
                    7
                });
                assert_eq!(slept, Ok(7), "what it returned is not lost");
                assert_eq!(woken.get(), usize::from(when == When::Immediate));
                match when {
                    When::Immediate => assert_told(&statement.check().unwrap_err()),
                    _ => assert_eq!(statement.check(), Ok(()), "the wait goes on"),
                }
                assert_told(&statement.finish().unwrap_err());
            }

            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (woken, waker) = Count::waker();
            let slept = statement.wait(EndedBy::AnyInterrupt, &waker, || {
                let receipt = manager.cancel(id, cancel_running()).unwrap();
                assert_eq!(receipt.found().doing, Doing::Waiting);
                receipt
            });
            assert!(slept.unwrap().poll().is_none(), "what it returned is not lost");
            assert_cancelled(&statement.check().unwrap_err());
            let not_begun = statement.wait(EndedBy::AnyInterrupt, &waker, || panic!("it is due"));
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
            for when in WHENS {
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let outer = statement.hold_off("a test");
                let inner = statement.hold_off("a test");
                let cancel = manager.cancel(id, cancel_running()).unwrap();
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(receipt.found().doing, Doing::Running);
                assert_eq!(statement.check(), Ok(()));
                assert_eq!(safepoint::check(), Ok(()));
                drop(outer);
                assert_eq!(statement.check(), Ok(()), "held off twice");
                drop(inner);
                let interrupt = statement.check().unwrap_err();
                // The deferred forms are not due yet, so the cancel is what is reported.
                match when {
                    When::Immediate => assert_told(&interrupt),
                    _ => assert_cancelled(&interrupt),
                }
                assert_told(&statement.finish().unwrap_err());
                assert_eq!(cancel.poll().unwrap().cancelled, when != When::Immediate);
            }
        }
    });
}

#[test]
fn running_another_statement_by_now() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let old = statement.statement();
            statement.finish().unwrap();
            let named = || Cancel::statement(old, admin("root"));
            assert_eq!(manager.cancel(id, named()).unwrap_err(), Refused::Stale(id, old));
            let statement = attached.begin().unwrap();
            let refused = manager.cancel(id, named()).unwrap_err();
            assert_eq!(refused, Refused::Stale(id, old));
            assert_eq!(refused.sqlstate(), "55000");
            let future = StatementId::from(statement.statement().get() + 1);
            assert_eq!(
                manager.cancel(id, Cancel::statement(future, admin("root"))).unwrap_err(),
                Refused::NoSuchStatement(id, future)
            );
            assert_eq!(statement.check(), Ok(()));
            statement.finish().unwrap();
        }
    });
}

#[test]
fn already_told_to_end() {
    supervised(|| {
        for model in MODELS {
            for first in WHENS {
                for second in WHENS {
                    let Stage { manager, mut session, thread, id } = Stage::new(model);
                    let mut attached = session.attach(&thread).unwrap();
                    attached.set_transaction(true);
                    let statement = attached.begin().unwrap();
                    let by = |name: &str, when| Terminate::new(when, admin(name)).text(name);
                    let one = manager.terminate(id, by("one", first)).unwrap();
                    let two = manager.terminate(id, by("two", second)).unwrap();
                    assert_eq!(one.found().already, None);
                    assert_eq!(two.found().already, Some(first));
                    let stronger = first.max(second);
                    assert_eq!(manager.session(id).unwrap().told, Some(stronger));
                    assert_eq!(statement.check().is_err(), stronger == When::Immediate);
                    assert_eq!(statement.finish().is_err(), stronger >= When::AfterStatement);
                    statement_free(&mut attached, stronger);
                    drop(attached);
                    drop(session);
                    // The first to ask for the strongest form is who did it; both know.
                    let author = if second > first { "two" } else { "one" };
                    assert_killed(&one.poll().unwrap().how, author, author);
                    assert_eq!(one.poll(), two.poll());
                }
            }
        }
    });
}

fn statement_free(attached: &mut safepoint::Attached<'_>, told: When) {
    assert_eq!(attached.check().is_err(), told >= When::AfterStatement);
    attached.set_transaction(false);
    assert_told(&attached.check().unwrap_err());
}

#[test]
fn a_session_told_to_end_can_still_be_cancelled() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.terminate(id, kill(When::AfterStatement)).unwrap();
            let receipt = manager.cancel(id, cancel_running()).unwrap();
            assert_eq!(receipt.found().already, Some(When::AfterStatement));
            assert_cancelled(&statement.check().unwrap_err());
            assert_told(&statement.finish().unwrap_err());
            assert!(receipt.poll().unwrap().cancelled);
        }
    });
}

#[test]
fn a_second_cancel_keeps_the_first_ones_author() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let one = manager.cancel(id, Cancel::running(admin("one"))).unwrap();
            let two = manager.cancel(id, Cancel::running(user("ann"))).unwrap();
            assert_eq!(statement.check().unwrap_err().request().author, admin("one"));
            drop(statement);
            assert!(one.poll().unwrap().cancelled && two.poll().unwrap().cancelled);
        }
    });
}

#[test]
fn ended_or_never_existed() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, session, thread, id } = Stage::new(model);
            assert_eq!(session.close().how, HowEnded::Closed);
            let never = SessionId::try_from(i64::MAX as u64).unwrap();
            let one = SessionId::try_from(1).unwrap();
            for id in [id, never, one] {
                for when in WHENS {
                    let refused = manager.terminate(id, kill(when)).unwrap_err();
                    assert_eq!(refused, Refused::NoSuchSession(id));
                    assert_eq!(refused.sqlstate(), "42704");
                }
                let refused = manager.cancel(id, cancel_running()).unwrap_err();
                assert_eq!(refused, Refused::NoSuchSession(id));
                assert!(manager.session(id).is_none());
            }
            drop(thread);
        }
    });
}

#[test]
fn a_session_ends_by_the_request_that_was_due_though_its_holder_never_asked() {
    supervised(|| {
        let how = |receipt: &Receipt<Ended>| receipt.poll().unwrap().how;
        for model in MODELS {
            for when in WHENS {
                // Idle.
                let Stage { manager, session, id, .. } = Stage::new(model);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                drop(session);
                let HowEnded::Killed(request) = how(&receipt) else { panic!("{when:?}") };
                assert_eq!(request.author, admin("root"));

                // In a transaction, which only its end would have ended.
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let attached = session.attach(&thread).unwrap();
                attached.set_transaction(true);
                drop(attached);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                assert_eq!(session.close().how == HowEnded::Closed, when == When::AfterTransaction);
                assert_eq!(how(&receipt) == HowEnded::Closed, when == When::AfterTransaction);

                // A statement whose guards were forgotten ends with its session.
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let mut attached = session.attach(&thread).unwrap();
                std::mem::forget(attached.begin().unwrap());
                std::mem::forget(attached);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                drop(session);
                assert!(matches!(how(&receipt), HowEnded::Killed(_)), "{when:?}");
            }
            // The strongest request counts, and an end that was asked for by nobody is a close.
            let Stage { manager, session, id, .. } = Stage::new(model);
            manager.terminate(id, kill(When::AfterTransaction)).unwrap();
            let receipt =
                manager.terminate(id, Terminate::new(When::Immediate, admin("two"))).unwrap();
            drop(session);
            let HowEnded::Killed(request) = how(&receipt) else { panic!("it was due") };
            assert_eq!(request.author, admin("two"));
            assert_eq!(Stage::new(model).session.close().how, HowEnded::Closed);
        }
    });
}
