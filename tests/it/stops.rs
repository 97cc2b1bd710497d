//! Work of an engine that looks at its own flag. An interrupt stops it by a function.

use crate::common::{
    Fixture, admin, each_model, joined, kill, kill_now, locked, scope, supervised, until,
    wait_until,
};
use safepoint::diagnose::ProbeResult;
use safepoint::request::InterruptReason;
use safepoint::session::{Timeouts, WaitMode};
use safepoint::view::SessionState;
use safepoint::{Cancel, Interrupt, SessionId, SessionManager, Statement, TerminateMode, current};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// An engine with a flag that it looks at.
#[derive(Clone, Default)]
struct Engine(Arc<EngineState>);

#[derive(Default)]
struct EngineState {
    begun: AtomicBool,
    asked: AtomicBool,
    stops: AtomicUsize,
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Engine {
    fn stop(&self) -> impl FnOnce() + Send + 'static {
        let engine = self.clone();
        move || {
            engine.0.stops.fetch_add(1, Ordering::SeqCst);
            *locked(&engine.0.flag) = true;
            engine.0.changed.notify_all();
        }
    }

    /// Works until it is stopped.
    fn work(&self) -> usize {
        self.0.begun.store(true, Ordering::SeqCst);
        until("the engine is stopped", || {
            let mut stopped = locked(&self.0.flag);
            while !*stopped {
                stopped = self.0.changed.wait(stopped).unwrap();
            }
        });
        42
    }

    fn run(&self) -> Result<usize, Interrupt> {
        current::with_interrupt_waker(WaitMode::Interruptible, self.stop(), || self.work())
    }

    fn until_begun(&self) {
        wait_until("it works", || self.0.begun.load(Ordering::SeqCst));
    }

    fn stops(&self) -> usize {
        self.0.stops.load(Ordering::SeqCst)
    }
}

fn cancel(manager: &SessionManager, id: SessionId) {
    drop(manager.cancel(id, Cancel::running(admin("root"))));
}

/// Runs the scene in a statement: `work` on the thread that runs it, and then on a helper. `act` runs beside it.
fn both(
    work: impl Fn(&Engine) + Send + Sync + 'static,
    act: impl Fn(&SessionManager, SessionId, &Engine) + Send + Sync + 'static,
) {
    supervised(move || {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let engine = Engine::default();
            let mut attached = session.attach(&thread).unwrap();
            let _statement = attached.begin().unwrap();
            scope(|scope| {
                scope.spawn(|| act(&manager, id, &engine));
                work(&engine);
            });
        });
        each_model(|Fixture { manager, mut session, thread, id }| {
            let engine = Engine::default();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("engine");
            scope(|scope| {
                scope.spawn(|| act(&manager, id, &engine));
                let helper = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    work(&engine);
                });
                joined("the helper", helper);
            });
        });
    });
}

#[test]
fn every_kind_of_work_is_stopped() {
    let work = |engine: &Engine| {
        assert_eq!(engine.run(), Ok(42), "its value is returned");
        safepoint::check().unwrap_err();
    };
    let ways: [fn(&SessionManager, SessionId); 3] = [
        cancel,
        |manager, id| drop(manager.terminate(id, kill_now()).unwrap()),
        |manager, id| {
            cancel(manager, id);
            cancel(manager, id);
            drop(manager.terminate(id, kill_now()).unwrap());
        },
    ];
    for way in ways {
        both(work, move |manager, id, engine| {
            engine.until_begun();
            way(manager, id);
            wait_until("it is stopped", || engine.stops() > 0);
            assert_eq!(engine.stops(), 1);
        });
    }
}

/// The row says that it runs, and the probe finds no safe point, before the request and after it.
#[test]
fn work_runs_and_does_not_wait() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let seen = |_: &Statement<'_>| {
                let row = manager.session_info(id).unwrap();
                assert_eq!((row.state, row.waiting), (SessionState::Running, false));
                assert!(!matches!(manager.probe(id), Some(ProbeResult::NotRunning)));
            };
            let stopped = Arc::new(AtomicBool::new(false));
            let stop = {
                let stopped = stopped.clone();
                move || stopped.store(true, Ordering::SeqCst)
            };
            let worked = statement.with_interrupt_waker(WaitMode::Interruptible, stop, || {
                seen(&statement);
                cancel(&manager, id);
                assert!(stopped.load(Ordering::SeqCst), "on the requester's thread");
                seen(&statement);
                "a row"
            });
            assert_eq!(worked, Ok("a row"));
            statement.check().unwrap_err();
        });
    });
}

