//! Interruptible waits.
//!
//! All waits take the steps `W1` to `W4` of `core/record/wait.rs`, which also shows that no wake-up
//! is lost. During a hold-off no requester wakes a wait. The thread that ends the hold-off wakes
//! it.

#[cfg(all(feature = "crossbeam-channel", not(any(safepoint_loom, safepoint_shuttle))))]
pub(crate) mod channel;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
pub(crate) mod socket;

pub(crate) mod ambient;
pub(crate) mod stop;

use crate::core::record::waits::{NoSession, Waits};
use crate::session::attached::Attached;
use crate::sync::{Parker, Unparker, now, per_thread};
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::cell::RefCell;
use std::future;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Wakes a thread that is parked by a `ThreadParker`.
struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

struct ThreadParker {
    parker: Parker,
    waker: Waker,
}

impl ThreadParker {
    fn new() -> ThreadParker {
        let parker = Parker::new();
        let waker = Waker::from(Arc::new(Unpark(parker.unparker().clone())));
        ThreadParker { parker, waker }
    }

    fn park(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.parker.park_deadline(deadline),
            None => self.parker.park(),
        }
    }
}

per_thread! {
    /// Taken out while a wait uses it, so that a nested wait gets another.
    static PARKER: RefCell<Option<ThreadParker>> = RefCell::new(None);
}

fn with_thread_parker<T>(wait: impl FnOnce(&ThreadParker) -> T) -> T {
    /// Puts the parker back, also if the wait unwinds: a waker of it may exist.
    struct Kept(Option<ThreadParker>);
    impl Drop for Kept {
        fn drop(&mut self) {
            // If the thread-local is already destroyed, nothing is kept.
            let _ = PARKER.try_with(|kept| *kept.borrow_mut() = self.0.take());
        }
    }
    let kept = PARKER.try_with(|kept| kept.borrow_mut().take()).ok().flatten();
    let mut kept = Kept(kept);
    wait(kept.0.get_or_insert_with(ThreadParker::new))
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| now() >= deadline)
}

/// Runs a future until it is ready. Returns `None` at the deadline. No interrupt ends the wait.
#[track_caller]
pub(crate) fn block_on_uninterruptibly<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> Option<F::Output> {
    block_on(&NoSession, future, deadline, Location::caller()).unwrap_or(None)
}

/// Runs a future until it is ready or an interrupt is due. Returns `Ok(None)` at the deadline.
pub(crate) fn block_on<F: Future>(
    waits: &(impl Waits + ?Sized),
    future: F,
    deadline: Option<Instant>,
    at: CallerLocation,
) -> Result<Option<F::Output>, Interrupt> {
    let mut future = pin!(future);
    waits.check_at(at)?;
    with_thread_parker(|parker| {
        let mut context = Context::from_waker(&parker.waker);
        loop {
            // Polled before the check for an interrupt, so that an output that is ready is not
            // lost.
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(Some(output));
            }
            if has_passed(deadline) {
                return waits.check_at(at).map(|()| None);
            }
            run_wait(waits, &parker.waker, false, at, || parker.park(deadline))?;
        }
    })
}

pub(crate) fn sleep(
    waits: &(impl Waits + ?Sized),
    time: Duration,
    at: CallerLocation,
) -> Result<(), Interrupt> {
    let deadline = now().checked_add(time);
    block_on(waits, future::pending::<()>(), deadline, at).map(|_| ())
}

pub(crate) fn park_until(
    waits: &(impl Waits + ?Sized),
    deadline: Option<Instant>,
    at: CallerLocation,
) -> Result<(), Interrupt> {
    let mut parked = false;
    let once = future::poll_fn(|_| {
        if std::mem::replace(&mut parked, true) { Poll::Ready(()) } else { Poll::Pending }
    });
    // An unpark carries no value that could be lost.
    block_on(waits, once, deadline, at).and_then(|_| waits.check_at(at))
}

/// Runs `block` within the protocol of a wait. `block` must return when it is done, or when `waker`
/// is woken. An error means that `block` was not called. The value of `block` is always returned;
/// the next safe point reports an interrupt that fell due during it.
fn run_wait<T, W: Waits + ?Sized>(
    waits: &W,
    waker: &Waker,
    killable: bool,
    at: CallerLocation,
    block: impl FnOnce() -> T,
) -> Result<T, Interrupt> {
    /// Ends the wait, also if `block` unwinds.
    struct EndWait<'a, W: Waits + ?Sized>(&'a W);
    impl<W: Waits + ?Sized> Drop for EndWait<'_, W> {
        fn drop(&mut self) {
            self.0.end_wait();
        }
    }

    let _within = if killable { waits.within_killable_wait(at) } else { None };
    waits.begin_wait(waker, killable, at)?;
    let _end_wait = EndWait(waits);
    Ok(block())
}

