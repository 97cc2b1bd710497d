//! Closures that help with a statement, on any thread that runs them.

use super::StatementHandle;
use super::task::ActiveTask;
use crate::session::current::without_session;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::panic::Location;

/// A closure that is a helper from its creation until it has run or is dropped.
struct Job<F> {
    /// Dropped before the task leaves.
    work: Option<F>,
    task: ActiveTask,
}

impl<F> Job<F> {
    fn new(handle: &StatementHandle, work: F) -> Job<F> {
        Job { work: Some(work), task: ActiveTask::new(&handle.set, handle.name) }
    }

    fn run<T>(mut self, at: CallerLocation) -> Result<T, Interrupt>
    where
        F: FnOnce() -> T,
    {
        let here = self.task.run_here();
        if let Err(interrupt) = here.task.look(at) {
            self.work = None;
            return Err(interrupt);
        }
        Ok(self.work.take().expect("it runs once")())
    }

    fn run_unchecked<T>(mut self) -> T
    where
        F: FnOnce() -> T,
    {
        let here = self.task.run_here();
        here.task.raise_if_due();
        self.work.take().expect("it runs once")()
    }
}

impl<F> Drop for Job<F> {
    fn drop(&mut self) {
        // A job that has not run is dropped on any thread.
        if let Some(work) = self.work.take() {
            without_session(|| drop(work));
        }
    }
}

impl StatementHandle {
    /// Wraps a closure, so that it helps with the statement on any thread that runs it. It is a helper from
    /// this call until it has run or is dropped.
    ///
    /// The returned closure is a safe point: if the statement must stop, or has ended, `work` is dropped and
    /// does not run. It returns the [`Interrupt`] then. Otherwise it returns what `work` returns.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let statement = attached.begin()?;
    /// let job = statement.handle("sort").wrap_fn(|| {
    ///     let mut rows = vec![3, 1, 2];
    ///     rows.sort();
    ///     rows
    /// });
    /// assert_eq!(std::thread::spawn(job).join().unwrap()?, [1, 2, 3]);
    /// statement.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wrap_fn<T, F: FnOnce() -> T>(
        &self,
        work: F,
    ) -> impl FnOnce() -> Result<T, Interrupt> + use<T, F> {
        let (job, at) = (Job::new(self, work), Location::caller());
        move || job.run(at)
    }

    /// Wraps a closure as [`wrap_fn`](Self::wrap_fn) does, for hooks that may not change its output. It always
    /// runs, and the interrupt is reported by the safe points in it.
    pub fn track_fn<T, F: FnOnce() -> T>(&self, work: F) -> impl FnOnce() -> T + use<T, F> {
        let job = Job::new(self, work);
        move || job.run_unchecked()
    }
}
