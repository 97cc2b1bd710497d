//! The value of the word: its bits, and the methods that read them.

use crate::types::id::{StatementId, ThreadId};
use crate::types::request::TerminateMode;
use crate::types::state::{SessionState, TargetSnapshot};
use std::fmt;

pub(super) const ATTENTION: u64 = 1;

pub(super) const IN_STATEMENT: u64 = 1 << 1;

pub(super) const IN_TRANSACTION: u64 = 1 << 2;

pub(super) const WAITING: u64 = 1 << 3;

pub(super) const KILLABLE: u64 = 1 << 4;

pub(super) const QUEUED: u64 = 1 << 5;

pub(super) const CANCEL: u64 = 1 << 6;

pub(super) const TERMINATE_SHIFT: u32 = 7;

pub(super) const TERMINATE: u64 = 0b11 << TERMINATE_SHIFT;

pub(super) const ENDED: u64 = 1 << 9;

pub(super) const PROBE: u64 = 1 << 10;

pub(super) const STOP_HELPERS: u64 = 1 << 11;

pub(super) const SLOT_SHIFT: u32 = 12;

pub(super) const SLOT: u64 = 0xffff << SLOT_SHIFT;

pub(super) const STATEMENT_SHIFT: u32 = 28;

const STATEMENT: u64 = u64::MAX << STATEMENT_SHIFT;

pub(super) const LAST_STATEMENT: u64 = u64::MAX >> STATEMENT_SHIFT;

/// The number of a thread in the session words of its attached sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(super) u16);

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

/// A statement that runs, as its helpers compare it with the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningStatement(u64);

impl RunningStatement {
    /// Returns whether the statement runs in this value of the word, and its helpers may continue.
    #[inline(always)]
    pub(super) fn may_continue_in(self, word: u64) -> bool {
        word & (STOP_HELPERS | IN_STATEMENT | STATEMENT) == self.0
    }

    pub(crate) fn id(self) -> StatementId {
        StatementId::of(self.0 >> STATEMENT_SHIFT)
    }
}

/// The value of a session's word at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(pub(super) u64);

impl Snapshot {
    pub(crate) const FIRST: Snapshot = Snapshot(0);

    pub(super) fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

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

    pub(super) fn number(self) -> u64 {
        self.0 >> STATEMENT_SHIFT
    }

    /// Returns the statement with the last number, as its helpers compare it.
    pub(crate) fn running_statement(self) -> RunningStatement {
        RunningStatement(self.0 & STATEMENT | IN_STATEMENT)
    }

    /// Returns whether this statement runs, even if it must stop.
    pub(crate) fn runs_statement(self, statement: RunningStatement) -> bool {
        self.0 & (IN_STATEMENT | STATEMENT) == statement.0
    }

    /// Returns whether this statement runs, and its helpers may continue.
    pub(crate) fn may_continue(self, statement: RunningStatement) -> bool {
        statement.may_continue_in(self.0)
    }

    /// Returns whether the helpers of the running statement must stop.
    pub(crate) fn stops_helpers(self) -> bool {
        self.has(STOP_HELPERS)
    }

    /// Computes `STOP_HELPERS` (rule 5 of `mod.rs`).
    pub(super) fn must_stop_helpers(self) -> bool {
        let asked = self.has(CANCEL) || self.terminate_mode() == Some(TerminateMode::Immediate);
        asked && self.has(IN_STATEMENT) && !self.ended()
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
            (STOP_HELPERS, "stop-helpers"),
        ];
        let mut set = f.debug_set();
        set.entries(flags.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name));
        set.entry(&self.terminate_mode()).entry(&self.slot()).entry(&self.number()).finish()
    }
}

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
        if word.ended() {
            SessionState::Ended
        } else if word.in_statement() {
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
