//! A parsed command, and what can be wrong with one.

use crate::types::error::RequestError;
use crate::types::id::SessionId;
use crate::types::request::TerminateMode;
use std::borrow::Cow;
use std::fmt;

/// A statement of this face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// The thread that the command names. In a pool 0 means any thread; if each session has its own
    /// thread, it is the session's id.
    pub thread: u64,
    /// The session that the string names.
    pub session: SessionId,
    /// The mode of the request.
    pub when: TerminateMode,
}

/// An error for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The five characters of the SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: Cow<'static, str>,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

impl From<RequestError> for SqlError {
    fn from(refused: RequestError) -> SqlError {
        let hint = match refused {
            RequestError::NoSuchThread(_) => Some(
                "With a thread pool 'n, n' names the session attached to thread n. \
                 To name a session wherever it is, write '0, session_id'.",
            ),
            RequestError::PermissionDenied(_) => Some(
                "Administrators may end anyone's sessions and users their own, unless the server \
                 has other rules.",
            ),
            RequestError::NotAttached(..) => {
                Some("Take both numbers from one row of pg_stat_activity, pid first.")
            }
            _ => None,
        };
        SqlError { sqlstate: refused.sqlstate(), message: refused.to_string().into(), hint }
    }
}

pub(crate) fn invalid_id() -> SqlError {
    SqlError {
        sqlstate: "42704",
        message: "missing or invalid session ID".into(),
        hint: Some(
            "Write 'thread_id, session_id': two whole numbers below 2^63 and a comma, as pid \
             and sessionid in pg_stat_activity.",
        ),
    }
}
