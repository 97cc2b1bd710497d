//! Outcomes: how sessions and statements end.

use crate::types::request::Request;
use std::sync::Arc;

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SessionEnd {
    /// The reason why the session ended.
    pub reason: EndReason,
}

/// The reason why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum EndReason {
    /// A termination ended the session. A safe point reported the request, or the request was due
    /// when the owner closed the session.
    Terminated(Arc<Request>),
    /// The owner closed the session while no termination was due, for example after the client had
    /// disconnected. A termination that was deferred to the end of an open transaction was not due.
    Closed,
    /// A panic unwound out of the code that the session was running.
    Panicked,
}

/// The end of a statement for which a cancel was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StatementEnd {
    /// Whether the statement observed the cancel. If not, the statement finished first, a
    /// termination ended it, or its queued command never began.
    pub cancelled: bool,
}
