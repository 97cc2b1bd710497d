//! The races that this library exists to end, each under its name.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, MODELS, MODES, ParkedSession, Raises, admin, assert_cancelled,
    assert_terminated, joined, kill, kill_now, locked, of, outcome, rounds, scope, supervised,
    until, wait_until,
};
use safepoint::request::{EndReason, InterruptKind, RequestError, Target};
use safepoint::view::SessionState;
use safepoint::{
    Cancel, Session, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

const ROUNDS: usize = 2_000;

#[test]
fn cancel_hits_the_next_statement() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let (over, hits) = (AtomicBool::new(false), AtomicUsize::new(0));
            let accepted = scope(|scope| {
                let canceller = scope.spawn(|| {
                    let mut accepted = 0;
                    while !over.load(Ordering::SeqCst) {
                        let named = manager.session_info(id).and_then(|row| row.statement_id);
                        let Some(named) = named else { continue };
                        let text = named.to_string();
                        let cancel = Cancel::statement(named, admin("root")).comment(text);
                        match manager.cancel(id, cancel) {
                            Ok(_) => accepted += 1,
                            Err(RequestError::StatementEnded { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    accepted
                });
                let over = Raises(&over);
                let mut rounds = rounds(ROUNDS);
                loop {
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.begin().unwrap();
                    for _ in 0..10 {
                        if let Err(interrupt) = statement.check() {
                            let meant = interrupt.request().comment().unwrap();
                            assert_eq!(*meant, *statement.statement_id().to_string());
                            hits.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                    }
                    statement.finish().unwrap();
                    assert_eq!(attached.check(), Ok(()));
                    if rounds.next().is_none() && hits.load(Ordering::SeqCst) > 0 {
                        break;
                    }
                }
                drop(over);
                joined("the canceller has seen that it is over", canceller)
            });
            assert!(accepted >= hits.into_inner());
        }
    });
}

#[test]
fn cancel_before_start_is_lost() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            for _ in rounds(ROUNDS) {
                let named = session.reserve_statement().unwrap();
                let cancel = Cancel::statement(named, admin("root"));
                scope(|scope| {
                    let cancelled = scope.spawn(|| manager.cancel(id, cancel).unwrap());
                    let mut attached = session.attach(&thread).unwrap();
                    let begun = attached.begin();
                    let receipt = joined("its canceller has gone", cancelled);
                    match begun {
                        Ok(statement) => assert_cancelled(&statement.check().unwrap_err()),
                        Err(interrupt) => assert_cancelled(&interrupt),
                    }
                    assert!(receipt.try_get().unwrap().cancelled);
                });
            }
        }
    });
}

#[test]
fn wrong_session_through_a_reused_id() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut ids = HashSet::new();
            for _ in rounds(ROUNDS) {
                let session = manager.open(of("ann")).unwrap();
                let old = session.id();
                assert!(ids.insert(old.get()), "a number was given out twice");
                drop(session);
                // The next session in the same slab key.
                let next = manager.open(of("ann")).unwrap();
                assert_eq!(
                    manager.terminate(old, kill_now()).unwrap_err(),
                    RequestError::NoSuchSession(old)
                );
                assert_eq!(next.check(), Ok(()));
                assert!(ids.insert(next.id().get()));
                let worker = manager.register_worker("worker").unwrap();
                assert!(ids.insert(worker.id().get()));
            }
        }
    });
}

#[test]
fn kill_dropped_while_the_session_changes_threads() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        for round in rounds(ROUNDS) {
            let session = manager.open(of("ann")).unwrap();
            let id = session.id();
            let (give, take) = crossbeam_channel::bounded::<Session>(1);
            give.send(session).unwrap();
            scope(|scope| {
                for _ in 0..2 {
                    let (give, take, manager) = (give.clone(), take.clone(), &manager);
                    scope.spawn(move || {
                        let thread = manager.register_worker("worker").unwrap();
                        while let Ok(mut session) = take.recv_timeout(Duration::from_millis(1)) {
                            let attached = session.attach(&thread).unwrap();
                            let left = if round % 2 == 0 {
                                attached.detach()
                            } else {
                                attached.detach_to_queue()
                            };
                            if left.is_err() || session.check().is_err() {
                                session.close();
                                return;
                            }
                            give.send(session).unwrap();
                        }
                    });
                }
                let mut receipt = manager.terminate(id, kill(MODES[round % 3])).unwrap();
                drop((give, take));
                let ended = outcome(&mut receipt);
                assert!(matches!(ended.reason, EndReason::Terminated(_)), "{ended:?}");
            });
        }
    });
}

