//! Carries a parsed command out, and words the answer.

use crate::manager::manager::SessionManager;
use crate::session::receipt::Receipt;
use crate::sql::command::{Command, SqlError, invalid_id};
use crate::types::error::RequestError;
use crate::types::id::{SessionId, ThreadId};
use crate::types::interrupt::InterruptKind;
use crate::types::model::ThreadModel;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::request::{Cancel, Requester, Target, Terminate, TerminateMode};
use crate::types::state::SessionState;

/// The one column of the row that answers an accepted `ALTER SYSTEM KILL SESSION`.
pub const RESULT_COLUMN: &str = "pg_terminate_session";

/// An accepted command.
#[derive(Debug)]
pub struct CommandResult {
    /// The receipt.
    pub receipt: Receipt<SessionEnd>,
    /// Where the session was found, and whether it has ended or when it will: for a NOTICE.
    pub notice: String,
}

/// Carries out a command as its author.
///
/// # Errors
/// [`SqlError`] is the rejection of the request, which then has had no effect.
pub fn execute(
    manager: &SessionManager,
    command: Command,
    author: Requester,
) -> Result<CommandResult, SqlError> {
    let Command { thread, session, when } = command;
    let receipt = terminate(manager, thread, session, when, author, None)?;
    let notice = notice(&receipt, when);
    Ok(CommandResult { receipt, notice })
}

fn terminate(
    manager: &SessionManager,
    thread: u64,
    session: SessionId,
    when: TerminateMode,
    author: Requester,
    text: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    let target = resolve(manager, thread, session, InterruptKind::Terminate, &author)?;
    let request = Terminate::new(when, author);
    let request = match text {
        Some(text) => request.comment(text),
        None => request,
    };
    manager.terminate(target, request).map_err(|refused| known_thread(manager, refused))
}

/// Does what the SQL function `pg_terminate_session(thread_id, session_id)` does. A server may take
/// a comment in a third argument: `text`. For `thread` see [`Command::thread`].
///
/// # Errors
/// [`SqlError`] says why it was refused; then nothing has been done.
pub fn terminate_session(
    manager: &SessionManager,
    thread: i64,
    session: i64,
    author: Requester,
    text: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    let (thread, session) = numbers(thread, session)?;
    terminate(manager, thread, session, TerminateMode::Immediate, author, text)
}

/// Does what the SQL function `pg_cancel_session(thread_id, session_id)` does: cancels the
/// statement that runs in that session now, or its queued command. For `text` see
/// [`terminate_session`].
///
/// # Errors
/// [`SqlError`] says why it was refused; then nothing has been done.
pub fn cancel_session(
    manager: &SessionManager,
    thread: i64,
    session: i64,
    author: Requester,
    text: Option<&str>,
) -> Result<Receipt<StatementEnd>, SqlError> {
    let (thread, session) = numbers(thread, session)?;
    let target = resolve(manager, thread, session, InterruptKind::Cancel, &author)?;
    let cancel = Cancel::running_or_queued(author);
    let cancel = match text {
        Some(text) => cancel.comment(text),
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
    author: &Requester,
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
        // Sessions move, so any thread is accepted that could have been seen with the session.
        _ if manager.could_run(id, session) => Ok(Target::Session(session)),
        _ => {
            let (target, refused) =
                (Target::Pair(id, session), RequestError::NotAttached(id, session));
            Err(manager.emit_rejected(kind, target, author, refused).into())
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

/// The number of a thread looks like a session's.
fn known_thread(manager: &SessionManager, refused: RequestError) -> SqlError {
    let RequestError::NoSuchSession(id) = refused else { return refused.into() };
    let mut threads = manager.threads().into_iter();
    match threads.find(|row| row.id.get() == id.get()) {
        Some(row) if row.is_worker => SqlError {
            sqlstate: "42809",
            message: format!("thread {id} ({}) is a worker, not a session", row.name).into(),
            hint: Some("With a thread pool 'n, n' names the session attached to thread n."),
        },
        Some(row) => RequestError::BackgroundThread(row.id, row.name).into(),
        None => refused.into(),
    }
}

fn notice(receipt: &Receipt<SessionEnd>, when: TerminateMode) -> String {
    let found = receipt.target();
    let mut text = format!("session {} was {}", receipt.session(), found.state);
    if let (SessionState::Running | SessionState::Waiting | SessionState::Queued, Some(statement)) =
        (found.state, found.statement_id)
    {
        text += &match found.state {
            SessionState::Running => format!(" statement {statement}"),
            SessionState::Waiting => format!(" in statement {statement}"),
            _ => format!(" with statement {statement}"),
        };
    }
    if let Some(thread) = found.thread_id {
        text += &format!(" on thread {thread}");
    }
    let stronger = found.pending_mode.map_or(when, |told| told.max(when));
    let in_statement = matches!(found.state, SessionState::Running | SessionState::Waiting);
    let outlook = match stronger {
        _ if receipt.try_get().is_some() => "it has ended",
        TerminateMode::AfterStatement if in_statement => "it ends when the statement does",
        TerminateMode::AfterTransaction if in_statement || found.in_transaction => {
            "it ends when the transaction does"
        }
        _ => "it ends at its next safe point",
    };
    let again = if found.pending_mode >= Some(when) { ", as it had been told before" } else { "" };
    text + "; " + outlook + again
}
