//! A thread's session is hidden while other application code runs on the thread: wakers,
//! destructors, cancelled futures. After that it is attached again, unless it has moved to another
//! thread.

use crate::common::{
    Fixture, TEST_TIMEOUT, admin, each_model, joined, kill_now, locked, of, scope, supervised,
    thread_for, until, user,
};
use safepoint::audit::Event;
use safepoint::local::NoSessionError;
use safepoint::{Cancel, Session, SessionId, SessionManager, ThreadModel, session_local};
use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

session_local! {
    static NUMBER: Cell<u32> = Cell::new(7);
    static TWICE: RefCell<Option<Runs>> = RefCell::new(None);
}

/// Runs something as it is woken, or as it goes.
struct Runs(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Runs {
    fn new(run: impl FnOnce() + Send + 'static) -> Runs {
        Runs(Mutex::new(Some(Box::new(run))))
    }

    fn run(&self) {
        let run = locked(&self.0).take();
        if let Some(run) = run {
            run();
        }
    }
}

impl Wake for Runs {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.run();
    }
}

/// Each way in which code runs on a thread whose session is hidden from it.
type Route = fn(&SessionManager, Runs);

/// The waker of a session that is requested to end.
fn woken(manager: &SessionManager, runs: Runs) {
    let target = manager.open(of("victim")).unwrap();
    target.set_detached_waker(Some(Waker::from(Arc::new(runs))));
    manager.terminate(target.id(), kill_now()).unwrap();
}

/// A waker of who waits for a receipt.
fn terminated(manager: &SessionManager, runs: Runs) {
    let target = manager.open(of("victim")).unwrap();
    let mut receipt = manager.terminate(target.id(), kill_now()).unwrap();
    let waker = Waker::from(Arc::new(runs));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(Future::poll(std::pin::Pin::new(&mut receipt), &mut context).is_pending());
    drop(waker);
    target.close();
}

/// A session-local value, of a session that ends.
fn dropped(manager: &SessionManager, runs: Runs) {
    let mut target = manager.open(of("victim")).unwrap();
    // It is given its value on another thread.
    let kept = Mutex::new(Some(runs));
    scope(|scope| {
        let (target, kept) = (&mut target, &kept);
        let gives = scope.spawn(move || {
            let thread = thread_for(manager, target);
            let _attached = target.attach(&thread).unwrap();
            TWICE.with_borrow_mut(|value| *value = locked(kept).take());
        });
        joined("it has its value", gives);
    });
    target.close();
}

const ROUTES: [Route; 3] = [woken, terminated, dropped];

/// As on a thread that runs no session.
fn nobody_is_here() {
    assert_eq!(safepoint::current::session_id(), None);
    assert_eq!(safepoint::current::thread_id(), None);
    assert_eq!(safepoint::current::requester(), None);
    assert_eq!(safepoint::current::timeouts(), None);
    assert_eq!(safepoint::current::update_client_info(|about| about), Err(NoSessionError));
    assert!(safepoint::current::set_timeouts(safepoint::session::Timeouts::default()).is_err());
    assert_eq!(NUMBER.try_with(Cell::get), Err(NoSessionError));
    safepoint::current::set_in_transaction(false);
    safepoint::check().expect("what is due is not this one's");
    safepoint::current::sleep(Duration::ZERO).unwrap();
    let output = until("a ready future is ready", || safepoint::current::block_on(ready(1)));
    assert_eq!(output, Ok(1));
    let limited = || safepoint::current::block_on_timeout(Duration::ZERO, pending::<()>());
    assert_eq!(until("its limit is over", limited), Ok(None));
    safepoint::current::block_in_place(|| ());
    // A hold-off has no effect here or later.
    std::mem::forget(safepoint::current::hold_off("of nobody"));
}

