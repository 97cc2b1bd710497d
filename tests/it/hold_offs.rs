//! Hold-offs around statements and around waits, with an end on any thread.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, MODELS, TEST_TIMEOUT, admin, assert_terminated, each_model,
    joined, kill, kill_now, locked, of, scope, supervised, thread_for, until, wait_until,
};
use safepoint::audit::Event;
use safepoint::diagnose::{PendingReason, ProbeResult};
use safepoint::session::{HoldOff, WaitMode};
use safepoint::{Attached, Cancel, Interrupt, SessionManager, TerminateMode};
use std::future::{pending, ready};
use std::sync::{Mutex, mpsc};
use std::task::Waker;
use std::time::Duration;

#[test]
fn hold_offs_around_waits() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (woken, waker) = CountingWaker::waker();
            let hold_off = statement.hold_off("a test");
            let slept = statement.wait(WaitMode::Interruptible, &waker, || {
                manager.terminate(id, kill_now()).unwrap();
                8
            });
            assert_eq!(slept, Ok(8));
            assert_eq!(woken.get(), 0);
            assert_eq!(statement.sleep(Duration::from_millis(1)), Ok(()));
            let output = until("a ready future is ready", || statement.block_on(ready(9)));
            assert_eq!(output, Ok(9));
            let (sender, receiver) = crossbeam_channel::unbounded();
            sender.send(10).unwrap();
            let message = until("the message that is there", || statement.recv(&receiver));
            assert_eq!(message, Ok(Ok(10)));
            drop(hold_off);
            let slept = until("what is due lets no one sleep", || statement.sleep(ENDLESS));
            assert_terminated(&slept.unwrap_err());
        }
    });
}

/// A wait ends at once when the hold-off that a kill came in ends on another thread; and when the
/// kill comes after that.
fn assert_woken_by_the_end(wait: impl Fn(&Attached<'_>) -> Result<(), Interrupt>) {
    for kill_first in [true, false] {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let held: HoldOff<'static> = safepoint::current::hold_off("handed on");
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    let terminate = || manager.terminate(id, kill_now()).unwrap();
                    let receipt = kill_first.then(terminate);
                    if let Some(receipt) = &receipt {
                        assert!(matches!(
                            receipt.pending_reason(),
                            Some(PendingReason::HeldOff(_))
                        ));
                    }
                    drop(held);
                    receipt.unwrap_or_else(terminate);
                });
                let assert_woken_by_the_end =
                    until("the end of its hold-off wakes it", || wait(&attached));
                assert_terminated(&assert_woken_by_the_end.unwrap_err());
            });
        });
    }
}

#[test]
fn the_end_of_a_hold_off_wakes_a_wait() {
    supervised(|| {
        assert_woken_by_the_end(|attached| attached.sleep(ENDLESS));
        assert_woken_by_the_end(|attached| attached.block_on(pending()));
        assert_woken_by_the_end(|attached| {
            attached.block_on_timeout(ENDLESS, pending()).map(|_: Option<()>| ())
        });
        assert_woken_by_the_end(|attached| {
            loop {
                attached.park()?;
            }
        });
        let (_sender, receiver) = crossbeam_channel::bounded::<()>(0);
        assert_woken_by_the_end(|attached| attached.recv(&receiver).map(|_| ()));
        let place = crossbeam_utils::sync::Parker::new();
        let unparker = place.unparker().clone();
        struct Unpark(crossbeam_utils::sync::Unparker);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(unparker)).into();
        assert_woken_by_the_end(|attached| {
            attached.wait(WaitMode::Killable, &waker, || place.park())?;
            attached.check()
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_a_hold_off_wakes_a_wait_for_the_client() {
    supervised(|| {
        let (socket, _client) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_woken_by_the_end(|attached| {
            attached.wait_readable(WaitMode::Interruptible, &socket).map(|_| ())
        });
    });
}

/// A hold-off that is tied to its attachment can be ended elsewhere too.
#[test]
fn a_scoped_thread_may_end_a_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let held = statement.hold_off("handed on");
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    drop(held);
                });
                let slept = until("the end of its hold-off wakes it", || statement.sleep(ENDLESS));
                assert!(!slept.unwrap_err().is_terminate());
            });
            statement.finish().unwrap();
        });
    });
}

