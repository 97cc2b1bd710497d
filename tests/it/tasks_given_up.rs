//! Tasks whose statement does not finish: it is dropped, rejected or leaked.

use crate::common::{CountingWaker, ParkedSession, admin, kill_now, locked, of, supervised, until};
use safepoint::request::{EndReason, InterruptReason, StatementEnd, Target};
use safepoint::session::AttachError;
use safepoint::task::RunError;
use safepoint::view::SessionState;
use safepoint::{
    Attached, Cancel, Receipt, Session, SessionId, SessionManager, Thread, ThreadModel,
};
use std::future::{self, Future};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

fn pool() -> (SessionManager, Session, SessionId) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(of("ann")).unwrap();
    let id = session.id();
    (manager, session, id)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    until("the poll is over", || future.poll(&mut Context::from_waker(Waker::noop())))
}

/// While another session runs on the calling thread.
fn with_another<T>(manager: &SessionManager, run: impl FnOnce() -> T) -> T {
    let mut other = manager.open(of("bob")).unwrap();
    let thread = manager.register_worker("the calling thread").unwrap();
    let _attached = other.attach(&thread).unwrap();
    run()
}

const BUSY: RunError = RunError::NotAttached(AttachError::ThreadBusy);
fn was_not_cancelled(receipt: &Receipt<StatementEnd>) -> bool {
    receipt.try_get().is_some_and(|end| !end.cancelled)
}

#[test]
fn a_run_that_is_never_polled_discards_its_cancel() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let first = session.reserve_statement().unwrap();
        let receipt = manager.cancel(id, Cancel::statement(first, admin("root"))).unwrap();
        drop(session.run(async {}));
        assert!(was_not_cancelled(&receipt));
        assert_ne!(session.reserve_statement(), Some(first));
        assert_eq!(poll(pin!(session.run(async { 2 }))), Poll::Ready(Ok(2)));
    });
}

#[test]
fn a_run_on_a_busy_thread_discards_its_cancel() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let first = session.reserve_statement().unwrap();
        let receipt = manager.cancel(id, Cancel::statement(first, admin("root"))).unwrap();
        {
            let mut run = pin!(session.run(async {}));
            assert_eq!(with_another(&manager, || poll(run.as_mut())), Poll::Ready(Err(BUSY)));
            assert!(was_not_cancelled(&receipt));
        }
        assert_eq!(poll(pin!(session.run(async { 2 }))), Poll::Ready(Ok(2)));
    });
}

#[test]
fn a_statement_that_cannot_continue_ends_at_once() {
    supervised(|| {
        struct Dropped<'a>(&'a AtomicBool);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                assert_eq!(safepoint::current::session_id(), None, "another session's");
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (manager, mut session, id) = pool();
        let dropped = AtomicBool::new(false);
        let mut run = Box::pin(session.run(async {
            let _dropped = Dropped(&dropped);
            future::pending::<()>().await;
        }));
        assert!(poll(run.as_mut()).is_pending());
        let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        assert_eq!(with_another(&manager, || poll(run.as_mut())), Poll::Ready(Err(BUSY)));
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(manager.session_info(id).unwrap().statement_id, None);
        assert!(was_not_cancelled(&receipt));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()))).is_err(), "it is over");
    });
}

#[test]
fn a_destructor_that_panics_ends_its_session() {
    supervised(|| {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        for busy in [false, true] {
            let (manager, mut session, id) = pool();
            let mut run = Box::pin(session.run(async {
                let _panics = Panics;
                future::pending::<()>().await;
            }));
            assert!(poll(run.as_mut()).is_pending());
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let give_up = || catch_unwind(AssertUnwindSafe(|| drop(run)));
            let panicked = if busy { with_another(&manager, give_up) } else { give_up() };
            assert!(panicked.is_err());
            assert!(was_not_cancelled(&receipt));
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            let Poll::Ready(interrupt) = poll(pin!(session.interrupted())) else {
                panic!("it is due")
            };
            assert_eq!(interrupt.request().reason(), InterruptReason::InternalError);
            assert_eq!(session.close().reason, EndReason::Panicked);
        }
    });
}

