//! Executes parsed commands, and the SQL functions.

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

/// The name of the only column in the result row of an accepted `ALTER SYSTEM KILL SESSION`.
pub const RESULT_COLUMN: &str = "pg_terminate_session";

/// The result of an accepted command.
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandResult {
    /// The receipt of the request.
    pub receipt: Receipt<SessionEnd>,
    /// The text for a NOTICE: the state of the session when the request took effect, and when it
    /// ends or that it has ended.
    pub notice: String,
}

/// Executes a command on behalf of the requester.
///
/// # Errors
/// Returns [`SqlError`] if the request is rejected. Then it has no effect.
pub fn execute(
    manager: &SessionManager,
    command: Command,
    requester: Requester,
) -> Result<CommandResult, SqlError> {
    let Command { address, mode } = command;
    let receipt = terminate(manager, address, mode, requester, None)?;
    let notice = notice(&receipt, mode);
    Ok(CommandResult { receipt, notice })
}

fn terminate(
    manager: &SessionManager,
    address: SessionAddress,
    mode: TerminateMode,
    requester: Requester,
    comment: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    let target = resolve(manager, address, InterruptKind::Terminate, &requester)?;
    let request = Terminate::new(mode, requester);
    let request = match comment {
        Some(comment) => request.comment(comment),
        None => request,
    };
    manager.terminate(target, request).map_err(|error| known_thread(manager, error))
}

/// Executes the SQL function `pg_terminate_session(thread_id, session_id)`. A server may accept a
/// comment as a third argument: `comment`.
///
/// # Errors
/// Returns [`SqlError`] if the request is rejected. Then it has no effect.
pub fn terminate_session(
    manager: &SessionManager,
    address: SessionAddress,
    requester: Requester,
    comment: Option<&str>,
) -> Result<Receipt<SessionEnd>, SqlError> {
    terminate(manager, address, TerminateMode::Immediate, requester, comment)
}

/// Executes the SQL function `pg_cancel_session(thread_id, session_id)`: cancels the statement that
/// runs in that session now, or its queued command. For `comment` see [`terminate_session`].
///
/// # Errors
/// Returns [`SqlError`] if the request is rejected. Then it has no effect.
pub fn cancel_session(
    manager: &SessionManager,
    address: SessionAddress,
    requester: Requester,
    comment: Option<&str>,
) -> Result<Receipt<StatementEnd>, SqlError> {
    let target = resolve(manager, address, InterruptKind::Cancel, &requester)?;
    let cancel = Cancel::running_or_queued(requester);
    let cancel = match comment {
        Some(comment) => cancel.comment(comment),
        None => cancel,
    };
    manager.cancel(target, cancel).map_err(|error| known_thread(manager, error))
}

/// Resolves an address. The session id decides; the thread id is only checked.
fn resolve(
    manager: &SessionManager,
    address: SessionAddress,
    kind: InterruptKind,
    requester: &Requester,
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
        // Sessions move between threads, so each thread is accepted that an earlier row could have
        // shown with the session.
        _ if manager.could_run(thread, session) => Ok(Target::Session(session)),
        _ => {
            let target = Target::Pair(thread, session);
            let error = RequestError::NotAttached { thread, session };
            Err(manager.emit_rejected(kind, target, requester, error).into())
        }
    }
}

/// Creates the error for thread 0 if each session has its own thread.
fn no_thread(session: SessionId) -> SqlError {
    SqlError {
        sqlstate: "22023",
        message: format!("thread 0 and session {session} don't belong together").into(),
        hint: Some("Take both numbers from one row of pg_stat_activity, pid first."),
        rejection: None,
    }
}

/// Replaces the error if the given session id is the id of a thread.
fn known_thread(manager: &SessionManager, error: RequestError) -> SqlError {
    let RequestError::NoSuchSession(id) = error else { return error.into() };
    let mut threads = manager.threads().into_iter();
    match threads.find(|row| row.id.get() == id.get()) {
        Some(row) if row.is_worker => SqlError {
            sqlstate: "42809",
            message: format!("thread {id} ({}) is a worker, not a session", row.name).into(),
            hint: Some("With a thread pool 'n, n' names the session attached to thread n."),
            rejection: Some(error),
        },
        Some(row) => RequestError::BackgroundThread { thread: row.id, name: row.name }.into(),
        None => error.into(),
    }
}

fn notice(receipt: &Receipt<SessionEnd>, mode: TerminateMode) -> String {
    let target = receipt.target();
    let mut text = format!("session {} was {}", receipt.session(), target.state);
    if let (SessionState::Running | SessionState::Waiting | SessionState::Queued, Some(statement)) =
        (target.state, target.statement_id)
    {
        text += &match target.state {
            SessionState::Running => format!(" statement {statement}"),
            SessionState::Waiting => format!(" in statement {statement}"),
            _ => format!(" with statement {statement}"),
        };
    }
    if let Some(thread) = target.thread_id {
        text += &format!(" on thread {thread}");
    }
    let stronger = target.pending_mode.map_or(mode, |pending| pending.max(mode));
    let in_statement = matches!(target.state, SessionState::Running | SessionState::Waiting);
    let outlook = match stronger {
        _ if receipt.try_get().is_some() => "it has ended",
        TerminateMode::AfterStatement if in_statement => "it ends when the statement does",
        TerminateMode::AfterTransaction if in_statement || target.in_transaction => {
            "it ends when the transaction does"
        }
        _ => "it ends at its next safe point",
    };
    let again = if target.pending_mode >= Some(mode) { ", as it had been told before" } else { "" };
    text + "; " + outlook + again
}