#[test]
fn a_timeout_stops_work() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let limits = Timeouts::default().with_statement(Some(Duration::from_millis(20)));
            session.set_timeouts(limits).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let engine = Engine::default();
            assert_eq!(engine.run(), Ok(42));
            let told = statement.check().unwrap_err();
            assert_eq!(told.request().reason(), InterruptReason::StatementTimeout);
        });
    });
}

#[test]
fn the_end_of_the_statement_stops_a_helper() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (handle, engine) = (statement.handle("engine"), Engine::default());
            scope(|scope| {
                let helper = scope.spawn(|| {
                    let helper = handle.enter().unwrap();
                    let mode = WaitMode::Killable;
                    let worked = helper.with_interrupt_waker(mode, engine.stop(), || engine.work());
                    (worked, helper.check().unwrap_err())
                });
                engine.until_begun();
                statement.finish().unwrap();
                let (worked, told) = joined("the helper", helper);
                assert_eq!(worked, Ok(42));
                assert_eq!(told.request().reason(), InterruptReason::StatementEnded);
            });
        });
    });
}

#[test]
fn work_that_must_stop_does_not_begin() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (handle, engine) = (statement.handle("engine"), Engine::default());
            let (entered, asked) = (AtomicBool::new(false), AtomicBool::new(false));
            scope(|scope| {
                let helper = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    entered.store(true, Ordering::SeqCst);
                    wait_until("the cancel is there", || asked.load(Ordering::SeqCst));
                    engine.run()
                });
                wait_until("it has entered", || entered.load(Ordering::SeqCst));
                cancel(&manager, id);
                asked.store(true, Ordering::SeqCst);
                joined("the helper", helper).unwrap_err();
            });
            engine.run().unwrap_err();
            assert!(!engine.0.begun.load(Ordering::SeqCst));
            assert_eq!(engine.stops(), 0);
        });
    });
}

/// A function that a requester runs as the work ends is waited for.
#[test]
fn the_work_ends_after_its_stop_function() {
    let work = |engine: &Engine| {
        let flags = Arc::new([const { AtomicBool::new(false) }; 3]);
        let [stopping, ends, over] = &*flags;
        let stop = {
            let flags = flags.clone();
            move || {
                let [stopping, ends, over] = &*flags;
                stopping.store(true, Ordering::SeqCst);
                wait_until("the work ends", || ends.load(Ordering::SeqCst));
                // Time for an end that does not wait.
                std::thread::sleep(Duration::from_millis(20));
                over.store(true, Ordering::SeqCst);
            }
        };
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, stop, || {
            engine.0.begun.store(true, Ordering::SeqCst);
            wait_until("it is being stopped", || stopping.load(Ordering::SeqCst));
            ends.store(true, Ordering::SeqCst);
        });
        worked.unwrap();
        assert!(over.load(Ordering::SeqCst), "it waits for the function");
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
    });
}

#[test]
fn a_hold_off_in_the_work() {
    let work = |engine: &Engine| {
        let stop = engine.stop();
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, stop, || {
            let held = current::hold_off("a page");
            engine.0.begun.store(true, Ordering::SeqCst);
            wait_until("the cancel is there", || engine.0.asked.load(Ordering::SeqCst));
            assert_eq!(engine.stops(), 0, "within the hold-off");
            drop(held);
            assert_eq!(engine.stops(), 1, "by the end of the hold-off");
        });
        worked.unwrap();
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
        engine.0.asked.store(true, Ordering::SeqCst);
    });
}

#[test]
fn outer_work_is_stopped_after_inner_work() {
    let work = |engine: &Engine| {
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, engine.stop(), || {
            let inner = Engine::default();
            let done =
                current::with_interrupt_waker(WaitMode::Interruptible, inner.stop(), || "done");
            assert_eq!((done, inner.stops()), (Ok("done"), 0));
            engine.work()
        });
        assert_eq!(worked, Ok(42));
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
    });
}

