//! Safe points and waits in code that has no session handle.

use crate::common::{
    ENDLESS, Fixture, MODELS, TEST_TIMEOUT, admin, assert_interruptible, assert_terminated,
    each_model, joined, kill, kill_now, locked, of, scope, supervised, thread_for, until,
};
use safepoint::local::NoSessionError;
use safepoint::session::Timeouts;
use safepoint::view::SessionState;
use safepoint::{Attached, Cancel, Session, SessionId, SessionManager, TerminateMode, ThreadModel};
use std::cell::RefCell;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

#[test]
fn ambient_safe_points_and_waits_with_a_session() {
    supervised(|| {
        assert_interruptible(|_| safepoint::current::sleep(ENDLESS));
        assert_interruptible(|_| safepoint::current::block_on(pending::<()>()));
        assert_interruptible(|_| {
            loop {
                safepoint::check()?;
                safepoint::current::sleep(Duration::from_millis(1))?;
            }
            #[expect(unreachable_code, reason = "names the type")]
            Ok(())
        });
    });
}

#[test]
fn ambient_safe_points_and_waits_without_a_session() {
    supervised(|| {
        assert_eq!(safepoint::current::session_id(), None);
        assert_eq!(safepoint::check(), Ok(()));
        assert_eq!(safepoint::current::sleep(Duration::from_millis(1)), Ok(()));
        assert_eq!(
            until("a ready future is ready", || safepoint::current::block_on(ready(1))),
            Ok(1)
        );
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            drop(session.attach(&thread).unwrap());
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(safepoint::check(), Ok(()), "the thread has left that session");
            assert_eq!(safepoint::current::thread_id(), None);
            let attached = session.attach(&thread).unwrap();
            assert_eq!(safepoint::current::session_id(), Some(id));
            assert_eq!(safepoint::current::thread_id(), Some(thread.id()));
            assert_eq!(safepoint::current::requester(), Some(attached.requester()));
            assert_terminated(&safepoint::check().unwrap_err());
            scope(|scope| {
                let elsewhere = scope.spawn(safepoint::check);
                assert_eq!(joined("it has looked elsewhere", elsewhere), Ok(()));
            });
            drop(attached);
            assert_eq!(safepoint::check(), Ok(()));
        }
    });
}

/// A flag that was raised for one session is not for the next session on that thread.
#[test]
fn a_late_flag_reaches_no_other_session() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let worker = manager.register_worker("worker").unwrap();
        let [mut ann, mut bob] = ["ann", "bob"].map(|user| manager.open(of(user)).unwrap());
        for _ in 0..2 {
            let attached = ann.attach(&worker).unwrap();
            manager.terminate(attached.id(), kill_now()).unwrap();
            drop(attached);
            assert_eq!(safepoint::check(), Ok(()), "no session is here");
            let attached = bob.attach(&worker).unwrap();
            assert_eq!(safepoint::check(), Ok(()), "it was the other one");
            assert_eq!(safepoint::check(), Ok(()));
            drop(attached);
            // A due interrupt raises the flag again at the next attachment.
            let attached = ann.attach(&worker).unwrap();
            assert_terminated(&safepoint::check().unwrap_err());
            assert_terminated(&safepoint::check().unwrap_err());
            drop(attached);
        }
    });
}

/// A deferred termination falls due by the runner's own transition, and a cancel by the end of a
/// killable wait.
#[test]
fn deferred_requests_raise_the_flag() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let number = statement.statement_id();
            manager.cancel(id, Cancel::statement(number, admin("root"))).unwrap();
            let held = safepoint::current::hold_off("a test");
            assert_eq!(safepoint::check(), Ok(()));
            drop(held);
            assert!(!safepoint::check().unwrap_err().is_terminate());
            drop(statement);
            assert_eq!(safepoint::check(), Ok(()), "its statement is over");

            safepoint::current::set_in_transaction(true);
            manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
            assert_eq!(safepoint::check(), Ok(()));
            safepoint::current::set_in_transaction(false);
            assert_terminated(&safepoint::check().unwrap_err());
        }
    });
}