/// The kinds of interrupts that end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitMode {
    /// A cancel or a termination ends the wait.
    Interruptible,
    /// Only a termination ends the wait. For waits that cannot be given up without closing the
    /// connection, such as a write to the client.
    Killable,
}

impl WaitMode {
    pub(crate) fn is_killable(self) -> bool {
        self == WaitMode::Killable
    }
}

/// Returns a waker that calls `wake` each time that it is woken, for waits that are ended in their own way, such as
/// [`Attached::wait`].
///
/// # Examples
///
/// ```
/// use std::sync::mpsc::channel;
///
/// let (sender, receiver) = channel();
/// let waker = safepoint::session::waker_fn(move || drop(sender.send("woken")));
/// waker.wake_by_ref();
/// assert_eq!(receiver.recv(), Ok("woken"));
/// ```
pub fn waker_fn(wake: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Function<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Wake for Function<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Function(wake)))
}

impl Attached<'_> {
    /// Sleeps for `time`, or until an interrupt is due.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupt> {
        sleep(self.record, time, Location::caller())
    }

    /// Parks the thread until the waker of [`park_waker`](Self::park_waker) is woken, or until an
    /// interrupt is due. As [`std::thread::park`] it may also return spuriously: check the
    /// condition, and park again.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn park(&self) -> Result<(), Interrupt> {
        park_until(self.record, None, Location::caller())
    }

    /// Parks the thread as [`park`](Self::park) does, at most until `deadline`.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn park_deadline(&self, deadline: Instant) -> Result<(), Interrupt> {
        park_until(self.record, Some(deadline), Location::caller())
    }

    /// Returns a waker that ends this thread's present or next [`park`](Self::park). Call this
    /// outside of other waits: during another wait the thread uses another parker.
    #[must_use]
    pub fn park_waker(&self) -> Waker {
        with_thread_parker(|parker| parker.waker.clone())
    }

    /// Runs a future on this thread until it is ready or an interrupt is due. On an interrupt the
    /// future is dropped. If the future is ready at that time, its output is returned, and the next
    /// safe point reports the interrupt.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let answer = attached.block_on(async { 42 })?;
    /// assert_eq!(answer, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let output = block_on(self.record, future, None, Location::caller())?;
        Ok(output.expect("without a deadline there is an output"))
    }

    /// Runs a future as [`block_on`](Self::block_on) does, for at most `timeout`. Returns
    /// `Ok(None)` if `timeout` elapses.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn block_on_timeout<F: Future>(
        &self,
        timeout: Duration,
        future: F,
    ) -> Result<Option<F::Output>, Interrupt> {
        // A timeout that is too long for the clock counts as none.
        block_on(self.record, future, now().checked_add(timeout), Location::caller())
    }

    /// Runs `block`, which blocks in its own way, such as a read from a socket. When an interrupt
    /// falls due, `waker` is woken on the requester's thread, and must make `block` return soon.
    /// During a hold-off it is not woken. The session keeps the waker until its next wait, or its
    /// end.
    ///
    /// The value of `block` is always returned, since it may be the result of a statement that has
    /// committed. The next safe point reports the interrupt. If `block` returned without the
    /// awaited value, call [`check`](Self::check), and then wait again: a slow requester may wake
    /// `waker` when no interrupt is due.
    ///
    /// `block` must not wait with this session again: the outer wait would not be woken any more.
    ///
    /// Use a waker with a destructive effect, such as a shutdown of a socket, only in a wait that
    /// no cancel ends. In a statement, that is [`WaitMode::Killable`].
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off when the wait begins. Then `block` is
    /// not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// use safepoint::session::{WaitMode, waker_fn};
    ///
    /// let thread = std::thread::current();
    /// let waker = waker_fn(move || thread.unpark());
    /// # waker.wake_by_ref();
    /// attached.wait(WaitMode::Interruptible, &waker, std::thread::park)?;
    /// attached.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait<T>(
        &self,
        mode: WaitMode,
        waker: &Waker,
        block: impl FnOnce() -> T,
    ) -> Result<T, Interrupt> {
        run_wait(self.record, waker, mode.is_killable(), Location::caller(), block)
    }
}
