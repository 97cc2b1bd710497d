//! Functions for code that has no reference to the session. They act on the session that the calling thread
//! runs, or whose statement it helps with.

use crate::session::current::{Current, current, runs, session};
use crate::session::{current, wait};
use crate::sync::now;
use crate::types::client_info::ClientInfo;
use crate::types::error::NoSessionError;
use crate::types::id::{SessionId, ThreadId};
use crate::types::interrupt::Interrupt;
use crate::types::request::Requester;
use std::time::{Duration, Instant};

/// Checks for a due interrupt of the session that is attached to the calling thread. Returns
/// `Ok(())` if no session is attached.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off. Propagate it to the caller.
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

/// Returns the id of the session that is attached to the calling thread, or `None` if there is
/// none.
#[must_use]
pub fn session_id() -> Option<SessionId> {
    session().map(|record| record.id())
}

/// Returns the id of the calling thread, or `None` if it runs no session.
#[must_use]
pub fn thread_id() -> Option<ThreadId> {
    runs().and_then(|record| record.snapshot_with_thread().1)
}

/// Returns the session that is attached to the calling thread, as a requester, or `None` if there
/// is none.
#[must_use]
pub fn requester() -> Option<Requester> {
    session().map(|record| record.as_requester())
}

/// Returns a copy of the client information of the session that is attached to the calling thread,
/// or `None` if there is none.
#[must_use]
pub fn client_info() -> Option<ClientInfo> {
    session().map(|record| record.description())
}

/// Changes the client information of the session that is attached to the calling thread. Use it
/// where the [`Session`](crate::Session) is borrowed, for example within `Session::run`. `change`
/// gets a copy, and its result is stored.
///
/// # Errors
/// Returns [`NoSessionError`] if no session is attached to the calling thread. Then `change` is not
/// called.
pub fn update_client_info(
    change: impl FnOnce(ClientInfo) -> ClientInfo,
) -> Result<(), NoSessionError> {
    runs().ok_or(NoSessionError)?.describe(change);
    Ok(())
}

/// Sets whether a transaction is open in the session that is attached to the calling thread. Does
/// nothing if no session is attached. See
/// [`Attached::set_in_transaction`](crate::Attached::set_in_transaction).
pub fn set_in_transaction(open: bool) {
    if let Some(record) = runs() {
        record.transaction_changes(open);
    }
}

/// Sleeps until `time` has passed or an interrupt is due, as
/// [`Attached::sleep`](crate::Attached::sleep) does. If no session is attached to the calling
/// thread, no interrupt ends the sleep.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn sleep(time: Duration) -> Result<(), Interrupt> {
    match current() {
        Some(Current::Runs(record)) => wait::sleep(&*record, time),
        Some(Current::Helps(helper)) => wait::sleep(&helper, time),
        None => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

/// Runs a future until it is ready or an interrupt is due, as
/// [`Attached::block_on`](crate::Attached::block_on) does. If no session is attached to the calling
/// thread, no interrupt ends the wait.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Interrupt> {
    let output = block_on_until(future, None)?;
    Ok(output.expect("without a deadline there is an output"))
}

/// Runs a future as [`block_on`] does, for at most `timeout`. Returns `Ok(None)` if `timeout`
/// elapses.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on_timeout<F: Future>(
    timeout: Duration,
    future: F,
) -> Result<Option<F::Output>, Interrupt> {
    // A timeout that is too long for the clock counts as none.
    block_on_until(future, now().checked_add(timeout))
}

#[track_caller]
fn block_on_until<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> Result<Option<F::Output>, Interrupt> {
    match current() {
        Some(Current::Runs(record)) => wait::block_on(&*record, future, deadline),
        Some(Current::Helps(helper)) => wait::block_on(&helper, future, deadline),
        None => Ok(wait::block_on_uninterruptibly(future, deadline)),
    }
}