#[test]
fn the_session_is_hidden_and_restored() {
    supervised(|| {
        for route in ROUTES {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let mut attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(true);
                NUMBER.set(8);
                let statement = attached.begin().unwrap();
                let ran = Arc::new(Mutex::new(false));
                let runs = {
                    let (ran, manager) = (ran.clone(), manager.clone());
                    Runs::new(move || {
                        manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                        nobody_is_here();
                        assert_eq!(manager.session_info(id).unwrap().hold_off, None);
                        *locked(&ran) = true;
                    })
                };
                route(&manager, runs);
                assert!(*locked(&ran), "and did not panic");
                assert_eq!(safepoint::current::session_id(), Some(id));
                assert_eq!(safepoint::current::requester(), Some(statement.requester()));
                assert_eq!(NUMBER.get(), 8);
                assert!(statement.in_transaction());
                assert!(!safepoint::check().unwrap_err().is_terminate(), "it came meanwhile");
            });
        }
    });
}

#[test]
fn the_session_is_restored_after_a_panic() {
    supervised(|| {
        for route in ROUTES {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let attached = session.attach(&thread).unwrap();
                route(&manager, Runs::new(|| panic!("on purpose")));
                assert_eq!(safepoint::current::session_id(), Some(id));
                attached.check().expect("that was another's panic");
                safepoint::check().unwrap();
            });
        }
    });
}

/// One within another: it is back when the outer one is through.
#[test]
fn hidden_twice() {
    supervised(|| {
        for outer in ROUTES {
            for inner in ROUTES {
                each_model(|Fixture { manager, mut session, thread, id }| {
                    let _attached = session.attach(&thread).unwrap();
                    let both = Arc::new(Mutex::new(Vec::new()));
                    let runs = {
                        let (both, manager) = (both.clone(), manager.clone());
                        Runs::new(move || {
                            let within = both.clone();
                            let says =
                                move || locked(&within).push(safepoint::current::session_id());
                            inner(&manager, Runs::new(says));
                            locked(&both).push(safepoint::current::session_id());
                        })
                    };
                    outer(&manager, runs);
                    assert_eq!(*locked(&both), [None, None]);
                    assert_eq!(safepoint::current::session_id(), Some(id));
                });
            }
        }
    });
}

/// The thread may run another session while one is hidden. It is detached after that.
#[test]
fn another_session_runs_while_it_is_hidden() {
    supervised(|| {
        for route in ROUTES {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let attached = session.attach(&thread).unwrap();
                let mut other = manager.open(of("bob")).unwrap();
                let (others, thread_of_other) = (other.id(), thread_for(&manager, &other));
                let ran = Arc::new(Mutex::new(None));
                let says = ran.clone();
                route(
                    &manager,
                    Runs::new(move || {
                        let attached = other.attach(&thread_of_other).unwrap();
                        NUMBER.set(9);
                        let there = safepoint::current::session_id();
                        attached.detach().unwrap();
                        assert_eq!(safepoint::current::session_id(), None);
                        *locked(&says) = there;
                    }),
                );
                assert_eq!(*locked(&ran), Some(others));
                assert_eq!(safepoint::current::session_id(), Some(id));
                assert_eq!(NUMBER.get(), 7);
                attached.detach().unwrap();
                assert_eq!(safepoint::current::session_id(), None);
            });
        }
    });
}

/// The attachment is leaked there, so that session stays current, and the hidden one is not
/// restored.
#[test]
fn another_session_stays_attached() {
    supervised(|| {
        for route in ROUTES {
            each_model(|Fixture { manager, mut session, thread, .. }| {
                let attached = session.attach(&thread).unwrap();
                let other = manager.open(of("bob")).unwrap();
                let (others, thread_of_other) = (other.id(), thread_for(&manager, &other));
                let kept = Arc::new(Mutex::new(Some(other)));
                let keeps = kept.clone();
                route(
                    &manager,
                    Runs::new(move || {
                        let mut other = locked(&keeps).take().unwrap();
                        std::mem::forget(other.attach(&thread_of_other).unwrap());
                        *locked(&keeps) = Some(other);
                    }),
                );
                assert_eq!(safepoint::current::session_id(), Some(others));
                attached.detach().unwrap();
                assert_eq!(safepoint::current::session_id(), Some(others));
                let other = locked(&kept).take().unwrap();
                other.check().unwrap();
                assert_eq!(safepoint::current::session_id(), None);
                session.attach(&thread).unwrap().check().unwrap();
            });
        }
    });
}

