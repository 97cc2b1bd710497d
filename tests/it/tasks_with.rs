//! Tasks whose future is notified of an interrupt, and cleans up.

use crate::common::{
    CountingWaker, admin, kill_now, locked, of, scope, supervised, until, wait_until,
};
use safepoint::diagnose::PendingReason;
use safepoint::request::{EndReason, InterruptReason};
use safepoint::session::{AttachError, StatementHandle, Timeouts};
use safepoint::task::{Returned, RunError};
use safepoint::view::SessionState;
use safepoint::{
    Cancel, Interrupt, Receipt, Session, SessionId, SessionManager, TerminateMode, ThreadModel,
    current,
};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

static_assertions::assert_impl_all!(
    safepoint::session::StatementInterrupted: Send, Sync, Unpin, std::fmt::Debug
);

/// A grace that expires in no test.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A grace that a test waits for.
const SHORT: Duration = Duration::from_millis(20);

fn pool() -> (SessionManager, Session, SessionId) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(of("ann")).unwrap();
    let id = session.id();
    (manager, session, id)
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    until("the poll is over", || future.poll(&mut Context::from_waker(waker)))
}

fn ready<F: Future>(future: Pin<&mut F>) -> F::Output {
    match poll(future, Waker::noop()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn waits<F: Future>(future: Pin<&mut F>, waker: &Waker) {
    assert!(poll(future, waker).is_pending());
}

fn cancel(manager: &SessionManager, id: SessionId) -> Receipt<safepoint::request::StatementEnd> {
    manager.cancel(id, Cancel::running(admin("root"))).unwrap()
}

fn cancelled(receipt: &Receipt<safepoint::request::StatementEnd>) -> Option<bool> {
    receipt.try_get().map(|end| end.cancelled)
}

fn reason(interrupt: &Interrupt) -> InterruptReason {
    interrupt.request().reason()
}

fn drops<T: std::fmt::Debug>(ran: Result<Returned<T>, RunError>) -> Interrupt {
    match ran {
        Err(RunError::Interrupted(interrupt)) => interrupt,
        other => panic!("dropped: {other:?}"),
    }
}

/// Waits once.
async fn one_turn() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

#[test]
fn an_output_without_an_interrupt() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        fn sent<T: Send>(future: T) -> T {
            future
        }
        let (rows, seen) = (vec![1, 2, 3], Mutex::new(None));
        let work = async |handle: StatementHandle| {
            *locked(&seen) = Some((handle.session_id(), handle.statement_id().get()));
            assert_eq!(handle.check(), Ok(()));
            one_turn().await;
            rows.len()
        };
        let mut run = Box::pin(sent(session.run_with(work).with_text("select 3")));
        assert!(format!("{run:?}").contains(&format!("{id:?}")));
        waits(run.as_mut(), Waker::noop());
        let row = manager.session_info(id).unwrap();
        assert_eq!((row.state, &*row.statement_text), (SessionState::Waiting, "select 3"));
        let Returned { output, interrupt, .. } = ready(run.as_mut()).unwrap();
        assert_eq!((output, interrupt), (3, None));
        assert_eq!(*locked(&seen), Some((id, 1)));
        let again = catch_unwind(AssertUnwindSafe(|| poll(run.as_mut(), Waker::noop()).is_ready()));
        assert!(again.is_err(), "it is over");
        drop(run);
        let row = manager.session_info(id).unwrap();
        assert_eq!((row.state, row.helper_count), (SessionState::Idle, 0));
    });
}

/// The client gets the result of the commit, and then learns of the cancel.
#[test]
fn a_future_that_is_told_cleans_up_and_returns() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (woken, waker) = CountingWaker::waker();
        let mut run = pin!(
            session
                .run_with(async |handle| {
                    let interrupt = handle.interrupted().await;
                    one_turn().await;
                    assert_eq!(handle.check(), Err(interrupt.clone()));
                    (interrupt, "rolled back")
                })
                .with_grace(LONG)
        );
        waits(run.as_mut(), &waker);
        let receipt = cancel(&manager, id);
        assert!(woken.get() > 0);
        waits(run.as_mut(), &waker);
        assert!(matches!(receipt.pending_reason(), Some(PendingReason::RollingBack { .. })));
        let Returned { output, interrupt, .. } = ready(run.as_mut()).unwrap();
        assert_eq!(reason(&output.0), InterruptReason::UserRequest);
        assert_eq!((output.1, interrupt), ("rolled back", Some(output.0)));
        assert_eq!(cancelled(&receipt), Some(true));
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
    });
}

