//! The frontend/backend protocol: decodes the client's bytes, and encodes the server's messages.

mod check;
mod incoming;
mod outgoing;

pub(crate) use incoming::{Incoming, Negotiation};
pub(crate) use outgoing::Outgoing;

use crate::types::SqlError;

/// A message from the client that breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// `FATAL` if the connection cannot continue. After an `ERROR` it continues with the next
    /// message.
    pub(crate) severity: &'static str,
    pub(crate) sqlstate: &'static str,
    pub(crate) message: String,
    /// Whether the message belonged to the extended query protocol, so that all messages up to Sync
    /// are skipped.
    pub(crate) extended: bool,
}

impl WireError {
    fn fatal(message: impl Into<String>) -> Self {
        Self::fatal_as("08P01", message)
    }

    fn fatal_as(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", sqlstate, message: message.into(), extended: false }
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.severity == "FATAL"
    }

    pub(crate) fn fields(&self) -> Fields {
        Fields::new(self.severity, self.sqlstate, self.message.clone())
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)
    }
}

impl std::error::Error for WireError {}

/// The fields of an ErrorResponse or a NoticeResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) severity: &'static str,
    pub(crate) sqlstate: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    /// The position in the query, in characters from 1.
    pub(crate) position: Option<usize>,
}

impl Fields {
    pub(crate) fn new(
        severity: &'static str,
        sqlstate: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }
}

impl From<SqlError> for Fields {
    fn from(e: SqlError) -> Self {
        Self::new("ERROR", e.sqlstate, e.message)
    }
}

/// An error's text, and after it those of its causes.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
