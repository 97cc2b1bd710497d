//! Interruptible waits.
//!
//! All of them take the steps `W1` to `W4` of `core/record/wait.rs`, which also shows that no
//! wake-up is lost. During a hold-off no requester wakes a wait; the thread that ends the hold-off
//! does.

#[cfg(all(feature = "crossbeam-channel", not(any(safepoint_loom, safepoint_shuttle))))]
mod channel;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
mod socket;

use crate::core::diagnostics::Section;
use crate::core::record::Record;
use crate::session::attached::Attached;
use crate::sync::{Parker, Unparker, now, per_thread};
use crate::types::interrupt::Interrupt;
use crate::types::location::Place;
use std::cell::RefCell;
use std::future;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Wakes a thread parked here.
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
    /// Taken while a wait uses it, so that a wait within a wait gets another.
    static PLACE: RefCell<Option<ThreadParker>> = RefCell::new(None);
}

fn with_place<T>(wait: impl FnOnce(&ThreadParker) -> T) -> T {
    /// Puts it back, also where the wait unwinds: an unparker may have been taken of it.
    struct Kept(Option<ThreadParker>);
    impl Drop for Kept {
        fn drop(&mut self) {
            // A thread that has dropped its thread-locals keeps none.
            let _ = PLACE.try_with(|place| *place.borrow_mut() = self.0.take());
        }
    }
    let kept = PLACE.try_with(|place| place.borrow_mut().take()).ok().flatten();
    let mut kept = Kept(kept);
    wait(kept.0.get_or_insert_with(ThreadParker::new))
}

fn over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| now() >= deadline)
}

/// Runs a future to its end, or to the deadline (`None`), on a thread that is in no session.
pub(crate) fn block_on_deaf<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    with_place(|place| {
        let mut context = Context::from_waker(&place.waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            if over(deadline) {
                return None;
            }
            place.park(deadline);
        }
    })
}

/// Runs a future to its end, to the deadline (`None`), or to an interrupt.
#[track_caller]
pub(crate) fn block_on<F: Future>(
    record: &Record,
    future: F,
    deadline: Option<Instant>,
) -> Result<Option<F::Output>, Interrupt> {
    let at = Location::caller();
    let mut future = pin!(future);
    record.check_at(at)?;
    with_place(|place| {
        let mut context = Context::from_waker(&place.waker);
        loop {
            // Asked first: an output that is there is not thrown away for an interrupt.
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(Some(output));
            }
            if over(deadline) {
                return record.check_at(at).map(|()| None);
            }
            asleep(record, &place.waker, false, at, || place.park(deadline))?;
        }
    })
}

#[track_caller]
pub(crate) fn sleep(record: &Record, time: Duration) -> Result<(), Interrupt> {
    let deadline = now().checked_add(time);
    block_on(record, future::pending::<()>(), deadline).map(|_| ())
}

/// Runs `sleep` within the protocol of a wait: it blocks until it is done, or until `waker` is
/// woken. With an error `sleep` was not called. The value of `sleep` is always returned; the next
/// safe point reports an interrupt that fell due during it.
fn asleep<T>(
    record: &Record,
    waker: &Waker,
    killable: bool,
    at: Place,
    sleep: impl FnOnce() -> T,
) -> Result<T, Interrupt> {
    /// Ends the wait, also if `sleep` unwinds.
    struct Awake<'a>(&'a Record);
    impl Drop for Awake<'_> {
        fn drop(&mut self) {
            self.0.end_wait();
        }
    }

    // A cancel does not end this wait, so it is recorded for diagnosis. Between statements there is
    // no cancel.
    let _within =
        (killable && record.look().in_statement()).then(|| record.within(Section::Wait, at));
    record.begin_wait(waker, killable, at)?;
    let _awake = Awake(record);
    Ok(sleep())
}

/// What may end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitMode {
    /// A cancel or a termination.
    Interruptible,
    /// A termination alone. For waits that can't be given up without giving up the connection,
    /// such as a write to the client.
    Killable,
}

impl Attached<'_> {
    /// Sleeps for `time`, or until an interrupt is due.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupt> {
        sleep(self.record, time)
    }

    /// Parks the thread until [`park_waker`](Self::park_waker)'s waker is woken, or until an
    /// interrupt is due. As [`std::thread::park`] it may also return for no reason: check what you
    /// wait for, and park again.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn park(&self) -> Result<(), Interrupt> {
        self.park_until(None)
    }

    /// Parks the thread as [`park`](Self::park) does, at most until `deadline`.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn park_deadline(&self, deadline: Instant) -> Result<(), Interrupt> {
        self.park_until(Some(deadline))
    }

    #[track_caller]
    fn park_until(&self, deadline: Option<Instant>) -> Result<(), Interrupt> {
        let mut parked = false;
        let once = future::poll_fn(|_| {
            if std::mem::replace(&mut parked, true) { Poll::Ready(()) } else { Poll::Pending }
        });
        // An unpark carries no value that could be lost.
        block_on(self.record, once, deadline).and_then(|_| self.check())
    }

    /// Returns a waker that ends this thread's present or next [`park`](Self::park). Take it
    /// outside of other waits: during one the thread parks elsewhere.
    #[must_use]
    pub fn park_waker(&self) -> Waker {
        with_place(|place| place.waker.clone())
    }

    /// Runs a future on this thread until it is ready or an interrupt is due; then the future is
    /// dropped. If the future is ready at that time, its output is returned, and the next safe
    /// point reports the interrupt.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
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
        let output = block_on(self.record, future, None)?;
        Ok(output.expect("without a deadline there is an output"))
    }

    /// Runs a future as [`block_on`](Self::block_on) does, for at most `limit`. Returns `Ok(None)`
    /// if `limit` elapses.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn block_on_timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<Option<F::Output>, Interrupt> {
        // A limit too long for the clock is no limit.
        block_on(self.record, future, now().checked_add(limit))
    }

    /// Runs `sleep`, which blocks in its own way, such as a read from a socket. When an interrupt
    /// falls due, `waker` is woken on the requester's thread, and must make `sleep` return soon.
    /// During a hold-off it is not woken. The session keeps the waker until its next wait, or its
    /// end.
    ///
    /// The value of `sleep` is always returned, since it may be the answer of a statement that has
    /// committed. The next safe point reports the interrupt. If `sleep` returned without the
    /// awaited value, call [`check`](Self::check), and then wait again: a slow requester may wake
    /// `waker` without an interrupt.
    ///
    /// `sleep` must not wait with this session again: the outer wait would not be woken any more.
    ///
    /// Use a waker that does harm, such as one that shuts a socket down, only in a wait that ends
    /// for a termination alone: in a statement, that is [`WaitMode::Killable`].
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off as the wait begins. Then `sleep` was not
    /// called.
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
    /// use std::{sync::Arc, task::{Wake, Waker}, thread::Thread};
    ///
    /// struct Unpark(Thread);
    /// impl Wake for Unpark {
    ///     fn wake(self: Arc<Self>) {
    ///         self.0.unpark();
    ///     }
    /// }
    /// let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    /// # waker.wake_by_ref();
    /// attached.wait(WaitMode::Interruptible, &waker, std::thread::park)?;
    /// attached.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait<T>(
        &self,
        by: WaitMode,
        waker: &Waker,
        sleep: impl FnOnce() -> T,
    ) -> Result<T, Interrupt> {
        let killable = by == WaitMode::Killable;
        let at = Location::caller();
        asleep(self.record, waker, killable, at, sleep)
    }
}
