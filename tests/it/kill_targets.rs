//! Targets and permissions of requests: session ids, threads, policies, and the requester's own
//! session.

use crate::common::{
    Fixture, MODELS, admin, assert_cancelled, assert_terminated, kill_now, of, scope, supervised,
    thread_for, until, user,
};
use safepoint::id::ThreadId;
use safepoint::policy::Policy;
use safepoint::request::{EndReason, InterruptKind, Request, RequestError, Target};
use safepoint::session::AttachError;
use safepoint::{
    Cancel, ClientInfo, Requester, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_session_may_end_itself() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let requester = attached.requester();
            assert_eq!(requester, user("ann").with_session(id));
            let statement = attached.begin().unwrap();
            let cancel = manager.cancel(id, Cancel::running(requester.clone())).unwrap();
            assert_cancelled(&statement.check().unwrap_err());
            statement.finish().unwrap();
            assert!(cancel.try_get().unwrap().cancelled);

            let statement = attached.begin().unwrap();
            let mut receipt = manager
                .terminate(id, Terminate::new(TerminateMode::Immediate, requester.clone()))
                .unwrap();
            assert_eq!(until("its limit is over", || receipt.wait_timeout(Duration::ZERO)), None);
            let interrupt = statement.check().unwrap_err();
            assert_terminated(&interrupt);
            assert_eq!(interrupt.detail(id), None, "it knows who asked");
            drop(statement);
            drop(attached);
            let EndReason::Terminated(request) = session.close().reason else { panic!() };
            assert_eq!(*request.requester(), requester);
        }
    });
}

#[test]
fn a_pair_is_accepted_only_on_its_thread() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut other = manager.open(of("bob")).unwrap();
            let elsewhere = thread_for(&manager, &other);
            let pair = Target::Pair(thread.id(), id);
            let refused = manager.terminate(pair, kill_now()).unwrap_err();
            assert_eq!(
                refused,
                RequestError::NotAttached { thread: thread.id(), session: id },
                "detached"
            );
            assert_eq!(refused.sqlstate(), "22023");

            let mut attached = session.attach(&thread).unwrap();
            let wrong = Target::Pair(elsewhere.id(), id);
            let refused = manager.terminate(wrong, kill_now()).unwrap_err();
            assert_eq!(refused, RequestError::NotAttached { thread: elsewhere.id(), session: id });
            let statement = attached.begin().unwrap();
            let refused = manager.cancel(wrong, Cancel::running(admin("root"))).unwrap_err();
            assert_eq!(refused, RequestError::NotAttached { thread: elsewhere.id(), session: id });
            assert_eq!(statement.check(), Ok(()));

            manager.cancel(pair, Cancel::running(admin("root"))).unwrap();
            assert_cancelled(&statement.check().unwrap_err());
            drop(statement);
            let receipt = manager.terminate(pair, kill_now()).unwrap();
            assert_eq!(receipt.target().thread_id, Some(thread.id()));
            assert_terminated(&attached.check().unwrap_err());
            drop(attached);

            // The bystander, on its thread all the while, has felt nothing.
            assert_eq!(other.attach(&elsewhere).unwrap().check(), Ok(()));
        }
    });
}

#[test]
fn a_wrong_pair_of_attached_sessions() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut other = manager.open(of("bob")).unwrap();
            let elsewhere = thread_for(&manager, &other);
            let attached = session.attach(&thread).unwrap();
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    let there = other.attach(&elsewhere).unwrap();
                    let refused =
                        manager.terminate(Target::Pair(there.thread_id(), id), kill_now());
                    assert_eq!(
                        refused.unwrap_err(),
                        RequestError::NotAttached { thread: there.thread_id(), session: id }
                    );
                    assert_eq!(there.check(), Ok(()));
                });
            });
            assert_eq!(attached.check(), Ok(()));
        }
    });
}

#[test]
fn the_session_attached_to_a_thread() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let target = Target::AttachedTo(thread.id());
            let refused = manager.terminate(target, kill_now()).unwrap_err();
            assert_eq!(refused, RequestError::ThreadIdle(thread.id()));
            assert_eq!(refused.sqlstate(), "42704");
            let attached = session.attach(&thread).unwrap();
            let receipt = manager.terminate(target, kill_now()).unwrap();
            assert_eq!(receipt.session(), id);
            assert_eq!(receipt.target().thread_id, Some(thread.id()));
            assert_terminated(&attached.check().unwrap_err());
        }
    });
}