#[test]
fn a_leaked_run_does_not_block_its_task() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        let mut run = Box::pin(session.run(future::pending::<()>()));
        assert!(poll(run.as_mut()).is_pending());
        let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        std::mem::forget(run);
        let (woken, waker) = CountingWaker::waker();
        let mut interrupted = pin!(session.interrupted());
        assert!(was_not_cancelled(&receipt), "its statement is over");
        assert!(interrupted.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        manager.terminate(id, kill_now()).unwrap();
        assert_eq!(woken.get(), 1);
        assert!(poll(interrupted).is_ready());
    });
}

/// The session is terminated, or its queued command cancelled, before the first poll.
#[test]
fn a_future_that_does_not_begin_is_dropped_in_its_session() {
    supervised(|| {
        struct Sees(Arc<Mutex<Option<SessionId>>>);
        impl Drop for Sees {
            fn drop(&mut self) {
                *locked(&self.0) = safepoint::current::session_id();
            }
        }
        for cancelled in [false, true] {
            let (manager, mut session, id) = pool();
            if cancelled {
                let number = session.reserve_statement().unwrap();
                manager.cancel(id, Cancel::statement(number, admin("root"))).unwrap();
            } else {
                manager.terminate(id, kill_now()).unwrap();
            }
            let seen = Arc::default();
            let sees = Sees(Arc::clone(&seen));
            let mut run = pin!(session.run(async move { drop(sees) }));
            let Poll::Ready(Err(RunError::Interrupted(why))) = poll(run.as_mut()) else { panic!() };
            assert_eq!(why.is_terminate(), !cancelled);
            assert_eq!(*locked(&seen), Some(id));
        }
    });
}

fn forget_a_run(session: &mut Session) {
    let mut run = Box::pin(session.run(future::pending::<()>()));
    assert!(poll(run.as_mut()).is_pending());
    std::mem::forget(run);
}

#[test]
fn each_call_after_a_leaked_run_ends_it() {
    supervised(|| {
        let over = |what: &str, next: &dyn Fn(&SessionManager, &mut Session)| {
            let (manager, mut session, id) = pool();
            forget_a_run(&mut session);
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            next(&manager, &mut session);
            assert!(was_not_cancelled(&receipt), "{what}");
            assert_eq!(poll(pin!(session.run(async { 2 }))), Poll::Ready(Ok(2)), "{what}");
        };
        over("run", &|_, session| drop(poll(pin!(session.run(async {})))));
        over("queue", &|_, session| {
            assert_eq!(session.reserve_statement().map(|number| number.get()), Some(2))
        });
        over("due", &|manager, session| {
            session.check().unwrap();
            assert_eq!(manager.session_info(session.id()).unwrap().state, SessionState::Idle);
        });
        over("waker", &|manager, session| {
            let (woken, waker) = CountingWaker::waker();
            session.set_detached_waker(Some(waker));
            assert!(manager.cancel(session.id(), Cancel::running(admin("root"))).is_err());
            assert_eq!(woken.get(), 0);
        });
        over("attach", &|manager, session| {
            let thread = manager.register_worker("worker").unwrap();
            let mut attached = session.attach(&thread).unwrap();
            attached.check().unwrap();
            attached.begin().unwrap().finish().unwrap();
        });
    });
}

/// Its waker is no longer the one that a request wakes.
#[test]
fn an_idle_session_is_woken_after_a_leaked_run() {
    supervised(|| {
        let (manager, mut session, id) = pool();
        forget_a_run(&mut session);
        let parked = ParkedSession::leave(session);
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        assert_eq!(locked(&parked.interrupts).len(), 1);
    });
}

