//! Limits on how long a session's statements, transactions, lock waits and idleness last.

use crate::core::record::Record;
use crate::core::shared::Shared;
use crate::session::attached::Attached;
use crate::session::current::current;
use crate::session::session::Session;
use crate::session::timer;
use crate::types::error::{NoSessionError, StartError};
use crate::types::timeouts::Timeouts;
use std::sync::Arc;
use std::time::Instant;

fn set(record: &Record, home: &Arc<Shared>, limits: Timeouts) -> Result<(), StartError> {
    if record.limits() != limits {
        record.set_limits(timer::running(home)?, limits);
    }
    Ok(())
}

impl Session {
    /// Returns the session's timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.record.limits()
    }

    /// Sets the session's timeouts. They apply at once, and count from the begin of the statement,
    /// transaction or idleness; if the session had no timeouts before, from now. A lock wait that
    /// began without a timeout has none until its end. The first timeout of a manager's sessions
    /// starts its timer, a background thread.
    ///
    /// # Errors
    /// [`StartError`] if the timer cannot be started. Then the timeouts are unchanged.
    pub fn set_timeouts(&self, limits: Timeouts) -> Result<(), StartError> {
        set(&self.record, &self.owner.home, limits)
    }
}

impl Attached<'_> {
    /// Returns the session's timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.record.limits()
    }

    /// Sets the session's timeouts, as [`Session::set_timeouts`] does.
    ///
    /// # Errors
    /// [`StartError`] if the timer cannot be started. Then the timeouts are unchanged.
    pub fn set_timeouts(&self, limits: Timeouts) -> Result<(), StartError> {
        set(self.record, &self.owner.home, limits)
    }

    /// Applies the lock timeout to `wait`, which waits for a lock interruptibly, such as by
    /// [`sleep`](Self::sleep) or [`block_on`](Self::block_on). If the timeout expires, the
    /// statement is cancelled, and `wait` is woken.
    ///
    /// The timeout counts from `since`, so that one wait may consist of several calls: pass the
    /// time at which the first call began to each.
    pub fn with_lock_timeout<T>(&self, since: Instant, wait: impl FnOnce() -> T) -> T {
        lock_wait_of(self.record, since, wait)
    }
}

/// Returns the timeouts of the session that is attached to the calling thread, or `None` on a
/// thread that runs none.
#[must_use]
pub fn timeouts() -> Option<Timeouts> {
    current().map(|record| record.limits())
}

/// Sets the timeouts of the session that is attached to the calling thread, as
/// [`Session::set_timeouts`] does, for code that was handed no session, such as a `SET
/// statement_timeout` within `Session::run`.
///
/// # Errors
/// The outer error is [`NoSessionError`], on a thread that runs no session. The inner one is
/// [`StartError`], if the timer cannot be started. In both cases the timeouts are unchanged.
pub fn set_timeouts(limits: Timeouts) -> Result<Result<(), StartError>, NoSessionError> {
    let record = current().ok_or(NoSessionError)?;
    let home = Shared::of(&record).ok_or(NoSessionError)?;
    Ok(set(&record, &home, limits))
}

/// Applies the lock timeout as [`Attached::with_lock_timeout`] does, for code that was handed no
/// session. On a thread that runs none there is no timeout.
pub fn with_lock_timeout<T>(since: Instant, wait: impl FnOnce() -> T) -> T {
    match current() {
        Some(record) => lock_wait_of(&record, since, wait),
        None => wait(),
    }
}

fn lock_wait_of<T>(record: &Record, since: Instant, wait: impl FnOnce() -> T) -> T {
    struct Ends<'a>(&'a Record, u64);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.lock_wait_ends(self.1);
        }
    }
    let _ends = record.lock_wait_begins(since).map(|outer| Ends(record, outer));
    wait()
}