#[test]
fn the_workers_next_session_dies_instead() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let worker = manager.register_worker("worker").unwrap();
        let thread = worker.id();
        let over = AtomicBool::new(false);
        let current = AtomicU64::new(0);
        scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let Ok(id) = SessionId::try_from(current.load(Ordering::SeqCst)) else {
                        continue;
                    };
                    let named = Terminate::new(TerminateMode::Immediate, admin("root"))
                        .comment(id.to_string());
                    let _ = manager.terminate(Target::Pair(thread, id), named);
                }
            });
            let over = Raises(&over);
            let (mut killed, mut rounds) = (0, rounds(ROUNDS));
            loop {
                let mut session = manager.open(of("ann")).unwrap();
                let id = session.id();
                current.store(id.get(), Ordering::SeqCst);
                let attached = session.attach(&worker).unwrap();
                if let Err(interrupt) = attached.check() {
                    assert_eq!(interrupt.request().comment(), Some(&*id.to_string()));
                    killed += 1;
                }
                drop(attached);
                drop(session);
                let next = {
                    let mut next = manager.open(of("ann")).unwrap();
                    let attached = next.attach(&worker).unwrap();
                    attached.check()
                };
                assert_eq!(next, Ok(()), "nobody asked for this one");
                if rounds.next().is_none() && killed > 0 {
                    break;
                }
            }
            drop(over);
        });
    });
}

#[test]
fn two_kills_merge_and_both_are_lost() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            for round in rounds(ROUNDS / 4) {
                let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
                let id = locked(&parked.session).as_ref().unwrap().id();
                scope(|scope| {
                    let requesters = [0, 1].map(|n| {
                        let when = MODES[(round + n) % 3];
                        let manager = &manager;
                        scope.spawn(move || manager.terminate(id, kill(when)))
                    });
                    for requester in requesters {
                        match joined("its killer has gone", requester) {
                            Ok(mut receipt) => drop(outcome(&mut receipt)),
                            Err(refused) => assert_eq!(refused.sqlstate(), "42704"),
                        }
                    }
                });
                assert_eq!(locked(&parked.interrupts).len(), 1);
            }
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn attach_overwrites_closing() {
    supervised(|| {
        for model in MODELS {
            for when in MODES {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let receipt = manager.terminate(id, kill(when)).unwrap();
                for _ in 0..3 {
                    let mut attached = session.attach(&thread).unwrap();
                    assert_terminated(&attached.begin().unwrap_err());
                    assert_terminated(&attached.detach_to_queue().unwrap_err());
                }
                assert_terminated(&session.check().unwrap_err());
                drop(session);
                assert!(receipt.try_get().is_some());
            }
        }
    });
}

#[test]
fn lost_wake_up() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let (go, statements) = crossbeam_channel::bounded::<safepoint::id::StatementId>(0);
            scope(|scope| {
                scope.spawn(|| {
                    for statement in statements {
                        manager.cancel(id, Cancel::statement(statement, admin("root"))).unwrap();
                    }
                });
                for _ in rounds(ROUNDS) {
                    let statement = attached.begin().unwrap();
                    until("the canceller takes it", || go.send(statement.statement_id())).unwrap();
                    let slept = until("the cancel wakes it", || statement.sleep(ENDLESS));
                    assert_cancelled(&slept.unwrap_err());
                }
                drop(go);
            });
        }
    });
}

#[test]
fn weaker_reason_hides_the_stronger() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let cancel = manager.cancel(id, Cancel::running(admin("one"))).unwrap();
            assert_eq!(statement.check().unwrap_err().kind(), InterruptKind::Cancel);
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(statement.check().unwrap_err().kind(), InterruptKind::Terminate);
            // No weaker request replaces it.
            manager.cancel(id, Cancel::running(admin("two"))).unwrap();
            manager
                .terminate(id, Terminate::new(TerminateMode::AfterStatement, admin("two")))
                .unwrap();
            let interrupt = statement.check().unwrap_err();
            assert_terminated(&interrupt);
            assert_eq!(*interrupt.request().requester(), admin("root"));
            drop(statement);
            assert!(cancel.try_get().unwrap().cancelled);
        }
    });
}

#[test]
fn one_handlers_error_loses_the_other_requests() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let failed = || -> Result<(), safepoint::Interrupt> { statement.check() };
            assert_cancelled(&failed().unwrap_err());
            drop(statement);
            assert_terminated(&attached.check().unwrap_err());
        }
    });
}

