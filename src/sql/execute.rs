//! Executes a parsed command, and describes the result.

use crate::manager::manager::SessionManager;
use crate::session::receipt::Receipt;
use crate::sql::command::{Command, SessionAddress, SqlError};
use crate::types::error::RequestError;
use crate::types::id::SessionId;
use crate::types::interrupt::InterruptKind;
use crate::types::model::ThreadModel;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::request::{Cancel, Requester, Target, Terminate, TerminateMode};
use crate::types::state::SessionState;

/// The one column of the row that answers an accepted `ALTER SYSTEM KILL SESSION`.
pub const RESULT_COLUMN: &str = "pg_terminate_session";

/// The result of an accepted command.
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandResult {
    /// The receipt.
    pub receipt: Receipt<SessionEnd>,
    /// The state in which the request met the session, and whether it has ended or when it will: for a
    /// NOTICE.
    pub notice: String,
}

/// Executes a command on behalf of the requester.
///
/// # Errors
/// [`SqlError`] if the request is rejected; then it has had no effect.
pub fn execute(
    manager: &SessionManager,
    command: Command,
    author: Requester,
) -> Result<CommandResult, SqlError> {
    let Command { address, mode } = command;
    let receipt = terminate(manager, address, mode, author, None)?;
    let notice = notice(&receipt, mode);
    Ok(CommandResult { receipt, notice })
}

fn terminate(
    manager: &SessionManager,
    address: SessionAddress,
    when: TerminateMode,
    author: Requester,
    text: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    let target = resolve(manager, address, InterruptKind::Terminate, &author)?;
    let request = Terminate::new(when, author);
    let request = match text {
        Some(text) => request.comment(text),
        None => request,
    };
    manager.terminate(target, request).map_err(|refused| known_thread(manager, refused))
}

/// Does what the SQL function `pg_terminate_session(thread_id, session_id)` does. A server may take
/// a comment in a third argument: `comment`.
///
/// # Errors
/// [`SqlError`] if the request is rejected; then it has had no effect.
pub fn terminate_session(
    manager: &SessionManager,
    address: SessionAddress,
    author: Requester,
    comment: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    terminate(manager, address, TerminateMode::Immediate, author, comment)
}

/// Does what the SQL function `pg_cancel_session(thread_id, session_id)` does: cancels the
/// statement that runs in that session now, or its queued command. For `comment`
/// see [`terminate_session`].
///
/// # Errors
/// [`SqlError`] if the request is rejected; then it has had no effect.
pub fn cancel_session(
    manager: &SessionManager,
    address: SessionAddress,
    author: Requester,
    comment: Option<&str>,
) -> Result<Receipt<StatementEnd>, SqlError> {
    let target = resolve(manager, address, InterruptKind::Cancel, &author)?;
    let cancel = Cancel::running_or_queued(author);
    let cancel = match comment {
        Some(comment) => cancel.comment(comment),
        None => cancel,
    };
    manager.cancel(target, cancel).map_err(|refused| known_thread(manager, refused))
}

/// The session id decides; the thread id is checked and not trusted.
fn resolve(
    manager: &SessionManager,
    address: SessionAddress,
    kind: InterruptKind,
    author: &Requester,
) -> Result<Target, SqlError> {
    let SessionAddress { thread, session } = address;
    let Some(thread) = thread else {
        return match manager.model() {
            ThreadModel::Pool => Ok(Target::Session(session)),
            ThreadModel::PerSession => Err(no_thread(session)),
        };
    };
    match manager.model() {
        ThreadModel::Pool if thread.get() == session.get() => Ok(Target::AttachedTo(thread)),
        // Sessions move, so any thread is accepted that could have been seen with the session.
        _ if manager.could_run(thread, session) => Ok(Target::Session(session)),
        _ => {
            let target = Target::Pair(thread, session);
            let refused = RequestError::NotAttached { thread, session };
            Err(manager.emit_rejected(kind, target, author, refused).into())
        }
    }
}

/// A session with a thread of its own is never on thread 0.
fn no_thread(session: SessionId) -> SqlError {
    SqlError {
        sqlstate: "22023",
        message: format!("thread 0 and session {session} don't belong together").into(),
        hint: Some("Take both numbers from one row of pg_stat_activity, pid first."),
        rejection: None,
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
            rejection: Some(refused),
        },
        Some(row) => RequestError::BackgroundThread { thread: row.id, name: row.name }.into(),
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
