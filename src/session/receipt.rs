//! Receipts: the requester's handles on the outcome.

use crate::core::completion::Completion;
use crate::core::diagnostics::Section;
use crate::core::record::Record;
use crate::session::current::runs;
use crate::session::wait;
use crate::sync::now;
use crate::types::id::SessionId;
use crate::types::interrupt::InterruptKind;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::pending::PendingReason;
use crate::types::state::TargetSnapshot;
use std::fmt;
use std::future::Future;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The requester's handle on an accepted request: the state of the target, and its outcome.
///
/// It is also a future, which stays ready once it is complete. Dropping it does not withdraw the
/// request. Inside a session, wait for it with [`Attached::block_on`], so that the requester can be
/// interrupted too.
///
/// [`Attached::block_on`]: crate::Attached::block_on
///
/// # Examples
///
/// ```
/// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let session = manager.open(ClientInfo::default())?;
/// use safepoint::{Requester, Terminate, TerminateMode};
/// use std::time::Duration;
///
/// let request = Terminate::new(TerminateMode::Immediate, Requester::system());
/// let mut receipt = manager.terminate(session.id(), request)?;
/// if receipt.wait_timeout(Duration::from_millis(1)).is_none() {
///     println!("not yet: {:?}", receipt.pending_reason());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Receipt<T> {
    record: Arc<Record>,
    completion: Arc<Completion<T>>,
    target_state: TargetSnapshot,
    /// The key of its waker in the completion.
    waker_key: Option<usize>,
}

// No lock is held while application code runs, so a panic of it leaves nothing half done.
impl<T> UnwindSafe for Receipt<T> {}
impl<T> RefUnwindSafe for Receipt<T> {}

impl<T: Clone> Receipt<T> {
    pub(crate) fn new(
        record: Arc<Record>,
        completion: Arc<Completion<T>>,
        target_state: TargetSnapshot,
    ) -> Receipt<T> {
        Receipt { record, completion, target_state, waker_key: None }
    }

    /// Returns the id of the target session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.record.id()
    }

    /// Returns the state of the target when the request took effect.
    #[must_use]
    pub fn target(&self) -> TargetSnapshot {
        self.target_state
    }

    /// Returns the outcome, or `None` if the session or statement has not ended yet.
    #[must_use]
    pub fn try_get(&self) -> Option<T> {
        self.completion.get()
    }

    fn unless_done(
        &self,
        reason: impl FnOnce(&Record) -> Option<PendingReason>,
    ) -> Option<PendingReason> {
        if self.try_get().is_some() { None } else { reason(&self.record) }
    }

    /// Blocks until the session or statement has ended, and returns the outcome.
    ///
    /// The wait cannot be interrupted. Inside a session use [`Attached::block_on`].
    ///
    /// [`Attached::block_on`]: crate::Attached::block_on
    #[track_caller]
    pub fn wait(&mut self) -> T {
        self.wait_timeout(Duration::MAX).expect("a wait without a deadline ends with the outcome")
    }

    /// Blocks until the session or statement has ended, for at most `timeout`. Returns `None` if
    /// `timeout` elapses; the request stays pending.
    ///
    /// The wait cannot be interrupted. Inside a session use [`Attached::block_on`].
    ///
    /// [`Attached::block_on`]: crate::Attached::block_on
    #[must_use]
    #[track_caller]
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<T> {
        let (session, at) = (runs(), Location::caller());
        let _within = session.as_ref().map(|record| record.within(Section::Wait, at));
        // A timeout that is too long for the clock counts as none.
        wait::block_on_uninterruptibly(self, now().checked_add(timeout))
    }
}

impl Receipt<SessionEnd> {
    /// Returns why the session has not ended yet, or `None` if it has.
    ///
    /// It does not block, and contacts no other thread. The result may be out of date when the
    /// caller reads it.
    #[must_use]
    pub fn pending_reason(&self) -> Option<PendingReason> {
        self.unless_done(|record| record.why_not_yet(InterruptKind::Terminate))
    }
}

impl Receipt<StatementEnd> {
    /// Returns why the statement has not ended yet, or `None` if it has.
    ///
    /// It does not block, and contacts no other thread. The result may be out of date when the
    /// caller reads it.
    #[must_use]
    pub fn pending_reason(&self) -> Option<PendingReason> {
        self.unless_done(|record| record.why_not_cancelled(self.target_state.statement_id))
    }
}

impl<T: Clone> Future for Receipt<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Receipt { completion, waker_key, .. } = &mut *self;
        completion.poll(waker_key, context.waker())
    }
}

impl<T> Drop for Receipt<T> {
    fn drop(&mut self) {
        if let Some(key) = self.waker_key.take() {
            self.completion.deregister(key);
        }
    }
}

impl<T> fmt::Debug for Receipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("session", &self.record.id())
            .field("found", &self.target_state)
            .finish()
    }
}
