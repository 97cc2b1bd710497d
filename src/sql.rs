//! The SQL face: `ALTER SYSTEM KILL SESSION 'thread_id, session_id' [IMMEDIATE]`, as openGauss
//! has it, and Oracle's `ALTER SYSTEM DISCONNECT SESSION '…' POST_TRANSACTION`.
//!
//! A server passes each statement to [`parse`], and what that makes of it to [`execute`]:
//!
//! ```
//! use safepoint::{Author, Description, SessionManager, ThreadModel, sql};
//!
//! let manager = SessionManager::new(ThreadModel::PerSession);
//! let session = manager.open(Description::default())?;
//! let statement = format!("ALTER SYSTEM KILL SESSION '{0}, {0}'", session.id());
//!
//! let command = sql::parse(&statement).expect("one of ours")?;
//! let answer = sql::execute(&manager, command, Author::system())?;
//! assert!(answer.notice.contains("was idle"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod grammar;

use crate::id::{SessionId, ThreadId};
use crate::interrupt::{Author, InterruptKind, When};
use crate::kill::{Doing, Receipt, Refused, Target};
use crate::manager::{Cancel, SessionManager, Terminate};
use crate::outcome::{Ended, StatementOver};
use crate::thread::ThreadModel;
use std::borrow::Cow;
use std::fmt;

pub use grammar::parse;

/// The one column of the row that answers an accepted `ALTER SYSTEM KILL SESSION`.
pub const ANSWER_COLUMN: &str = "pg_terminate_session";

/// A statement of this face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// The thread that the string names. 0 is "whichever" in a pool; where each session has a
    /// thread of its own it is the session's number.
    pub thread: u64,
    /// The session that the string names.
    pub session: SessionId,
    /// When the session is to end.
    pub when: When,
}

impl Command {
    /// For a server with a command of its own: `ids` is what stands between the quotes of the
    /// others, `thread_id, session_id`.
    ///
    /// # Errors
    /// [`SqlError`] for anything but two whole numbers and a comma.
    pub fn new(ids: &str, when: When) -> Result<Command, SqlError> {
        let (thread, session) = grammar::ids(ids)?;
        Ok(Command { thread, session, when })
    }
}

