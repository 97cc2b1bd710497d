//! Code that the models share.

mod explore;
pub(crate) mod helpers;
mod threads;

pub(crate) use explore::{model, sequences};
pub(crate) use threads::{JoinHandle, spawn};

use loom::sync::{Arc, Mutex};
use safepoint_under_loom::mutation::Mutation;
use safepoint_under_loom::request::{EndReason, SessionEnd};
use safepoint_under_loom::{
    Receipt, Requester, Session, SessionId, SessionManager, Terminate, TerminateMode,
};
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) fn immediate() -> Terminate {
    Terminate::new(TerminateMode::Immediate, Requester::system())
}

pub(crate) fn killed(receipt: &Receipt<SessionEnd>) -> bool {
    matches!(receipt.try_get(), Some(SessionEnd { reason: EndReason::Terminated(_), .. }))
}

/// Holds a session while no thread runs it, so that a requester can end it: the connection slot of
/// the pool, reduced to its protocol.
pub(crate) struct ParkedSession {
    pub(crate) session: Mutex<Option<Session>>,
    /// How many times the session was closed, each with a message to its client.
    pub(crate) closed: AtomicUsize,
}

impl ParkedSession {
    pub(crate) fn new(session: Session) -> Arc<ParkedSession> {
        let parked = ParkedSession::empty();
        session.set_detached_waker(Some(ParkedSession::waker(&parked)));
        *parked.session.lock().unwrap() = Some(session);
        parked
    }

    /// Creates a slot whose session comes later, with its own waker.
    pub(crate) fn empty() -> Arc<ParkedSession> {
        Arc::new(ParkedSession { session: Mutex::new(None), closed: AtomicUsize::new(0) })
    }

    /// Returns a waker that ends the session if a termination is due.
    pub(crate) fn waker(parked: &Arc<ParkedSession>) -> Waker {
        Waker::from(StdArc::new(EndIfDue(parked.clone())))
    }

    pub(crate) fn take(&self) -> Option<Session> {
        self.session.lock().unwrap().take()
    }

    pub(crate) fn end(&self, session: Session) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        session.close();
    }

    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }
}

struct EndIfDue(Arc<ParkedSession>);

impl Wake for EndIfDue {
    fn wake(self: StdArc<Self>) {
        let due = {
            let mut slot = self.0.session.lock().unwrap();
            if slot.as_ref().is_some_and(|session| session.check().is_err()) {
                slot.take()
            } else {
                None
            }
        };
        if let Some(session) = due {
            self.0.end(session);
        }
    }
}

/// Terminates by id on another thread. Returns `None` if the session had ended.
pub(crate) fn killer(
    manager: &SessionManager,
    id: SessionId,
) -> JoinHandle<Option<Receipt<SessionEnd>>> {
    let manager = manager.clone();
    spawn(move || manager.terminate(id, immediate()).ok())
}

/// Polls its future twice in each poll, first with a waker without effect. Only the last waker must be
/// woken.
pub(crate) struct TwoWakers<F>(pub(crate) F);

impl<F: Future + Unpin> Future for TwoWakers<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut ignored = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll(&mut ignored) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Pin::new(&mut self.0).poll(context),
        }
    }
}
