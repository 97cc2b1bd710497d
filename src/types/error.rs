//! Why a session could not be opened, attached or requested to end.

use crate::types::id::{SessionId, StatementId, ThreadId};
use std::sync::Arc;
use std::{fmt, io};

/// Why a request was refused. Nothing has been done to any session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum RequestError {
    /// No session has this id: it has ended, or never was.
    NoSuchSession(SessionId),
    /// The session ended a moment ago.
    AlreadyEnded(SessionId),
    /// No thread has this id.
    NoSuchThread(ThreadId),
    /// The thread is there and runs no session now.
    ThreadIdle(ThreadId),
    /// The thread is one of the server's own, which never run sessions; its name.
    BackgroundThread(ThreadId, Arc<str>),
    /// The thread and the session don't belong together.
    NotAttached(ThreadId, SessionId),
    /// The policy does not let the author do this to that session.
    PermissionDenied(SessionId),
    /// No statement runs in the session, and none was named.
    NoActiveStatement(SessionId),
    /// The statement that was named is over.
    StatementEnded(SessionId, StatementId),
    /// The statement that was named has not begun, and is not queued either.
    NoSuchStatement(SessionId, StatementId),
    /// The system gives no thread for the timer that a grace needs.
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
            | RequestError::NoSuchStatement(..) => "42704",
            RequestError::BackgroundThread(..) => "42809",
            RequestError::NotAttached(..) => "22023",
            RequestError::PermissionDenied(_) => "42501",
            RequestError::NoActiveStatement(_) | RequestError::StatementEnded(..) => "55000",
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
            RequestError::BackgroundThread(id, name) => {
                write!(f, "thread {id} ({name}) is a background thread, not a session")
            }
            RequestError::NotAttached(thread, session) => {
                write!(f, "thread {thread} and session {session} don't belong together")
            }
            RequestError::PermissionDenied(id) => {
                write!(f, "permission denied to end session {id} or its statement")
            }
            RequestError::NoActiveStatement(id) => write!(f, "session {id} runs no statement"),
            RequestError::StatementEnded(id, statement) => {
                write!(f, "statement {statement} of session {id} is over")
            }
            RequestError::NoSuchStatement(id, statement) => {
                write!(f, "session {id} has no statement {statement} yet")
            }
            RequestError::TimerUnavailable(id) => {
                write!(f, "session {id} can't be given a grace: there is no thread for the timer")
            }
        }
    }
}

impl std::error::Error for RequestError {}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        io::Error::other(error)
    }
}

/// Why nothing could be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The manager has been closed.
    Closed,
    /// No slot is left for this session: by the manager's limit, or because the registry is full.
    Full,
    /// The numbers are used up. They are never given out twice, so this is for good.
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

/// Why a session can't be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// The calling thread runs another session.
    ThreadBusy,
    /// The thread is registered as a background thread, which never runs sessions.
    BackgroundThread,
    /// The thread belongs to another session or manager, or the manager was made for the other
    /// model.
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
