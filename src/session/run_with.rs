//! Tasks whose future is notified of an interrupt, and may then clean up for some time.

use crate::session::grace::Stops;
use crate::session::helper::{StatementHandle, statement_at};
use crate::session::session::Session;
use crate::session::task::{Run, RunError};
use crate::types::interrupt::Interrupt;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const DEFAULT_GRACE: Duration = Duration::from_secs(5);

impl Session {
    /// Runs a future as the session's next statement, as [`run`](Self::run) does, but notifies it of an
    /// interrupt instead of dropping it at once. `work` gets the handle of the statement, for
    /// [helpers](StatementHandle) and to wait for an interrupt by
    /// [`interrupted`](StatementHandle::interrupted). It is called in the first poll, after the statement
    /// has begun.
    ///
    /// If an interrupt is due and not held off, `interrupted` is ready, and safe points in the future report
    /// the interrupt. The future may then clean up, and return. It is dropped at the `await` where it waits
    /// if it has not returned within a grace of 5 seconds, or of
    /// [`with_grace`](RunWith::with_grace). The grace counts from the first poll in which the interrupt is
    /// due and not held off. A second, stronger interrupt does not extend it, and a hold-off delays the drop
    /// until its end.
    ///
    /// The output of a future that returns is always returned, in [`Returned::output`].
    /// [`Returned::interrupt`] is the interrupt that the statement has observed, and `None` if it has
    /// completed without one. A cancel that was not observed has no effect. A termination that was not
    /// observed is still due: call [`interrupted`](Self::interrupted) or [`check`](Self::check) next, or
    /// begin the next statement.
    ///
    /// # Errors
    /// Returns [`RunError::Interrupted`] with the interrupt if the statement did not begin, or if the future
    /// was dropped after the grace. After a cancel the session continues. The other errors mean that the
    /// session could not be attached. Then the statement ends and the future is dropped.
    ///
    /// # Panics
    /// Polling a `RunWith` after it was ready panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use safepoint::task::{Returned, RunError};
    /// use safepoint::{Interrupt, Session};
    ///
    /// # async fn write_page(_: u32) {}
    /// # async fn remove_pages(_: u32) {}
    /// async fn copy_pages(session: &mut Session) -> Result<String, RunError> {
    ///     let work = async |handle: safepoint::session::StatementHandle| {
    ///         for page in 0..1_000 {
    ///             tokio::select! {
    ///                 () = write_page(page) => {}
    ///                 _ = handle.interrupted() => {
    ///                     remove_pages(page).await;
    ///                     return 0;
    ///                 }
    ///             }
    ///         }
    ///         1_000
    ///     };
    ///     let Returned { output, interrupt, .. } = session.run_with(work).await?;
    ///     Ok(match interrupt {
    ///         Some(interrupt) => format!("{interrupt}, and {output} pages remain"),
    ///         None => format!("copied {output} pages"),
    ///     })
    /// }
    /// # let manager = safepoint::SessionManager::new(safepoint::ThreadModel::Pool);
    /// # let mut session = manager.open(safepoint::ClientInfo::default()).unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # assert_eq!(runtime.block_on(copy_pages(&mut session)).unwrap(), "copied 1000 pages");
    /// ```
    #[track_caller]
    pub fn run_with<T, F>(&mut self, work: F) -> RunWith<'_, impl Future<Output = T> + use<T, F>>
    where
        F: AsyncFnOnce(StatementHandle) -> T,
    {
        let at = Location::caller();
        let future = async move {
            let handle = statement_at("run_with", at).expect("the first poll is in the statement");
            work(handle).await
        };
        RunWith { run: Run::new(self, future, Stops::Within(DEFAULT_GRACE), at) }
    }
}

pin_project! {
    /// The future that [`Session::run_with`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct RunWith<'s, F> {
        #[pin]
        run: Run<'s, F>,
    }
}

impl<'s, F> RunWith<'s, F> {
    /// Stores the statement's text and the time for the activity view, as
    /// [`Statement::with_text`](crate::Statement::with_text) does.
    pub fn with_text(self, text: &'s str) -> Self {
        RunWith { run: self.run.with_text(text) }
    }

    /// Sets the time that the future has to return once an interrupt is due. With [`Duration::ZERO`] it is
    /// dropped at once, as by [`Session::run`]. With [`Duration::MAX`] it is never dropped.
    ///
    /// The first interrupt of a manager's sessions that has a grace starts the manager's timer, a background
    /// thread. If that thread cannot be started, there is no grace.
    pub fn with_grace(self, grace: Duration) -> Self {
        RunWith { run: self.run.with_grace(grace) }
    }
}

impl<F: Future> Future for RunWith<'_, F> {
    type Output = Result<Returned<F::Output>, RunError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut run = self.project().run;
        match run.as_mut().resume(context) {
            Ok(polled) => polled.map(|(output, interrupt)| Ok(Returned { output, interrupt })),
            Err(error) => {
                run.give_up();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F> fmt::Debug for RunWith<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWith").field("run", &self.run).finish()
    }
}

/// The output of a future that [`Session::run_with`] ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned<T> {
    /// The output of the future.
    pub output: T,
    /// The interrupt that the statement has observed: a safe point or
    /// [`interrupted`](StatementHandle::interrupted) has reported it, in the future or in a helper. The
    /// stronger one if there were two. `None` if there was none.
    pub interrupt: Option<Interrupt>,
}
