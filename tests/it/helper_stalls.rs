//! The helpers that the watchdog reports, how often, and with which durations.

use crate::common::{
    Fixture, TEST_TIMEOUT, each_model, of, scope, supervised, thread_for, wait_until,
};
use crate::watchdog::{NONE, next, reported_meanwhile, watch};
use safepoint::diagnose::StalledSession;
use safepoint::session::{StatementHandle, WaitMode};
use safepoint::{SessionManager, Statement, ThreadModel, current};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Runs the scene in a statement with a text, in each model. The scene ends it.
fn in_statement(scene: impl Fn(&SessionManager, Statement<'_>) + Send + Sync + 'static) {
    supervised(move || {
        each_model(|mut fixture| {
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            scene(&fixture.manager, attached.begin().unwrap().with_text("select parallel"));
        });
    });
}

/// Waits for a report of a helper. The thread that runs the statement may be reported before.
#[track_caller]
fn next_helper(reports: &Receiver<StalledSession>) -> StalledSession {
    loop {
        let stalled = next(reports);
        if stalled.helper.is_some() {
            return stalled;
        }
    }
}

/// Runs `work` on a thread, and `meanwhile` with a function that lets the thread go on.
fn on_a_thread(
    work: impl FnOnce(&dyn Fn()) + Send,
    meanwhile: impl FnOnce(&dyn Fn(), &Receiver<()>),
) {
    let ((go, may_go), (arrived, arrives)) = (channel::<()>(), channel());
    scope(|s| {
        s.spawn(move || {
            work(&|| {
                arrived.send(()).unwrap();
                may_go.recv_timeout(TEST_TIMEOUT).unwrap();
            });
        });
        meanwhile(&|| go.send(()).unwrap(), &arrives);
    });
}

#[test]
fn a_stalled_helper_is_reported_with_its_row() {
    in_statement(|manager, statement| {
        let (handle, named) = (statement.handle("sort"), line!());
        let (id, checked) = (statement.id(), AtomicU32::new(0));
        let work = |pause: &dyn Fn()| {
            let helper = handle.enter().unwrap();
            pause();
            let _held = helper.hold_off("page");
            checked.store(line!() + 2, Ordering::SeqCst);
            wait_until("it has answered", || {
                helper.check().unwrap();
                manager.helpers(id)[0].last_safe_point.is_some()
            });
            pause();
        };
        on_a_thread(work, |goes_on, arrives| {
            arrives.recv_timeout(TEST_TIMEOUT).unwrap();
            let _ = manager.probe(id);
            goes_on();
            arrives.recv_timeout(TEST_TIMEOUT).unwrap();
            let (_watchdog, reports) = watch(manager, NONE);
            let stalled = next_helper(&reports);
            let helper = stalled.helper.unwrap();
            assert_eq!((stalled.session, helper.name), (id, "sort"));
            assert_eq!((stalled.thread, stalled.wait), (Some(statement.thread_id()), None));
            let at = helper.known_since.location;
            assert_eq!((at.file(), at.line()), (file!(), named));
            assert_eq!(stalled.text, "select parallel");
            assert!(helper.is_on_thread && !helper.is_waiting);
            assert_eq!(stalled.hold_off.unwrap().name, "page");
            assert_eq!(
                (stalled.hold_off, stalled.last_safe_point),
                (helper.hold_off, helper.last_safe_point)
            );
            let last = stalled.last_safe_point.unwrap().location;
            assert_eq!((last.file(), last.line()), (file!(), checked.load(Ordering::SeqCst)));
            goes_on();
        });
    });
}

/// As often as it passes a safe point and stalls again.
#[test]
fn a_stall_of_a_helper_is_reported_once() {
    in_statement(|manager, statement| {
        let handle = statement.handle("sort");
        let work = |pause: &dyn Fn()| {
            let helper = handle.enter().unwrap();
            pause();
            helper.check().unwrap();
            pause();
        };
        on_a_thread(work, |goes_on, arrives| {
            for _ in 0..2 {
                arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                let reported = reported_meanwhile(manager, |look| look());
                let helpers = reported.iter().filter(|stalled| stalled.helper.is_some()).count();
                assert_eq!(helpers, 1, "{reported:?}");
                goes_on();
            }
        });
        statement.finish().unwrap();
    });
}

/// A helper that stalls while another one has been reported already.
#[test]
fn each_helper_is_reported_for_itself() {
    in_statement(|manager, statement| {
        let handle = statement.handle("sort");
        let work = |pause: &dyn Fn()| {
            let _helper = handle.enter().unwrap();
            pause();
        };
        let (_watchdog, reports) = watch(manager, NONE);
        on_a_thread(work, |first_goes, arrives| {
            arrives.recv_timeout(TEST_TIMEOUT).unwrap();
            next_helper(&reports);
            on_a_thread(work, |second_goes, arrives| {
                arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                next_helper(&reports);
                second_goes();
            });
            first_goes();
        });
    });
}

#[test]
fn waiting_helpers_and_helpers_on_no_thread_are_not_reported() {
    fn waits(handle: &StatementHandle, look: &dyn Fn()) {
        let _helper = handle.enter().unwrap();
        current::wait(WaitMode::Interruptible, Waker::noop(), look).unwrap();
    }
    fn waits_for_a_termination(handle: &StatementHandle, look: &dyn Fn()) {
        let _helper = handle.enter().unwrap();
        current::wait(WaitMode::Killable, Waker::noop(), look).unwrap();
    }
    fn has_not_begun(handle: &StatementHandle, look: &dyn Fn()) {
        let job = handle.wrap_fn(|| ());
        look();
        job().unwrap();
    }
    fn has_left(handle: &StatementHandle, look: &dyn Fn()) {
        drop(handle.enter().unwrap());
        look();
    }
    fn is_not_polled(handle: &StatementHandle, look: &dyn Fn()) {
        let mut task = pin!(handle.wrap_future(std::future::pending::<()>()));
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        look();
    }
    in_statement(|manager, statement| {
        let handle = &statement.handle("sort");
        for leave in [waits, waits_for_a_termination, has_not_begun, has_left, is_not_polled] {
            on_a_thread(
                |pause| leave(handle, pause),
                |goes_on, arrives| {
                    arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                    let reported = reported_meanwhile(manager, |look| look());
                    let helpers: Vec<_> =
                        reported.iter().filter(|stalled| stalled.helper.is_some()).collect();
                    assert!(helpers.is_empty(), "{helpers:?}");
                    goes_on();
                },
            );
        }
    });
}

/// For each way in which a stall ends. The helper passes it, and stalls again.
#[test]
fn each_stall_of_a_helper_counts_from_its_own_start() {
    in_statement(|manager, statement| {
        let handle = &statement.handle("sort");
        for route in 0..6 {
            let work = |pause: &dyn Fn()| {
                let mut helper = Some(handle.enter().unwrap());
                pause();
                match route {
                    0 => helper.as_ref().unwrap().check().unwrap(),
                    1 => safepoint::check().unwrap(),
                    2 => current::try_check().unwrap().unwrap(),
                    3 => handle.enter().unwrap().check().expect("a guard within the guard"),
                    4 => current::wait(WaitMode::Killable, Waker::noop(), || ()).unwrap(),
                    _ => {
                        drop(helper.take());
                        helper = Some(handle.enter().unwrap());
                    }
                }
                pause();
                drop(helper);
            };
            on_a_thread(work, |goes_on, arrives| {
                arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                is_stalled_for(manager, Duration::from_millis(30));
                let before = Instant::now();
                goes_on();
                arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                counts_from(manager, before, route);
                goes_on();
            });
        }
    });
}

/// Waits until a helper is seen to have been stalled for so long.
fn is_stalled_for(manager: &SessionManager, long: Duration) {
    let (_watchdog, reports) = watch(manager, long);
    next_helper(&reports);
}

/// The next reported stall of a helper has begun after `before`.
#[track_caller]
fn counts_from(manager: &SessionManager, before: Instant, route: usize) {
    let (_watchdog, reports) = watch(manager, NONE);
    let stalled = next_helper(&reports);
    let so_far = before.elapsed();
    assert!(stalled.elapsed <= so_far, "way {route}: {stalled}, within {so_far:?}");
}

/// The time between two polls does not count, on whichever thread the next one is.
#[test]
fn a_stall_of_a_task_counts_from_its_poll() {
    in_statement(|manager, statement| {
        let handle = &statement.handle("sort");
        let work = |pause: &dyn Fn()| {
            let mut task = pin!(handle.wrap_future(poll_fn(|_| {
                pause();
                Poll::<()>::Pending
            })));
            for _ in 0..2 {
                assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        };
        on_a_thread(work, |goes_on, arrives| {
            arrives.recv_timeout(TEST_TIMEOUT).unwrap();
            is_stalled_for(manager, Duration::from_millis(30));
            let before = Instant::now();
            goes_on();
            arrives.recv_timeout(TEST_TIMEOUT).unwrap();
            counts_from(manager, before, 0);
            goes_on();
        });
    });
}

/// The client has its answer, and nobody else would see that a helper still works.
#[test]
fn a_helper_of_an_earlier_statement_is_reported() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (give, given) = channel::<StatementHandle>();
            let work = move |pause: &dyn Fn()| {
                let handle = given.recv_timeout(TEST_TIMEOUT).unwrap();
                let _helper = handle.enter().unwrap();
                pause();
            };
            let manager = &manager;
            on_a_thread(work, move |goes_on, arrives| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap().with_text("select parallel");
                give.send(statement.handle("sort")).unwrap();
                arrives.recv_timeout(TEST_TIMEOUT).unwrap();
                statement.finish().unwrap();
                let is_reported = |text: &str| {
                    let (_watchdog, reports) = watch(manager, NONE);
                    let stalled = next_helper(&reports);
                    assert_eq!((stalled.session, &*stalled.text), (id, text));
                };
                is_reported("select parallel");
                let statement = attached.begin().unwrap().with_text("select 1");
                is_reported("");
                statement.finish().unwrap();
                drop(attached);
                session.close();
                is_reported("");
                goes_on();
            });
            wait_until("the session has ended", || manager.is_empty());
        });
    });
}

/// A probe of the thread that runs the statement is answered by a guard on that thread.
#[test]
fn a_guard_on_the_thread_of_the_statement_answers() {
    in_statement(|manager, statement| {
        let (handle, id) = (statement.handle("sort"), statement.id());
        let helper = handle.enter().unwrap();
        let _ = manager.probe(id);
        let (checked, line) = (helper.check(), line!());
        checked.unwrap();
        let last = manager.session_info(id).unwrap().last_safe_point.unwrap().location;
        assert_eq!((last.file(), last.line()), (file!(), line));
    });
}

/// A guard whose thread works for another session by now answers no probe of that session.
#[test]
fn a_guard_that_is_kept_answers_for_no_other_session() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(of("ann")).unwrap();
        let mut other = manager.open(of("bob")).unwrap();
        let (thread, others) = (thread_for(&manager, &session), thread_for(&manager, &other));
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("sort");
        let helper = handle.enter().unwrap();
        current::without_session(|| {
            let attached = other.attach(&others).unwrap();
            let _ = manager.probe(attached.id());
            helper.check().unwrap();
            assert_eq!(manager.session_info(attached.id()).unwrap().last_safe_point, None);
        });
    });
}
