//! Code that the models share.

mod explore;

pub(crate) use explore::{model, sequences};

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

/// Where a session lies while no thread runs it; its killer ends it there. The pool's seat,
/// reduced to what matters.
pub(crate) struct Seat {
    pub(crate) session: Mutex<Option<Session>>,
    /// How many times the client was told.
    pub(crate) told: AtomicUsize,
}

impl Seat {
    pub(crate) fn new(session: Session) -> Arc<Seat> {
        let seat = Arc::new(Seat { session: Mutex::new(None), told: AtomicUsize::new(0) });
        session.set_detached_waker(Some(Waker::from(StdArc::new(EndIfDue(seat.clone())))));
        *seat.session.lock().unwrap() = Some(session);
        seat
    }

    pub(crate) fn take(&self) -> Option<Session> {
        self.session.lock().unwrap().take()
    }

    pub(crate) fn end(&self, session: Session) {
        self.told.fetch_add(1, Ordering::Relaxed);
        session.close();
    }

    pub(crate) fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }
}

struct EndIfDue(Arc<Seat>);

impl Wake for EndIfDue {
    fn wake(self: StdArc<Self>) {
        let due = {
            let mut place = self.0.session.lock().unwrap();
            if place.as_ref().is_some_and(|session| session.check().is_err()) {
                place.take()
            } else {
                None
            }
        };
        if let Some(session) = due {
            self.0.end(session);
        }
    }
}

/// Kills by id on a thread of its own; `None` where the session had ended.
pub(crate) fn killer(
    manager: &SessionManager,
    id: SessionId,
) -> loom::thread::JoinHandle<Option<Receipt<SessionEnd>>> {
    let manager = manager.clone();
    loom::thread::spawn(move || manager.terminate(id, immediate()).ok())
}

/// A future that is polled twice each time, first with a waker that nobody listens to: only the
/// one that was left last is to be woken.
pub(crate) struct TwoWakers<F>(pub(crate) F);

impl<F: Future + Unpin> Future for TwoWakers<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut nobody = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll(&mut nobody) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Pin::new(&mut self.0).poll(context),
        }
    }
}
