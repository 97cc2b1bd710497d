//! Requests to end a session or a statement: requester, target, mode and comment.

use crate::sync::now;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::reason::InterruptReason;
use crate::types::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The time at which an accepted termination falls due. Stronger modes compare greater. The enum is
/// exhaustive: code that matches on it must handle a new mode.
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

impl fmt::Display for TerminateMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TerminateMode::AfterTransaction => "after transaction",
            TerminateMode::AfterStatement => "after statement",
            TerminateMode::Immediate => "immediate",
        })
    }
}

/// The requester of an interrupt. The default has no session, no user, and is no administrator.
///
/// # Examples
///
/// ```
/// use safepoint::Requester;
///
/// let monitor = Requester::new("monitor").with_address("10.0.0.7");
/// assert_eq!(monitor.user(), Some("monitor"));
/// assert!(!monitor.is_admin());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Requester {
    pub(crate) session: Option<SessionId>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) admin: bool,
    pub(crate) address: Option<Arc<str>>,
}

impl Requester {
    /// Creates a requester in no session that requests on behalf of this user, who is no administrator.
    #[must_use]
    pub fn new(user: impl Into<Arc<str>>) -> Requester {
        Requester::default().with_user(user)
    }

    /// Returns the server itself as a requester: an administrator with no session and no name.
    #[must_use]
    pub fn system() -> Requester {
        Requester::default().with_admin(true)
    }

    /// Sets the session from which the request comes. It must be one of the manager that gets the
    /// request: each manager has its own ids, so leave this out if the session is another manager's.
    #[must_use]
    pub fn with_session(mut self, session: SessionId) -> Requester {
        self.session = Some(session);
        self
    }

    /// Sets the user on whose behalf the request is made.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<Arc<str>>) -> Requester {
        self.user = Some(user.into());
        self
    }

    /// Sets whether the user is an administrator.
    #[must_use]
    pub fn with_admin(mut self, admin: bool) -> Requester {
        self.admin = admin;
        self
    }

    /// Sets the address of the client from which the request comes.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<Arc<str>>) -> Requester {
        self.address = Some(address.into());
        self
    }

    /// Returns the session from which the request comes, if it comes from one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Returns the user on whose behalf the request is made.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns whether the user is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Returns the address of the client from which the request comes, if it comes from one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// A request for an interrupt: its requester, reason, time and comment. The library makes it.
///
/// Two requests are equal if everything but their times is equal.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Request {
    pub(crate) requester: Requester,
    pub(crate) reason: InterruptReason,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) requested_at: SystemTime,
    pub(crate) requester_disclosed: bool,
    /// The time of the request on the monotonic clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) since: Instant,
}

impl Request {
    /// Creates a request that is made now, has no comment, and discloses its requester to the target.
    /// The library makes those that it sends; this is for tests.
    #[must_use]
    pub fn new(requester: Requester, reason: InterruptReason) -> Request {
        let (requested_at, since) = (SystemTime::now(), now());
        Request { requester, reason, comment: None, requested_at, requester_disclosed: true, since }
    }

    /// Sets the comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<Arc<str>>) -> Request {
        self.comment = Some(comment.into());
        self
    }

    pub(crate) fn asked(&self) -> Timestamp {
        Timestamp { at: self.since, time: self.requested_at }
    }

    /// Returns the requester.
    #[must_use]
    pub fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> InterruptReason {
        self.reason
    }

    /// Returns the requester's comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// Returns when the request was made.
    #[must_use]
    pub fn requested_at(&self) -> SystemTime {
        self.requested_at
    }

    /// Returns whether the target learns the requester: see
    /// [`Policy::discloses_requester`](crate::policy::Policy::discloses_requester). The target learns
    /// the comment in any case.
    #[must_use]
    pub fn is_requester_disclosed(&self) -> bool {
        self.requester_disclosed
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

/// The session that a request names.
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
#[non_exhaustive]
pub enum Target {
    /// This session, on any thread or none.
    Session(SessionId),
    /// The session that is attached to this thread now. It is hit only if it still is when
    /// the request arrives.
    AttachedTo(ThreadId),
    /// This session, only if it is attached to this thread when the request arrives.
    Pair(ThreadId, SessionId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Session(session) => write!(f, "session {session}"),
            Target::AttachedTo(thread) => write!(f, "the session on thread {thread}"),
            Target::Pair(thread, session) => write!(f, "session {session} on thread {thread}"),
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminate {
    pub(crate) mode: TerminateMode,
    pub(crate) grace: Option<Duration>,
    pub(crate) requester: Requester,
    pub(crate) comment: Option<Arc<str>>,
}

impl Terminate {
    /// Creates a request with this mode.
    #[must_use]
    pub fn new(mode: TerminateMode, requester: Requester) -> Terminate {
        Terminate { mode, grace: None, requester, comment: None }
    }

    /// Sets when the request falls due.
    #[must_use]
    pub fn mode(self, mode: TerminateMode) -> Terminate {
        Terminate { mode, ..self }
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
    pub fn comment(mut self, comment: impl Into<Arc<str>>) -> Terminate {
        self.comment = Some(comment.into());
        self
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }
}

/// A request for the end of a statement. The session lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub(crate) statement: Option<StatementId>,
    /// Whether a request that names no statement also means a queued command.
    pub(crate) or_queued: bool,
    pub(crate) requester: Requester,
    pub(crate) comment: Option<Arc<str>>,
}

impl Cancel {
    /// Creates a request for this statement and no other.
    #[must_use]
    pub fn statement(statement: StatementId, requester: Requester) -> Cancel {
        Cancel { statement: Some(statement), or_queued: false, requester, comment: None }
    }

    /// Creates a request for the statement that runs when the request arrives. A queued
    /// command must be named: [`crate::view::SessionInfo::statement_id`] has its id.
    #[must_use]
    pub fn running(requester: Requester) -> Cancel {
        Cancel { statement: None, or_queued: false, requester, comment: None }
    }

    /// Creates a request for the statement that runs or is queued when the request arrives.
    pub(crate) fn running_or_queued(requester: Requester) -> Cancel {
        Cancel { or_queued: true, ..Cancel::running(requester) }
    }

    /// Sets the requester's comment, which is part of the target's error detail.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<Arc<str>>) -> Cancel {
        self.comment = Some(comment.into());
        self
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    pub(crate) fn naming(self, statement: StatementId) -> Cancel {
        Cancel { statement: Some(statement), ..self }
    }
}
