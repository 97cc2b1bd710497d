//! Waits with a time limit, at the moment when it expires.

use crate::common::{
    ENDLESS, Fixture, MODELS, admin, assert_terminated, each_model, kill_now, scope, supervised,
    until,
};
use safepoint::{Attached, Cancel, Interrupt};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(10);

type Waited = Result<Option<u32>, Interrupt>;

/// Runs a future for at most so long.
type Wait = fn(Option<&Attached<'_>>, Duration, &mut (dyn Future<Output = u32> + Unpin)) -> Waited;

fn own(attached: Option<&Attached<'_>>, limit: Duration, future: Given<'_>) -> Waited {
    attached.expect("it runs a session").block_on_timeout(limit, future)
}

fn ambient(_: Option<&Attached<'_>>, limit: Duration, future: Given<'_>) -> Waited {
    safepoint::current::block_on_timeout(limit, future)
}

type Given<'a> = &'a mut (dyn Future<Output = u32> + Unpin);

/// Each way to wait with a limit: in a session's statement, between statements, and in none.
fn each_wait(test: impl Fn(&dyn Fn(Duration, Given<'_>) -> Waited)) {
    each_model(|Fixture { mut session, thread, .. }| {
        test(&|limit, future| until("its limit is over", || ambient(None, limit, future)));
        let mut attached = session.attach(&thread).unwrap();
        for wait in [own as Wait, ambient] {
            test(&|limit, future| {
                until("its limit is over", || wait(Some(&attached), limit, future))
            });
            let statement = attached.begin().unwrap();
            test(&|limit, future| {
                until("its limit is over", || wait(Some(&statement), limit, future))
            });
            statement.finish().unwrap();
        }
    });
}

/// A future that is ready when that time has come, and wakes no task.
fn ready_at(time: Instant) -> impl Future<Output = u32> + Unpin {
    poll_fn(move |_| if Instant::now() >= time { Poll::Ready(7) } else { Poll::Pending })
}

#[test]
fn an_output_ready_at_the_timeout_is_returned() {
    supervised(|| {
        each_wait(|wait| {
            let ready = Instant::now() + LIMIT;
            // The wait's own limit is over no earlier than that.
            assert_eq!(wait(LIMIT, &mut ready_at(ready)), Ok(Some(7)));
        });
    });
}

#[test]
fn a_pending_future_is_dropped_at_the_timeout() {
    supervised(|| {
        each_wait(|wait| {
            let began = Instant::now();
            assert_eq!(wait(LIMIT, &mut poll_fn(|_| Poll::Pending)), Ok(None));
            assert!(began.elapsed() >= LIMIT, "early");
            assert_eq!(wait(Duration::ZERO, &mut ready_at(began + ENDLESS)), Ok(None));
        });
    });
}

/// Even with the shortest timeout the future is polled, and the longest timeout does not overflow.
#[test]
fn zero_and_maximum_timeouts() {
    supervised(|| {
        each_wait(|wait| {
            for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                let polls = Cell::new(0);
                let mut counts = poll_fn(|_| {
                    polls.set(polls.get() + 1);
                    Poll::Ready(7)
                });
                assert_eq!(wait(limit, &mut counts), Ok(Some(7)));
                assert_eq!(polls.get(), 1);
            }
            let polls = Cell::new(0);
            let mut counts = poll_fn(|_| {
                polls.set(polls.get() + 1);
                Poll::Pending
            });
            assert_eq!(wait(Duration::ZERO, &mut counts), Ok(None));
            assert_eq!(polls.get(), 1, "its limit was over before it slept");
        });
    });
}

/// Woken again and again it still has as long as it was given, and no longer.
#[test]
fn a_future_that_wakes_itself_still_times_out() {
    supervised(|| {
        each_wait(|wait| {
            let began = Instant::now();
            let mut restless = poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Pending
            });
            assert_eq!(wait(LIMIT, &mut restless), Ok(None));
            assert!(began.elapsed() >= LIMIT, "early");
        });
    });
}

