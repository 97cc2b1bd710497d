//! The wait of a task until a statement must stop.

use super::StatementHandle;
use crate::core::record::helpers::set::HelperSet;
use crate::sync::catch::catch_panic;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The future that [`StatementHandle::interrupted`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct StatementInterrupted {
    set: Arc<HelperSet>,
    at: CallerLocation,
    /// Where its waker is in the set, once it was polled.
    key: Option<usize>,
}

impl StatementHandle {
    /// Waits until the statement must stop, or has ended. Any number of tasks may wait, in the
    /// statement's own future or elsewhere. A task that waits is no helper, so no receipt waits for it.
    ///
    /// The output is what [`check`](Self::check) reports: the interrupt that is due and not held off, or after the
    /// end of the statement [`InterruptReason::StatementEnded`](crate::request::InterruptReason::StatementEnded). If
    /// a second, stronger interrupt falls due later, a new call returns that.
    ///
    /// A future in [`wrap_future`](Self::wrap_future) is dropped by the same interrupt. It waits for this only in
    /// its own hold-offs. Use [`track_future`](Self::track_future) for a task that cleans up.
    ///
    /// Available with the feature `async`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::session::StatementHandle;
    /// # use std::time::Duration;
    /// async fn wait_for_rows(handle: &StatementHandle) -> &'static str {
    ///     tokio::select! {
    ///         () = tokio::time::sleep(Duration::from_secs(60)) => "timed out",
    ///         interrupt = handle.interrupted() => interrupt.sqlstate(),
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn interrupted(&self) -> StatementInterrupted {
        StatementInterrupted { set: self.set.clone(), at: Location::caller(), key: None }
    }
}

impl Future for StatementInterrupted {
    type Output = Interrupt;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Interrupt> {
        let StatementInterrupted { set, at, key } = &mut *self;
        set.poll_interrupted(key, context.waker(), at)
    }
}

impl Drop for StatementInterrupted {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // A waker may panic when it is dropped.
            let _ = catch_panic(|| self.set.stop_listening(key));
        }
    }
}

impl fmt::Debug for StatementInterrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementInterrupted")
            .field("session", &self.set.record().id())
            .field("statement", &self.set.statement_id())
            .finish_non_exhaustive()
    }
}
