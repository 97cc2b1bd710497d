//! Interrupts, which safe points report.

use crate::types::id::SessionId;
use crate::types::request::Request;
use crate::types::time::utc;
use std::fmt;
use std::sync::Arc;

/// The kind of an interrupt: whether it ends a statement or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum InterruptKind {
    /// The statement ends and the session continues.
    Cancel,
    /// The session ends.
    Terminate,
}

impl InterruptKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            InterruptKind::Cancel => "cancel",
            InterruptKind::Terminate => "terminate",
        }
    }
}

impl fmt::Display for InterruptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An interrupt, as a safe point returns it. Propagate it to the caller. Until the statement or the
/// session has ended, every safe point outside of a hold-off returns the interrupt again.
///
/// # Examples
///
/// ```
/// use safepoint::Interrupt;
///
/// #[derive(Debug)]
/// enum EngineError {
///     DivisionByZero,
///     Interrupted(Interrupt),
/// }
///
/// impl From<Interrupt> for EngineError {
///     fn from(interrupt: Interrupt) -> EngineError {
///         EngineError::Interrupted(interrupt)
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Interrupt {
    kind: InterruptKind,
    request: Arc<Request>,
}

impl Interrupt {
    pub(crate) fn new(kind: InterruptKind, request: Arc<Request>) -> Interrupt {
        Interrupt { kind, request }
    }

    /// Returns whether the interrupt ends a statement or the session.
    #[must_use]
    pub fn kind(&self) -> InterruptKind {
        self.kind
    }

    /// Returns whether the interrupt ends the session, and not only its statement.
    #[must_use]
    pub fn is_terminate(&self) -> bool {
        self.kind == InterruptKind::Terminate
    }

    /// Returns the request that caused the interrupt.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns `FATAL` if the session ends, or `ERROR` if only its statement ends.
    #[must_use]
    pub fn severity(&self) -> &'static str {
        match self.kind {
            InterruptKind::Cancel => "ERROR",
            InterruptKind::Terminate => "FATAL",
        }
    }

    /// Returns PostgreSQL's message for the reason.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.request.reason.message()
    }

    /// Returns PostgreSQL's SQLSTATE for the reason.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        self.request.reason.sqlstate()
    }

    /// Returns the text for the error's DETAIL. It names the requester and its address, the time of
    /// the request, and the requester's comment. `own` is the id of the session that is
    /// interrupted.
    ///
    /// The requester is left out if the policy hides it, if it is `own`, or if it has neither a
    /// user nor a session. Returns `None` if there is no comment either.
    #[must_use]
    pub fn detail(&self, own: SessionId) -> Option<String> {
        let Request { requester, comment, requested_at, requester_disclosed, .. } = &*self.request;
        let by = match (&requester.user, requester.session) {
            _ if !requester_disclosed => None,
            (_, Some(session)) if session == own => None,
            (Some(user), Some(session)) => Some(format!("user \"{user}\" in session {session}")),
            (Some(user), None) => Some(format!("user \"{user}\"")),
            (None, Some(session)) => Some(format!("session {session}")),
            (None, None) => None,
        };
        let who = by.map(|by| {
            let address = requester.address.as_ref();
            let from = address.map(|address| format!(" from {address}")).unwrap_or_default();
            format!("Requested by {by}{from} at {}.", utc(*requested_at))
        });
        match (who, comment) {
            (None, None) => None,
            (Some(who), None) => Some(who),
            (None, Some(comment)) => Some(comment.to_string()),
            (Some(who), Some(comment)) => Some(format!("{who} {comment}")),
        }
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Interrupt {}
