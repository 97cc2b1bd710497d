//! A parsed command, the session that it names, and the error for the client.

use crate::types::error::RequestError;
use crate::types::id::{SessionId, ThreadId};
use crate::types::request::TerminateMode;
use std::borrow::Cow;
use std::fmt;

/// The two numbers that name a session, as its row in the activity view has them: the thread and
/// the session.
///
/// # Examples
///
/// ```
/// use safepoint::sql::SessionAddress;
///
/// let address: SessionAddress = "12, 345".parse()?; // the text in a command
/// assert_eq!(address, SessionAddress::try_from((12, 345))?); // arguments of a function
/// assert_eq!(address.session().get(), 345);
/// # Ok::<(), safepoint::sql::SqlError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionAddress {
    pub(super) thread: Option<ThreadId>,
    pub(super) session: SessionId,
}

impl SessionAddress {
    /// Returns the thread, or `None` for 0. In a pool 0 means any thread. If each session has its
    /// own thread, no session has an address with thread 0.
    #[must_use]
    pub fn thread(&self) -> Option<ThreadId> {
        self.thread
    }

    /// Returns the session. In a pool an address with two equal numbers names the session that is
    /// attached to that thread.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn of(thread: u64, session: u64) -> Result<SessionAddress, SqlError> {
        let session = SessionId::from_raw(session).ok_or_else(invalid_id)?;
        let thread = match thread {
            0 => None,
            thread => Some(ThreadId::from_raw(thread).ok_or_else(invalid_id)?),
        };
        Ok(SessionAddress { thread, session })
    }
}

impl fmt::Display for SessionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.thread.map_or(0, ThreadId::get), self.session)
    }
}

impl TryFrom<(i64, i64)> for SessionAddress {
    type Error = SqlError;

    /// Converts the arguments of an SQL function: the thread and the session.
    ///
    /// # Errors
    /// Returns [`SqlError`] for a negative number, and for the session number 0.
    fn try_from((thread, session): (i64, i64)) -> Result<SessionAddress, SqlError> {
        match (u64::try_from(thread), u64::try_from(session)) {
            (Ok(thread), Ok(session)) => SessionAddress::of(thread, session),
            _ => Err(invalid_id()),
        }
    }
}

/// A parsed command: the termination of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Command {
    /// The session that the command names.
    pub address: SessionAddress,
    /// The mode of the request.
    pub mode: TerminateMode,
}

/// An error for the client. Its [source](std::error::Error::source) is the [`RequestError`], if the
/// request was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    pub(super) sqlstate: &'static str,
    pub(super) message: Cow<'static, str>,
    pub(super) hint: Option<&'static str>,
    pub(super) rejection: Option<RequestError>,
}

impl SqlError {
    /// Returns the SQLSTATE, five characters.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        self.sqlstate
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the hint: advice for the user about the error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.rejection.as_ref().map(|rejection| rejection as _)
    }
}

impl From<RequestError> for SqlError {
    fn from(error: RequestError) -> SqlError {
        let hint = match error {
            RequestError::NoSuchThread(_) => Some(
                "With a thread pool 'n, n' names the session attached to thread n. \
                 To name a session wherever it is, write '0, session_id'.",
            ),
            RequestError::PermissionDenied(_) => Some(
                "Administrators may end anyone's sessions and users their own, unless the server \
                 has other rules.",
            ),
            RequestError::NotAttached { .. } => {
                Some("Take both numbers from one row of pg_stat_activity, pid first.")
            }
            _ => None,
        };
        let (sqlstate, message) = (error.sqlstate(), error.to_string().into());
        SqlError { sqlstate, message, hint, rejection: Some(error) }
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
        rejection: None,
    }
}
