//! A future that is polled again is woken by its last waker only, and a waker may run any code as
//! it is woken or dropped.

use crate::common::{
    CountingWaker, Fixture, MODELS, TEST_TIMEOUT, admin, each_model, joined, kill, kill_now,
    locked, of, scope, supervised, thread_for, until,
};
use safepoint::audit::Event;
use safepoint::manager::BulkOptions;
use safepoint::session::WaitMode;
use safepoint::view::SessionInfo;
use safepoint::{Cancel, Receipt, SessionManager, TerminateMode};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

/// Two wakers that count.
struct Two {
    counts: [Arc<CountingWaker>; 2],
    wakers: [Waker; 2],
}

impl Two {
    fn new() -> Two {
        let [(one, first), (two, second)] = [CountingWaker::waker(), CountingWaker::waker()];
        Two { counts: [one, two], wakers: [first, second] }
    }

    /// How often each was woken.
    fn woken(&self) -> [usize; 2] {
        [self.counts[0].get(), self.counts[1].get()]
    }

    /// The number of references to each waker, without the test's own.
    fn kept(&self) -> [usize; 2] {
        [0, 1].map(|which| Arc::strong_count(&self.counts[which]) - 2)
    }
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    until("the poll is over", || future.poll(&mut Context::from_waker(waker)))
}

/// Which of two wakers a future is polled with, one after the other.
const ORDERS: [&[usize]; 5] = [&[0], &[0, 0], &[0, 1], &[0, 1, 1], &[0, 1, 0]];

/// Polls the future with each waker in order: the last one is kept, and none has been woken yet.
/// Returns the counters.
#[track_caller]
fn polled<F: Future>(two: &Two, mut future: Pin<&mut F>, order: &[usize]) -> [usize; 2] {
    for which in order {
        assert!(poll(future.as_mut(), &two.wakers[*which]).is_pending());
    }
    let mut last = [0, 0];
    last[order[order.len() - 1]] = 1;
    assert_eq!((two.kept(), two.woken()), (last, [0, 0]), "{order:?}");
    last
}

#[test]
fn a_receipt_of_a_session() {
    supervised(|| {
        for order in ORDERS {
            each_model(|Fixture { manager, session, id, .. }| {
                let two = Two::new();
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                let last = polled(&two, Pin::new(&mut receipt), order);
                session.close();
                assert_eq!((two.woken(), two.kept()), (last, [0, 0]), "{order:?}");
                assert!(poll(Pin::new(&mut receipt), Waker::noop()).is_ready());
            });
        }
    });
}

#[test]
fn a_receipt_of_a_statement() {
    supervised(|| {
        for order in ORDERS {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let two = Two::new();
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let mut receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                let last = polled(&two, Pin::new(&mut receipt), order);
                statement.finish().unwrap();
                assert_eq!((two.woken(), two.kept()), (last, [0, 0]), "{order:?}");
                assert!(poll(Pin::new(&mut receipt), Waker::noop()).is_ready());
            });
        }
    });
}

/// Each waiter for one end has its own key, from the first poll to its drop.
#[test]
fn several_receipts_of_one_session() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let (gone, stays, comes) = (Two::new(), Two::new(), Two::new());
            let kill = || manager.terminate(id, kill_now()).unwrap();
            let [mut first, mut second] = [kill(), kill()];
            polled(&gone, Pin::new(&mut first), &[0]);
            polled(&stays, Pin::new(&mut second), &[0, 1]);
            drop(first);
            let mut third = kill();
            polled(&comes, Pin::new(&mut third), &[0, 1]);

            // A receipt that was never polled has no key to release.
            drop(kill());
            session.close();
            let woken = [gone.woken(), stays.woken(), comes.woken()];
            assert_eq!(woken, [[0, 0], [0, 1], [0, 1]]);
            assert_eq!([gone.kept(), stays.kept(), comes.kept()], [[0, 0]; 3]);
        });
    });
}

/// A wait that timed out leaves its thread's waker; a later poll replaces it.
#[test]
fn a_receipt_waited_for_with_a_timeout() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let two = Two::new();
            let mut receipt = manager.terminate(id, kill_now()).unwrap();
            polled(&two, Pin::new(&mut receipt), &[0]);
            let limit = std::time::Duration::ZERO;
            assert_eq!(until("its limit is over", || receipt.wait_timeout(limit)), None);
            assert_eq!(two.kept(), [0, 0], "the thread's own waker took its place");
            assert!(poll(Pin::new(&mut receipt), &two.wakers[1]).is_pending());
            session.close();
            assert_eq!(two.woken(), [0, 1]);
        });
    });
}

