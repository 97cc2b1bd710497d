//! Each guard of the library, dropped by an unrelated panic, releases what it holds. Ten times,
//! because a leak would exhaust it.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, MODELS, TEST_TIMEOUT, admin, each_model, kill_now, locked, of,
    scope, supervised, thread_for, until, wait_until,
};
use safepoint::audit::Event;
use safepoint::diagnose::{PendingReason, Watchdog};
use safepoint::manager::OpenError;
use safepoint::request::{EndReason, InterruptReason};
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{Cancel, ClientInfo, SessionManager, ThreadModel, session_local};
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const TIMES: usize = 10;

/// A panic that prints nothing.
fn panics() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Runs a closure that panics, and continues.
#[track_caller]
fn caught(run: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
}

/// Drops it as a panic unwinds through its scope.
#[track_caller]
fn unwound<T>(guard: T) {
    caught(|| {
        let _guard = guard;
        panics();
    });
}

struct Tells(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Tells {
    fn drop(&mut self) {
        locked(&self.0).push("value dropped");
    }
}

session_local! {
    static TELLS: RefCell<Option<Tells>> = RefCell::new(None);
    static TEXT: RefCell<String> = RefCell::new("first".into());
}

#[test]
fn a_session() {
    supervised(|| {
        for model in MODELS {
            let heard = Arc::<Mutex<Vec<&'static str>>>::default();
            let hears = heard.clone();
            let audit = move |event: &Event<'_>| {
                if let Event::SessionEnded { .. } = event {
                    locked(&hears).push("ended");
                }
            };
            let manager = SessionManager::builder(model)
                .max_sessions(2)
                .reserved_for_admins(1)
                .audit(audit)
                .build();
            for admitted in [false, true] {
                for _ in 0..TIMES {
                    let mut session = manager.open(of("ann")).unwrap();
                    if admitted {
                        session.admit().unwrap();
                    }
                    let thread = thread_for(&manager, &session);
                    let attached = session.attach(&thread).unwrap();
                    TELLS.with_borrow_mut(|tells| *tells = Some(Tells(heard.clone())));
                    drop(attached);
                    let receipt = manager.terminate(session.id(), kill_now()).unwrap();
                    let id = session.id();
                    unwound(session);
                    // In this order, before the receipts.
                    assert_eq!(std::mem::take(&mut *locked(&heard)), ["value dropped", "ended"]);
                    assert!(receipt.try_get().is_some());
                    assert!(manager.is_empty() && manager.session_info(id).is_none());
                }
            }
            let sessions = [(); 2].map(|()| manager.open(of("ann")).expect("all places are free"));
            assert_eq!(
                manager.open(of("ann")).unwrap_err(),
                OpenError::Full,
                "and no more than that"
            );
            sessions[0].admit().expect("none is taken by one that was admitted");
            assert_eq!(sessions[1].admit(), Err(OpenError::Full), "and no more than that");
        }
    });
}

/// Its receipts wait for what its values do as they are dropped.
#[test]
fn session_local_values_are_dropped_before_receipts_complete() {
    supervised(|| {
        type Look = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;
        struct Looks(Look);
        impl Drop for Looks {
            fn drop(&mut self) {
                if let Some(look) = locked(&self.0).take() {
                    look();
                }
            }
        }
        session_local! {
            static LOOKS: RefCell<Option<Looks>> = RefCell::new(None);
        }
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let look = Look::default();
            LOOKS.with_borrow_mut(|looks| *looks = Some(Looks(look.clone())));
            drop(attached);
            let receipt = Arc::new(manager.terminate(id, kill_now()).unwrap());
            let seen = Arc::new(Mutex::new(None));
            let (asked, found) = (receipt.clone(), seen.clone());
            *locked(&look) =
                Some(Box::new(move || *locked(&found) = Some(asked.try_get().is_some())));
            unwound(session);
            assert_eq!(*locked(&seen), Some(false), "not complete yet");
            assert!(receipt.try_get().is_some());
        });
    });
}

