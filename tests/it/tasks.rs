//! Sessions as tasks: attached for the length of each poll.

use crate::common::{admin, joined, kill, kill_now, of, scope, supervised, until, wait_until};
use safepoint::diagnose::PendingReason;
use safepoint::request::{EndReason, InterruptKind, InterruptReason, RequestError, Target};
use safepoint::session::{AttachError, Timeouts};
use safepoint::task::RunError;
use safepoint::view::SessionState;
use safepoint::{
    Cancel, Session, SessionManager, Terminate, TerminateMode, ThreadModel, session_local,
};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{self, Future};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::<Woken>::default();
    (woken.clone(), Waker::from(woken))
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    until("the poll is over", || future.poll(&mut Context::from_waker(waker)))
}

fn pool() -> (SessionManager, Session) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(of("ann")).unwrap();
    (manager, session)
}

/// Waits once.
async fn one_turn() {
    let mut waited = false;
    future::poll_fn(|_| {
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn unwrap_interrupt(result: Result<(), RunError>) -> safepoint::Interrupt {
    match result {
        Err(RunError::Interrupted(interrupt)) => interrupt,
        other => panic!("interrupted: {other:?}"),
    }
}

#[test]
fn futures_of_a_session_are_send() {
    supervised(|| {
        fn sent<T: Send>(_: &T) {}
        let (_, mut session) = pool();
        sent(&session.interrupted());
        sent(&session.run(async {
            let _held = safepoint::current::hold_off("a test");
            one_turn().await;
        }));
    });
}

#[test]
fn an_idle_session_is_woken_by_a_termination() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        let mut interrupted = Box::pin(session.interrupted());
        assert!(poll(interrupted.as_mut(), &waker).is_pending());
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Idle);
        assert_eq!(woken.times(), 1);
        assert_eq!(receipt.pending_reason(), Some(PendingReason::Detached));
        let Poll::Ready(interrupt) = poll(interrupted.as_mut(), &waker) else {
            panic!("it is due")
        };
        assert_eq!(interrupt.request().reason(), InterruptReason::AdministratorCommand);
        assert!(matches!(receipt.pending_reason(), Some(PendingReason::RollingBack { .. })));
        drop(interrupted);
        session.close();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
    });
}

#[test]
fn a_dropped_future_is_not_woken() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (woken, waker) = woken();
        {
            let mut interrupted = pin!(session.interrupted());
            assert!(poll(interrupted.as_mut(), &waker).is_pending());
        }
        // A future that was never polled replaces no waker.
        let (left, detached) = self::woken();
        session.set_detached_waker(Some(detached));
        drop(session.interrupted());
        manager.terminate(session.id(), kill_now()).unwrap();
        assert_eq!((woken.times(), Arc::strong_count(&woken)), (0, 2));
        assert_eq!(left.times(), 1);
        // A later poll returns the interrupt at once.
        assert!(poll(pin!(session.interrupted()), &waker).is_ready());
    });
}

#[test]
fn a_cancel_ends_only_the_statement() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        {
            let mut run =
                pin!(session.run(future::pending::<()>()).with_text("select pg_sleep(9)"));
            assert!(matches!(
                manager.cancel(id, Cancel::running(admin("root"))),
                Err(RequestError::NoActiveStatement(_))
            ));
            assert!(poll(run.as_mut(), &waker).is_pending());
            let row = manager.session_info(id).unwrap();
            assert_eq!(
                (row.state, row.thread_id, row.waiting),
                (SessionState::Waiting, None, true)
            );
            assert_eq!(row.statement_text, "select pg_sleep(9)");
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            assert_eq!(
                (receipt.target().state, receipt.target().thread_id),
                (SessionState::Waiting, None)
            );
            assert_eq!(woken.times(), 1);
            assert_eq!(receipt.pending_reason(), Some(PendingReason::Queued));
            let Poll::Ready(result) = poll(run.as_mut(), &waker) else { panic!("it is due") };
            assert_eq!(unwrap_interrupt(result).kind(), InterruptKind::Cancel);
            assert!(receipt.try_get().unwrap().cancelled);
        }
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
        let Poll::Ready(result) = poll(pin!(session.run(async { 7 })), &waker) else { panic!() };
        assert_eq!(result.unwrap(), 7);
        let number = session.reserve_statement().unwrap();
        assert_eq!(number.get(), 3, "each run is a statement of its own");
    });
}