/// It waits for all targets, in any order of their ends.
#[test]
fn a_bulk_request() {
    supervised(|| {
        for order in ORDERS {
            each_model(|Fixture { manager, session, .. }| {
                let others = ["bob", "eve"].map(|user| manager.open(of(user)).unwrap());
                let all = |_: &SessionInfo| true;
                let mut result = manager.terminate_where(all, kill_now(), BulkOptions::new());
                let ids = [session.id(), others[0].id(), others[1].id()];
                let targets: Vec<_> = result.receipts.iter().map(Receipt::session).collect();
                assert_eq!(targets, ids);
                let mut sessions = std::collections::VecDeque::from([session]);
                sessions.extend(others);
                let mut ended = Box::pin(result.ended());
                for turn in 0..3 {
                    let two = Two::new();
                    let last = polled(&two, ended.as_mut(), order);
                    if turn == 0 {
                        // The last is through first, and that is of no use yet.
                        drop(sessions.pop_back());
                        assert_eq!(two.woken(), [0, 0]);
                    }
                    drop(sessions.pop_front());
                    assert_eq!((two.woken(), two.kept()), (last, [0, 0]), "{order:?}");
                    if sessions.is_empty() {
                        break;
                    }
                }
                assert!(poll(ended.as_mut(), Waker::noop()).is_ready());
                drop(ended);
                let again = std::pin::pin!(result.ended());
                assert!(poll(again, Waker::noop()).is_ready(), "and stays so");
            });
        }
    });
}

/// The owner's waker is set again: the last one is woken, if there is one.
#[test]
fn an_idle_session() {
    supervised(|| {
        for order in ORDERS {
            each_model(|Fixture { manager, session, id, .. }| {
                let two = Two::new();
                for which in order {
                    session.set_detached_waker(Some(two.wakers[*which].clone()));
                }
                let mut last = [0, 0];
                last[order[order.len() - 1]] = 1;
                assert_eq!(two.kept(), last, "{order:?}");
                manager.terminate(id, kill_now()).unwrap();
                assert_eq!(two.woken(), last, "{order:?}");
                session.set_detached_waker(None);
                assert_eq!(two.kept(), [0, 0]);
            });
            each_model(|Fixture { manager, session, id, .. }| {
                let two = Two::new();
                session.set_detached_waker(Some(two.wakers[0].clone()));
                session.set_detached_waker(None);
                manager.terminate(id, kill_now()).unwrap();
                assert_eq!((two.woken(), two.kept()), ([0, 0], [0, 0]));
            });
        }
    });
}

/// One wait after the other, each with its own.
#[test]
fn a_session_that_waits_again() {
    supervised(|| {
        for order in ORDERS {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let two = Two::new();
                let attached = session.attach(&thread).unwrap();
                let mut last = [0, 0];
                last[order[order.len() - 1]] = 1;
                for (turn, which) in order.iter().enumerate() {
                    let asks = || {
                        if turn + 1 == order.len() {
                            manager.terminate(id, kill_now()).unwrap();
                        }
                    };
                    let waker = &two.wakers[*which];
                    attached.wait(WaitMode::Interruptible, waker, asks).unwrap();
                }
                assert_eq!((two.woken(), two.kept()), (last, last), "{order:?}");
                drop(attached);
                session.close();
                assert_eq!(two.kept(), [0, 0], "a session that has ended keeps none");
            });
        }
    });
}

/// A request that adds nothing wakes no waker again; a stronger one does.
#[test]
fn equal_requests_wake_once() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            let targets = |mode| {
                manager.terminate(id, kill(mode)).unwrap();
                woken.get()
            };
            assert_eq!(targets(TerminateMode::AfterTransaction), 1);
            assert_eq!(targets(TerminateMode::AfterTransaction), 1);
            assert_eq!(targets(TerminateMode::Immediate), 2);
            assert_eq!(targets(TerminateMode::Immediate), 2);
            assert_eq!(targets(TerminateMode::AfterStatement), 2);
        });
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (woken, waker) = CountingWaker::waker();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let cancels = || {
                manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                woken.get()
            };
            let terminates = || {
                manager.terminate(id, kill_now()).unwrap();
                woken.get()
            };
            let wait = |ask: &dyn Fn() -> [usize; 2]| {
                statement.wait(WaitMode::Interruptible, &waker, ask).unwrap()
            };
            assert_eq!(wait(&|| [cancels(), cancels()]), [1, 1]);
            let wait = statement.wait(WaitMode::Killable, &waker, || {
                [cancels(), terminates(), terminates(), cancels()]
            });
            assert_eq!(wait.unwrap(), [1, 2, 2, 2]);
        });
    });
}