#[test]
fn a_statement_begins_in_a_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let held = safepoint::current::hold_off("two statements that belong together");
            attached.begin().unwrap().finish().unwrap();
            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            attached.begin().unwrap().finish().unwrap();
            manager.terminate(id, kill_now()).unwrap();
            let second = attached.begin().unwrap();
            second.check().unwrap();
            drop(held);
            assert_terminated(&second.check().unwrap_err());
            assert_terminated(&second.finish().unwrap_err());
            assert_terminated(&attached.begin().unwrap_err());
        });
    });
}

/// A cancelled queued command does not notice its cancel in a hold-off either.
#[test]
fn a_cancelled_command_in_a_hold_off_is_interrupted_after() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let number = session.reserve_statement().unwrap();
            let receipt = manager.cancel(id, Cancel::statement(number, admin("root"))).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let held = safepoint::current::hold_off("a test");
            let statement = attached.begin().unwrap();
            statement.check().unwrap();
            drop(held);
            assert!(!statement.check().unwrap_err().is_terminate());
            statement.finish().unwrap();
            assert!(receipt.try_get().unwrap().cancelled);
        });
    });
}

/// No interrupt ends the wait, so the session counts as one without safe points.
#[test]
fn a_wait_in_a_hold_off_can_be_probed() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let probe =
                || attached.wait(WaitMode::Interruptible, Waker::noop(), || manager.probe(id));
            assert_eq!(probe().unwrap(), Some(ProbeResult::NotRunning));
            let held = attached.hold_off("a test");
            assert!(matches!(probe().unwrap(), Some(ProbeResult::Requested { .. })));
            // Its sleep has no safe point, and owes none once it is over.
            assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
            drop(held);
            attached.check().unwrap();
            assert_eq!(probe().unwrap(), Some(ProbeResult::NotRunning));
        });
    });
}

/// A killer that is held up between its request and the waking finds the session past all that.
#[test]
fn a_late_wake_does_not_enter_a_hold_off() {
    supervised(|| {
        for model in MODELS {
            let (asks, asked) = mpsc::channel();
            let (lets_go, may_go) = mpsc::channel();
            let may_go = Mutex::new(may_go);
            let audit = move |event: &Event<'_>| {
                if matches!(event, Event::InterruptRequested { .. }) {
                    asks.send(()).unwrap();
                    locked(&may_go).recv_timeout(TEST_TIMEOUT).unwrap();
                }
            };
            let manager = SessionManager::builder(model).audit(audit).build();
            let mut session = manager.open(of("ann")).unwrap();
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let attached = session.attach(&thread).unwrap();
            let (woken, waker) = CountingWaker::waker();
            let wait = |sleep: &dyn Fn()| attached.wait(WaitMode::Killable, &waker, sleep);
            scope(|scope| {
                let requester = scope.spawn(|| {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap()
                });
                let asked =
                    || asked.recv_timeout(TEST_TIMEOUT).expect("the audit hears of the kill");
                wait(&asked).unwrap();
                assert_terminated(&attached.check().unwrap_err());
                let held = attached.hold_off("last words");
                let requester = Mutex::new(Some(requester));
                let slept = wait(&|| {
                    lets_go.send(()).unwrap();
                    let requester = locked(&requester).take().unwrap();
                    joined("its killer has gone", requester);
                    assert_eq!(woken.get(), 0);
                });
                slept.unwrap();
                drop(held);
            });
        }
    });
}

/// The requester has woken the owner of an idle session, hold-off or not.
#[test]
fn the_end_of_a_hold_off_wakes_no_idle_session() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            let attached = session.attach(&thread).unwrap();
            let held = safepoint::current::hold_off("outlives its attachment");
            drop(attached);
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(woken.get(), 1);
            drop(held);
            assert_eq!(woken.get(), 1);
        });
    });
}

/// A hold-off of an earlier attachment is over already, so its guard wakes no later wait.
#[test]
fn a_stale_guard_wakes_no_wait() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let stale = safepoint::current::hold_off("outlives its attachment");
            drop(attached);
            let attached = session.attach(&thread).unwrap();
            let (woken, waker) = CountingWaker::waker();
            let woken = attached.wait(WaitMode::Interruptible, &waker, || {
                manager.terminate(id, kill_now()).unwrap();
                let before = woken.get();
                drop(stale);
                [before, woken.get()]
            });
            assert_eq!(woken.unwrap(), [1, 1]);
        });
    });
}
