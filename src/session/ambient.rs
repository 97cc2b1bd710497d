//! The session of the calling thread, for code that was handed none.

use crate::session::current::current;
use crate::session::{current, wait};
use crate::sync::now;
use crate::types::client_info::ClientInfo;
use crate::types::error::NoSessionError;
use crate::types::id::{SessionId, ThreadId};
use crate::types::interrupt::Interrupt;
use crate::types::request::Requester;
use std::time::{Duration, Instant};

/// Checks for a due interrupt of the session that is attached to the calling thread. Returns
/// `Ok(())` on a thread that runs no session.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off. Return it outwards.
///
/// ```
/// fn deep_in_an_engine(rows: impl Iterator<Item = u64>) -> Result<u64, safepoint::Interrupt> {
///     let mut sum = 0;
///     for row in rows {
///         safepoint::check()?;
///         sum += row;
///     }
///     Ok(sum)
/// }
/// assert_eq!(deep_in_an_engine(1..=4), Ok(10));
/// ```
#[inline]
#[track_caller]
pub fn check() -> Result<(), Interrupt> {
    current::check()
}

/// Returns the id of the session that is attached to the calling thread.
#[must_use]
pub fn session_id() -> Option<SessionId> {
    current().map(|record| record.id())
}

/// Returns the id of the calling thread, or `None` if it runs no session.
#[must_use]
pub fn thread_id() -> Option<ThreadId> {
    current().and_then(|record| record.snapshot_with_thread().1)
}

/// Returns the session that is attached to the calling thread, as a requester.
#[must_use]
pub fn requester() -> Option<Requester> {
    current().map(|record| record.author())
}

/// Returns a copy of the client information of the session that is attached to the calling thread.
#[must_use]
pub fn client_info() -> Option<ClientInfo> {
    current().map(|record| record.description())
}

/// Changes the client information of the session that is attached to the calling thread, such as
/// within `Session::run`, where no other code has the session. `change` gets a
/// copy, and what it returns is stored.
///
/// # Errors
/// [`NoSessionError`] on a thread that runs no session; then `change` was not called.
pub fn update_client_info(
    change: impl FnOnce(ClientInfo) -> ClientInfo,
) -> Result<(), NoSessionError> {
    current().ok_or(NoSessionError)?.describe(change);
    Ok(())
}

/// Sets whether a transaction is open, as
/// [`Attached::set_in_transaction`](crate::Attached::set_in_transaction) does, for code that was
/// handed no session. Does nothing on a thread that runs no session.
pub fn set_in_transaction(open: bool) {
    if let Some(record) = current() {
        record.transaction_changes(open);
    }
}

/// Sleeps as [`Attached::sleep`](crate::Attached::sleep) does, for code that was handed no session.
/// On a thread that runs none, no interrupt ends the sleep.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn sleep(time: Duration) -> Result<(), Interrupt> {
    match current() {
        Some(record) => wait::sleep(&record, time),
        None => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

/// Runs a future as [`Attached::block_on`](crate::Attached::block_on) does, for code that was
/// handed no session. On a thread that runs none, no interrupt ends it.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Interrupt> {
    let output = block_on_until(future, None)?;
    Ok(output.expect("without a deadline there is an output"))
}

/// Runs a future as [`block_on`] does, for at most `limit`. Returns `Ok(None)` if `limit` elapses.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on_timeout<F: Future>(
    limit: Duration,
    future: F,
) -> Result<Option<F::Output>, Interrupt> {
    // A limit too long for the clock is no limit.
    block_on_until(future, now().checked_add(limit))
}

#[track_caller]
fn block_on_until<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> Result<Option<F::Output>, Interrupt> {
    match current() {
        Some(record) => wait::block_on(&record, future, deadline),
        None => Ok(wait::block_on_deaf(future, deadline)),
    }
}