#[test]
fn a_command_that_was_cancelled_in_the_queue_does_not_run() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (_, waker) = woken();
        let named = Cancel::statement(session.reserve_statement().unwrap(), admin("root"));
        let receipt = manager.cancel(id, named).unwrap();
        let result = poll(pin!(session.run(async { panic!("it runs") })), &waker);
        let Poll::Ready(result) = result else { panic!("it waits") };
        assert_eq!(unwrap_interrupt(result).kind(), InterruptKind::Cancel);
        assert!(receipt.try_get().unwrap().cancelled);
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
    });
}

#[test]
fn a_cancel_during_a_poll_is_reported_after_it() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        let mut polls = 0;
        let future = future::poll_fn(|_| {
            polls += 1;
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            Poll::<()>::Pending
        });
        let Poll::Ready(result) = poll(pin!(session.run(future)), &waker) else {
            panic!("it is due")
        };
        assert_eq!(unwrap_interrupt(result).kind(), InterruptKind::Cancel);
        assert_eq!((polls, woken.times()), (1, 0));
    });
}

#[test]
fn a_deferred_termination_keeps_the_output() {
    supervised(|| {
        for when in [TerminateMode::AfterStatement, TerminateMode::AfterTransaction] {
            let (manager, mut session) = pool();
            let id = session.id();
            let (woken, waker) = woken();
            let mut run = Box::pin(session.run(async {
                one_turn().await;
                "output"
            }));
            assert!(poll(run.as_mut(), &waker).is_pending());
            let receipt = manager.terminate(id, kill(when)).unwrap();
            let why = receipt.pending_reason();
            let is_deferred =
                matches!(why, Some(PendingReason::Deferred { mode, .. }) if mode == when);
            assert!(is_deferred, "{why:?}");
            assert_eq!(woken.times(), 0);
            assert_eq!(poll(run.as_mut(), &waker), Poll::Ready(Ok("output")));
            drop(run);
            let Poll::Ready(interrupt) = poll(pin!(session.interrupted()), &waker) else {
                panic!("due")
            };
            assert!(interrupt.is_terminate());
            // It does not begin another statement either.
            let Poll::Ready(result) = poll(pin!(session.run(async {})), &waker) else { panic!() };
            assert!(unwrap_interrupt(result).is_terminate());
            session.close();
            assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        }
    });
}

#[test]
fn each_poll_has_its_own_thread_id() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (_, waker) = woken();
        let seen = std::sync::Mutex::new(BTreeSet::new());
        let see = || {
            let thread = safepoint::current::thread_id().expect("attached");
            assert_eq!(safepoint::current::session_id(), Some(id));
            assert_eq!(manager.session_info(id).unwrap().thread_id, Some(thread));
            let pair = Target::Pair(thread, id);
            let refused = manager.terminate(pair, kill(TerminateMode::AfterStatement)).map(|_| ());
            assert_eq!(refused, Ok(()), "it is there");
            seen.lock().unwrap().insert(thread);
        };
        let mut run = Box::pin(session.run(async {
            for _ in 0..3 {
                see();
                one_turn().await;
            }
        }));
        for turn in 0..3 {
            scope(|scope| {
                let run = run.as_mut();
                let (manager, waker, seen) = (&manager, &waker, &seen);
                let polled = scope.spawn_named(&format!("turn {turn}"), move || {
                    assert!(poll(run, waker).is_pending());
                    let mine = *seen.lock().unwrap().last().unwrap();
                    let row = manager.threads().into_iter().find(|row| row.id == mine).unwrap();
                    assert_eq!((&*row.name, row.session_id), (&*format!("turn {turn}"), None));
                    let pair = Target::Pair(mine, id);
                    assert!(manager.terminate(pair, kill_now()).is_err(), "it has left");
                });
                joined("its turn is over", polled);
            });
            assert_eq!(manager.session_info(id).unwrap().thread_id, None);
        }
        assert_eq!(seen.lock().unwrap().len(), 3);
        assert_eq!(manager.threads().len(), 0, "a thread that has ended is in no view");
        assert_eq!(poll(run.as_mut(), &waker), Poll::Ready(Ok(())));
    });
}