#[test]
fn an_attached() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let worker = manager.register_worker("worker").unwrap();
            for _ in 0..TIMES {
                let mut session = manager.open(of("ann")).unwrap();
                let own = session.own_thread();
                let thread = own.as_ref().unwrap_or(&worker);
                let attached = session.attach(thread).unwrap();
                attached.set_in_transaction(true);
                drop(attached);
                let queued = session.reserve_statement().unwrap();
                let attached = session.attach(thread).unwrap();
                let cancel = Cancel::statement(queued, admin("root"));
                let receipt = manager.cancel(attached.id(), cancel).unwrap();
                unwound(attached);
                assert!(!receipt.try_get().unwrap().cancelled, "its command has not begun");
                assert_eq!(safepoint::current::session_id(), None);
                assert!(manager.threads().iter().all(|row| row.session_id.is_none()));
                let row = manager.session_info(session.id()).unwrap();
                assert_eq!(row.thread_id.is_some(), model == ThreadModel::PerSession);
                let interrupt = session.check().unwrap_err();
                assert_eq!(interrupt.request().reason(), InterruptReason::InternalError);
                assert!(session.attach(thread).unwrap().begin().is_err(), "whoever has it next");
                assert_eq!(session.close().reason, EndReason::Panicked);
                // Its thread serves others.
                let mut other = manager.open(of("bob")).unwrap();
                let own = other.own_thread();
                other.attach(own.as_ref().unwrap_or(&worker)).unwrap().check().unwrap();
            }
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn a_statement() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            for turn in 1..=TIMES as u64 {
                let statement = attached.begin().unwrap().with_text("select pi()");
                assert_eq!(statement.statement_id().get(), turn);
                let began = manager.session_info(id).unwrap().changed_at;
                let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                wait_until("the clock shows it", || std::time::SystemTime::now() > began);
                unwound(statement);
                assert!(!receipt.try_get().unwrap().cancelled);
                let row = manager.session_info(id).unwrap();
                assert_eq!((row.statement_id, row.pending), (None, None));
                assert!(row.changed_at > began);
                attached.check().unwrap();
            }
        });
    });
}

#[test]
fn a_registered_thread() {
    supervised(|| {
        // The number of slots that the state word can name.
        const MOST: usize = 65_534;
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        for _ in 0..TIMES {
            unwound(manager.register_worker("worker").unwrap());
            unwound(manager.register_background("writer").unwrap());
            assert!(manager.threads().is_empty());
        }
        let mut all: Vec<_> =
            (0..MOST).map(|_| manager.register_worker("worker").unwrap()).collect();
        assert_eq!(manager.register_worker("one more").unwrap_err(), OpenError::Full);
        let _ = manager.register_background("one that takes no place").unwrap();
        // The last slot can be named like any other.
        let (last, first) = (all.pop().unwrap(), &all[0]);
        for thread in [&last, first] {
            let attached = session.attach(thread).unwrap();
            assert_eq!(manager.session_info(attached.id()).unwrap().thread_id, Some(thread.id()));
            assert_eq!(manager.threads().iter().filter(|row| row.session_id.is_some()).count(), 1);
        }
        drop(last);
        let _ = manager.register_worker("another").unwrap();
    });
}

#[test]
fn a_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            for _ in 0..TIMES {
                let statement = attached.begin().unwrap();
                let outer = statement.hold_off("outer");
                unwound(statement.hold_off("handed one"));
                unwound(safepoint::current::hold_off("ambient"));
                assert_eq!(manager.session_info(id).unwrap().hold_off.unwrap().name, "outer");
                manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                statement.check().unwrap();
                unwound(outer);
                assert_eq!(manager.session_info(id).unwrap().hold_off, None);
                statement.check().unwrap_err();
            }
        });
    });
}

/// It sleeps on another thread as its hold-off unwinds on this one.
#[test]
fn a_hold_off_that_unwinds_on_another_thread_wakes_the_session() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let held = safepoint::current::hold_off("handed on");
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                    unwound(held);
                });
                until("it is woken", || attached.sleep(ENDLESS)).expect_err("it is told");
            });
        });
    });
}