/// While values of other sessions are dropped, this thread's session is hidden. A flag raised for
/// it is not lost.
#[test]
fn a_flag_raised_while_hidden_is_checked_after() {
    supervised(|| {
        struct Kills(SessionManager, safepoint::SessionId);
        impl Drop for Kills {
            fn drop(&mut self) {
                self.0.terminate(self.1, kill_now()).unwrap();
                assert_eq!(safepoint::check(), Ok(()), "the session is hidden");
            }
        }
        safepoint::session_local! {
            static KILLS: std::cell::RefCell<Option<Kills>> = std::cell::RefCell::new(None);
        }
        let manager = SessionManager::new(ThreadModel::Pool);
        let worker = manager.register_worker("worker").unwrap();
        let [mut ann, mut bob] = ["ann", "bob"].map(|user| manager.open(of(user)).unwrap());
        let id = bob.id();
        let attached = ann.attach(&worker).unwrap();
        KILLS.with(|kills| *kills.borrow_mut() = Some(Kills(manager.clone(), id)));
        drop(attached);
        let _attached = bob.attach(&worker).unwrap();
        ann.close();
        assert_terminated(&safepoint::check().unwrap_err());
    });
}

/// The last of a thread's thread-locals to go may run a session still.
#[test]
fn a_session_that_runs_as_its_thread_ends() {
    supervised(|| {
        struct Runs(std::sync::mpsc::Sender<bool>);
        impl Drop for Runs {
            fn drop(&mut self) {
                let Fixture { manager, mut session, thread, id } =
                    Fixture::new(ThreadModel::PerSession);
                let attached = session.attach(&thread);
                let result = attached.map(|_attached| {
                    manager.terminate(id, kill_now()).unwrap();
                    safepoint::check().is_err()
                });
                // A thread that can no longer run sessions returns an error.
                self.0.send(result.unwrap_or(true)).unwrap();
            }
        }
        thread_local! {
            static RUNS: std::cell::RefCell<Option<Runs>> = const { std::cell::RefCell::new(None) };
        }
        let (result, heard) = std::sync::mpsc::channel();
        for first in [true, false] {
            let result = result.clone();
            let thread = std::thread::spawn(move || {
                let run = || {
                    let Fixture { mut session, thread, .. } = Fixture::new(ThreadModel::PerSession);
                    drop(session.attach(&thread).unwrap());
                };
                if first {
                    run();
                }
                RUNS.with(|runs| *runs.borrow_mut() = Some(Runs(result)));
                if !first {
                    run();
                }
            });
            until("the thread ends", || thread.join()).unwrap();
            assert!(heard.recv_timeout(TEST_TIMEOUT).expect("a session ran as the thread ended"));
        }
    });
}

/// An attachment in a thread-local is dropped after the library's own thread-locals.
#[test]
fn an_attachment_that_ends_with_its_thread() {
    supervised(|| {
        use std::cell::RefCell;
        thread_local! {
            static MINE: RefCell<Option<safepoint::Attached<'static>>> = const { RefCell::new(None) };
        }
        let manager = SessionManager::new(ThreadModel::PerSession);
        let id = scope(|scope| {
            let ran = scope.spawn(|| {
                // The first to be used is the last to go.
                MINE.with_borrow_mut(|mine| *mine = None);
                let session = Box::leak(Box::new(manager.open(of("ann")).unwrap()));
                let thread = Box::leak(Box::new(session.own_thread().unwrap()));
                let (id, attached) = (session.id(), session.attach(thread).unwrap());
                attached.sleep(Duration::from_millis(1)).unwrap();
                MINE.with_borrow_mut(|mine| *mine = Some(attached));
                id
            });
            joined("the thread ends", ran)
        });
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
    });
}

