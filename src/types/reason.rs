//! Why a session or a statement is interrupted.

/// Why an interrupt was asked for. It decides the text and the SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum InterruptReason {
    /// A requester terminated the session.
    AdministratorCommand,
    /// A requester cancelled the statement.
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

impl InterruptReason {
    /// Returns PostgreSQL's message for the reason.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            InterruptReason::AdministratorCommand => {
                "terminating connection due to administrator command"
            }
            InterruptReason::UserRequest => "canceling statement due to user request",
            InterruptReason::StatementTimeout => "canceling statement due to statement timeout",
            InterruptReason::LockTimeout => "canceling statement due to lock timeout",
            InterruptReason::TransactionTimeout => {
                "terminating connection due to transaction timeout"
            }
            InterruptReason::IdleSessionTimeout => {
                "terminating connection due to idle-session timeout"
            }
            InterruptReason::IdleInTransactionTimeout => {
                "terminating connection due to idle-in-transaction timeout"
            }
            InterruptReason::InternalError => "terminating connection because of an internal error",
            InterruptReason::StatementsExhausted => {
                "terminating connection: no statement numbers are left"
            }
        }
    }

    /// Returns the SQLSTATE, five characters ([PostgreSQL, appendix
    /// A](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            InterruptReason::AdministratorCommand => "57P01",
            InterruptReason::UserRequest | InterruptReason::StatementTimeout => "57014",
            InterruptReason::LockTimeout => "55P03",
            InterruptReason::TransactionTimeout => "25P04",
            InterruptReason::IdleSessionTimeout => "57P05",
            InterruptReason::IdleInTransactionTimeout => "25P03",
            InterruptReason::InternalError => "XX000",
            InterruptReason::StatementsExhausted => "54000",
        }
    }
}
