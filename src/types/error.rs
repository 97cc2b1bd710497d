//! Errors of requests, and of opening, attaching and starting.

use crate::types::id::{SessionId, StatementId, ThreadId};
use std::sync::Arc;
use std::{fmt, io};

/// The error of a rejected request. The request had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum RequestError {
    /// No session has this id: it has ended, or it never existed.
    NoSuchSession(SessionId),
    /// The session ended before the request took effect.
    AlreadyEnded(SessionId),
    /// No thread has this id.
    NoSuchThread(ThreadId),
    /// The thread runs no session now.
    ThreadIdle(ThreadId),
    /// The thread is one of the server's background threads, which never run sessions.
    BackgroundThread {
        /// The id of the thread.
        thread: ThreadId,
        /// The name of the thread.
        name: Arc<str>,
    },
    /// The session is not attached to the thread that the request names with it.
    NotAttached {
        /// The thread that the request names.
        thread: ThreadId,
        /// The session that the request names.
        session: SessionId,
    },
    /// The policy does not permit this requester to end the session or its statement.
    PermissionDenied(SessionId),
    /// The session runs no statement, and the request names none.
    NoActiveStatement(SessionId),
    /// The statement that the request names has ended.
    StatementEnded {
        /// The session of the statement.
        session: SessionId,
        /// The statement that the request names.
        statement: StatementId,
    },
    /// The statement that the request names has not begun, and is not queued.
    NoSuchStatement {
        /// The session that the request names.
        session: SessionId,
        /// The statement that the request names.
        statement: StatementId,
    },
    /// The session has changed since its row was read: see
    /// [`BulkOptions::only_if_unchanged`](crate::manager::BulkOptions::only_if_unchanged).
    SessionChanged(SessionId),
    /// The grace needs the timer, and the timer's thread could not be started.
    TimerUnavailable(SessionId),
}

impl RequestError {
    /// Returns the SQLSTATE of the error.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            RequestError::NoSuchSession(_)
            | RequestError::AlreadyEnded(_)
            | RequestError::NoSuchThread(_)
            | RequestError::ThreadIdle(_)
            | RequestError::NoSuchStatement { .. } => "42704",
            RequestError::BackgroundThread { .. } => "42809",
            RequestError::NotAttached { .. } => "22023",
            RequestError::PermissionDenied(_) => "42501",
            RequestError::NoActiveStatement(_)
            | RequestError::StatementEnded { .. }
            | RequestError::SessionChanged(_) => "55000",
            RequestError::TimerUnavailable(_) => "53000",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::NoSuchSession(id) => write!(f, "no such session: {id}"),
            RequestError::AlreadyEnded(id) => write!(f, "session {id} has already ended"),
            RequestError::NoSuchThread(id) => write!(f, "no such thread: {id}"),
            RequestError::ThreadIdle(id) => write!(f, "thread {id} runs no session now"),
            RequestError::BackgroundThread { thread: id, name } => {
                write!(f, "thread {id} ({name}) is a background thread, not a session")
            }
            RequestError::NotAttached { thread, session } => {
                write!(f, "thread {thread} and session {session} don't belong together")
            }
            RequestError::PermissionDenied(id) => {
                write!(f, "permission denied to end session {id} or its statement")
            }
            RequestError::NoActiveStatement(id) => write!(f, "session {id} runs no statement"),
            RequestError::StatementEnded { session: id, statement } => {
                write!(f, "statement {statement} of session {id} is over")
            }
            RequestError::NoSuchStatement { session: id, statement } => {
                write!(f, "session {id} has no statement {statement} yet")
            }
            RequestError::SessionChanged(id) => {
                write!(f, "session {id} has changed since it was listed")
            }
            RequestError::TimerUnavailable(id) => {
                write!(f, "session {id} can't be given a grace: there is no thread for the timer")
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// The error of opening or admitting a session, or of registering a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The manager has been closed.
    Closed,
    /// No slot is left: the manager's limit is reached, or the registry is full.
    Full,
    /// All ids are used. Ids are never reused, so this error is permanent.
    IdsExhausted,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::Closed => "the session manager is closed: no new sessions",
            OpenError::Full => "there is no room for another session or thread",
            OpenError::IdsExhausted => "the numbers for sessions and threads are used up",
        })
    }
}

impl std::error::Error for OpenError {}

/// The error of starting a pool, a watchdog or the timer.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A pool needs a manager with the model [`ThreadModel::Pool`](crate::ThreadModel::Pool).
    WrongModel,
    /// The manager could not register the thread.
    NotRegistered(OpenError),
    /// The system could not start a thread, or could not create a poller.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartError::WrongModel => "a pool needs a manager with the model ThreadModel::Pool",
            StartError::NotRegistered(_) => "the thread cannot be registered",
            StartError::Io(_) => "the thread cannot be started",
        })
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::WrongModel => None,
            StartError::NotRegistered(error) => Some(error),
            StartError::Io(error) => Some(error),
        }
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        StartError::NotRegistered(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Io(error)
    }
}

/// The error of code that needs a session: none is attached to the calling thread, or the attached
/// session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSessionError;

impl fmt::Display for NoSessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no session is attached to this thread")
    }
}

impl std::error::Error for NoSessionError {}

/// The error of attaching a session to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// The calling thread runs another session.
    ThreadBusy,
    /// The thread is registered as a background thread, which never runs sessions.
    BackgroundThread,
    /// The [`Thread`](crate::Thread) belongs to another session or manager, or it does not fit the
    /// manager's thread model.
    WrongThread,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttachError::ThreadBusy => "this thread runs another session",
            AttachError::BackgroundThread => "a background thread can't run sessions",
            AttachError::WrongThread => {
                "a session runs on its own thread, or in a pool on a registered worker"
            }
        })
    }
}

impl std::error::Error for AttachError {}
