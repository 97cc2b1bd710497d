//! The timeouts of a session.

use std::time::Duration;

/// The timeouts of a session. `None` means no timeout.
///
/// When a timeout expires, the next safe point reports it, and a wait is woken, within a few
/// milliseconds on a machine that is not overloaded. Each timeout has PostgreSQL's message and
/// SQLSTATE; see [`InterruptReason`](crate::request::InterruptReason). One thread enforces all
/// timeouts of a manager, and wakes the waiting sessions: a slow waker delays the timeouts after
/// it.
///
/// ```
/// use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// use safepoint::session::Timeouts;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = SessionManager::new(ThreadModel::PerSession);
/// let mut session = manager.open(ClientInfo::default())?;
/// session.set_timeouts(Timeouts { statement: Some(Duration::from_millis(20)), ..Timeouts::default() })?;
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
pub struct Timeouts {
    /// For one statement, the time that it waits for a worker included. It is cancelled, and
    /// the session lives on.
    pub statement: Option<Duration>,
    /// For one transaction, or a statement outside of one. The session ends.
    pub transaction: Option<Duration>,
    /// For one wait for a lock: see [`Attached::with_lock_timeout`](crate::Attached::with_lock_timeout). The statement is cancelled.
    pub lock: Option<Duration>,
    /// For the time without a command while no transaction is open. The session ends.
    pub idle: Option<Duration>,
    /// For the time without a command while a transaction is open. The session ends.
    pub idle_in_transaction: Option<Duration>,
}