#[test]
fn a_future_that_is_not_told_has_completed() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        for terminates in [false, true] {
            let mut run = pin!(session.run_with(async |_| {
                one_turn().await;
                one_turn().await;
                7
            }));
            waits(run.as_mut(), Waker::noop());
            let receipt = if terminates {
                manager.terminate(id, kill_now()).unwrap();
                None
            } else {
                Some(cancel(&manager, id))
            };
            waits(run.as_mut(), Waker::noop());
            assert_eq!(ready(run.as_mut()).map(|ran| (ran.output, ran.interrupt)), Ok((7, None)));
            if let Some(receipt) = receipt {
                assert_eq!(cancelled(&receipt), Some(false), "as if it had come too late");
            }
        }
        assert!(session.check().unwrap_err().is_terminate(), "it is still due");
    });
}

#[test]
fn an_interrupt_before_the_first_poll_begins_nothing() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let begun = AtomicBool::new(false);
        let begins = async |_| begun.store(true, Ordering::SeqCst);
        // Never polled.
        let number = session.reserve_statement().unwrap();
        let receipt = manager.cancel(id, Cancel::statement(number, admin("root"))).unwrap();
        drop(session.run_with(begins));
        assert_eq!(cancelled(&receipt), Some(false));
        let number = session.reserve_statement().unwrap();
        let receipt = manager.cancel(id, Cancel::statement(number, admin("root"))).unwrap();
        assert!(!drops(ready(pin!(session.run_with(begins)))).is_terminate());
        assert_eq!(cancelled(&receipt), Some(true));
        {
            let run = pin!(session.run_with(begins));
            manager.terminate(id, kill_now()).unwrap();
            assert!(drops(ready(run)).is_terminate());
        }
        assert!(!begun.load(Ordering::SeqCst));
    });
}

/// The interrupt falls due during a poll: the future is polled again at once, and then waits.
#[test]
fn an_interrupt_during_a_poll_is_noticed_at_once() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (polls, (_woken, waker)) = (AtomicUsize::new(0), CountingWaker::waker());
        let mut run = pin!(session.run_with(async |handle| {
            poll_fn(|_| {
                if polls.fetch_add(1, Ordering::SeqCst) == 0 {
                    cancel(&manager, id);
                    return Poll::Pending;
                }
                assert_eq!(handle.check().map_err(|told| reason(&told)), {
                    Err(InterruptReason::UserRequest)
                });
                Poll::<()>::Pending
            })
            .await;
        }));
        waits(run.as_mut(), &waker);
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    });
}

/// Wherever it waits, and although nothing else wakes it.
#[test]
fn a_future_that_does_not_return_is_dropped_after_the_grace() {
    supervised(|| {
        for terminates in [false, true] {
            let (manager, mut session, id) = pool();
            let (woken, waker) = CountingWaker::waker();
            let seen = Arc::new(Mutex::new(Vec::new()));
            struct Sees(Arc<Mutex<Vec<Option<SessionId>>>>);
            impl Drop for Sees {
                fn drop(&mut self) {
                    locked(&self.0).push(current::session_id());
                }
            }
            let sees = Sees(seen.clone());
            let mut run = Box::pin(
                session
                    .run_with(async |_| {
                        let _sees = sees;
                        pending::<()>().await;
                    })
                    .with_text("ignores it")
                    .with_grace(SHORT),
            );
            waits(run.as_mut(), &waker);
            let receipt = if terminates {
                manager.terminate(id, kill_now()).unwrap();
                None
            } else {
                Some(cancel(&manager, id))
            };
            let before = woken.get();
            assert_eq!(before, 1);
            let told = match poll(run.as_mut(), &waker) {
                Poll::Ready(ran) => drops(ran), // This thread is slow.
                Poll::Pending => {
                    wait_until("the grace is over", || woken.get() > before);
                    drops(ready(run.as_mut()))
                }
            };
            assert_eq!(told.is_terminate(), terminates);
            assert_eq!(*locked(&seen), [Some(id)], "dropped in its session");
            if let Some(receipt) = receipt {
                assert_eq!(cancelled(&receipt), Some(true));
                drop(run);
                assert_eq!(ready(pin!(session.run(async { 7 }))), Ok(7));
            }
        }
    });
}