/// The requester wakes by the state after its audit: no thread runs the session when `terminate`
/// returns, so the waker has run.
#[test]
fn a_session_that_detaches_during_the_audit_is_woken() {
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
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            scope(|scope| {
                let attached = session.attach(&thread).unwrap();
                let requester = scope.spawn(|| manager.terminate(id, kill_now()).map(drop));
                asked.recv_timeout(TEST_TIMEOUT).expect("the audit hears of the kill");
                drop(attached);
                assert_eq!(woken.get(), 0);
                lets_go.send(()).unwrap();
                joined("its killer has gone", requester).unwrap();
                assert_eq!(woken.get(), 1);
            });
        }
    });
}

#[cfg(feature = "async")]
mod tasks {
    use super::*;
    use safepoint::ThreadModel;
    use std::future::pending;

    #[test]
    fn an_idle_task() {
        supervised(|| {
            for order in ORDERS {
                for targets in [true, false] {
                    let Fixture { manager, mut session, id, .. } = Fixture::new(ThreadModel::Pool);
                    let two = Two::new();
                    let mut interrupted = Box::pin(session.interrupted());
                    let last = polled(&two, interrupted.as_mut(), order);
                    if targets {
                        manager.terminate(id, kill_now()).unwrap();
                        assert_eq!(two.woken(), last, "{order:?}");
                        assert!(poll(interrupted.as_mut(), Waker::noop()).is_ready());
                    }
                    drop(interrupted);
                    manager.terminate(id, kill_now()).unwrap();
                    let woken = if targets { last } else { [0, 0] };
                    assert_eq!((two.woken(), two.kept()), (woken, [0, 0]), "{order:?}");
                }
            }
        });
    }

    #[test]
    fn a_task_that_runs_a_statement() {
        supervised(|| {
            for order in ORDERS {
                for cancels in [true, false] {
                    let Fixture { manager, mut session, id, .. } = Fixture::new(ThreadModel::Pool);
                    let two = Two::new();
                    let mut run = pin!(session.run(pending::<()>()));
                    let last = polled(&two, run.as_mut(), order);
                    if cancels {
                        manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                        manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    } else {
                        manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
                        assert_eq!(two.woken(), [0, 0], "it may finish its statement");
                        manager.terminate(id, kill_now()).unwrap();
                    }
                    assert_eq!(two.woken(), last, "{order:?}");
                    assert!(poll(run.as_mut(), Waker::noop()).is_ready());
                }
            }
        });
    }

    /// The waker that the end of a hold-off wakes.
    #[test]
    fn a_task_in_a_hold_off() {
        supervised(|| {
            for order in ORDERS {
                let Fixture { manager, mut session, id, .. } = Fixture::new(ThreadModel::Pool);
                let two = Two::new();
                let held = std::sync::Mutex::new(None);
                let mut run = pin!(session.run(async {
                    *held.lock().unwrap() = Some(safepoint::current::hold_off("a test"));
                    pending::<()>().await;
                }));
                let last = polled(&two, run.as_mut(), order);
                manager.terminate(id, kill_now()).unwrap();
                assert_eq!(two.woken(), [0, 0]);
                let held = held.lock().unwrap().take();
                drop(held);
                assert_eq!(two.woken(), last, "{order:?}");
                assert!(poll(run.as_mut(), Waker::noop()).is_ready());
            }
        });
    }
}