#[test]
fn a_rollback() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            for _ in 0..TIMES {
                caught(|| {
                    let _rollback = attached.begin_rollback();
                    let why = receipt.pending_reason();
                    assert!(matches!(why, Some(PendingReason::RollingBack { .. })), "{why:?}");
                    panics()
                });
                let why = receipt.pending_reason();
                assert!(matches!(why, Some(PendingReason::NoSafePoint { .. })), "{why:?}");
            }
        });
    });
}

#[test]
fn code_that_blocks_and_waits_of_all_kinds() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let row = || manager.session_info(id).unwrap();
            for _ in 0..TIMES {
                caught(|| {
                    statement.block_in_place(|| {
                        assert!(row().uninterruptible_wait.is_some());
                        panics()
                    })
                });
                caught(|| {
                    let _ = statement.wait(WaitMode::Killable, Waker::noop(), || {
                        assert!(row().uninterruptible_wait.is_some() && row().waiting);
                        panics()
                    });
                });
                caught(|| {
                    let _ = statement.wait(WaitMode::Interruptible, Waker::noop(), || panics());
                });
                caught(|| {
                    let _ = statement.block_on(std::future::poll_fn(|_| -> Poll<()> { panics() }));
                });
                assert_eq!((row().uninterruptible_wait, row().waiting), (None, false));
            }
            // A cancel is reported again, and not only a termination.
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            statement.check().unwrap_err();
        });
    });
}

/// The limit is shortened to nothing when the wait is over: it would be hit at once.
#[test]
fn a_wait_for_a_lock() {
    supervised(|| {
        let lock_wait = |length| Timeouts::new().with_lock(length);
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            for turn in 0..TIMES {
                statement.set_timeouts(lock_wait(TEST_TIMEOUT * 100)).unwrap();
                caught(|| {
                    if turn % 2 == 0 {
                        statement.with_lock_timeout(Instant::now(), || panics());
                    }
                    safepoint::current::with_lock_timeout(Instant::now(), || panics());
                });
                statement.set_timeouts(lock_wait(Duration::ZERO)).unwrap();
                // The timer has run: the timeout of another session has expired since.
                let other = manager.open(of("bob")).unwrap();
                other.set_timeouts(Timeouts::new().with_idle(Duration::ZERO)).unwrap();
                wait_until("the timer has looked", || other.check().is_err());
                assert_eq!(manager.session_info(id).unwrap().pending, None);
            }
            statement.check().unwrap();
            let ended =
                statement.with_lock_timeout(Instant::now(), || statement.sleep(TEST_TIMEOUT));
            assert_eq!(ended.unwrap_err().request().reason(), InterruptReason::LockTimeout);
        });
    });
}

#[test]
fn an_update_of_the_client_info() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let change = |about: ClientInfo| {
                drop(about.with_user("eve").with_admin(true));
                panics()
            };
            for _ in 0..TIMES {
                caught(|| session.update_client_info(change));
                let attached = session.attach(&thread).unwrap();
                caught(|| attached.update_client_info(change));
            }
            let description = manager.session_info(id).unwrap().client;
            assert_eq!(description, of("ann"), "nothing has been changed");
            session.update_client_info(|about| about.with_user("bob"));
            assert_eq!(manager.session_info(id).unwrap().client.user(), "bob");
        });
    });
}

#[test]
fn a_receipt() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let (count, waker) = CountingWaker::waker();
            for _ in 0..TIMES {
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                let polled = Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                assert_eq!(Arc::strong_count(&count), 3, "it is kept");
                unwound(receipt);
                assert_eq!(Arc::strong_count(&count), 2, "it is kept no longer");
            }
            drop(attached);
            drop(session);
            assert_eq!(count.get(), 0);
        });
    });
}

#[test]
fn a_watchdog() {
    supervised(|| {
        each_model(|Fixture { manager, .. }| {
            for _ in 0..TIMES {
                let watchdog = Watchdog::start(&manager, TEST_TIMEOUT, |_| {}).unwrap();
                let rows = manager.threads();
                let mut dogs = rows.iter().filter(|row| &*row.name == "watchdog");
                assert!(dogs.next().is_some_and(|row| !row.is_worker));
                assert!(dogs.next().is_none());
                unwound(watchdog);
                assert!(
                    manager.threads().iter().all(|row| &*row.name != "watchdog"),
                    "it has stopped"
                );
            }
        });
    });
}