/// An accepted command.
#[derive(Debug)]
pub struct Answer {
    /// The receipt.
    pub receipt: Receipt<Ended>,
    /// Where the session was found, and whether it has ended or when it will: for a NOTICE.
    pub notice: String,
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

impl From<Refused> for SqlError {
    fn from(refused: Refused) -> SqlError {
        let hint = match refused {
            Refused::NoSuchThread(_) => Some(
                "With a thread pool 'n, n' names the session attached to thread n. \
                 To name a session wherever it is, write '0, session_id'.",
            ),
            Refused::NotPermitted(_) => Some(
                "Administrators may end anyone's sessions and users their own, unless the server \
                 has other rules.",
            ),
            Refused::NotAttached(..) => {
                Some("Take both numbers from one row of pg_stat_activity, pid first.")
            }
            _ => None,
        };
        SqlError { sqlstate: refused.sqlstate(), message: refused.to_string().into(), hint }
    }
}

/// Carries out a command as its author.
///
/// # Errors
/// [`SqlError`] says why it was refused; then nothing has been done.
pub fn execute(
    manager: &SessionManager,
    command: Command,
    author: Author,
) -> Result<Answer, SqlError> {
    let Command { thread, session, when } = command;
    let receipt = terminate(manager, thread, session, when, author, None)?;
    let notice = notice(&receipt, when);
    Ok(Answer { receipt, notice })
}

fn terminate(
    manager: &SessionManager,
    thread: u64,
    session: SessionId,
    when: When,
    author: Author,
    text: Option<&str>,
) -> Result<Receipt<Ended>, SqlError> {
    let target = resolve(manager, thread, session, InterruptKind::Terminate, &author)?;
    let request = Terminate::new(when, author);
    let request = match text {
        Some(text) => request.text(text),
        None => request,
    };
    manager.terminate(target, request).map_err(|refused| known_thread(manager, refused))
}

/// What the function `pg_terminate_session(thread_id, session_id)` does. A server may let its
/// author say why, in a third argument: `text`. What `thread` may be: see [`Command::thread`].
///
/// # Errors
/// [`SqlError`] says why it was refused; then nothing has been done.
pub fn terminate_session(
    manager: &SessionManager,
    thread: i64,
    session: i64,
    author: Author,
    text: Option<&str>,
) -> Result<Receipt<Ended>, SqlError> {
    let (thread, session) = numbers(thread, session)?;
    terminate(manager, thread, session, When::Immediate, author, text)
}

/// What the function `pg_cancel_session(thread_id, session_id)` does: it cancels whatever
/// statement runs in that session at this moment, or its command that is queued. `text`: as in
/// [`terminate_session`].
///
/// # Errors
/// [`SqlError`] says why it was refused; then nothing has been done.
pub fn cancel_session(
    manager: &SessionManager,
    thread: i64,
    session: i64,
    author: Author,
    text: Option<&str>,
) -> Result<Receipt<StatementOver>, SqlError> {
    let (thread, session) = numbers(thread, session)?;
    let mut target = resolve(manager, thread, session, InterruptKind::Cancel, &author)?;
    let mut found = Some(session);
    if let Target::AttachedTo(thread) = target {
        found = manager.attached_to(thread);
        target = found.map_or(target, |session| Target::Pair(thread, session));
    }
    let named = found.and_then(|session| manager.session(session)?.statement);
    let cancel = match named {
        Some(statement) => Cancel::statement(statement, author),
        None => Cancel::running(author),
    };
    let cancel = match text {
        Some(text) => cancel.text(text),
        None => cancel,
    };
    manager.cancel(target, cancel).map_err(|refused| known_thread(manager, refused))
}

fn numbers(thread: i64, session: i64) -> Result<(u64, SessionId), SqlError> {
    let session = u64::try_from(session).ok().and_then(|n| SessionId::try_from(n).ok());
    match (u64::try_from(thread), session) {
        (Ok(thread), Some(session)) => Ok((thread, session)),
        _ => Err(invalid_id()),
    }
}

/// The session id decides; the thread id is checked and not trusted.
fn resolve(
    manager: &SessionManager,
    thread: u64,
    session: SessionId,
    kind: InterruptKind,
    author: &Author,
) -> Result<Target, SqlError> {
    let Ok(id) = ThreadId::try_from(thread) else {
        return match (thread, manager.model()) {
            (0, ThreadModel::Pool) => Ok(Target::Session(session)),
            (0, ThreadModel::PerSession) => Err(apart(thread, session)),
            _ => Err(invalid_id()),
        };
    };
    match manager.model() {
        ThreadModel::Pool if thread == session.get() => Ok(Target::AttachedTo(id)),
        // Sessions move, so any thread will do that could have been seen beside it.
        _ if manager.could_run(id, session) => Ok(Target::Session(session)),
        _ => {
            let (target, refused) = (Target::Pair(id, session), Refused::NotAttached(id, session));
            Err(manager.say_refused(kind, target, author, refused).into())
        }
    }
}

fn apart(thread: u64, session: SessionId) -> SqlError {
    SqlError {
        sqlstate: "22023",
        message: format!("thread {thread} and session {session} don't belong together").into(),
        hint: Some("Take both numbers from one row of pg_stat_activity, pid first."),
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

/// The number of a thread looks like a session's.
fn known_thread(manager: &SessionManager, refused: Refused) -> SqlError {
    let Refused::NoSuchSession(id) = refused else { return refused.into() };
    let mut threads = manager.threads().into_iter();
    match threads.find(|row| row.thread.get() == id.get()) {
        Some(row) if row.runs_sessions => SqlError {
            sqlstate: "42809",
            message: format!("thread {id} ({}) is a worker, not a session", row.name).into(),
            hint: Some("With a thread pool 'n, n' names the session attached to thread n."),
        },
        Some(row) => Refused::BackgroundThread(row.thread, row.name).into(),
        None => refused.into(),
    }
}

fn notice(receipt: &Receipt<Ended>, when: When) -> String {
    let found = receipt.found();
    let mut text = format!("session {} was {}", receipt.session(), found.doing);
    if let (Doing::Running | Doing::Waiting | Doing::Queued, Some(statement)) =
        (found.doing, found.statement)
    {
        text += &match found.doing {
            Doing::Running => format!(" statement {statement}"),
            Doing::Waiting => format!(" in statement {statement}"),
            _ => format!(" with statement {statement}"),
        };
    }
    if let Some(thread) = found.thread {
        text += &format!(" on thread {thread}");
    }
    let stronger = found.already.map_or(when, |told| told.max(when));
    let in_statement = matches!(found.doing, Doing::Running | Doing::Waiting);
    let outlook = match stronger {
        _ if receipt.poll().is_some() => "it has ended",
        When::AfterStatement if in_statement => "it ends when the statement does",
        When::AfterTransaction if in_statement || found.in_transaction => {
            "it ends when the transaction does"
        }
        _ => "it ends at its next safe point",
    };
    let again = if found.already >= Some(when) { ", as it had been told before" } else { "" };
    text + "; " + outlook + again
}