#[test]
fn inner_and_outer_work_are_stopped() {
    let work = |engine: &Engine| {
        let outer = Engine::default();
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, outer.stop(), || {
            let worked = engine.run();
            // The requester calls the outer one first.
            assert_eq!((worked, engine.stops(), outer.stops()), (Ok(42), 1, 1));
        });
        worked.unwrap();
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
    });
}

#[test]
fn a_cancel_leaves_killable_work_alone() {
    let work = |engine: &Engine| {
        let stop = engine.stop();
        let worked = current::with_interrupt_waker(WaitMode::Killable, stop, || engine.work());
        assert_eq!(worked, Ok(42));
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
        assert_eq!(engine.stops(), 0);
        // Deferred: not due in the statement.
        drop(manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap());
        assert_eq!(engine.stops(), 0);
        drop(manager.terminate(id, kill_now()).unwrap());
    });
}

#[test]
fn killable_work_begins_although_a_cancel_is_due() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            cancel(&manager, id);
            let stop = || panic!("it is left alone");
            assert_eq!(statement.with_interrupt_waker(WaitMode::Killable, stop, || 42), Ok(42));
            statement.check().unwrap_err();
        });
    });
}

#[test]
fn killable_work_of_a_helper_begins_although_a_cancel_is_due() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("engine");
            scope(|scope| {
                let helper = scope.spawn(|| {
                    let helper = handle.enter().unwrap();
                    let stop = || panic!("it is left alone");
                    cancel(&manager, id);
                    let worked = helper.with_interrupt_waker(WaitMode::Killable, stop, || 42);
                    assert_eq!(worked, Ok(42));
                    drop(manager.terminate(id, kill_now()).unwrap());
                    let begun = || -> () { panic!("it has begun") };
                    let told = helper.with_interrupt_waker(WaitMode::Killable, stop, begun);
                    assert!(told.unwrap_err().is_terminate());
                });
                joined("the helper", helper);
            });
        });
    });
}

/// The hold-off is the runner's, and the work a helper's.
#[test]
fn a_hold_off_around_the_work_of_a_helper() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (handle, engine) = (statement.handle("engine"), Engine::default());
            let held = statement.hold_off("a page");
            scope(|scope| {
                let helper = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    engine.run()
                });
                engine.until_begun();
                cancel(&manager, id);
                assert_eq!(engine.stops(), 0);
                drop(held);
                assert_eq!(joined("the helper", helper), Ok(42));
            });
        });
    });
}

/// It is not due in the statement.
#[test]
fn a_deferred_termination_leaves_work_alone() {
    let work = |engine: &Engine| assert_eq!(engine.run(), Ok(42));
    both(work, |manager, id, engine| {
        engine.until_begun();
        drop(manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap());
        assert_eq!(engine.stops(), 0);
        drop(manager.terminate(id, kill_now()).unwrap());
    });
}

/// In a wait that no cancel ends, the cancel is due for the work around it.
#[test]
fn a_cancel_in_a_killable_wait_within_the_work() {
    let work = |engine: &Engine| {
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, engine.stop(), || {
            let waker = safepoint::session::waker_fn(|| ());
            current::wait(WaitMode::Killable, &waker, || engine.work())
        });
        assert_eq!(worked, Ok(Ok(42)));
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
    });
}

/// A stop function that panics is the requester's business, and the next one is called.
#[test]
fn a_panic_in_a_stop_function() {
    let work = |engine: &Engine| {
        let panics = || panic!("a test");
        let worked = current::with_interrupt_waker(WaitMode::Interruptible, panics, || {
            engine.run().expect("nothing was due")
        });
        assert_eq!(worked, Ok(42));
        safepoint::check().unwrap_err();
    };
    both(work, |manager, id, engine| {
        engine.until_begun();
        cancel(manager, id);
    });
}

/// Work that unwinds has ended too.
#[test]
fn work_that_panics_is_not_stopped_later() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let engine = Engine::default();
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                statement.with_interrupt_waker(WaitMode::Interruptible, engine.stop(), || {
                    panic!("a test")
                })
            }));
            assert!(unwound.is_err());
            cancel(&manager, id);
            assert_eq!(engine.stops(), 0);
        });
    });
}

#[test]
fn without_a_session_nothing_stops_work() {
    let engine = Engine::default();
    let worked = current::with_interrupt_waker(WaitMode::Interruptible, engine.stop(), || 7);
    assert_eq!(worked, Ok(7));
    assert_eq!(engine.stops(), 0);
}
