//! Functions for code that has no reference to the session. They act on the session that the calling thread
//! runs, or whose statement it helps with.

use crate::session::current;
use crate::session::current::{Current, runs, session};
use crate::types::client_info::ClientInfo;
use crate::types::error::NoSessionError;
use crate::types::id::{SessionId, ThreadId};
use crate::types::interrupt::Interrupt;
use crate::types::request::Requester;
use std::panic::Location;

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

/// Checks for a due interrupt as [`check`] does, on a thread that must work for a session. Use it in code that must
/// not continue unobserved, for example in a thread of an engine that no kill would reach. It costs more than
/// `check`.
///
/// # Errors
/// The outer error is [`NoSessionError`], if the calling thread neither runs a session nor helps with a statement. The
/// inner error is the [`Interrupt`] that is due and not held off.
///
/// ```
/// // A thread of a pool that did not enter a statement.
/// assert!(safepoint::current::try_check().is_err());
/// ```
#[track_caller]
pub fn try_check() -> Result<Result<(), Interrupt>, NoSessionError> {
    let at = Location::caller();
    match current::current().ok_or(NoSessionError)? {
        Current::Runs(record) => Ok(record.check_at(at)),
        Current::Helps(helper) => Ok(helper.check_raised(at)),
    }
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
