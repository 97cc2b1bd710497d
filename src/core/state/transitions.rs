//! The transitions: pure functions from one value of the word to the next.

use crate::core::state::snapshot::{
    ATTENTION, CANCEL, ENDED, IN_STATEMENT, IN_TRANSACTION, KILLABLE, LAST_STATEMENT, PROBE,
    QUEUED, SLOT, SLOT_SHIFT, STATEMENT_SHIFT, STOP_HELPERS, Slot, Snapshot, TERMINATE,
    TERMINATE_SHIFT, WAITING,
};
use crate::types::id::StatementId;
use crate::types::request::TerminateMode;

/// The reason why a requester's transition was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransitionError {
    /// The session has ended.
    Ended,
    /// The session is not attached to the named thread.
    NotThere,
    /// The named statement has finished.
    Stale,
    /// The named statement id is not assigned yet.
    NotYet,
    /// No statement runs, and the request named none.
    NothingRuns,
}

/// The reason why a statement does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeginError {
    /// A termination is due first.
    Terminate,
    /// No statement id is left.
    Exhausted,
}

/// The reason why a session is not probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRunning;

impl Snapshot {
    fn with(self, bits: u64) -> Snapshot {
        Snapshot(self.0 | bits)
    }

    fn without(self, bits: u64) -> Snapshot {
        Snapshot(self.0 & !bits)
    }

    pub(super) fn with_statement(self, number: u64) -> Snapshot {
        Snapshot(self.0 & (u64::MAX >> (64 - STATEMENT_SHIFT)) | number << STATEMENT_SHIFT)
    }

    /// Computes `ATTENTION` and `STOP_HELPERS` (rules 3 and 5 of `mod.rs`). The first branch is the common
    /// one: nothing was requested.
    #[inline]
    fn with_attention(self) -> Snapshot {
        let word = self.without(ATTENTION | STOP_HELPERS);
        if word.has(CANCEL | TERMINATE | PROBE) { word.with_requests() } else { word }
    }

    #[cold]
    fn with_requests(self) -> Snapshot {
        let attention = if self.due() || self.has(PROBE) { ATTENTION } else { 0 };
        let stop = if self.must_stop_helpers() { STOP_HELPERS } else { 0 };
        self.with(attention | stop)
    }

    // Transitions of the owner and the runner.

    pub(crate) fn attach(self, slot: Slot) -> Snapshot {
        self.without(SLOT | WAITING).with(u64::from(slot.0) << SLOT_SHIFT)
    }

    /// Leaves the thread during a statement. The statement continues at the next attach. A `killable` suspension is
    /// as a killable wait.
    pub(crate) fn suspend(self, killable: bool) -> Snapshot {
        let waits = WAITING | if killable { KILLABLE } else { 0 };
        self.without(SLOT | PROBE).with(waits).with_attention()
    }

    /// Detaches, and makes the session idle. A wait has ended by now, or its task was dropped. A queued
    /// statement that has not begun is dropped, together with a cancel of it.
    pub(crate) fn detach(self) -> Snapshot {
        self.without(SLOT | IN_STATEMENT | WAITING | KILLABLE | QUEUED | CANCEL | PROBE)
            .with_attention()
    }

    /// Detaches, and queues the session. A statement that has not begun keeps its id; otherwise this
    /// reserves the next id.
    pub(crate) fn detach_to_queue(self) -> Snapshot {
        if self.has(QUEUED) {
            self.without(SLOT | PROBE).with_attention()
        } else {
            self.detach().queue()
        }
    }

    /// Reserves the next statement id for a command that waits for a thread.
    pub(crate) fn queue(self) -> Snapshot {
        if self.has(QUEUED | IN_STATEMENT) || self.number() == LAST_STATEMENT {
            self
        } else {
            self.with_statement(self.number() + 1).with(QUEUED).with_attention()
        }
    }