#[test]
fn a_hold_off_holds_across_an_await() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        let committed = AtomicBool::new(false);
        let mut run = Box::pin(session.run(async {
            let held = safepoint::current::hold_off("commit");
            one_turn().await;
            safepoint::check().expect("it is held off");
            committed.store(true, Ordering::SeqCst);
            drop(held);
            future::pending::<()>().await;
        }));
        assert!(poll(run.as_mut(), &waker).is_pending());
        let receipt = manager.terminate(id, kill_now()).unwrap();
        match receipt.pending_reason() {
            Some(PendingReason::HeldOff(held)) => assert_eq!(held.name, "commit"),
            other => panic!("{other:?}"),
        }
        assert_eq!(manager.session_info(id).unwrap().hold_off.unwrap().name, "commit");
        assert_eq!(woken.times(), 0);
        let Poll::Ready(result) = poll(run.as_mut(), &waker) else { panic!("it is due") };
        assert!(unwrap_interrupt(result).is_terminate());
        assert!(committed.load(Ordering::SeqCst));
    });
}

#[test]
fn a_hold_off_that_ends_on_another_thread_wakes_the_task() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        let kept = std::sync::Mutex::new(None);
        let mut run = Box::pin(session.run(async {
            *kept.lock().unwrap() = Some(safepoint::current::hold_off("replication"));
            future::pending::<()>().await;
        }));
        assert!(poll(run.as_mut(), &waker).is_pending());
        manager.terminate(id, kill_now()).unwrap();
        assert!(poll(run.as_mut(), &waker).is_pending(), "it is held off");
        let before = woken.times();
        let held = kept.lock().unwrap().take();
        drop(held);
        assert_eq!(woken.times(), before + 1);
        assert!(poll(run.as_mut(), &waker).is_ready());
    });
}

#[test]
fn a_hold_off_that_outlives_its_statement_holds_nothing_off() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (_, waker) = woken();
        let kept = std::sync::Mutex::new(None);
        let keep =
            async { *kept.lock().unwrap() = Some(safepoint::current::hold_off("forgotten")) };
        assert!(poll(pin!(session.run(keep)), &waker).is_ready());
        let mut run = Box::pin(session.run(async {
            let _held = safepoint::current::hold_off("another");
            kept.lock().unwrap().take();
            one_turn().await;
            safepoint::check().expect("the end of one is not the end of another");
            drop(_held);
            safepoint::check().expect_err("due");
        }));
        assert!(poll(run.as_mut(), &waker).is_pending());
        manager.terminate(id, kill_now()).unwrap();
        assert!(poll(run.as_mut(), &waker).is_ready());
    });
}

#[test]
fn dropping_a_run_ends_the_statement() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        struct Asks<'a>(&'a AtomicBool);
        impl Drop for Asks<'_> {
            fn drop(&mut self) {
                self.0.store(safepoint::current::session_id().is_some(), Ordering::SeqCst);
            }
        }
        let attached = AtomicBool::new(false);
        let mut run = Box::pin(
            session
                .run(async {
                    let _asks = Asks(&attached);
                    future::pending::<()>().await;
                })
                .with_text("select 1"),
        );
        assert!(poll(run.as_mut(), &waker).is_pending());
        let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        drop(run);
        assert!(attached.load(Ordering::SeqCst), "its destructors run in the session");
        assert!(!receipt.try_get().unwrap().cancelled, "nobody saw it");
        let row = manager.session_info(id).unwrap();
        assert_eq!((row.state, row.waiting, row.thread_id), (SessionState::Idle, false, None));
        assert!(woken.times() == 1);

        // The same where the thread runs another session.
        let worker = manager.register_worker("a worker").unwrap();
        let mut other = manager.open(of("bob")).unwrap();
        let mut run = Box::pin(session.run(async {
            let _asks = Asks(&attached);
            future::pending::<()>().await;
        }));
        assert!(poll(run.as_mut(), &waker).is_pending());
        let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        let attachment = other.attach(&worker).unwrap();
        drop(run);
        assert!(!attached.load(Ordering::SeqCst), "its destructors don't run in the other's");
        assert_eq!(safepoint::current::session_id(), Some(attachment.id()));
        assert!(!receipt.try_get().unwrap().cancelled);
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
        drop(attachment);
        assert!(poll(pin!(session.run(async {})), &waker).is_ready());
    });
}