/// A manager whose audit has this with it, for as long as anything refers to one of its sessions.
fn kept_by_its_sessions() -> (SessionManager, Arc<()>) {
    let token = Arc::new(());
    let kept = token.clone();
    let audit = move |_: &Event<'_>| drop(kept.clone());
    (SessionManager::builder(ThreadModel::Pool).audit(audit).build(), token)
}

/// The attachment is leaked, so the session can move to another thread while it is hidden here.
/// Then this thread keeps no reference to it.
#[test]
fn a_session_that_moves_while_it_is_hidden() {
    supervised(|| {
        for route in ROUTES {
            let (manager, token) = kept_by_its_sessions();
            let [here, there] = [(); 2].map(|()| manager.register_worker("worker").unwrap());
            let mut session = manager.open(of("ann")).unwrap();
            let id = session.id();
            std::mem::forget(session.attach(&here).unwrap());
            let (hands_over, taken): (Sender<Session>, Receiver<Session>) = channel();
            let ((arrives, arrived), (lets_go, may_go)) = (channel::<()>(), channel::<()>());
            scope(|scope| {
                let runs = scope.spawn(move || {
                    let there = there;
                    let mut session = taken.recv_timeout(TEST_TIMEOUT).expect("it is handed over");
                    let attached = session.attach(&there).unwrap();
                    attached.set_in_transaction(true);
                    NUMBER.set(8);
                    arrives.send(()).unwrap();
                    may_go.recv_timeout(TEST_TIMEOUT).expect("the other thread is through");
                    assert!(attached.in_transaction());
                    assert_eq!((safepoint::current::session_id(), NUMBER.get()), (Some(id), 8));
                    attached.detach().unwrap();
                });
                let moves = move || {
                    hands_over.send(session).unwrap();
                    arrived.recv_timeout(TEST_TIMEOUT).expect("it runs elsewhere");
                };
                route(&manager, Runs::new(moves));
                assert_eq!(safepoint::current::session_id(), None);
                safepoint::current::set_in_transaction(false);
                assert!(NUMBER.try_with(Cell::get).is_err());
                lets_go.send(()).unwrap();
                joined("it has left the other thread", runs);
            });
            drop((here, manager));
            assert_eq!(Arc::strong_count(&token), 1, "something of it is kept");
        }
    });
}

#[test]
fn a_session_that_ends_while_it_is_hidden() {
    supervised(|| {
        for route in ROUTES {
            let (manager, token) = kept_by_its_sessions();
            let here = manager.register_worker("worker").unwrap();
            let mut session = manager.open(of("ann")).unwrap();
            std::mem::forget(session.attach(&here).unwrap());
            route(&manager, Runs::new(move || drop(session)));
            assert_eq!(safepoint::current::session_id(), None);
            let mut other = manager.open(of("bob")).unwrap();
            other.attach(&here).unwrap().check().unwrap();
            drop((other, here, manager));
            assert_eq!(Arc::strong_count(&token), 1, "something of it is kept");
        }
    });
}

/// The requester's session is hidden from the wakers that it wakes.
#[test]
fn requests_while_it_is_hidden() {
    supervised(|| {
        for route in ROUTES {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let _attached = session.attach(&thread).unwrap();
                let asked = Arc::new(Mutex::new(None::<SessionId>));
                let (says, others) = (asked.clone(), manager.clone());
                let runs = Runs::new(move || {
                    let requester =
                        safepoint::current::requester().unwrap_or_else(|| user("nobody"));
                    *locked(&says) = requester.session();
                    assert!(others.cancel(id, Cancel::running(requester)).is_err());
                });
                route(&manager, runs);
                assert_eq!(*locked(&asked), None);
            });
        }
    });
}