#[test]
fn without_a_grace_the_future_is_dropped_at_once() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let mut run =
            pin!(session.run_with(async |_| pending::<()>().await).with_grace(Duration::ZERO));
        waits(run.as_mut(), Waker::noop());
        cancel(&manager, id);
        drops(ready(run));
        assert_eq!(manager.threads().iter().filter(|row| !row.is_worker).count(), 0, "no timer");
    });
}

#[test]
fn a_grace_without_an_end() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let mut run =
            pin!(session.run_with(async |_| pending::<()>().await).with_grace(Duration::MAX));
        waits(run.as_mut(), Waker::noop());
        cancel(&manager, id);
        waits(run.as_mut(), Waker::noop());
        waits(run.as_mut(), Waker::noop());
        assert_eq!(manager.threads().iter().filter(|row| !row.is_worker).count(), 0, "no timer");
    });
}

/// It is queued until it is polled. Then it waits for something, and has passed no safe point.
#[test]
fn why_a_future_in_its_grace_has_not_ended() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let future = async |_| pending::<()>().await;
        let mut run = Box::pin(session.run_with(future).with_grace(LONG));
        waits(run.as_mut(), Waker::noop());
        let receipt = cancel(&manager, id);
        assert_eq!(receipt.pending_reason(), Some(PendingReason::Queued));
        waits(run.as_mut(), Waker::noop());
        let why = receipt.pending_reason();
        assert!(matches!(why, Some(PendingReason::NoSafePoint { .. })), "{why:?}");
        drop(run);
        assert_eq!(receipt.pending_reason(), None);
        // The next statement has no part in it.
        let mut run = Box::pin(session.run(pending::<()>()));
        waits(run.as_mut(), Waker::noop());
        assert_eq!(cancel(&manager, id).pending_reason(), Some(PendingReason::Queued));
    });
}

/// A termination comes while the future cleans up after a cancel.
#[test]
fn a_stronger_interrupt_reaches_a_future_that_cleans_up() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (woken, waker) = CountingWaker::waker();
        let mut run = Box::pin(
            session
                .run_with(async |handle| {
                    let first = handle.interrupted().await;
                    one_turn().await;
                    (first.is_terminate(), handle.interrupted().await)
                })
                .with_grace(LONG),
        );
        waits(run.as_mut(), &waker);
        let cancel = cancel(&manager, id);
        waits(run.as_mut(), &waker);
        let before = woken.get();
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert!(woken.get() > before, "it is woken again");
        let Returned { output: (first, second), interrupt, .. } = ready(run.as_mut()).unwrap();
        assert!(!first && second.is_terminate());
        assert_eq!(interrupt, Some(second));
        assert_eq!(cancelled(&cancel), Some(true));
        assert_eq!(receipt.try_get(), None);
        drop(run);
        assert!(matches!(session.close().reason, EndReason::Terminated(_)));
    });
}

#[test]
fn a_stronger_interrupt_does_not_extend_the_grace() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let mut run = Box::pin(session.run_with(async |_| pending::<()>().await).with_grace(SHORT));
        waits(run.as_mut(), Waker::noop());
        cancel(&manager, id);
        if let Poll::Ready(ran) = poll(run.as_mut(), Waker::noop()) {
            drops(ran); // This thread is slow.
            return;
        }
        std::thread::sleep(SHORT);
        manager.terminate(id, kill_now()).unwrap();
        assert!(drops(ready(run.as_mut())).is_terminate());
    });
}

#[test]
fn a_hold_off_delays_the_telling_and_the_grace() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (woken, waker) = CountingWaker::waker();
        let kept = Mutex::new(None);
        let told = AtomicBool::new(false);
        let mut run = pin!(
            session
                .run_with(async |handle| {
                    *locked(&kept) = Some(current::hold_off("a commit"));
                    let interrupt = handle.interrupted().await;
                    told.store(true, Ordering::SeqCst);
                    interrupt
                })
                .with_grace(LONG)
        );
        waits(run.as_mut(), &waker);
        cancel(&manager, id);
        assert_eq!(woken.get(), 0);
        waits(run.as_mut(), &waker);
        assert!(!told.load(Ordering::SeqCst));
        // On another thread.
        scope(|s| {
            s.spawn(|| drop(locked(&kept).take()));
        });
        assert!(woken.get() > 0);
        assert!(ready(run).unwrap().interrupt.is_some());
    });
}