#[test]
fn a_leaked_run_ends_at_the_next_attachment_or_the_end() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (_, waker) = woken();
        let mut run = Box::pin(session.run(future::pending::<()>()));
        assert!(poll(run.as_mut(), &waker).is_pending());
        std::mem::forget(run);
        let receipt = manager.cancel(session.id(), Cancel::running(admin("root"))).unwrap();
        assert_eq!(poll(pin!(session.run(async { 1 })), &waker), Poll::Ready(Ok(1)));
        assert!(!receipt.try_get().unwrap().cancelled);
        let mut run = Box::pin(session.run(future::pending::<()>()));
        assert!(poll(run.as_mut(), &waker).is_pending());
        std::mem::forget(run);
        let receipt = manager.terminate(session.id(), kill_now()).unwrap();
        session.close();
        assert!(
            matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)),
            "it was due"
        );
    });
}

#[test]
fn a_leaked_hold_off_ends_with_its_statement() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (woken, waker) = woken();
        let forgets = async { std::mem::forget(safepoint::current::hold_off("forgotten")) };
        assert!(poll(pin!(session.run(forgets)), &waker).is_ready());
        let mut run = Box::pin(session.run(future::pending::<()>()));
        assert!(poll(run.as_mut(), &waker).is_pending());
        manager.terminate(id, kill_now()).unwrap();
        assert_eq!(woken.times(), 1);
        assert!(poll(run.as_mut(), &waker).is_ready());
    });
}

#[test]
fn the_row_has_the_times_of_the_statement() {
    supervised(|| {
        let (manager, mut session) = pool();
        let id = session.id();
        let (_, waker) = woken();
        let takes_time = async { std::thread::sleep(Duration::from_millis(2)) };
        assert!(poll(pin!(session.run(takes_time).with_text("select 1")), &waker).is_ready());
        let row = manager.session_info(id).unwrap();
        assert!(row.changed_at > row.statement_started_at.unwrap(), "it has ended");
        let interrupted = format!("{:?}", session.interrupted());
        assert_eq!(interrupted, format!("Interrupted({id:?})"));
        assert!(format!("{:?}", session.run(async {})).contains(&format!("{id:?}")));
    });
}

#[test]
fn a_panic_ends_the_session() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (_, waker) = woken();
        let id = session.id();
        let panicked = {
            let mut run = Box::pin(session.run(async {
                one_turn().await;
                panic!("on purpose");
            }));
            assert!(poll(run.as_mut(), &waker).is_pending());
            let polled = std::panic::AssertUnwindSafe(|| poll(run.as_mut(), &waker).is_ready());
            std::panic::catch_unwind(polled)
        };
        assert!(panicked.is_err());
        let Poll::Ready(interrupt) = poll(pin!(session.interrupted()), &waker) else {
            panic!("due")
        };
        assert_eq!(interrupt.request().reason(), InterruptReason::InternalError);
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Idle);
        assert_eq!(session.close().reason, EndReason::Panicked);
    });
}

#[test]
fn a_thread_runs_one_session_at_a_time() {
    supervised(|| {
        let (manager, mut session) = pool();
        let mut other = manager.open(of("bob")).unwrap();
        let (_, waker) = woken();
        let nested = session.run(async move { other.run(async {}).await });
        let Poll::Ready(result) = poll(pin!(nested), &waker) else { panic!() };
        assert_eq!(result, Ok(Err(RunError::NotAttached(AttachError::ThreadBusy))));

        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(of("ann")).unwrap();
        let Poll::Ready(result) = poll(pin!(session.run(async {})), &waker) else { panic!() };
        let error = result.unwrap_err();
        assert_eq!(error, RunError::NotAttached(AttachError::WrongThread));
        assert_eq!(error.to_string(), "the session cannot be attached");
        let cause = std::error::Error::source(&error).expect("its cause");
        assert_eq!(cause.to_string(), AttachError::WrongThread.to_string());
    });
}

