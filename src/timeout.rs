//! Limits on how long a session's statements, transactions, lock waits and idleness last.

use crate::attached::Attached;
use crate::current::current;
use crate::home::Home;
use crate::local::NoSession;
use crate::record::Record;
use crate::session::Session;
use crate::timer;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a session may take over what it does. `None` is no limit.
///
/// When one runs out the session is told at its next safe point, as by a kill, and woken if it
/// waits: within a few milliseconds on a machine that is not overloaded. Each has the text and
/// the SQLSTATE that PostgreSQL has for it; see [`Reason`](crate::Reason). All of a manager's
/// limits have one thread, which calls the wakers of those who wait: one that takes its time holds
/// up the limits after it.
///
/// ```
/// use safepoint::{Description, Limits, SessionManager, ThreadModel};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = SessionManager::new(ThreadModel::PerSession);
/// let mut session = manager.open(Description::default())?;
/// session.set_limits(Limits { statement: Some(Duration::from_millis(20)), ..Limits::default() })?;
///
/// let thread = session.own_thread().ok_or("a pool")?;
/// let mut attached = session.attach(&thread)?;
/// let statement = attached.begin()?;
/// let interrupt = statement.sleep(Duration::from_secs(60)).unwrap_err();
/// assert_eq!(interrupt.message(), "canceling statement due to statement timeout");
/// # Ok(())
/// # }
/// ```
///
/// `None` is no limit, and so is one too long for the clock, some 580 years, which reads back as
/// `None`. Zero is over at once; where PostgreSQL's settings say 0 they mean `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// For one statement, the time that it waits for a worker included. It is cancelled, and
    /// the session lives on.
    pub statement: Option<Duration>,
    /// For one transaction, or a statement outside of one. The session ends.
    pub transaction: Option<Duration>,
    /// For one wait for a lock: see [`Attached::lock_wait`]. The statement is cancelled.
    pub lock_wait: Option<Duration>,
    /// For the time without a command while no transaction is open. The session ends.
    pub idle: Option<Duration>,
    /// For the time without a command while a transaction is open. The session ends.
    pub idle_in_transaction: Option<Duration>,
}

fn set(record: &Record, home: &Arc<Home>, limits: Limits) -> io::Result<()> {
    if record.limits() != limits {
        record.set_limits(timer::running(home)?, limits);
    }
    Ok(())
}

impl Session {
    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.record.limits()
    }

    /// Sets its limits, from now on. What runs already is measured against the new ones, and
    /// counts from when it began; where the session had no limits before, from now. A wait for a
    /// lock that began without a limit has none to its end. The first
    /// limit that a manager's sessions have starts its timer, a thread in the background.
    ///
    /// # Errors
    /// Where the system gives no thread for the timer. Then the limits are what they were.
    pub fn set_limits(&self, limits: Limits) -> io::Result<()> {
        set(&self.record, &self.ties.home, limits)
    }
}

impl Attached<'_> {
    /// The session's limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.record.limits()
    }

    /// As [`Session::set_limits`].
    ///
    /// # Errors
    /// Where the system gives no thread for the timer. Then the limits are what they were.
    pub fn set_limits(&self, limits: Limits) -> io::Result<()> {
        set(self.record, &self.ties.home, limits)
    }

    /// Runs `wait`, which waits for a lock, interruptibly, such as by [`sleep`](Self::sleep) or
    /// [`block_on`](Self::block_on). If the limit on lock waits runs out meanwhile, the statement
    /// is cancelled, and `wait` is woken.
    ///
    /// The limit counts from `since`, so that one wait may consist of several calls: give
    /// each the time at which the first began.
    pub fn lock_wait<T>(&self, since: Instant, wait: impl FnOnce() -> T) -> T {
        lock_wait_of(self.record, since, wait)
    }
}

/// The limits of the session attached to the calling thread; `None` on a thread that runs none.
#[must_use]
pub fn current_limits() -> Option<Limits> {
    current().map(|record| record.limits())
}

/// [`Session::set_limits`] for code that was handed no session, such as a `SET statement_timeout`
/// within [`Session::run`](crate::Session::run): for the session attached to the calling thread.
///
/// # Errors
/// [`NoSession`] inside an error of the kind [`NotFound`](io::ErrorKind::NotFound) on a thread that
/// runs none; else where the system gives no thread for the timer. Then the limits are what they
/// were.
pub fn set_limits(limits: Limits) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::NotFound, NoSession);
    let record = current().ok_or_else(none)?;
    let home = Home::of(&record).ok_or_else(none)?;
    set(&record, &home, limits)
}

/// [`Attached::lock_wait`] for code that was handed no session; on a thread that runs none, there
/// is no limit.
pub fn lock_wait<T>(since: Instant, wait: impl FnOnce() -> T) -> T {
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
