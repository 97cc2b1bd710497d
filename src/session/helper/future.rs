//! Futures that help with a statement, on any threads that poll them.

use super::StatementHandle;
use super::task::ActiveTask;
use crate::session::current::without_session;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use pin_project_lite::pin_project;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// The future that [`StatementHandle::wrap_future`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct WrappedFuture<F> {
        // Dropped before the task leaves.
        #[pin]
        future: Option<F>,
        task: ActiveTask,
        at: CallerLocation,
    }

    impl<F> PinnedDrop for WrappedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if future.is_some() {
                without_session(|| future.set(None));
            }
        }
    }
}

pin_project! {
    /// The future that [`StatementHandle::track_future`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct TrackedFuture<F> {
        // Dropped before the task leaves.
        #[pin]
        future: Option<F>,
        task: ActiveTask,
        // Whether it has been polled again since the statement had to stop.
        polled_again: bool,
    }

    impl<F> PinnedDrop for TrackedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if future.is_some() {
                without_session(|| future.set(None));
            }
        }
    }
}

impl StatementHandle {
    /// Wraps a future as a task that helps with the statement, on any threads that poll it. It is a helper
    /// from this call until it is ready or dropped.
    ///
    /// Each poll is a safe point. If the statement must stop, or has ended, the task is woken, the future is
    /// dropped, and the output is the [`Interrupt`].
    ///
    /// Available with the feature `async`.
    ///
    /// # Panics
    /// Polling it after it was ready panics.
    #[track_caller]
    pub fn wrap_future<F: Future>(&self, future: F) -> WrappedFuture<F> {
        let task = ActiveTask::new(&self.set, self.name);
        WrappedFuture { future: Some(future), task, at: Location::caller() }
    }

    /// Wraps a future as [`wrap_future`](Self::wrap_future) does, for hooks that may not change its output. It
    /// is polled again when the statement must stop, and the interrupt is reported by the safe points in it.
    ///
    /// Available with the feature `async`.
    ///
    /// # Panics
    /// Polling it after it was ready panics.
    pub fn track_future<F: Future>(&self, future: F) -> TrackedFuture<F> {
        let task = ActiveTask::new(&self.set, self.name);
        TrackedFuture { future: Some(future), task, polled_again: false }
    }
}

impl<F: Future> Future for WrappedFuture<F> {
    type Output = Result<F::Output, Interrupt>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let here = this.task.run_here();
        let polled = match here.task.look(this.at) {
            Ok(()) => poll_once(this.future.as_mut(), context).map(Ok),
            Err(interrupt) => Poll::Ready(Err(interrupt)),
        };
        if polled.is_ready() {
            this.future.set(None);
        }
        drop(here);
        if polled.is_ready() {
            this.task.leave();
        } else if this.task.task.end_poll(context.waker()) {
            context.waker().wake_by_ref();
        }
        polled
    }
}

impl<F: Future> Future for TrackedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let here = this.task.run_here();
        here.task.raise_if_due();
        let polled = poll_once(this.future.as_mut(), context);
        if polled.is_ready() {
            this.future.set(None);
        }
        drop(here);
        if polled.is_ready() {
            this.task.leave();
        } else if this.task.task.end_poll(context.waker())
            && !std::mem::replace(this.polled_again, true)
        {
            context.waker().wake_by_ref();
        }
        polled
    }
}

fn poll_once<F: Future>(future: Pin<&mut Option<F>>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.as_pin_mut().expect("polled after its end").poll(context)
}

impl<F> fmt::Debug for WrappedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedFuture").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for TrackedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedFuture").finish_non_exhaustive()
    }
}
