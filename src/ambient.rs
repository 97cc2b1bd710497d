//! The session of the calling thread, for code that was handed none.

use crate::about::Description;
use crate::current::{self, current};
use crate::id::{SessionId, ThreadId};
use crate::interrupt::{Author, Interrupt};
use crate::local::NoSession;
use crate::sync::now;
use crate::wait;
use std::time::{Duration, Instant};

/// A safe point in code that was handed no session: that of the session attached to the
/// calling thread. On a thread that runs none there is nothing to report.
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

/// The session attached to the calling thread.
#[must_use]
pub fn current_session() -> Option<SessionId> {
    current().map(|record| record.id())
}

/// The id of the calling thread, if it runs a session.
#[must_use]
pub fn current_thread() -> Option<ThreadId> {
    current().and_then(|record| record.look_with_thread().1)
}

/// The session attached to the calling thread, as the author of a request.
#[must_use]
pub fn current_author() -> Option<Author> {
    current().map(|record| record.author())
}

/// Looks at or changes what is known of the session attached to the calling thread, such as within
/// [`Session::run`](crate::Session::run), where nobody else has the session in hand. As with
/// [`Attached::describe`](crate::Attached::describe) `change` has a copy, which is kept as it
/// returns.
///
/// # Errors
/// [`NoSession`] on a thread that runs none; then `change` was not called.
pub fn describe<T>(change: impl FnOnce(&mut Description) -> T) -> Result<T, NoSession> {
    Ok(current().ok_or(NoSession)?.describe(change))
}

/// [`Attached::set_transaction`](crate::Attached::set_transaction) for code that was handed no
/// session. On a thread that runs none there is nothing to be said.
pub fn set_transaction(open: bool) {
    if let Some(record) = current() {
        record.transaction_changes(open);
    }
}

/// [`Attached::sleep`](crate::Attached::sleep) for code that was handed no session; a plain
/// sleep on a thread that runs none.
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

/// [`Attached::block_on`](crate::Attached::block_on) for code that was handed no session; on a
/// thread that runs none, it is not interrupted.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Interrupt> {
    let output = block_on_until(future, None)?;
    Ok(output.expect("without a deadline there is an output"))
}

/// As [`block_on`], for at most `limit`. `None` says that it ran out.
///
/// # Errors
/// The [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on_for<F: Future>(limit: Duration, future: F) -> Result<Option<F::Output>, Interrupt> {
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