#[test]
fn threads_are_not_sessions() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let timer = manager.register_background("timer").unwrap();
            let as_session = SessionId::try_from(timer.id().get()).unwrap();
            assert_eq!(
                manager.terminate(as_session, kill_now()).unwrap_err(),
                RequestError::NoSuchSession(as_session)
            );
            for target in [Target::AttachedTo(timer.id()), Target::Pair(timer.id(), id)] {
                let refused = manager.terminate(target, kill_now()).unwrap_err();
                assert_eq!(
                    refused,
                    RequestError::BackgroundThread { thread: timer.id(), name: "timer".into() }
                );
                assert_eq!(refused.sqlstate(), "42809");
            }
            let never = ThreadId::try_from(i64::MAX as u64).unwrap();
            for target in [Target::AttachedTo(never), Target::Pair(never, id)] {
                let refused = manager.terminate(target, kill_now()).unwrap_err();
                assert_eq!(refused, RequestError::NoSuchThread(never));
                assert_eq!(refused.sqlstate(), "42704");
            }
            let refused = session.attach(&timer).unwrap_err();
            let expected = match model == ThreadModel::Pool {
                true => AttachError::BackgroundThread,
                false => AttachError::WrongThread,
            };
            assert_eq!(refused, expected);
            assert!(session.attach(&thread).is_ok(), "a refused attach leaves nothing behind");
            assert_eq!(session.check(), Ok(()));
        }
    });
}

#[test]
fn an_unregistered_worker_is_no_thread() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::Pool);
        let gone = thread.id();
        drop(thread);
        // The next worker gets the same slot, and another id.
        let next = manager.register_worker("next").unwrap();
        let attached = session.attach(&next).unwrap();
        for target in [Target::AttachedTo(gone), Target::Pair(gone, id)] {
            let refused = manager.terminate(target, kill_now()).unwrap_err();
            assert_eq!(refused, RequestError::NoSuchThread(gone));
        }
        assert_eq!(attached.check(), Ok(()));
    });
}

#[test]
fn a_thread_runs_one_session_at_a_time() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            let mut other = manager.open(of("bob")).unwrap();
            let elsewhere = thread_for(&manager, &other);
            let attached = session.attach(&thread).unwrap();
            assert_eq!(other.attach(&elsewhere).unwrap_err(), AttachError::ThreadBusy);
            if model == ThreadModel::PerSession {
                assert_eq!(other.attach(&thread).unwrap_err(), AttachError::WrongThread);
            }
            assert_eq!(safepoint::current::session_id(), Some(attached.id()));
            attached.detach().unwrap();
            assert_eq!(safepoint::current::session_id(), None);
            assert!(other.attach(&elsewhere).is_ok());
        }
    });
}

#[test]
fn users_may_end_their_own_sessions_and_no_others() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let nobody = Requester::default();
            for requester in [user("bob"), nobody] {
                for when in crate::common::MODES {
                    let refused = manager.terminate(id, Terminate::new(when, requester.clone()));
                    assert_eq!(refused.as_ref().unwrap_err(), &RequestError::PermissionDenied(id));
                    assert_eq!(refused.unwrap_err().sqlstate(), "42501");
                }
                let refused = manager.cancel(id, Cancel::running(requester)).unwrap_err();
                assert_eq!(refused, RequestError::PermissionDenied(id));
            }
            assert_eq!(statement.check(), Ok(()));
            assert_eq!(manager.session_info(id).unwrap().pending_mode, None);
            manager.cancel(id, Cancel::running(user("ann"))).unwrap();
            assert_cancelled(&statement.check().unwrap_err());
            let same = user("ann");
            manager.terminate(id, Terminate::new(TerminateMode::Immediate, same)).unwrap();
            assert_eq!(statement.check().unwrap_err().kind(), InterruptKind::Terminate);
        }
    });
}

/// A policy that looks at the manager while it is asked.
struct Curious(Arc<Mutex<Option<SessionManager>>>);

impl Policy for Curious {
    fn permits(&self, requester: &Requester, target: &ClientInfo) -> bool {
        let manager = self.0.lock().unwrap().clone().unwrap();
        let extra = manager.open(ClientInfo::default()).unwrap();
        assert!(manager.sessions().count() >= 2);
        drop(extra);
        requester.is_admin() && target.application() != "precious"
    }
}

#[test]
fn a_custom_policy_is_called_without_locks() {
    supervised(|| {
        for model in MODELS {
            let slot = Arc::new(Mutex::new(None));
            let manager = SessionManager::builder(model).policy(Curious(slot.clone())).build();
            *slot.lock().unwrap() = Some(manager.clone());
            let session = manager.open(of("ann")).unwrap();
            session.update_client_info(|about| about.with_application("precious"));
            let refused = manager.terminate(session.id(), kill_now()).unwrap_err();
            assert_eq!(refused, RequestError::PermissionDenied(session.id()));
            let own = user("ann").with_session(session.id());
            assert!(
                manager
                    .terminate(session.id(), Terminate::new(TerminateMode::Immediate, own))
                    .is_ok(),
                "a session may always end itself"
            );
            let other = manager.open(of("ann")).unwrap();
            assert!(
                manager
                    .terminate(other.id(), Terminate::new(TerminateMode::Immediate, user("ann")))
                    .is_err()
            );
            assert!(manager.terminate(other.id(), kill_now()).is_ok());
            // The manager holds the policy.
            *slot.lock().unwrap() = None;
        }
    });
}