/// The future has the whole grace after it was notified.
#[test]
fn a_grace_begins_after_a_hold_off() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let grace = Duration::from_millis(500);
        let mut run = pin!(
            session
                .run_with(async |handle| {
                    let held = current::hold_off("a commit");
                    one_turn().await;
                    std::thread::sleep(grace);
                    drop(held);
                    one_turn().await;
                    handle.interrupted().await
                })
                .with_grace(grace)
        );
        waits(run.as_mut(), Waker::noop());
        cancel(&manager, id);
        assert!(ready(run).unwrap().interrupt.is_some());
    });
}

/// A hold-off during the clean-up delays the drop at the end of the grace.
#[test]
fn a_future_in_a_hold_off_is_not_dropped() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (woken, waker) = CountingWaker::waker();
        let kept = Mutex::new(None);
        let mut run = pin!(
            session
                .run_with(async |handle| {
                    handle.interrupted().await;
                    *locked(&kept) = Some(current::hold_off("a rollback"));
                    pending::<()>().await;
                })
                .with_grace(SHORT)
        );
        waits(run.as_mut(), &waker);
        cancel(&manager, id);
        if let Poll::Ready(ran) = poll(run.as_mut(), &waker) {
            drops(ran); // This thread is slow.
            return;
        }
        // The grace began before.
        std::thread::sleep(SHORT);
        waits(run.as_mut(), &waker);
        let before = woken.get();
        drop(locked(&kept).take());
        assert!(woken.get() > before);
        drops(ready(run));
    });
}

/// Its values are dropped in the statement.
#[test]
fn the_future_is_dropped_before_its_statement_ends() {
    supervised(|| {
        struct Sees(Arc<Mutex<Option<(bool, bool)>>>);
        impl Drop for Sees {
            fn drop(&mut self) {
                let seen = (current::session_id().is_some(), current::statement("x").is_some());
                *locked(&self.0) = Some(seen);
            }
        }
        let (_manager, mut session, _) = pool();
        let seen = Arc::new(Mutex::new(None));
        let sees = Sees(seen.clone());
        let future = poll_fn(move |_| {
            let _sees = &sees;
            Poll::Ready(())
        });
        ready(pin!(session.run(future))).unwrap();
        assert_eq!(*locked(&seen), Some((true, true)));
    });
}

#[test]
fn a_run_that_is_dropped_ends_its_statement() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        for told in [false, true] {
            let mut run = Box::pin(
                session
                    .run_with(async |handle| {
                        if told {
                            handle.interrupted().await;
                        }
                        pending::<()>().await;
                    })
                    .with_grace(LONG),
            );
            waits(run.as_mut(), Waker::noop());
            let receipt = cancel(&manager, id);
            waits(run.as_mut(), Waker::noop());
            drop(run);
            assert_eq!(cancelled(&receipt), Some(told));
            assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
        }
    });
}

#[test]
fn a_panic_while_it_cleans_up_ends_the_session() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let mut kept = None;
        {
            let mut run = pin!(session.run_with(async |handle| {
                kept = Some(handle.clone());
                handle.interrupted().await;
                panic!("on purpose");
            }));
            waits(run.as_mut(), Waker::noop());
            cancel(&manager, id);
            let panics = AssertUnwindSafe(|| drop(poll(run.as_mut(), Waker::noop())));
            catch_unwind(panics).unwrap_err();
        }
        let handle = kept.unwrap();
        let ended = ready(pin!(handle.interrupted()));
        assert_eq!(reason(&ended), InterruptReason::StatementEnded);
        assert_eq!(session.close().reason, EndReason::Panicked);
    });
}

#[test]
fn a_thread_that_is_busy_runs_no_second_session() {
    supervised(|| {
        let (manager, mut session, _) = pool();
        let mut other = manager.open(of("bob")).unwrap();
        let nested = session.run_with(async move |_| other.run_with(async |_| ()).await);
        let ran = ready(pin!(nested)).unwrap().output;
        assert_eq!(ran, Err(RunError::NotAttached(AttachError::ThreadBusy)));
    });
}

