//! Requests to end a session or a statement: requester, target, mode and comment.

use crate::sync::now;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::reason::InterruptReason;
use crate::types::time::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// When an accepted termination falls due. Stronger forms compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum TerminateMode {
    /// At the end of the transaction; at once if none is open and no statement runs.
    AfterTransaction,
    /// At the end of the statement; at once if none runs.
    AfterStatement,
    /// At the next safe point, in the middle of a statement if need be.
    Immediate,
}

/// Who asks for an interrupt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Requester {
    /// The session that asks, if a session does: one of the manager that is asked. Each manager
    /// has its own numbers, so leave this out where the author's session is another's.
    pub session: Option<SessionId>,
    /// The user on whose behalf it asks.
    pub user: Option<Arc<str>>,
    /// Whether that user is an administrator.
    pub admin: bool,
    /// Where the client is that asks, if a client does.
    pub address: Option<Arc<str>>,
}

impl Requester {
    /// Returns the server itself as a requester: an administrator with no session and no name.
    #[must_use]
    pub fn system() -> Requester {
        Requester { admin: true, ..Requester::default() }
    }
}

/// A request for an interrupt: its requester, reason, time and comment.
///
/// Two requests are equal if all fields except the times are equal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Request {
    /// Who asked.
    pub requester: Requester,
    /// Why.
    pub reason: InterruptReason,
    /// Free text from the author.
    pub comment: Option<Arc<str>>,
    /// When it was asked for.
    pub requested_at: SystemTime,
    /// Whether the target learns the requester: see
    /// [`Policy::discloses_requester`](crate::policy::Policy::discloses_requester). The comment
    /// reaches the target in any case.
    pub requester_disclosed: bool,
    /// The time of the request on the monotonic clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) since: Instant,
}

impl Request {
    /// Creates a request that is made now, and whose requester the target may learn of.
    #[must_use]
    pub fn new(author: Requester, reason: InterruptReason, text: Option<Arc<str>>) -> Request {
        let (at, since) = (SystemTime::now(), now());
        Request {
            requester: author,
            reason,
            comment: text,
            requested_at: at,
            requester_disclosed: true,
            since,
        }
    }

    pub(crate) fn asked(&self) -> Timestamp {
        Timestamp { at: self.since, time: self.requested_at }
    }

    /// Returns the time since the request was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.since)
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Request) -> bool {
        (&self.requester, self.reason, &self.comment, self.requester_disclosed)
            == (&other.requester, other.reason, &other.comment, other.requester_disclosed)
    }
}

impl Eq for Request {}

/// Which session is meant.
///
/// # Examples
///
/// ```
/// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let mut session = manager.open(ClientInfo::default())?;
/// # let thread = session.own_thread().expect("each session has its own");
/// # let attached = session.attach(&thread)?;
/// use safepoint::request::Target;
/// use safepoint::{Requester, Terminate, TerminateMode};
///
/// // Only if the session is attached to that thread when the request arrives.
/// let target = Target::Pair(attached.thread_id(), attached.id());
/// let request = Terminate::new(TerminateMode::Immediate, Requester::system());
/// manager.terminate(target, request)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Target {
    /// This session, on any thread or none.
    Session(SessionId),
    /// The session that is attached to this thread now. It is hit only if it still is when
    /// the request arrives.
    AttachedTo(ThreadId),
    /// This session, only if it is attached to this thread when the request arrives.
    Pair(ThreadId, SessionId),
}

impl From<SessionId> for Target {
    fn from(id: SessionId) -> Target {
        Target::Session(id)
    }
}

/// A request for the end of a session.
///
/// ```
/// use safepoint::{Requester, Terminate, TerminateMode};
/// let request = Terminate::new(TerminateMode::Immediate, Requester::system()).comment("disk full");
/// ```
#[derive(Clone, Debug)]
pub struct Terminate {
    pub(crate) mode: TerminateMode,
    pub(crate) grace: Option<Duration>,
    pub(crate) requester: Requester,
    pub(crate) comment: Option<Arc<str>>,
}

impl Terminate {
    /// Creates a request of `author` with the mode `when`.
    #[must_use]
    pub fn new(when: TerminateMode, author: Requester) -> Terminate {
        Terminate { mode: when, grace: None, requester: author, comment: None }
    }

    /// Sets when the request falls due.
    #[must_use]
    pub fn mode(self, when: TerminateMode) -> Terminate {
        Terminate { mode: when, ..self }
    }

    /// Sets a grace: a deferred termination becomes [`TerminateMode::Immediate`] this long after it
    /// was accepted. The escalated request keeps the requester and the comment of this one, even if
    /// weaker requests were accepted after it. The session still ends at a safe point of its own.
    /// Without effect if the request is immediate.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Terminate {
        Terminate { grace: Some(grace), ..self }
    }

    /// Sets the requester's comment, which is part of the target's error detail.
    #[must_use]
    pub fn comment(mut self, text: impl Into<Arc<str>>) -> Terminate {
        self.comment = Some(text.into());
        self
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }
}

/// A request for the end of a statement. The session lives on.
#[derive(Clone, Debug)]
pub struct Cancel {
    pub(crate) statement: Option<StatementId>,
    /// Whether a request that names no statement also means a queued command.
    pub(crate) or_queued: bool,
    pub(crate) requester: Requester,
    pub(crate) comment: Option<Arc<str>>,
}

impl Cancel {
    /// Creates a request of `author` for this statement and no other.
    #[must_use]
    pub fn statement(statement: StatementId, author: Requester) -> Cancel {
        Cancel { statement: Some(statement), or_queued: false, requester: author, comment: None }
    }

    /// Creates a request of `author` for the statement that runs when the request arrives. A queued
    /// command must be named: [`crate::view::SessionInfo::statement_id`] has its id.
    #[must_use]
    pub fn running(author: Requester) -> Cancel {
        Cancel { statement: None, or_queued: false, requester: author, comment: None }
    }

    /// Creates a request of `author` for the statement that runs or is queued when the request
    /// arrives.
    pub(crate) fn running_or_queued(author: Requester) -> Cancel {
        Cancel { or_queued: true, ..Cancel::running(author) }
    }

    /// Sets the requester's comment, which is part of the target's error detail.
    #[must_use]
    pub fn comment(mut self, text: impl Into<Arc<str>>) -> Cancel {
        self.comment = Some(text.into());
        self
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    pub(crate) fn naming(self, statement: StatementId) -> Cancel {
        Cancel { statement: Some(statement), ..self }
    }
}
