//! The state of a session, and the state in which a request met it.

use crate::types::id::{StatementId, ThreadId};
use crate::types::request::TerminateMode;
use std::fmt;

/// The target of a request, as the request met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SessionState {
    /// It has nothing to run: no thread runs it, or its thread waits, in no statement.
    Idle,
    /// The same, with a transaction open.
    IdleInTransaction,
    /// A command of its waits for a thread.
    Queued,
    /// A thread has it, between statements.
    BetweenStatements,
    /// A statement runs.
    Running,
    /// A statement sleeps in one of this library's waits.
    Waiting,
}

/// Where a request found its target, at the instant at which it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TargetSnapshot {
    /// The state of the session.
    pub state: SessionState,
    /// The thread it was attached to, if any; unknown where it has left it already.
    pub thread_id: Option<ThreadId>,
    /// The statement that ran or was queued, if any.
    pub statement_id: Option<StatementId>,
    /// Whether a transaction was open.
    pub in_transaction: bool,
    /// The mode of an earlier termination; a request that is not stronger changes nothing.
    pub pending_mode: Option<TerminateMode>,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SessionState::Idle => "idle",
            SessionState::IdleInTransaction => "idle in transaction",
            SessionState::Queued => "queued",
            SessionState::BetweenStatements => "between statements",
            SessionState::Running => "running",
            SessionState::Waiting => "waiting",
        })
    }
}