#[test]
fn a_timeout_is_told() {
    supervised(|| {
        let (_manager, mut session, _) = pool();
        session.set_timeouts(Timeouts::new().with_statement(SHORT)).unwrap();
        let (woken, waker) = CountingWaker::waker();
        let mut run = pin!(session.run_with(async |handle| handle.interrupted().await));
        let told = match poll(run.as_mut(), &waker) {
            Poll::Ready(ran) => ran.unwrap().output, // This thread is slow.
            Poll::Pending => {
                wait_until("the timeout has expired", || woken.get() > 0);
                ready(run).unwrap().output
            }
        };
        assert_eq!(reason(&told), InterruptReason::StatementTimeout);
    });
}

/// The grace of a task delays no timeout of its session.
#[test]
fn a_timeout_in_the_grace_is_told() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let (woken, waker) = CountingWaker::waker();
        let mut run = pin!(
            session
                .run_with(async |handle| {
                    handle.interrupted().await;
                    let limits = Timeouts::new().with_transaction(SHORT);
                    current::set_timeouts(limits).unwrap().unwrap();
                    while !handle.interrupted().await.is_terminate() {
                        one_turn().await;
                    }
                })
                .with_grace(LONG)
        );
        waits(run.as_mut(), &waker);
        cancel(&manager, id);
        let before = woken.get();
        if let Poll::Ready(ran) = poll(run.as_mut(), &waker) {
            panic!("nothing has expired: {ran:?}");
        }
        wait_until("the transaction's timeout has expired", || woken.get() > before);
        let told = ready(run).unwrap().interrupt.unwrap();
        assert_eq!(reason(&told), InterruptReason::TransactionTimeout);
    });
}

/// `SET statement_timeout`, `SET application_name` and `pg_cancel_backend()` within the statement.
#[test]
fn the_ambient_functions_find_the_session() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let limits = Timeouts::new().with_idle(Duration::from_secs(3600));
        {
            let mut run = pin!(session.run_with(async |_| {
                current::set_timeouts(limits).unwrap().unwrap();
                one_turn().await;
                assert_eq!(current::timeouts(), Some(limits));
                current::update_client_info(|about| about.with_application("nightly")).unwrap();
                current::requester()
            }));
            waits(run.as_mut(), Waker::noop());
            let requester = ready(run).unwrap().output.expect("it runs a session");
            assert_eq!((requester.session(), requester.user()), (Some(id), Some("ann")));
        }
        assert_eq!(session.timeouts(), limits);
        assert_eq!(manager.session_info(id).unwrap().client.application(), "nightly");
    });
}

/// They work in the clean-up too.
#[test]
fn the_ambient_functions_find_the_session_of_an_interrupted_future() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let limits = Timeouts::new().with_statement(LONG);
        let mut run = pin!(session.run_with(async |handle| {
            handle.interrupted().await;
            current::set_timeouts(limits).unwrap().unwrap();
            current::update_client_info(|about| about.with_application("undone")).unwrap();
            (current::timeouts(), current::requester().unwrap().session())
        }));
        waits(run.as_mut(), Waker::noop());
        cancel(&manager, id);
        assert_eq!(ready(run).unwrap().output, (Some(limits), Some(id)));
        assert_eq!(manager.session_info(id).unwrap().client.application(), "undone");
    });
}

// Listeners.

