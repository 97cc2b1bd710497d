//! Reasons of interrupts.

/// The reason of an interrupt. It determines the message and the SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum InterruptReason {
    /// A requester terminated the session.
    AdministratorCommand,
    /// A requester cancelled the statement.
    UserRequest,
    /// The statement timeout expired.
    StatementTimeout,
    /// The lock timeout expired.
    LockTimeout,
    /// The transaction timeout expired.
    TransactionTimeout,
    /// The session was idle for too long, without an open transaction.
    IdleSessionTimeout,
    /// The session was idle for too long, with an open transaction.
    IdleInTransactionTimeout,
    /// The client has closed its connection while a statement was running.
    ClientDisconnected,
    /// A panic unwound out of the code that the session was running.
    InternalError,
    /// The session has used all its statement ids, 2<sup>36</sup> of them.
    StatementsExhausted,
    /// A helper's statement has ended. Only helpers get this reason: the client has its answer.
    StatementEnded,
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
            InterruptReason::ClientDisconnected => "connection to client lost",
            InterruptReason::InternalError => "terminating connection because of an internal error",
            InterruptReason::StatementsExhausted => {
                "terminating connection: no statement numbers are left"
            }
            InterruptReason::StatementEnded => "the statement has ended",
        }
    }

    /// Returns the SQLSTATE, five characters. See [PostgreSQL, appendix
    /// A](https://www.postgresql.org/docs/current/errcodes-appendix.html).
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            InterruptReason::AdministratorCommand => "57P01",
            InterruptReason::UserRequest
            | InterruptReason::StatementTimeout
            | InterruptReason::StatementEnded => "57014",
            InterruptReason::LockTimeout => "55P03",
            InterruptReason::TransactionTimeout => "25P04",
            InterruptReason::IdleSessionTimeout => "57P05",
            InterruptReason::IdleInTransactionTimeout => "25P03",
            InterruptReason::ClientDisconnected => "08006",
            InterruptReason::InternalError => "XX000",
            InterruptReason::StatementsExhausted => "54000",
        }
    }
}