/// Does something as it is woken, and as it goes.
struct Acts<F: Fn(&'static str) + Send + Sync + 'static>(F);

impl<F: Fn(&'static str) + Send + Sync + 'static> Wake for Acts<F> {
    fn wake(self: Arc<Self>) {
        (self.0)("woken");
    }
}

impl<F: Fn(&'static str) + Send + Sync + 'static> Drop for Acts<F> {
    fn drop(&mut self) {
        (self.0)("gone");
    }
}

/// A waker that uses the manager and a receipt, which needs that no lock is held.
fn looks(
    manager: &SessionManager,
    other: Option<Receipt<safepoint::request::SessionEnd>>,
) -> (Arc<CountingWaker>, Waker) {
    let (count, counts) = CountingWaker::waker();
    let manager = manager.clone();
    let acts = move |what| {
        until("it has looked around", || {
            for row in manager.sessions() {
                let _ = manager.pending_reason(row.id);
            }
            drop(manager.register_background("a waker"));
            if let Some(other) = &other {
                assert_eq!(other.try_get().is_some(), what == "woken", "{what}");
                let _ = other.pending_reason();
            }
        });
        counts.wake_by_ref();
    };
    (count, Waker::from(Arc::new(Acts(acts))))
}

/// The other receipt of the same session is complete as the first who waits is woken.
#[test]
fn a_woken_waiter_finds_the_outcome() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let kill = || manager.terminate(id, kill_now()).unwrap();
            let mut receipts = [kill(), kill()];
            let counts = receipts.each_mut().map(|receipt| {
                let (count, waker) = looks(&manager, Some(kill()));
                assert!(poll(Pin::new(receipt), &waker).is_pending());
                std::mem::forget(waker);
                count
            });
            session.close();
            assert_eq!(counts.map(|count| count.get()), [1, 1]);
        });
    });
}

#[test]
fn replaced_wakers_are_dropped_without_locks() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let counts = [(); 5].map(|()| looks(&manager, None));
            let [of_holder, no_holder, of_sleeper, sleepers_last, holders_last] = counts;
            let went = |count: Arc<CountingWaker>, what: &str| assert_eq!(count.get(), 1, "{what}");

            session.set_detached_waker(Some(of_holder.1));
            session.set_detached_waker(Some(no_holder.1));
            went(of_holder.0, "the holder's, by another");
            session.set_detached_waker(None);
            went(no_holder.0, "the holder's, by none");

            let attached = session.attach(&thread).unwrap();
            attached.wait(WaitMode::Interruptible, &of_sleeper.1, || ()).unwrap();
            drop(of_sleeper.1);
            attached.wait(WaitMode::Interruptible, &sleepers_last.1, || ()).unwrap();
            went(of_sleeper.0, "the sleeper's, by its next");
            drop(attached);

            let kill = || manager.terminate(id, kill_now()).unwrap();
            let mut receipt = kill();
            // These calls take the same lock.
            let [in_receipt, with_receipt] = [(); 2].map(|()| looks(&manager, Some(kill())));
            assert!(poll(Pin::new(&mut receipt), &in_receipt.1).is_pending());
            drop(in_receipt.1);
            assert!(poll(Pin::new(&mut receipt), Waker::noop()).is_pending());
            went(in_receipt.0, "a receipt's, by another");
            assert!(poll(Pin::new(&mut receipt), &with_receipt.1).is_pending());
            drop(with_receipt.1);
            drop(receipt);
            went(with_receipt.0, "a receipt's, with it");

            session.set_detached_waker(Some(holders_last.1));
            drop(sleepers_last.1);
            assert_eq!((sleepers_last.0.get(), holders_last.0.get()), (0, 0));
            // A later caller gets neither of them.
            let _asks = kill();
            session.close();
            went(sleepers_last.0, "the sleeper's, with its session");
            // This kill woke it, although the kill adds nothing: no waker was set at the first
            // request.
            assert_eq!(holders_last.0.get(), 2, "the holder's, with its session");
        });
    });
}

/// No waker is mistaken for another.
#[test]
fn wakers_of_two_sessions() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let other = manager.open(of("bob")).unwrap();
            let two = Two::new();
            session.set_detached_waker(Some(two.wakers[0].clone()));
            other.set_detached_waker(Some(two.wakers[1].clone()));
            let mut receipt = manager.terminate(id, kill_now()).unwrap();
            assert_eq!(two.woken(), [1, 0]);
            let mut others = manager.terminate(other.id(), kill_now()).unwrap();
            assert_eq!(two.woken(), [1, 1]);
            assert!(poll(Pin::new(&mut receipt), &two.wakers[0]).is_pending());
            assert!(poll(Pin::new(&mut others), &two.wakers[1]).is_pending());
            other.close();
            assert_eq!(two.woken(), [1, 2]);
            session.close();
            assert_eq!(two.woken(), [2, 2]);
        });
    });
}
