//! How sessions and statements end.

use crate::types::request::Request;
use std::sync::Arc;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SessionEnd {
    /// How.
    pub reason: EndReason,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum EndReason {
    /// It ended by this request: a safe point reported it, or it was due as the session was
    /// closed, whether its holder had asked or not.
    Terminated(Arc<Request>),
    /// The owner closed the session while no termination was due, such as after the client has
    /// left. A termination that was deferred to the end of an open transaction was not due.
    Closed,
    /// A panic unwound out of the code that it was running.
    Panicked,
}

/// The end of a statement for which a cancel was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StatementEnd {
    /// Whether it saw the cancel. If not, it finished first, a termination ended it, or its command
    /// was never begun.
    pub cancelled: bool,
}
