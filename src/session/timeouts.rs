//! The timeouts of a session: getting, setting, from when they count, and waits for locks.

use crate::core::record::Record;
use crate::core::shared::Shared;
use crate::session::attached::{Attached, Statement};
use crate::session::current::{runs, session};
use crate::session::session::Session;
use crate::session::timer;
use crate::types::error::{NoSessionError, StartError};
use crate::types::timeouts::Timeouts;
use std::sync::Arc;
use std::time::Instant;

fn set(record: &Record, shared: &Arc<Shared>, timeouts: Timeouts) -> Result<(), StartError> {
    if record.limits() != timeouts {
        record.set_limits(timer::ensure_running(shared)?, timeouts);
    }
    Ok(())
}

impl Session {
    /// Returns the session's timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.record.limits()
    }

    /// Sets the session's timeouts. They apply at once, and count from the start of the statement,
    /// transaction or idle time. If the session had no timeouts before, they count from now. A lock
    /// wait that began without a timeout has none until its end. The first timeout of a manager's
    /// sessions starts its timer, a background thread.
    ///
    /// # Errors
    /// Returns [`StartError`] if the timer cannot be started. Then the timeouts are unchanged.
    pub fn set_timeouts(&self, timeouts: Timeouts) -> Result<(), StartError> {
        set(&self.record, &self.owner.shared, timeouts)
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
    /// Returns [`StartError`] if the timer cannot be started. Then the timeouts are unchanged.
    pub fn set_timeouts(&self, timeouts: Timeouts) -> Result<(), StartError> {
        set(self.record, &self.owner.shared, timeouts)
    }

    /// Applies the lock timeout to `wait`, which waits for a lock interruptibly, for example by
    /// [`sleep`](Self::sleep) or [`block_on`](Self::block_on). If the timeout expires, the
    /// statement is cancelled, and `wait` is woken.
    ///
    /// The timeout counts from `started`. If one lock wait consists of several calls, pass the time
    /// at which the first call began to each of them.
    pub fn with_lock_timeout<T>(&self, started: Instant, wait: impl FnOnce() -> T) -> T {
        with_lock_timeout_of(self.record, started, wait)
    }
}

impl Statement<'_> {
    /// Restarts the statement timeout, which then counts from now. Use it between the parts of one
    /// statement of this library that have a timeout each, such as the SQL statements of one message.
    ///
    /// A timeout that has expired before is still pending.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let message = attached.begin()?;
    /// for part in ["select 1", "select 2"] {
    ///     message.restart_timeout();
    ///     println!("{part}");
    ///     message.check()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restart_timeout(&self) {
        self.record.restart_timeout();
    }

    /// Lets the statement timeout count from `started`, if that is earlier than the time from which
    /// it counts now. Use it if several statements of this library share one timeout, and pass the
    /// start of the first to each. The messages that prepare and run one SQL statement are an example.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # use std::time::Instant;
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let started = Instant::now();
    /// attached.begin()?.finish()?; // parse
    /// let run = attached.begin()?;
    /// run.count_timeout_from(started);
    /// run.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count_timeout_from(&self, started: Instant) {
        self.record.count_timeout_from(started);
    }
}

/// Returns the timeouts of the session that is attached to the calling thread, or `None` if there
/// is none.
#[must_use]
pub fn timeouts() -> Option<Timeouts> {
    session().map(|record| record.limits())
}

/// Sets the timeouts of the session that is attached to the calling thread, as
/// [`Session::set_timeouts`] does. Use it for example for `SET statement_timeout` within
/// `Session::run`.
///
/// # Errors
/// The outer error is [`NoSessionError`], if no session is attached to the calling thread. The
/// inner error is [`StartError`], if the timer cannot be started. In both cases the timeouts are
/// unchanged.
pub fn set_timeouts(timeouts: Timeouts) -> Result<Result<(), StartError>, NoSessionError> {
    let record = runs().ok_or(NoSessionError)?;
    let shared = Shared::of(&record).ok_or(NoSessionError)?;
    Ok(set(&record, &shared, timeouts))
}

/// Applies the lock timeout of the session that is attached to the calling thread, as
/// [`Attached::with_lock_timeout`] does. If no session is attached, there is no timeout.
pub fn with_lock_timeout<T>(started: Instant, wait: impl FnOnce() -> T) -> T {
    match runs() {
        Some(record) => with_lock_timeout_of(&record, started, wait),
        None => wait(),
    }
}

fn with_lock_timeout_of<T>(record: &Record, started: Instant, wait: impl FnOnce() -> T) -> T {
    struct Ends<'a>(&'a Record, u64);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.lock_wait_ends(self.1);
        }
    }
    let _ends = record.lock_wait_begins(started).map(|outer| Ends(record, outer));
    wait()
}
