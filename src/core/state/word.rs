//! The atomic word, and every memory ordering of it.
//!
//! Each read-modify-write is `AcqRel`. Its acquire half pairs with the release half of the
//! transition that wrote the value it read. So a thread that sees a transition also sees every write before
//! it. A requester that sees `WAITING` sees the waker. An owner that sees `TERMINATE` takes the record's lock
//! after the requester released it. A load acquires as well, as does a rejected transition. Only the loads of
//! safe points are relaxed, the runner's and the helpers', because they only decide whether to take the cold path. The cold path begins with an
//! acquiring load, and takes the record's lock before it reports an interrupt.

use crate::core::state::snapshot::{ATTENTION, CANCEL, RunningStatement, Snapshot};
use crate::sync::{AtomicU64, Ordering};

/// A transition that was applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
}

impl Transition {
    /// Returns whether nothing is due after it, and it ended no cancelled statement.
    #[inline]
    pub(crate) fn is_quiet(self) -> bool {
        !self.before.has(CANCEL) && !self.after.has(ATTENTION)
    }
}

/// The atomic word itself.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    pub(crate) fn new() -> State {
        State(AtomicU64::new(Snapshot::FIRST.0))
    }

    /// Reads `ATTENTION`, for a safe point. Relaxed: see the module docs.
    #[inline]
    pub(crate) fn attention(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ATTENTION != 0
    }

    /// Returns whether the statement runs, and its helpers may continue, for a safe point of a helper.
    /// Relaxed: see the module docs.
    #[inline(always)]
    pub(crate) fn may_continue(&self, statement: RunningStatement) -> bool {
        statement.may_continue_in(self.0.load(Ordering::Relaxed))
    }

    /// Reads the word. Acquire, pairs with the release half of the transition that wrote the value.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Applies a transition that is never rejected.
    pub(crate) fn transition(&self, next: impl Fn(Snapshot) -> Snapshot) -> Transition {
        match self.try_transition(|word| Ok::<_, std::convert::Infallible>(next(word))) {
            Ok(transition) => transition,
            Err(never) => match never {},
        }
    }

    /// Applies a transition, or leaves the word unchanged if the pure function rejects it. The value
    /// that it rejects was read by an acquiring load.
    #[inline]
    pub(crate) fn try_transition<E>(
        &self,
        next: impl Fn(Snapshot) -> Result<Snapshot, E>,
    ) -> Result<Transition, E> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let before = Snapshot(seen);
            let after = next(before)?;
            match self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Transition { before, after }),
                Err(now) => seen = now,
            }
        }
    }
}