#[test]
fn a_thread_that_serves_two_managers_is_registered_with_both() {
    supervised(|| {
        let (_, waker) = woken();
        let thread = || safepoint::current::thread_id().expect("attached");
        let (one, mut ann) = pool();
        let (two, mut bob) = pool();
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            let both = [(&one, &mut ann), (&two, &mut bob)];
            for (at, (manager, session)) in both.into_iter().enumerate() {
                let run = session.run(async { thread() });
                let Poll::Ready(Ok(here)) = poll(pin!(run), &waker) else { panic!() };
                assert_eq!(manager.threads().len(), 1);
                assert_eq!(manager.threads()[0].id, here);
                seen.insert((at, here));
            }
        }
        assert_eq!(seen.len(), 2, "and stays so");
    });
}

session_local! {
    static COUNT: Cell<u32> = Cell::new(0);
}

#[test]
fn session_locals_and_the_transaction_follow_the_session() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (_, waker) = woken();
        let id = session.id();
        for turn in 1..=3 {
            scope(|scope| {
                let (session, waker) = (&mut session, &waker);
                scope.spawn(move || {
                    let run = session.run(async {
                        COUNT.set(COUNT.get() + 1);
                        safepoint::current::set_in_transaction(true);
                        COUNT.get()
                    });
                    assert_eq!(poll(pin!(run), waker), Poll::Ready(Ok(turn)));
                });
            });
            assert_eq!(manager.session_info(id).unwrap().state, SessionState::IdleInTransaction);
        }
    });
}

#[test]
fn a_timeout_ends_a_waiting_statement() {
    supervised(|| {
        let (_, mut session) = pool();
        let (woken, waker) = woken();
        let limit = Duration::from_millis(20);
        session.set_timeouts(Timeouts::new().with_statement(limit)).unwrap();
        let mut run = Box::pin(session.run(future::pending::<()>()));
        assert!(poll(run.as_mut(), &waker).is_pending());
        wait_until("the limit has run out", || woken.times() == 1);
        let Poll::Ready(result) = poll(run.as_mut(), &waker) else { panic!("it is due") };
        assert_eq!(unwrap_interrupt(result).request().reason(), InterruptReason::StatementTimeout);
    });
}

#[test]
fn a_probe_finds_a_waiting_task_not_running() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (_, waker) = woken();
        let id = session.id();
        let mut run = Box::pin(session.run(async {
            manager.probe(id).unwrap();
            one_turn().await;
        }));
        assert!(poll(run.as_mut(), &waker).is_pending());
        assert_eq!(manager.probe(id).unwrap(), safepoint::diagnose::ProbeResult::NotRunning);
        assert!(
            manager.session_info(id).unwrap().last_safe_point.is_some(),
            "to suspend is a safe point"
        );
    });
}

#[test]
#[should_panic(expected = "polled after its end")]
fn a_finished_run_is_not_polled_again() {
    supervised(|| {
        let (_, mut session) = pool();
        let (_, waker) = woken();
        let mut run = Box::pin(session.run(async {}));
        assert!(poll(run.as_mut(), &waker).is_ready());
        let _ = poll(run.as_mut(), &waker);
    });
}

/// `SET statement_timeout` and `SET application_name` are statements of the task's own session.
/// Between statements the owner can send requests in its name.
#[test]
fn a_task_sets_its_timeouts_and_client_info() {
    supervised(|| {
        let (manager, mut session) = pool();
        let (id, (_, waker)) = (session.id(), woken());
        let limits = Timeouts::new().with_idle(Duration::from_secs(3600));
        let sets = async {
            safepoint::current::set_timeouts(limits).unwrap().unwrap();
            one_turn().await;
            assert_eq!(safepoint::current::timeouts(), Some(limits));
            safepoint::current::update_client_info(|about| about.with_application("nightly"))
                .unwrap();
        };
        {
            let mut run = pin!(session.run(sets));
            assert!(poll(run.as_mut(), &waker).is_pending());
            assert_eq!(poll(run, &waker), Poll::Ready(Ok(())));
        }
        assert_eq!(session.timeouts(), limits);
        assert_eq!(manager.session_info(id).unwrap().client.application(), "nightly");
        let asked =
            manager.terminate(id, Terminate::new(TerminateMode::Immediate, session.requester()));
        assert_eq!(asked.unwrap().session(), id);
        assert_eq!(session.check().unwrap_err().request().requester().session(), Some(id));
    });
}
