//! Interruptible waits.
//!
//! All of them are one protocol: leave a waker, say "asleep", look once more, sleep, say
//! "awake", look again. `record/asleep.rs` says why that loses no wake-up. While a hold-off is in
//! force nobody wakes it; who ends the hold-off does, should that be another thread.

#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
mod socket;

use crate::attached::Attached;
use crate::interrupt::Interrupt;
use crate::record::Record;
use crate::sync::{Parker, Unparker, now, per_thread};
use crate::why::{Place, Stretch};
use std::cell::RefCell;
use std::future::{self, Future};
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

struct ParkingPlace {
    parker: Parker,
    waker: Waker,
}

impl ParkingPlace {
    fn new() -> ParkingPlace {
        let parker = Parker::new();
        let waker = Waker::from(Arc::new(Unpark(parker.unparker().clone())));
        ParkingPlace { parker, waker }
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
    static PLACE: RefCell<Option<ParkingPlace>> = RefCell::new(None);
}

fn with_place<T>(wait: impl FnOnce(&ParkingPlace) -> T) -> T {
    /// Puts it back, also where the wait unwinds: an unparker may have been taken of it.
    struct Kept(Option<ParkingPlace>);
    impl Drop for Kept {
        fn drop(&mut self) {
            // A thread that has dropped its thread-locals keeps none.
            let _ = PLACE.try_with(|place| *place.borrow_mut() = self.0.take());
        }
    }
    let kept = PLACE.try_with(|place| place.borrow_mut().take()).ok().flatten();
    let mut kept = Kept(kept);
    wait(kept.0.get_or_insert_with(ParkingPlace::new))
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

/// The protocol around anything that sleeps until it is done, or until `waker` is woken. The
/// error says that it did not sleep: `sleep` was not called. What `sleep` returned is never given
/// up; an interrupt that has fallen due by then is left to the next safe point.
fn asleep<T>(
    record: &Record,
    waker: &Waker,
    deaf: bool,
    at: Place,
    sleep: impl FnOnce() -> T,
) -> Result<T, Interrupt> {
    /// Says "awake" also where the sleep unwinds.
    struct Awake<'a>(&'a Record);
    impl Drop for Awake<'_> {
        fn drop(&mut self) {
            self.0.wake_up();
        }
    }

    // A cancel does not end it, and whoever asks why is told. Between statements there is none.
    let _within = (deaf && record.look().in_statement()).then(|| record.within(Stretch::Wait, at));
    record.fall_asleep(waker, deaf, at)?;
    let _awake = Awake(record);
    Ok(sleep())
}

/// What may end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// A cancel or a termination.
    AnyInterrupt,
    /// A termination alone. For waits that can't be given up without giving up the connection,
    /// such as a write to the client.
    TerminateOnly,
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

    /// Parks the thread until [`unparker`](Self::unparker)'s waker is woken, until the
    /// deadline, or until an interrupt is due. As with [`std::thread::park`] it may also
    /// return for no reason: look at what you wait for, and park again.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupt> {
        let mut parked = false;
        let once = future::poll_fn(|_| {
            if std::mem::replace(&mut parked, true) { Poll::Ready(()) } else { Poll::Pending }
        });
        // What has unparked it brings nothing that could be lost.
        block_on(self.record, once, deadline).and_then(|_| self.check())
    }

    /// A waker that ends this thread's next, or present, [`park`](Self::park). Take it outside
    /// of other waits: while one is going on the thread parks elsewhere.
    #[must_use]
    pub fn unparker(&self) -> Waker {
        with_place(|place| place.waker.clone())
    }

    /// Runs a future on this thread to its end, or until an interrupt is due; then the future
    /// is dropped. A future that is ready by then has its output returned, and the interrupt is
    /// left to the next safe point.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let output = block_on(self.record, future, None)?;
        Ok(output.expect("without a deadline there is an output"))
    }

    /// As [`block_on`](Self::block_on), for at most `limit`. `None` says that it ran out.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off.
    #[track_caller]
    pub fn block_on_for<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<Option<F::Output>, Interrupt> {
        // A limit too long for the clock is no limit.
        block_on(self.record, future, now().checked_add(limit))
    }

    /// Runs `sleep`, which blocks in a way of its own, such as a read from a socket. When an
    /// interrupt falls due `waker` is woken, on the killer's thread, and must make `sleep`
    /// return soon. While a hold-off is in force it is not woken. The session keeps it until it
    /// waits again, or ends.
    ///
    /// What `sleep` returns is always returned: it may be the answer of a statement that has
    /// committed. The interrupt is left to the next safe point, so where `sleep` came back without
    /// what you wait for, call [`check`](Self::check), and then wait again: now and then `waker` is
    /// woken for nothing, by a killer that has been slow.
    ///
    /// `sleep` itself must not wait by means of this session: the outer wait would not be
    /// woken any more.
    ///
    /// A waker that does harm, such as one that shuts a socket down, belongs into a wait that
    /// only a termination ends: in a statement, use [`EndedBy::TerminateOnly`].
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off as the wait begins. Then `sleep` was not
    /// called.
    #[track_caller]
    pub fn wait<T>(
        &self,
        by: EndedBy,
        waker: &Waker,
        sleep: impl FnOnce() -> T,
    ) -> Result<T, Interrupt> {
        let deaf = by == EndedBy::TerminateOnly;
        let at = Location::caller();
        asleep(self.record, waker, deaf, at, sleep)
    }
}

#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
mod channel {
    use super::{Attached, Interrupt, asleep};
    use crossbeam_channel::{Receiver, RecvError, Sender, bounded, select};
    use std::panic::Location;
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    /// Wakes a thread that waits in `select!`.
    struct Signal(Sender<()>);

    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            // Full is as good: it is awake already.
            let _ = self.0.try_send(());
        }
    }

    impl Attached<'_> {
        /// Receives from a channel, or until an interrupt is due; then no message is lost.
        ///
        /// # Errors
        /// The outer one is the [`Interrupt`] that is due and not held off, the inner one
        /// says that the channel is empty and has no sender any more.
        #[track_caller]
        pub fn recv<T>(&self, from: &Receiver<T>) -> Result<Result<T, RecvError>, Interrupt> {
            let at = Location::caller();
            self.check()?;
            if let Ok(message) = from.try_recv() {
                return Ok(Ok(message));
            }
            let (signal, signalled) = bounded(1);
            let waker = Waker::from(Arc::new(Signal(signal)));
            let mut message = None;
            loop {
                asleep(self.record, &waker, false, at, || {
                    select! {
                        recv(from) -> received => message = Some(received),
                        recv(signalled) -> _ => {}
                    }
                })?;
                // A message that was taken is delivered; the next safe point has the rest.
                if let Some(received) = message.take() {
                    return Ok(received);
                }
                self.check()?;
            }
        }
    }
}
