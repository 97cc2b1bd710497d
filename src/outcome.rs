//! How sessions and statements end, and the ticket on which that is written.

use crate::contain::{contain, wake};
use crate::interrupt::Request;
use crate::sync::Mutex;
use slab::Slab;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Ended {
    /// How.
    pub how: HowEnded,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum HowEnded {
    /// It ended by this request: a safe point reported it, or it was due as the session was
    /// closed, whether its holder had asked or not.
    Killed(Arc<Request>),
    /// Its holder closed it while no termination was due: the client had left. One that was asked
    /// for, and deferred to the end of a transaction that was still open, has not killed it.
    Closed,
    /// A panic unwound out of the code that it was running.
    Panicked,
}

/// How a statement that was told to end is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StatementOver {
    /// Whether it saw the cancel. If not, it finished first, a termination ended it, or its command
    /// was never begun.
    pub cancelled: bool,
}

/// One value, written once, and those who wait for it.
#[derive(Debug)]
pub(crate) struct Ticket<T>(Mutex<TicketState<T>>);

#[derive(Debug)]
struct TicketState<T> {
    value: Option<T>,
    waiting: Slab<Waker>,
}

impl<T> Default for Ticket<T> {
    fn default() -> Self {
        Ticket(Mutex::new(TicketState { value: None, waiting: Slab::new() }))
    }
}

impl<T: Clone> Ticket<T> {
    pub(crate) fn complete(&self, value: T) {
        let waiting = {
            let mut state = self.0.lock();
            state.value = Some(value);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| wake(waker));
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.0.lock().value.clone()
    }

    /// `place`: where whoever polls keeps its waker here, until it [leaves](Self::leave).
    pub(crate) fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<T> {
        let mut state = self.0.lock();
        if let Some(value) = &state.value {
            return Poll::Ready(value.clone());
        }
        let spent = match place.and_then(|place| state.waiting.get_mut(place)) {
            Some(known) if known.will_wake(waker) => None,
            Some(known) => Some(std::mem::replace(known, waker.clone())),
            None => {
                *place = Some(state.waiting.insert(waker.clone()));
                None
            }
        };
        // A waker is the embedder's code.
        drop(state);
        drop(spent);
        Poll::Pending
    }
}

impl<T> Ticket<T> {
    /// Whoever waited at `place` waits no more.
    pub(crate) fn leave(&self, place: usize) {
        let waker = self.0.lock().waiting.try_remove(place);
        let _ = contain(|| drop(waker));
    }
}