/// An attachment may be dropped with the future of another session.
#[test]
fn an_attachment_moved_into_a_run_is_detached() {
    supervised(|| {
        let (manager, mut session, _) = pool();
        let mut other = manager.open(of("bob")).unwrap();
        let thread = manager.register_worker("worker").unwrap();
        let attached = session.attach(&thread).unwrap();
        drop(other.run(async move { drop(attached) }));
        assert_eq!(safepoint::current::session_id(), None);
        session.attach(&thread).unwrap().check().unwrap();

        /// Attaches another session to the same thread, and drops them in the order of attaching.
        struct Crosses<'a>(Option<Attached<'a>>, &'a mut Session, &'a Thread);
        impl Drop for Crosses<'_> {
            fn drop(&mut self) {
                let second = self.1.attach(self.2).unwrap();
                self.0 = None;
                assert_eq!(safepoint::current::session_id(), Some(second.id()));
            }
        }
        let (mut third, elsewhere) =
            (manager.open(of("eve")).unwrap(), manager.register_worker("two"));
        let id = session.id();
        let elsewhere = elsewhere.unwrap();
        {
            let attached = session.attach(&thread).unwrap();
            let crosses = Crosses(Some(attached), &mut third, &elsewhere);
            drop(other.run(async move { drop(crosses) }));
        }
        assert_eq!(safepoint::current::session_id(), None);
        let attached = session.attach(&thread).unwrap();
        assert_eq!(safepoint::current::session_id(), Some(id));
        drop(attached);
    });
}

#[test]
fn a_future_that_panicked_is_not_dropped_in_another_session() {
    supervised(|| {
        let (manager, mut session, _) = pool();
        let mut other = manager.open(of("bob")).unwrap();
        let thread = manager.register_worker("worker").unwrap();
        let seen = Arc::new(Mutex::new(None));
        let says = Says(seen.clone());
        let mut run = Box::pin(session.run(future::poll_fn(move |_| -> Poll<()> {
            let _keeps = &says;
            panic!("on purpose");
        })));
        catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()).is_pending())).unwrap_err();
        let attached = other.attach(&thread).unwrap();
        drop(run);
        assert_eq!(*locked(&seen), Some(None), "whose session it was dropped in");
        drop(attached);
    });
}

/// The panic is not the future's, so the future is dropped as in any waiting task.
#[test]
fn a_future_whose_waker_panics_is_dropped_in_its_session() {
    supervised(|| {
        struct Bomb;
        impl Wake for Bomb {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let (_manager, mut session, id) = pool();
        let seen = Arc::new(Mutex::new(None));
        let says = Says(seen.clone());
        let mut run = Box::pin(session.run(async move {
            let _keeps = says;
            future::pending::<()>().await;
        }));
        let bomb = Waker::from(Arc::new(Bomb));
        assert!(run.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        // The session has the last one, and replaces it as the task waits again.
        drop(bomb);
        let polled = catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()).is_pending()));
        assert!(polled.is_err(), "the waker panics");
        drop(run);
        assert_eq!(*locked(&seen), Some(Some(id)), "whose session it was dropped in");
        let Poll::Ready(interrupt) = poll(pin!(session.interrupted())) else { panic!("it is due") };
        assert_eq!(interrupt.request().reason(), InterruptReason::InternalError);
    });
}

/// Reports the session in which it is dropped.
struct Says(Arc<Mutex<Option<Option<SessionId>>>>);

impl Drop for Says {
    fn drop(&mut self) {
        *locked(&self.0) = Some(safepoint::current::session_id());
    }
}

/// A destructor may run a session on a thread whose own session is hidden during that.
#[test]
fn a_thread_runs_its_session_again_after() {
    supervised(|| {
        struct Serves(Session);
        impl Drop for Serves {
            fn drop(&mut self) {
                assert!(matches!(poll(pin!(self.0.run(future::ready(())))), Poll::Ready(Ok(()))));
            }
        }
        let (manager, mut ann, id) = pool();
        let mut bob = manager.open(of("bob")).unwrap();
        let serves = Serves(manager.open(of("eve")).unwrap());
        let mut given_up = Box::pin(bob.run(async move {
            let _serves = serves;
            future::pending::<()>().await;
        }));
        assert!(poll(given_up.as_mut()).is_pending());
        let run = ann.run(async {
            drop(given_up);
            let thread = safepoint::current::thread_id().unwrap();
            let row = manager.threads().into_iter().find(|row| row.id == thread);
            let cancelled =
                manager.cancel(Target::AttachedTo(thread), Cancel::running(admin("root")));
            (row.unwrap().session_id, cancelled.map(|receipt| receipt.session()))
        });
        let Poll::Ready(Ok(found)) = poll(pin!(run)) else { panic!("it is ready") };
        assert_eq!(found, (Some(id), Ok(id)));
    });
}
