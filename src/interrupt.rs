//! What a safe point reports, why, and the texts that its client is told.

use crate::id::SessionId;
use std::fmt;
use std::sync::Arc;

/// When an accepted termination falls due. Stronger forms compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
pub struct Author {
    /// The session that asks, if a session does.
    pub session: Option<SessionId>,
    /// The user on whose behalf it asks.
    pub user: Option<Arc<str>>,
    /// Whether that user is an administrator.
    pub admin: bool,
}

impl Author {
    /// The server itself: an administrator with no session and no name.
    #[must_use]
    pub fn system() -> Author {
        Author { session: None, user: None, admin: true }
    }
}

/// Who asked for an interrupt, why, and what they had to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub author: Author,
    /// Why.
    pub reason: Reason,
    /// Free text from the author.
    pub text: Option<Arc<str>>,
}

/// What ends: the statement, or the session with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// A sentence about who asked and what they said, for an error's detail. `None` where
    /// `own` itself asked and said nothing, and where the server asked and said nothing.
    #[must_use]
    pub fn detail(&self, own: SessionId) -> Option<String> {
        let Request { author, text, .. } = &*self.request;
        let who = match (&author.user, author.session) {
            (_, Some(session)) if session == own => None,
            (Some(user), Some(session)) => {
                Some(format!("Requested by user \"{user}\" in session {session}."))
            }
            (Some(user), None) => Some(format!("Requested by user \"{user}\".")),
            (None, Some(session)) => Some(format!("Requested by session {session}.")),
            (None, None) => None,
        };
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