/// The owner's waker ends an idle target on the requester's thread, but not in the requester's
/// session.
#[test]
fn wakers_run_without_a_session() {
    supervised(|| {
        struct Ends(Mutex<Option<Option<SessionId>>>);
        impl Wake for Ends {
            fn wake(self: Arc<Self>) {
                safepoint::current::set_in_transaction(false);
                *locked(&self.0) = Some(safepoint::current::session_id());
            }
        }
        let manager = SessionManager::new(ThreadModel::Pool);
        let target = manager.open(of("ann")).unwrap();
        let ends = Arc::new(Ends(Mutex::default()));
        target.set_detached_waker(Some(Waker::from(ends.clone())));
        let mut requester = manager.open(of("root")).unwrap();
        let (id, thread) = (requester.id(), thread_for(&manager, &requester));
        let attached = requester.attach(&thread).unwrap();
        attached.set_in_transaction(true);
        manager.terminate(target.id(), kill_now()).unwrap();
        assert_eq!(*locked(&ends.0), Some(None), "whose session it ran in");
        assert!(attached.in_transaction());
        assert_eq!(safepoint::current::session_id(), Some(id));
    });
}

/// The order in which a thread drops its thread-locals is not specified.
#[test]
fn an_ambient_safe_point_reports_while_thread_locals_are_dropped() {
    supervised(|| {
        static SAID: Mutex<Option<[bool; 2]>> = Mutex::new(None);
        struct Holder(RefCell<Option<(Attached<'static>, SessionManager)>>);
        impl Drop for Holder {
            fn drop(&mut self) {
                let Some((attached, manager)) = self.0.take() else { return };
                manager.terminate(attached.id(), kill_now()).unwrap();
                let current = safepoint::current::session_id() == Some(attached.id());
                // A thread that has dropped that one, too, runs no session.
                let result = safepoint::check().is_err() == current;
                *locked(&SAID) = Some([attached.check().is_err(), result]);
            }
        }
        thread_local! { static HELD: Holder = const { Holder(RefCell::new(None)) }; }
        std::thread::spawn(|| {
            let Fixture { manager, session, thread, .. } = Fixture::new(ThreadModel::Pool);
            let (session, thread) = (Box::leak(Box::new(session)), Box::leak(Box::new(thread)));
            assert_eq!(safepoint::current::session_id(), None);
            HELD.with(|held| assert!(held.0.borrow().is_none()));
            let attached = session.attach(thread).unwrap();
            HELD.with(|held| *held.0.borrow_mut() = Some((attached, manager)));
        })
        .join()
        .unwrap();
        assert_eq!(*locked(&SAID), Some([true, true]), "its own safe point, the ambient one");
    });
}

/// Code without a reference to the session can read and change its client information and timeouts.
/// Without a session it gets an error, and its closures are not called.
#[test]
fn ambient_client_info_and_timeouts() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let limits = Timeouts::new().with_statement(TEST_TIMEOUT);
            let nobody = |session: &Session| {
                let called =
                    safepoint::current::update_client_info(|_| panic!("there is no session"));
                assert_eq!(called, Err(NoSessionError));
                assert_eq!(safepoint::current::client_info(), None);
                let error = safepoint::current::set_timeouts(limits).unwrap_err();
                assert_eq!(error.to_string(), "no session is attached to this thread");
                assert_eq!(safepoint::current::timeouts(), None);
                assert_eq!(session.timeouts(), Timeouts::default());
            };
            nobody(&session);

            let attached = session.attach(&thread).unwrap();
            assert_eq!(safepoint::current::timeouts(), Some(Timeouts::default()));
            safepoint::current::set_timeouts(limits).unwrap().unwrap();
            assert_eq!(safepoint::current::timeouts(), Some(limits));
            assert_eq!(attached.timeouts(), limits);
            assert_eq!(safepoint::current::client_info(), Some(of("ann")));
            safepoint::current::update_client_info(|about| about.with_user("bob")).unwrap();
            assert_eq!(attached.client_info(), of("bob"));
            assert_eq!(manager.session_info(id).unwrap().client.user(), "bob");
            attached.detach().unwrap();

            session.set_timeouts(Timeouts::default()).unwrap();
            nobody(&session);
            let requester = session.requester();
            assert_eq!((requester.session(), requester.user()), (Some(id), Some("bob")));
            assert!(!requester.is_admin());
        });
    });
}
