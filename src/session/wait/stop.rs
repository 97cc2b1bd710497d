//! Work of an engine that looks at its own flag.

use crate::core::record::stop::Stop;
use crate::core::record::waits::Waits;
use crate::session::attached::Attached;
use crate::session::wait::WaitMode;
use crate::session::wait::ambient::as_current;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::panic::Location;
use std::sync::Arc;

/// Takes the steps `I1` to `I5` of `core/record/stop.rs` around `work`.
pub(crate) fn run<T, W: Waits + ?Sized>(
    waits: &W,
    mode: WaitMode,
    stop: impl FnOnce() + Send + 'static,
    work: impl FnOnce() -> T,
    at: CallerLocation,
) -> Result<T, Interrupt> {
    /// Ends the work, also if it unwinds.
    struct EndWork<'a, W: Waits + ?Sized>(&'a W, Arc<Stop>);
    impl<W: Waits + ?Sized> Drop for EndWork<'_, W> {
        fn drop(&mut self) {
            self.0.end_work(&self.1);
        }
    }

    let stop = Stop::new(mode.is_killable(), stop);
    waits.begin_work(&stop, at)?;
    let _end_work = EndWork(waits, stop);
    Ok(work())
}

impl Attached<'_> {
    /// Runs `work` of an engine that cannot call [`check`](Self::check) often enough, and that looks at its own
    /// flag. When an interrupt falls due, `stop` is called on the requester's thread. It sets that flag, so that `work`
    /// returns soon. Examples are SQLite's `sqlite3_interrupt`, a cancellation token, and wasmtime's epoch.
    ///
    /// `stop` is called at most once, and only for an interrupt that ends this work. After this
    /// function has returned, no call of `stop` begins or is still running. It must not block, since this function
    /// waits for it. During a hold-off it is not called; the end of the hold-off calls it.
    ///
    /// The value of `work` is always returned, since it may be the result of a statement that has committed. The next
    /// safe point reports the interrupt. Unlike a [`wait`](Self::wait) this is work: the activity view shows the
    /// session as running, a watchdog expects safe points of it, and `work` may wait with this session.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off when the work begins. Then neither `work` nor `stop` is
    /// called: an engine that has not begun may ignore its flag.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// use safepoint::session::WaitMode;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// let statement = attached.begin()?;
    /// let flag = Arc::new(AtomicBool::new(false));
    /// let stop = { let flag = flag.clone(); move || flag.store(true, Ordering::Relaxed) };
    /// let rows = statement.with_interrupt_waker(WaitMode::Interruptible, stop, || {
    ///     (0..1000).take_while(|_| !flag.load(Ordering::Relaxed)).count()
    /// })?;
    /// assert_eq!(rows, 1000);
    /// statement.check()?;
    /// # drop(statement);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn with_interrupt_waker<T>(
        &self,
        mode: WaitMode,
        stop: impl FnOnce() + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> Result<T, Interrupt> {
        run(self.record, mode, stop, work, Location::caller())
    }
}

/// Runs `work` of an engine that looks at its own flag, as
/// [`Attached::with_interrupt_waker`](crate::Attached::with_interrupt_waker) does, for code that has no reference to
/// the session. On a thread that works for no session `stop` is not called.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off when the work begins. Then neither `work` nor `stop` is
/// called.
#[track_caller]
pub fn with_interrupt_waker<T>(
    mode: WaitMode,
    stop: impl FnOnce() + Send + 'static,
    work: impl FnOnce() -> T,
) -> Result<T, Interrupt> {
    let at = Location::caller();
    as_current(|waits| run(waits, mode, stop, work, at))
}
