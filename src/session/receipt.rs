//! Receipts: the requester's handles on the outcome.

use crate::core::completion::Completion;
use crate::core::diagnostics::Section;
use crate::core::record::Record;
use crate::session::current::current;
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
/// It is also a future, which stays ready once it is complete, and dropping it withdraws nothing.
/// Inside a session wait for it with [`Attached::block_on`], so that the requester can be
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
    ticket: Arc<Completion<T>>,
    found: TargetSnapshot,
    /// Where it has left its waker.
    place: Option<usize>,
}

// No lock is held while application code runs, so a panic of it leaves nothing half done.
impl<T> UnwindSafe for Receipt<T> {}
impl<T> RefUnwindSafe for Receipt<T> {}

impl<T: Clone> Receipt<T> {
    pub(crate) fn new(
        record: Arc<Record>,
        ticket: Arc<Completion<T>>,
        found: TargetSnapshot,
    ) -> Receipt<T> {
        Receipt { record, ticket, found, place: None }
    }

    /// Returns the id of the session that was requested to end.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.record.id()
    }

    /// Returns the state of the target as the request met it.
    #[must_use]
    pub fn target(&self) -> TargetSnapshot {
        self.found
    }

    /// Returns the outcome, or `None` if there is none yet.
    #[must_use]
    pub fn try_get(&self) -> Option<T> {
        self.ticket.get()
    }

    fn why(&self, kind: InterruptKind) -> Option<PendingReason> {
        if self.try_get().is_some() { None } else { self.record.why_not_yet(kind) }
    }

    /// Blocks until the outcome is there, and returns it.
    ///
    /// The wait cannot be interrupted. Inside a session use [`Attached::block_on`].
    ///
    /// [`Attached::block_on`]: crate::Attached::block_on
    #[track_caller]
    pub fn wait(&mut self) -> T {
        self.wait_timeout(Duration::MAX).expect("a wait without a deadline ends with the outcome")
    }

    /// Blocks until the outcome is there, for at most `limit`. Returns `None` if `limit` elapses;
    /// the request stays pending.
    ///
    /// The wait can't be interrupted. Inside a session use [`Attached::block_on`].
    ///
    /// [`Attached::block_on`]: crate::Attached::block_on
    #[must_use]
    #[track_caller]
    pub fn wait_timeout(&mut self, limit: Duration) -> Option<T> {
        let (session, at) = (current(), Location::caller());
        let _within = session.as_ref().map(|record| record.within(Section::Wait, at));
        // A limit too long for the clock is no limit.
        wait::block_on_deaf(self, now().checked_add(limit))
    }
}

impl Receipt<SessionEnd> {
    /// Returns why the session has not ended yet, as far as can be seen now, or `None` if it has.
    ///
    /// It does not block, and contacts no other thread. The answer may be out of date when it is
    /// read.
    #[must_use]
    pub fn pending_reason(&self) -> Option<PendingReason> {
        self.why(InterruptKind::Terminate)
    }
}

impl Receipt<StatementEnd> {
    /// Returns why the statement has not ended yet, as far as can be seen now, or `None` if it has.
    #[must_use]
    pub fn pending_reason(&self) -> Option<PendingReason> {
        self.why(InterruptKind::Cancel)
    }
}

impl<T: Clone> Future for Receipt<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Receipt { ticket, place, .. } = &mut *self;
        ticket.poll(place, context.waker())
    }
}

impl<T> Drop for Receipt<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.ticket.leave(place);
        }
    }
}

impl<T> fmt::Debug for Receipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("session", &self.record.id())
            .field("found", &self.found)
            .finish()
    }
}
