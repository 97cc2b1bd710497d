//! The session word: its layout, its transitions, and every memory ordering there is.
//!
//! | bits | name | set by | meaning |
//! |---|---|---|---|
//! | 0 | `ATTENTION` | all | an interrupt is due, or a probe is set |
//! | 1 | `IN_STATEMENT` | runner | a statement runs |
//! | 2 | `IN_TRANSACTION` | runner | a transaction is open |
//! | 3 | `WAITING` | runner | a waker is stored and the runner may be blocked; if no thread runs the session, its task waits |
//! | 4 | `KILLABLE` | runner | the wait ends for a termination only |
//! | 5 | `QUEUED` | owner, runner | the statement id is reserved for a command that has not begun |
//! | 6 | `CANCEL` | requester | the statement with that id is cancelled |
//! | 7–8 | `TERMINATE` | requester | 0, or the mode of the pending termination |
//! | 9 | `ENDED` | owner | the session has ended; no transition follows |
//! | 10 | `PROBE` | probe | the next safe point stores its time and location |
//! | 12–27 | `SLOT` | runner | 0 while detached, else the slot of the thread that it is attached to |
//! | 28–63 | `STATEMENT` | owner, runner | the id of the statement that runs, ran last, or is queued |
//!
//! The *owner* has the `Session`, the *runner* is the thread that it is attached to, and a *requester* is any
//! thread. Rules:
//!
//! 1. Each transition is a pure function of the word, applied by one read-modify-write. So all transitions
//!    have one order, the same for every thread.
//! 2. Only requesters set `CANCEL` and `TERMINATE`. The timer is a requester, as is a runner that cannot
//!    continue (`Record::fail`). No transition clears `TERMINATE`. The transition that ends the statement, or
//!    drops the queued command, clears `CANCEL`. Only a probe sets `PROBE`, of a session that runs, or waits in a hold-off.
//!    A safe point clears it, as do the transitions that begin or end a wait, or leave the thread.
//! 3. `ATTENTION` is computed from the other bits in each transition that changes one of those bits. `attach`
//!    changes `SLOT` and `WAITING`, on which it does not depend. A safe point reads no other bit.
//! 4. `SLOT` names a thread exactly as long as there is a reference to that thread's record. A slot is given to
//!    another thread only after the last reference is gone.
//!
//! Orderings: each read-modify-write is `AcqRel`. Its acquire half pairs with the release half of the
//! transition that wrote the value it read. So a thread that sees a transition also sees every write before
//! it. A requester that sees `WAITING` sees the waker. An owner that sees `TERMINATE` takes the record's lock
//! after the requester released it. A load acquires as well, as does a rejected transition. Only the safe
//! point's load is relaxed, because it only decides whether to take the cold path. The cold path begins with an
//! acquiring load, and takes the record's lock before it reports an interrupt.

use crate::sync::{AtomicU64, Ordering};
use crate::types::id::{StatementId, ThreadId};
use crate::types::request::TerminateMode;
use crate::types::state::{SessionState, TargetSnapshot};
use std::fmt;

impl TargetSnapshot {
    pub(crate) fn new(before: Snapshot, thread: Option<ThreadId>) -> TargetSnapshot {
        TargetSnapshot {
            state: SessionState::of(before),
            thread_id: thread,
            statement_id: before.statement(),
            in_transaction: before.in_transaction(),
            pending_mode: before.terminate_mode(),
        }
    }
}

impl SessionState {
    pub(crate) fn of(word: Snapshot) -> SessionState {
        if word.in_statement() {
            if word.waiting() { SessionState::Waiting } else { SessionState::Running }
        } else if word.slot().is_none() && word.queued() {
            SessionState::Queued
        } else if word.in_transaction() {
            SessionState::IdleInTransaction
        } else if word.slot().is_some() && !word.waiting() {
            SessionState::BetweenStatements
        } else {
            SessionState::Idle
        }
    }
}

const ATTENTION: u64 = 1;

const IN_STATEMENT: u64 = 1 << 1;

const IN_TRANSACTION: u64 = 1 << 2;

const WAITING: u64 = 1 << 3;

const KILLABLE: u64 = 1 << 4;

const QUEUED: u64 = 1 << 5;

const CANCEL: u64 = 1 << 6;

const TERMINATE_SHIFT: u32 = 7;

const TERMINATE: u64 = 0b11 << TERMINATE_SHIFT;

const ENDED: u64 = 1 << 9;

const PROBE: u64 = 1 << 10;

const SLOT_SHIFT: u32 = 12;

const SLOT: u64 = 0xffff << SLOT_SHIFT;

const STATEMENT_SHIFT: u32 = 28;

const LAST_STATEMENT: u64 = u64::MAX >> STATEMENT_SHIFT;

