//! The timeouts of a session.

use std::time::Duration;

/// The timeouts of a session. `None` means no timeout.
///
/// When a timeout expires, the next safe point reports it, or the wait is woken. This takes a few
/// milliseconds on a machine that is not overloaded. Each timeout has PostgreSQL's message and
/// SQLSTATE; see [`InterruptReason`](crate::request::InterruptReason). One thread enforces all
/// timeouts of a manager, and wakes the waiting sessions: a slow waker delays the later timeouts.
///
/// ```
/// use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// use safepoint::session::Timeouts;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = SessionManager::new(ThreadModel::PerSession);
/// let mut session = manager.open(ClientInfo::default())?;
/// session.set_timeouts(Timeouts::new().with_statement(Duration::from_millis(20)))?;
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
/// A timeout that is too long for the clock, about 580 years, is stored as `None`. A timeout of
/// zero expires at once; in PostgreSQL's settings 0 means no timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Timeouts {
    pub(crate) statement: Option<Duration>,
    pub(crate) transaction: Option<Duration>,
    pub(crate) lock: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) idle_in_transaction: Option<Duration>,
    pub(crate) client_disconnect: Option<Duration>,
}

impl Timeouts {
    /// Creates timeouts that are all `None`.
    #[must_use]
    pub fn new() -> Timeouts {
        Timeouts::default()
    }

    /// Sets the timeout of one statement, including the time that it waits for a worker. The
    /// statement is cancelled, and the session continues.
    #[must_use]
    pub fn with_statement(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.statement = timeout.into();
        self
    }

    /// Sets the timeout of one transaction, or of a statement outside of one. The session ends.
    #[must_use]
    pub fn with_transaction(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.transaction = timeout.into();
        self
    }

    /// Sets the timeout of one wait for a lock: see
    /// [`Attached::with_lock_timeout`](crate::Attached::with_lock_timeout). The statement is cancelled.
    #[must_use]
    pub fn with_lock(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.lock = timeout.into();
        self
    }

    /// Sets the timeout of the time without a command while no transaction is open. The session
    /// ends.
    #[must_use]
    pub fn with_idle(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.idle = timeout.into();
        self
    }

    /// Sets the timeout of the time without a command while a transaction is open. The session
    /// ends.
    #[must_use]
    pub fn with_idle_in_transaction(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.idle_in_transaction = timeout.into();
        self
    }

    /// Sets the time that a statement may continue after the client has closed its side of the connection that
    /// [`Session::watch_connection`](crate::Session::watch_connection) watches. The session ends. A session
    /// without a statement is left alone, because its server reads the end of the connection itself.
    #[must_use]
    pub fn with_client_disconnect(mut self, timeout: impl Into<Option<Duration>>) -> Timeouts {
        self.client_disconnect = timeout.into();
        self
    }

    /// Returns the timeout of one statement.
    #[must_use]
    pub fn statement(&self) -> Option<Duration> {
        self.statement
    }

    /// Returns the timeout of one transaction.
    #[must_use]
    pub fn transaction(&self) -> Option<Duration> {
        self.transaction
    }

    /// Returns the timeout of one wait for a lock.
    #[must_use]
    pub fn lock(&self) -> Option<Duration> {
        self.lock
    }

    /// Returns the timeout of the time without a command while no transaction is open.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// Returns the timeout of the time without a command while a transaction is open.
    #[must_use]
    pub fn idle_in_transaction(&self) -> Option<Duration> {
        self.idle_in_transaction
    }

    /// Returns the time that a statement may continue after the client has closed its side of the connection.
    #[must_use]
    pub fn client_disconnect(&self) -> Option<Duration> {
        self.client_disconnect
    }
}