/// In the future of the statement, in a helper, and elsewhere, each with a waker of its own.
#[test]
fn all_listeners_are_woken() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let kept = Mutex::new(None);
        let mut run = pin!(session.run_with(async |handle| {
            *locked(&kept) = Some(handle.clone());
            handle.interrupted().await
        }));
        waits(run.as_mut(), Waker::noop());
        let handle = locked(&kept).take().unwrap();
        let (free, mine) = (CountingWaker::waker(), CountingWaker::waker());
        let helper = CountingWaker::waker();
        let mut listeners = [(); 2].map(|()| Box::pin(handle.interrupted()));
        let mut wrapped = Box::pin(handle.wrap_future(handle.interrupted()));
        let mut tracked = Box::pin(handle.track_future(handle.interrupted()));
        assert_eq!(manager.session_info(id).unwrap().helper_count, 2, "listeners are no helpers");
        for listener in &mut listeners {
            waits(listener.as_mut(), &free.1);
        }
        waits(wrapped.as_mut(), &mine.1);
        waits(tracked.as_mut(), &helper.1);
        let receipt = cancel(&manager, id);
        assert_eq!(free.0.get(), 2);
        assert!(mine.0.get() > 0 && helper.0.get() > 0);
        for listener in &mut listeners {
            assert_eq!(reason(&ready(listener.as_mut())), InterruptReason::UserRequest);
        }
        assert_eq!(reason(&ready(tracked.as_mut())), InterruptReason::UserRequest);
        assert_eq!(reason(&ready(wrapped.as_mut()).unwrap_err()), InterruptReason::UserRequest);
        assert_eq!(receipt.try_get(), None, "the statement runs");
        ready(run).unwrap();
        assert_eq!(cancelled(&receipt), Some(true), "although listeners are left");
        assert_eq!(reason(&ready(listeners[0].as_mut())), InterruptReason::StatementEnded);
        assert_eq!(
            format!("{:?}", listeners[0]),
            format!(
                "StatementInterrupted {{ session: {id:?}, statement: {:?}, .. }}",
                handle.statement_id()
            )
        );
    });
}

#[test]
fn the_end_of_the_statement_wakes_listeners() {
    supervised(|| {
        for ends in 0..3 {
            let (_manager, mut session, _) = pool();
            let kept = Mutex::new(None);
            let mut run = Box::pin(session.run_with(async |handle| {
                *locked(&kept) = Some(handle);
                one_turn().await;
            }));
            waits(run.as_mut(), Waker::noop());
            let handle = locked(&kept).take().unwrap();
            let (woken, waker) = CountingWaker::waker();
            let mut listener = pin!(handle.interrupted());
            waits(listener.as_mut(), &waker);
            match ends {
                0 => assert!(ready(run.as_mut()).is_ok()),
                1 => drop(run),
                _ => {
                    std::mem::forget(run);
                    session.close();
                }
            }
            assert_eq!(woken.get(), 1);
            assert_eq!(reason(&ready(listener)), InterruptReason::StatementEnded);
            assert_eq!(reason(&ready(pin!(handle.interrupted()))), InterruptReason::StatementEnded);
        }
    });
}

/// A listener that is dropped leaves no waker behind.
#[test]
fn a_listener_that_is_dropped_is_not_woken() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let kept = Mutex::new(None);
        let mut run = pin!(session.run_with(async |handle| {
            *locked(&kept) = Some(handle);
            pending::<()>().await;
        }));
        waits(run.as_mut(), Waker::noop());
        let handle = locked(&kept).take().unwrap();
        let ((woken, waker), (replaced, first)) = (CountingWaker::waker(), CountingWaker::waker());
        let mut kept = pin!(handle.interrupted());
        waits(kept.as_mut(), &first);
        {
            let mut dropped = pin!(handle.interrupted());
            waits(dropped.as_mut(), &first);
        }
        waits(kept.as_mut(), &waker);
        assert_eq!(Arc::strong_count(&replaced), 2, "the test's own and its waker's");
        cancel(&manager, id);
        assert_eq!((replaced.get(), woken.get()), (0, 1));
    });
}

/// A termination that is deferred to the end of the statement lets its listeners wait.
#[test]
fn a_deferred_termination_is_not_told() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let kept = Mutex::new(None);
        let mut run = Box::pin(session.run_with(async |handle| {
            *locked(&kept) = Some(handle);
            one_turn().await;
            7
        }));
        waits(run.as_mut(), Waker::noop());
        let handle = locked(&kept).take().unwrap();
        let mut listener = pin!(handle.interrupted());
        waits(listener.as_mut(), Waker::noop());
        manager.terminate(id, crate::common::kill(TerminateMode::AfterStatement)).unwrap();
        waits(listener.as_mut(), Waker::noop());
        let Returned { output, interrupt, .. } = ready(run.as_mut()).unwrap();
        assert_eq!((output, interrupt), (7, None));
        assert_eq!(reason(&ready(listener)), InterruptReason::StatementEnded);
        drop(run);
        assert!(session.check().unwrap_err().is_terminate());
    });
}