/// A future that is woken by another thread in a wait without an end.
#[test]
fn a_timeout_too_long_for_the_clock() {
    supervised(|| {
        each_wait(|wait| {
            let (ready, waker) = (AtomicBool::new(false), std::sync::Mutex::new(None));
            scope(|scope| {
                scope.spawn(|| {
                    let left = || waker.lock().unwrap().is_some();
                    crate::common::wait_until("it waits", left);
                    ready.store(true, Ordering::SeqCst);
                    let waker: std::task::Waker = waker.lock().unwrap().take().unwrap();
                    waker.wake();
                });
                let mut future = poll_fn(|context| {
                    if ready.load(Ordering::SeqCst) {
                        return Poll::Ready(7);
                    }
                    *waker.lock().unwrap() = Some(context.waker().clone());
                    Poll::Pending
                });
                assert_eq!(wait(Duration::MAX, &mut future), Ok(Some(7)));
            });
        });
    });
}

/// In the poll at the deadline, when no wait is recorded that could be woken.
#[test]
fn an_interrupt_at_the_timeout_is_reported() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let over = Instant::now() + LIMIT;
            let killed = Cell::new(false);
            let late = poll_fn(|_| {
                if Instant::now() >= over && !killed.replace(true) {
                    manager.terminate(id, kill_now()).unwrap();
                }
                Poll::<()>::Pending
            });
            let waited = until("its limit is over", || attached.block_on_timeout(LIMIT, late));
            assert!(killed.get());
            assert_terminated(&waited.unwrap_err());
        });
    });
}

/// It is ready in the poll in which the interrupt comes: nothing is thrown away.
#[test]
fn an_output_ready_with_an_interrupt_is_returned() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            for limit in [Duration::ZERO, ENDLESS] {
                let both = poll_fn(|_| {
                    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    Poll::Ready(7)
                });
                if limit.is_zero() {
                    assert_eq!(statement.block_on_timeout(limit, both), Ok(Some(7)));
                } else {
                    // Now the interrupt is due before, and the future is not polled.
                    statement.block_on_timeout(limit, both).unwrap_err();
                }
            }
            statement.check().unwrap_err();
        });
    });
}

/// A held-off interrupt neither ends a wait nor is reported at its end.
#[test]
fn a_timeout_in_a_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let held = attached.hold_off("a test");
            manager.terminate(id, kill_now()).unwrap();
            for limit in [Duration::ZERO, LIMIT] {
                let wait = || attached.block_on_timeout(limit, pending::<()>());
                assert_eq!(until("its limit is over", wait), Ok(None));
                let wait = || safepoint::current::block_on_timeout(limit, pending::<()>());
                assert_eq!(until("its limit is over", wait), Ok(None));
                assert_eq!(until("its time is over", || attached.sleep(limit)), Ok(()));
                let over = Instant::now() + limit;
                assert_eq!(until("its time is over", || attached.park_deadline(over)), Ok(()));
            }
            drop(held);
            let wait = || attached.block_on_timeout(LIMIT, pending::<()>());
            assert_terminated(&until("what is due keeps it awake", wait).unwrap_err());
        });
    });
}

/// A future is dropped at the timeout, and also when it was ready.
#[test]
fn the_future_is_dropped_before_the_wait_returns() {
    supervised(|| {
        struct Dropped<'a>(&'a Cell<u32>);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        each_model(|Fixture { mut session, thread, .. }| {
            let dropped = Cell::new(0);
            let future = |ends: bool| {
                let guard = Dropped(&dropped);
                async move {
                    let _guard = guard;
                    if !ends {
                        pending::<()>().await;
                    }
                }
            };
            for in_session in [false, true] {
                let attached = in_session.then(|| session.attach(&thread).unwrap());
                dropped.set(0);
                for (ends, output) in [(true, Some(())), (false, None)] {
                    let wait =
                        || safepoint::current::block_on_timeout(Duration::ZERO, future(ends));
                    assert_eq!(until("its limit is over", wait), Ok(output));
                }
                assert_eq!(dropped.get(), 2);
                drop(attached);
            }
        });
    });
}

/// The waker of a finished wait wakes no later wait.
#[test]
fn a_wake_after_the_timeout() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let kept = RefCell::new(None);
            let keeps = poll_fn(|context| {
                *kept.borrow_mut() = Some(context.waker().clone());
                Poll::<()>::Pending
            });
            let wait = || attached.block_on_timeout(Duration::ZERO, keeps);
            assert_eq!(until("its limit is over", wait), Ok(None));
            kept.into_inner().unwrap().wake();
            let began = Instant::now();
            until("its time is over", || attached.sleep(LIMIT)).unwrap();
            assert!(began.elapsed() >= LIMIT, "a late wake cuts no sleep short");
        }
    });
}