#[test]
fn target_freed_while_being_killed() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let (give, take) = crossbeam_channel::bounded::<SessionId>(0);
            scope(|scope| {
                let requester = scope.spawn(|| {
                    for id in take {
                        match manager.terminate(id, kill_now()) {
                            Ok(mut receipt) => drop(outcome(&mut receipt)),
                            Err(refused) => assert_eq!(refused.sqlstate(), "42704"),
                        }
                    }
                });
                for _ in rounds(ROUNDS) {
                    let session = manager.open(of("ann")).unwrap();
                    until("the killer takes it", || give.send(session.id())).unwrap();
                    session.close();
                }
                drop(give);
                joined("its killer has gone", requester);
            });
            assert!(manager.is_empty());
        }
    });
}

/// Uses the manager in every way while it is woken.
struct Busy(SessionManager, SessionId, AtomicUsize);

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        let Busy(manager, target, woken) = &*self;
        woken.fetch_add(1, Ordering::SeqCst);
        let other = manager.open(of("ann")).unwrap();
        assert!(manager.sessions().count() >= 2 && manager.len() >= 2);
        assert_eq!(
            manager.session_info(*target).unwrap().pending_mode,
            Some(TerminateMode::Immediate)
        );
        let again = manager.terminate(*target, kill_now()).unwrap();
        assert_eq!(again.target().pending_mode, Some(TerminateMode::Immediate));
        assert!(manager.terminate(other.id(), kill_now()).is_ok());
        assert_eq!(manager.threads().len(), 1);
    }
}

#[test]
fn kill_work_under_the_registry_lock() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let _timer = manager.register_background("timer").unwrap();
            let session = manager.open(of("ann")).unwrap();
            let busy = Arc::new(Busy(manager.clone(), session.id(), AtomicUsize::new(0)));
            session.set_detached_waker(Some(Waker::from(busy.clone())));
            let mut receipt = manager.terminate(session.id(), kill_now()).unwrap();
            assert_eq!(busy.2.load(Ordering::SeqCst), 1);
            // The waiters for a receipt may do that too, while the session ends.
            struct Looks(SessionManager, AtomicUsize);
            impl Wake for Looks {
                fn wake(self: Arc<Self>) {
                    drop(self.0.open(of("bob")).unwrap());
                    self.1.store(self.0.sessions().count(), Ordering::SeqCst);
                }
            }
            let looks = Arc::new(Looks(manager.clone(), AtomicUsize::new(9)));
            let waker = Waker::from(looks.clone());
            let mut context = std::task::Context::from_waker(&waker);
            assert!(Future::poll(std::pin::Pin::new(&mut receipt), &mut context).is_pending());
            session.close();
            assert_eq!(looks.1.load(Ordering::SeqCst), 0);
        }
    });
}

#[test]
fn a_queued_session_cannot_be_cancelled() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let named = session.reserve_statement().unwrap();
            let cancel = manager.cancel(id, Cancel::statement(named, admin("root"))).unwrap();
            assert_eq!(cancel.target().state, SessionState::Queued);
            assert!(manager.terminate(id, kill_now()).is_ok());
            assert_terminated(&session.check().unwrap_err());
            drop(session);
            assert!(!cancel.try_get().unwrap().cancelled);
        }
    });
}

#[test]
fn no_worker_free_so_no_kill() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        // There is no worker at all.
        let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
        let id = locked(&parked.session).as_ref().unwrap().id();
        assert!(manager.terminate(id, kill_now()).unwrap().try_get().is_some());
        assert_terminated(&locked(&parked.interrupts)[0]);
    });
}

#[test]
fn kill_storm() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in rounds(ROUNDS) {
                            manager.terminate(id, kill_now()).unwrap();
                        }
                    });
                }
            });
            assert_eq!(woken.get(), 1, "a kill that adds nothing wakes nobody");
            assert_terminated(&session.check().unwrap_err());
        }
    });
}

#[test]
fn double_registration_drops_both() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let ids: Vec<_> = scope(|scope| {
                let open =
                    || (0..ROUNDS).map(|_| manager.open(of("ann")).unwrap()).collect::<Vec<_>>();
                let openers = [(); 3].map(|()| scope.spawn(open));
                let opened = |opener| joined("all are open", opener);
                openers.into_iter().flat_map(opened).collect()
            });
            assert_eq!(ids.iter().map(Session::id).collect::<HashSet<_>>().len(), 3 * ROUNDS);
            assert_eq!(manager.sessions().count(), 3 * ROUNDS);
            drop(ids);
            wait_until("all have gone", || manager.is_empty());
        }
    });
}