/// The next session is served, on any thread.
#[test]
fn a_closure_with_a_session_local_value() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, .. }| {
            for turn in 0..TIMES {
                let attached = session.attach(&thread).unwrap();
                caught(|| {
                    TEXT.with_borrow_mut(|text| {
                        text.push('!');
                        panics()
                    })
                });
                assert_eq!(TEXT.with_borrow(String::len), "first!".len() + turn);
                drop(attached);
                scope(|scope| {
                    let (looked, done) = std::sync::mpsc::channel();
                    let (manager, session) = (&manager, &mut session);
                    scope.spawn(move || {
                        let thread = thread_for(manager, session);
                        let _attached = session.attach(&thread).unwrap();
                        let _ = looked.send(TEXT.with_borrow(String::len));
                    });
                    assert_eq!(done.recv_timeout(TEST_TIMEOUT), Ok("first!".len() + turn));
                });
            }
        });
    });
}

/// The session is back on its thread, however the destructor that ran without it ends.
#[test]
fn a_destructor_that_runs_without_the_session() {
    supervised(|| {
        struct Layer(bool);
        impl Layer {
            /// The outer one is made, and then not needed: an inner one is there.
            fn new(depth: &std::cell::Cell<usize>) -> Layer {
                let outer = depth.replace(depth.get() + 1).is_multiple_of(2);
                if outer {
                    SELF.with(|_| ());
                }
                Layer(outer)
            }
        }
        impl Drop for Layer {
            fn drop(&mut self) {
                assert_eq!(safepoint::current::session_id(), None);
                if self.0 {
                    panics();
                }
            }
        }
        std::thread_local! {
            static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
        }
        session_local! {
            static SELF: Layer = DEPTH.with(Layer::new);
        }
        for model in MODELS {
            for _ in 0..TIMES {
                let Fixture { mut session, thread, .. } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                caught(|| SELF.with(|_| ()));
                assert_eq!(safepoint::current::session_id(), Some(attached.id()));
                SELF.with(|layer| assert!(!layer.0));
            }
        }
    });
}

#[cfg(feature = "async")]
#[test]
fn a_run_and_a_wait_for_an_interrupt() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let poll = |future: Pin<&mut dyn Future<Output = ()>>, waker: &Waker| {
            assert_eq!(future.poll(&mut Context::from_waker(waker)), Poll::Pending);
        };
        let mut session = manager.open(of("ann")).unwrap();
        let id = session.id();
        for turn in 1..=TIMES as u64 {
            let dropped = Arc::<Mutex<Vec<&'static str>>>::default();
            let tells = Tells(dropped.clone());
            let receipt = {
                let mut run = Box::pin(async {
                    let future = async {
                        let _tells = tells;
                        std::future::pending::<()>().await;
                    };
                    let _ = session.run(future).with_text("select endless").await;
                });
                poll(run.as_mut(), Waker::noop());
                let row = manager.session_info(id).unwrap();
                assert_eq!(row.statement_id.unwrap().get(), turn);
                let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                unwound(run);
                receipt
            };
            assert_eq!(*locked(&dropped), ["value dropped"]);
            assert!(receipt.try_get().is_some(), "its statement is over");
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            assert_eq!(safepoint::current::session_id(), None);
            session.check().unwrap();
        }
        let (count, waker) = CountingWaker::waker();
        for _ in 0..TIMES {
            let mut interrupted = session.interrupted();
            let pending = Pin::new(&mut interrupted).poll(&mut Context::from_waker(&waker));
            assert!(pending.is_pending());
            assert_eq!(Arc::strong_count(&count), 3, "it is kept");
            unwound(interrupted);
            assert_eq!(Arc::strong_count(&count), 2, "it is kept no longer");
        }
        manager.terminate(id, kill_now()).unwrap();
        assert_eq!(count.get(), 0);
        let polled = pin!(session.interrupted()).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(interrupt) if interrupt.is_terminate()));
    });
}