    /// Drops the reserved statement id, together with a cancel of it. The input was no command.
    pub(crate) fn discard_reserved(self) -> Snapshot {
        if self.has(QUEUED) { self.without(QUEUED | CANCEL).with_attention() } else { self }
    }

    /// Begins a statement. A session in a hold-off (`held`) begins it in spite of a due termination.
    pub(crate) fn begin(self, held: impl Fn() -> bool) -> Result<Snapshot, BeginError> {
        if self.has(TERMINATE) && self.terminate_due() && !held() {
            Err(BeginError::Terminate)
        } else if self.has(QUEUED) {
            Ok(self.without(QUEUED | PROBE).with(IN_STATEMENT).with_attention())
        } else if self.number() == LAST_STATEMENT {
            Err(BeginError::Exhausted)
        } else {
            let next = self.with_statement(self.number() + 1).without(PROBE);
            Ok(next.with(IN_STATEMENT).with_attention())
        }
    }

    pub(crate) fn finish(self) -> Snapshot {
        self.without(IN_STATEMENT | CANCEL).with_attention()
    }

    pub(crate) fn set_transaction(self, open: bool) -> Snapshot {
        if open { self.with(IN_TRANSACTION) } else { self.without(IN_TRANSACTION) }.with_attention()
    }

    pub(crate) fn begin_wait(self, killable: bool) -> Snapshot {
        self.without(PROBE).with(WAITING | if killable { KILLABLE } else { 0 }).with_attention()
    }

    /// Ends a wait. A probe during a wait in a hold-off needs no answer any more.
    pub(crate) fn end_wait(self) -> Snapshot {
        self.without(WAITING | KILLABLE | PROBE).with_attention()
    }

    pub(crate) fn end(self) -> Snapshot {
        self.detach().with(ENDED).with_attention()
    }

    /// Clears a probe, at a safe point.
    pub(crate) fn passed(self) -> Snapshot {
        self.without(PROBE).with_attention()
    }

    // The transition of a probe.

    /// Requests that the next safe point stores its time and location. The error means that no safe
    /// point will follow: no thread runs the session, or it waits outside a hold-off (`held`), where an
    /// interrupt wakes it.
    pub(crate) fn probe(self, held: bool) -> Result<Snapshot, NotRunning> {
        if self.ended() || self.slot().is_none() || (self.waiting() && !held) {
            Err(NotRunning)
        } else {
            Ok(self.with(PROBE).with_attention())
        }
    }

    // Transitions of requesters. An accepted transition may leave the word unchanged.

    pub(crate) fn terminate(
        self,
        when: TerminateMode,
        only: Option<Slot>,
    ) -> Result<Snapshot, TransitionError> {
        if self.ended() {
            Err(TransitionError::Ended)
        } else if only.is_some() && self.slot() != only {
            Err(TransitionError::NotThere)
        } else if self.terminate_mode() >= Some(when) {
            Ok(self)
        } else {
            let strength = match when {
                TerminateMode::AfterTransaction => 1,
                TerminateMode::AfterStatement => 2,
                TerminateMode::Immediate => 3,
            };
            Ok(self.without(TERMINATE).with(strength << TERMINATE_SHIFT).with_attention())
        }
    }

    /// Cancels a statement; `None` names the statement that runs.
    pub(crate) fn cancel(
        self,
        named: Option<StatementId>,
        only: Option<Slot>,
    ) -> Result<Snapshot, TransitionError> {
        if self.ended() {
            return Err(TransitionError::Ended);
        }
        if only.is_some() && self.slot() != only {
            return Err(TransitionError::NotThere);
        }
        match named {
            None if self.in_statement() => Ok(self.with(CANCEL).with_attention()),
            None => Err(TransitionError::NothingRuns),
            Some(id) if id.get() > self.number() => Err(TransitionError::NotYet),
            Some(id) if self.statement() == Some(id) => Ok(self.with(CANCEL).with_attention()),
            Some(_) => Err(TransitionError::Stale),
        }
    }
}
