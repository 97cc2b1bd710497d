//! The state of a session, and the target of a request.

use crate::types::id::{StatementId, ThreadId};
use crate::types::request::TerminateMode;
use std::fmt;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SessionState {
    /// The session runs no statement and has no open transaction. No thread runs it, or its thread
    /// waits for the next command.
    Idle,
    /// As `Idle`, but with an open transaction.
    IdleInTransaction,
    /// A command of the session waits for a thread.
    Queued,
    /// The session is attached to a thread, between statements.
    BetweenStatements,
    /// A statement runs.
    Running,
    /// A statement runs, and is in one of this library's waits.
    Waiting,
    /// The session has ended. Helpers still work for its statements, and its row stays until the last of
    /// them has left.
    Ended,
}

/// The target of a request, at the instant at which the request took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TargetSnapshot {
    /// The state of the session.
    pub state: SessionState,
    /// The thread that the session was attached to. `None` if there was none, or if the session has
    /// already left it.
    pub thread_id: Option<ThreadId>,
    /// The statement that ran or was queued, if any.
    pub statement_id: Option<StatementId>,
    /// Whether a transaction was open.
    pub in_transaction: bool,
    /// The mode of a termination that was already pending. A request that is no stronger changes
    /// nothing.
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
            SessionState::Ended => "ended",
        })
    }
}
