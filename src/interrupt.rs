//! What a safe point reports, why, and the texts that its client is told.

use crate::id::SessionId;
use crate::stamp::utc;
use crate::sync::now;
use crate::why::Moment;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// When an accepted termination falls due. Stronger forms compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum When {
    /// At the end of the transaction; at once if none is open and no statement runs.
    AfterTransaction,
    /// At the end of the statement; at once if none runs.
    AfterStatement,
    /// At the next safe point, in the middle of a statement if need be.
    Immediate,
}

/// Why an interrupt was asked for. It decides the text and the SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Reason {
    /// Someone asked for the end of the session.
    AdministratorCommand,
    /// Someone asked for the end of one statement.
    UserRequest,
    /// The statement's time ran out.
    StatementTimeout,
    /// The time for a wait for a lock ran out.
    LockTimeout,
    /// The transaction's time ran out.
    TransactionTimeout,
    /// The session was idle for too long, with no transaction open.
    IdleSessionTimeout,
    /// The session was idle for too long, with a transaction open.
    IdleInTransactionTimeout,
    /// A panic unwound out of the code that the session was running.
    InternalError,
    /// The session has used up its statement numbers (2<sup>36</sup> of them).
    StatementsExhausted,
}

impl Reason {
    /// The text that PostgreSQL's clients know this by.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Reason::AdministratorCommand => "terminating connection due to administrator command",
            Reason::UserRequest => "canceling statement due to user request",
            Reason::StatementTimeout => "canceling statement due to statement timeout",
            Reason::LockTimeout => "canceling statement due to lock timeout",
            Reason::TransactionTimeout => "terminating connection due to transaction timeout",
            Reason::IdleSessionTimeout => "terminating connection due to idle-session timeout",
            Reason::IdleInTransactionTimeout => {
                "terminating connection due to idle-in-transaction timeout"
            }
            Reason::InternalError => "terminating connection because of an internal error",
            Reason::StatementsExhausted => "terminating connection: no statement numbers are left",
        }
    }

    /// The five characters of the SQLSTATE
    /// ([PostgreSQL, appendix A](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            Reason::AdministratorCommand => "57P01",
            Reason::UserRequest | Reason::StatementTimeout => "57014",
            Reason::LockTimeout => "55P03",
            Reason::TransactionTimeout => "25P04",
            Reason::IdleSessionTimeout => "57P05",
            Reason::IdleInTransactionTimeout => "25P03",
            Reason::InternalError => "XX000",
            Reason::StatementsExhausted => "54000",
        }
    }
}

/// Who asks for an interrupt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Author {
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

impl Author {
    /// The server itself: an administrator with no session and no name.
    #[must_use]
    pub fn system() -> Author {
        Author { admin: true, ..Author::default() }
    }
}

/// Who asked for an interrupt, why, when, and what they had to say about it.
///
/// Two are equal where they say the same, whenever they were made.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Request {
    /// Who asked.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// Free text from the author.
    pub text: Option<Arc<str>>,
    /// When it was asked for.
    pub at: SystemTime,
    /// Whether the target may be told who asked: see
    /// [`Policy::names_author`](crate::Policy::names_author). The text is for the target in any
    /// case.
    pub names_author: bool,
    /// The same moment as `at`, on a clock that nobody sets.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) since: Instant,
}

impl Request {
    /// A request that is made now, whose author the target may be told of.
    #[must_use]
    pub fn new(author: Author, reason: Reason, text: Option<Arc<str>>) -> Request {
        let (at, since) = (SystemTime::now(), now());
        Request { author, reason, text, at, names_author: true, since }
    }

    pub(crate) fn asked(&self) -> Moment {
        Moment { at: self.since, time: self.at }
    }

    /// How long ago it was asked for.
    #[must_use]
    pub fn age(&self) -> Duration {
        now().saturating_duration_since(self.since)
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Request) -> bool {
        (&self.author, self.reason, &self.text, self.names_author)
            == (&other.author, other.reason, &other.text, other.names_author)
    }
}

impl Eq for Request {}

/// What ends: the statement, or the session with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum InterruptKind {
    /// The statement ends and the session lives on.
    Cancel,
    /// The session ends.
    Terminate,
}

/// What a safe point reports. Return it outwards; every safe point on the way repeats it
/// until the statement, or the session, has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    kind: InterruptKind,
    request: Arc<Request>,
}

impl Interrupt {
    pub(crate) fn new(kind: InterruptKind, request: Arc<Request>) -> Interrupt {
        Interrupt { kind, request }
    }

    /// What ends.
    #[must_use]
    pub fn kind(&self) -> InterruptKind {
        self.kind
    }

    /// Whether the session ends, not only its statement.
    #[must_use]
    pub fn is_terminate(&self) -> bool {
        self.kind == InterruptKind::Terminate
    }

    /// The request behind it.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// `FATAL` where the session ends, `ERROR` where it lives on.
    #[must_use]
    pub fn severity(&self) -> &'static str {
        match self.kind {
            InterruptKind::Cancel => "ERROR",
            InterruptKind::Terminate => "FATAL",
        }
    }

    /// The standard text.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.request.reason.message()
    }

    /// The standard SQLSTATE.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        self.request.reason.sqlstate()
    }

    /// A sentence about who asked, from where and when, and what they said, for an error's
    /// detail. `None` where `own` itself asked and said nothing, and where the server asked and
    /// said nothing. Where the policy keeps the author to itself, only what they said.
    #[must_use]
    pub fn detail(&self, own: SessionId) -> Option<String> {
        let Request { author, text, at, names_author, .. } = &*self.request;
        let by = match (&author.user, author.session) {
            _ if !names_author => None,
            (_, Some(session)) if session == own => None,
            (Some(user), Some(session)) => Some(format!("user \"{user}\" in session {session}")),
            (Some(user), None) => Some(format!("user \"{user}\"")),
            (None, Some(session)) => Some(format!("session {session}")),
            (None, None) => None,
        };
        let who = by.map(|by| {
            let address = author.address.as_ref();
            let from = address.map(|address| format!(" from {address}")).unwrap_or_default();
            format!("Requested by {by}{from} at {}.", utc(*at))
        });
        match (who, text) {
            (None, None) => None,
            (Some(who), None) => Some(who),
            (None, Some(text)) => Some(text.to_string()),
            (Some(who), Some(text)) => Some(format!("{who} {text}")),
        }
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Interrupt {}