/// The number of a thread in the session words of its attached sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The thread that runs one session and no other.
    pub(crate) const OWN: Slot = Slot(u16::MAX);
    /// The number of slots without [`Slot::OWN`].
    pub(crate) const COUNT: usize = u16::MAX as usize - 1;

    /// Returns the slot of `index`, or `None` if `index` is not below [`Slot::COUNT`].
    pub(crate) fn new(index: usize) -> Option<Slot> {
        (index < Slot::COUNT).then_some(Slot(index as u16 + 1))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// The value of a session's word at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

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
    pub(crate) const FIRST: Snapshot = Snapshot(0);

    fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    fn with(self, bits: u64) -> Snapshot {
        Snapshot(self.0 | bits)
    }

    fn without(self, bits: u64) -> Snapshot {
        Snapshot(self.0 & !bits)
    }

    fn with_statement(self, number: u64) -> Snapshot {
        Snapshot(self.0 & (u64::MAX >> (64 - STATEMENT_SHIFT)) | number << STATEMENT_SHIFT)
    }

    /// Computes `ATTENTION` (rule 3). The first branch is the common one: nothing was requested.
    fn with_attention(self) -> Snapshot {
        if !self.has(CANCEL | TERMINATE | PROBE) {
            return self.without(ATTENTION);
        }
        if self.due() || self.has(PROBE) { self.with(ATTENTION) } else { self.without(ATTENTION) }
    }

    // Questions.

    pub(crate) fn attention(self) -> bool {
        self.has(ATTENTION)
    }
    pub(crate) fn in_statement(self) -> bool {
        self.has(IN_STATEMENT)
    }
    pub(crate) fn in_transaction(self) -> bool {
        self.has(IN_TRANSACTION)
    }
    pub(crate) fn waiting(self) -> bool {
        self.has(WAITING)
    }
    /// Returns whether a task runs the session, and waits.
    pub(crate) fn suspended(self) -> bool {
        self.waiting() && self.slot().is_none()
    }
    /// Returns whether a thread or a task runs the session.
    pub(crate) fn runs(self) -> bool {
        self.has(SLOT | WAITING)
    }
    pub(crate) fn queued(self) -> bool {
        self.has(QUEUED)
    }
    pub(crate) fn cancelled(self) -> bool {
        self.has(CANCEL)
    }
    pub(crate) fn ended(self) -> bool {
        self.has(ENDED)
    }

    pub(crate) fn slot(self) -> Option<Slot> {
        let raw = (self.0 & SLOT) >> SLOT_SHIFT;
        (raw != 0).then_some(Slot(raw as u16))
    }

    fn number(self) -> u64 {
        self.0 >> STATEMENT_SHIFT
    }

    /// Returns the statement that runs or is queued.
    pub(crate) fn statement(self) -> Option<StatementId> {
        self.has(IN_STATEMENT | QUEUED).then(|| StatementId::of(self.number()))
    }

    /// Returns the number of the statement that runs, is queued, or ran last; 0 before the first.
    pub(crate) fn last_statement(self) -> u64 {
        self.number()
    }

    /// Returns whether the session's activity is the same as in `then`. The same statement runs, is
    /// queued or ran last, and a transaction is open in both or in neither. The thread and the pending
    /// requests do not count.
    pub(crate) fn same_activity(self, then: Snapshot) -> bool {
        const SAME: u64 = IN_STATEMENT | IN_TRANSACTION | QUEUED | ENDED;
        self.number() == then.number() && self.0 & SAME == then.0 & SAME
    }

    /// Returns the mode of the pending termination, due or not.
    pub(crate) fn terminate_mode(self) -> Option<TerminateMode> {
        match (self.0 & TERMINATE) >> TERMINATE_SHIFT {
            0 => None,
            1 => Some(TerminateMode::AfterTransaction),
            2 => Some(TerminateMode::AfterStatement),
            _ => Some(TerminateMode::Immediate),
        }
    }

    pub(crate) fn terminate_due(self) -> bool {
        !self.ended()
            && match self.terminate_mode() {
                None => false,
                Some(TerminateMode::Immediate) => true,
                Some(TerminateMode::AfterStatement) => !self.has(IN_STATEMENT),
                Some(TerminateMode::AfterTransaction) => !self.has(IN_STATEMENT | IN_TRANSACTION),
            }
    }

    pub(crate) fn cancel_due(self) -> bool {
        self.has(CANCEL) && self.has(IN_STATEMENT) && !self.has(KILLABLE | ENDED)
    }

    /// Returns whether an interrupt is due.
    pub(crate) fn due(self) -> bool {
        self.terminate_due() || self.cancel_due()
    }

    pub(crate) fn killable(self) -> bool {
        self.has(KILLABLE)
    }

    pub(crate) fn probed(self) -> bool {
        self.has(PROBE)
    }

    /// Returns whether the requester whose transition led to this value must wake a waiter.
    pub(crate) fn needs_wake(self) -> bool {
        self.due() && (self.waiting() || self.slot().is_none())
    }

    // Transitions of the owner and the runner.

    pub(crate) fn attach(self, slot: Slot) -> Snapshot {
        self.without(SLOT | WAITING).with(u64::from(slot.0) << SLOT_SHIFT)
    }

    /// Leaves the thread during a statement. The statement continues at the next attach.
    #[cfg(any(feature = "async", test))]
    pub(crate) fn suspend(self) -> Snapshot {
        self.without(SLOT | PROBE).with(WAITING).with_attention()
    }

    /// Detaches, and makes the session idle. A wait has ended by now, or its task was dropped. A queued
    /// statement that has not begun is dropped, together with a cancel of it.
    pub(crate) fn detach(self) -> Snapshot {
        self.without(SLOT | IN_STATEMENT | WAITING | QUEUED | CANCEL | PROBE).with_attention()
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

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (ATTENTION, "attention"),
            (IN_STATEMENT, "in-statement"),
            (IN_TRANSACTION, "in-transaction"),
            (WAITING, "waiting"),
            (KILLABLE, "killable"),
            (QUEUED, "queued"),
            (CANCEL, "cancel"),
            (ENDED, "ended"),
            (PROBE, "probe"),
        ];
        let mut set = f.debug_set();
        set.entries(flags.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name));
        set.entry(&self.terminate_mode()).entry(&self.slot()).entry(&self.number()).finish()
    }
}

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

    /// Reads the word. Acquire, pairs with the release half of the transition that wrote the value.
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

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