#[test]
fn the_reason_is_the_observed_request() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let by = |name: &str, when| Terminate::new(when, admin(name));
            let receipt = manager.terminate(id, by("one", TerminateMode::AfterStatement)).unwrap();
            let seen: Request = session.check().unwrap_err().request().clone();
            assert_eq!(*seen.requester(), admin("one"));
            // Stronger, but too late to be seen.
            manager.terminate(id, by("two", TerminateMode::Immediate)).unwrap();
            drop(session);
            let EndReason::Terminated(request) = receipt.try_get().unwrap().reason else {
                panic!()
            };
            assert_eq!(*request, seen);
        }
    });
}

#[test]
fn a_shutdown_terminates_every_session() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, .. } = Fixture::new(model);
            let other = manager.open(of("bob")).unwrap();
            // The server itself decides; whose name stands on it is for the message only.
            let receipts =
                manager.shutdown(Terminate::new(TerminateMode::Immediate, user("carol")));
            assert_eq!(receipts.len(), 2);
            assert_terminated(&session.check().unwrap_err());
            assert_terminated(&other.check().unwrap_err());
            assert_eq!(manager.open(of("dan")).unwrap_err(), safepoint::manager::OpenError::Closed);
        }
    });
}

#[test]
fn a_discarded_command_discards_its_cancel() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let queued = session.reserve_statement().unwrap();
            let cancel = Cancel::statement(queued, admin("root"));
            let receipt = manager.cancel(id, cancel.clone()).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            attached.discard_reserved();
            assert!(receipt.try_get().is_some_and(|end| !end.cancelled));
            assert_eq!(
                manager.cancel(id, cancel).unwrap_err(),
                RequestError::StatementEnded { session: id, statement: queued }
            );
            let statement = attached.begin().unwrap();
            assert_ne!(statement.statement_id(), queued);
            assert_eq!(statement.check(), Ok(()));
        }
    });
}

/// Managers count alike, so the number is no proof.
#[test]
fn the_thread_of_another_managers_session_is_rejected() {
    supervised(|| {
        let open = |model| {
            let manager = SessionManager::builder(model).first_serial(1).build();
            manager.open(of("ann")).unwrap()
        };
        let theirs = open(ThreadModel::PerSession);
        for model in MODELS {
            let mut ours = open(model);
            assert_eq!(ours.id(), theirs.id());
            let attached = ours.attach(&theirs.own_thread().unwrap()).map(drop);
            assert_eq!(attached, Err(AttachError::WrongThread));
        }
        // Their workers have the same slots, too.
        let manager = SessionManager::builder(ThreadModel::Pool).first_serial(1).build();
        let worker = manager.register_worker("worker").unwrap();
        for model in MODELS {
            let attached = open(model).attach(&worker).map(drop);
            assert_eq!(attached, Err(AttachError::WrongThread));
        }
    });
}

/// A number that was copied from an old screen, or from another run of the server, hits nothing.
#[test]
fn ids_of_another_run_name_no_session() {
    supervised(|| {
        for model in MODELS {
            let serials = || SessionManager::new(model);
            let (old, new) = (serials(), serials());
            let open = |manager: &SessionManager| -> Vec<_> {
                (0..100).map(|_| manager.open(of("ann")).unwrap()).collect()
            };
            let (ours, theirs) = (open(&old), open(&new));
            for session in &ours {
                let refused = new.terminate(session.id(), kill_now()).unwrap_err();
                assert_eq!(refused, RequestError::NoSuchSession(session.id()));
            }
            theirs.iter().for_each(|session| session.check().unwrap());
            let worker = old.register_worker("worker").unwrap();
            let named = new.terminate(Target::AttachedTo(worker.id()), kill_now());
            assert_eq!(named.unwrap_err(), RequestError::NoSuchThread(worker.id()));
        }
    });
}

/// Tests and transcripts have the same numbers each time, and however large the first one is there
/// are as many serials after it.
#[test]
fn the_first_serial_can_be_set() {
    supervised(|| {
        for model in MODELS {
            let first = |serial| {
                let manager = SessionManager::builder(model).first_serial(serial).build();
                let session = manager.open(of("ann")).unwrap();
                // The shard depends on the thread.
                (
                    session.id().get() >> 25,
                    manager.register_worker("worker").unwrap().id().get() >> 25,
                )
            };
            assert_eq!(first(0), (1, 1));
            assert_eq!(first(1), (1, 1));
            assert_eq!(first(7), (7, 7));
            let half = 1 << 37;
            assert_eq!(first(half - 1), (half - 1, half - 1));
            assert_eq!(first(half), (1, 1));
            assert_eq!(first(u64::MAX), (half - 1, half - 1));
        }
    });
}
