//! The handles that a statement gives out, and the wait for its helpers.

use super::StatementHandle;
use crate::core::registry::Keyed as _;
use crate::session::attached::{Attached, Statement};
use crate::session::wait;
use crate::sync::now;
use crate::types::interrupt::Interrupt;
use std::future::poll_fn;
use std::panic::Location;
use std::time::Duration;

impl Statement<'_> {
    /// Returns a handle for threads and tasks that help with this statement. `name` describes the work
    /// to operators. Clone the handle and send it anywhere.
    ///
    /// The first handle of a statement allocates. The next ones find it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, Interrupt, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let rows: Vec<u64> = (0..1000).collect();
    /// let statement = attached.begin()?;
    /// let handle = statement.handle("sum");
    /// let parts = std::thread::scope(|scope| {
    ///     let parts: Vec<_> = rows
    ///         .chunks(250)
    ///         .map(|chunk| {
    ///             let handle = &handle;
    ///             scope.spawn(move || {
    ///                 let helper = handle.enter()?;
    ///                 let mut sum = 0;
    ///                 for row in chunk {
    ///                     helper.check()?;
    ///                     sum += row;
    ///                 }
    ///                 Ok(sum)
    ///             })
    ///         })
    ///         .collect();
    ///     parts.into_iter().map(|part| part.join().unwrap()).collect::<Result<Vec<u64>, Interrupt>>()
    /// })?;
    /// statement.finish()?;
    /// assert_eq!(parts.iter().sum::<u64>(), 499_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn handle(&self, name: &'static str) -> StatementHandle {
        let Attached { record, owner, .. } = &**self;
        // A reference in `Attached` would make each attachment slower.
        let own = || owner.shared.sessions.get(record.number()).expect("the session has not ended");
        StatementHandle::of_runner(record, own, name, Location::caller())
    }

    /// Waits until the statement has no helper, for at most `timeout`. Returns `false` if `timeout` elapses.
    /// Use it to have the memory of helpers back before the client gets its answer.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn wait_for_helpers(&self, timeout: Duration) -> Result<bool, Interrupt> {
        let Some(set) = self.record.helper_set_if_any() else { return Ok(true) };
        let none = poll_fn(|context| set.poll_no_helpers(context.waker()));
        // A timeout that is too long for the clock counts as none.
        let waited =
            wait::block_on(self.record, none, now().checked_add(timeout), Location::caller())?;
        Ok(waited.is_some())
    }
}
