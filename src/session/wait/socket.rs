//! Waits for a non-blocking socket.

use crate::core::record::waits::Waits;
use crate::session::wait::ambient::as_current;
use crate::session::wait::{Attached, WaitMode, run_wait};
use crate::sync::per_thread;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::cell::RefCell;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Wakes a thread that polls this descriptor together with its socket.
struct Signal(OwnedFd);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // If the counter is full, the thread is woken already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Signal {
    fn new() -> io::Result<Arc<Signal>> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Signal(signal)))
    }

    /// Clears wake-ups of an earlier wait.
    fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    /// Polls both descriptors. Returns whether the socket is ready. If not, the thread was woken.
    fn poll(&self, socket: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<bool> {
        let mut both = [PollFd::new(&socket, wanted), PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) => Ok(!both[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

per_thread! {
    /// Taken out while a wait uses it, so that a nested wait gets another.
    static SIGNAL: RefCell<Option<Arc<Signal>>> = RefCell::new(None);
}

impl Attached<'_> {
    /// Blocks until the socket is readable, its peer has closed it, or an interrupt is due. An
    /// interrupt does not change the socket.
    ///
    /// Available on Linux only.
    ///
    /// # Errors
    /// The outer error is the [`Interrupt`] that is due and not held off. The inner error is the
    /// system's.
    #[track_caller]
    pub fn wait_readable(
        &self,
        mode: WaitMode,
        socket: impl AsFd,
    ) -> Result<io::Result<()>, Interrupt> {
        wait_for(self.record, mode, socket.as_fd(), PollFlags::IN, Location::caller())
    }

    /// Blocks until the socket is writable or an interrupt is due. Call this for a slow client,
    /// after a write to the socket has returned `WouldBlock`. In a pool call it within
    /// [`block_in_place`](Self::block_in_place), so that the client does not block other sessions.
    ///
    /// Available on Linux only.
    ///
    /// # Errors
    /// The outer error is the [`Interrupt`] that is due and not held off. The inner error is the
    /// system's.
    #[track_caller]
    pub fn wait_writable(
        &self,
        mode: WaitMode,
        socket: impl AsFd,
    ) -> Result<io::Result<()>, Interrupt> {
        wait_for(self.record, mode, socket.as_fd(), PollFlags::OUT, Location::caller())
    }
}

/// Blocks until the socket is readable, as [`Attached::wait_readable`](crate::Attached::wait_readable) does, for code
/// that has no reference to the session.
///
/// Available on Linux only.
///
/// # Errors
/// The outer error is the [`Interrupt`] that is due and not held off. The inner error is the
/// system's.
#[track_caller]
pub fn wait_readable(mode: WaitMode, socket: impl AsFd) -> Result<io::Result<()>, Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait_for(waits, mode, socket.as_fd(), PollFlags::IN, at))
}

/// Blocks until the socket is writable, as [`Attached::wait_writable`](crate::Attached::wait_writable) does, for code
/// that has no reference to the session.
///
/// Available on Linux only.
///
/// # Errors
/// The outer error is the [`Interrupt`] that is due and not held off. The inner error is the
/// system's.
#[track_caller]
pub fn wait_writable(mode: WaitMode, socket: impl AsFd) -> Result<io::Result<()>, Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait_for(waits, mode, socket.as_fd(), PollFlags::OUT, at))
}

fn wait_for(
    waits: &(impl Waits + ?Sized),
    mode: WaitMode,
    socket: BorrowedFd<'_>,
    wanted: PollFlags,
    at: CallerLocation,
) -> Result<io::Result<()>, Interrupt> {
    // If the thread-local is already destroyed, nothing is kept.
    let kept = SIGNAL.try_with(|signal| signal.borrow_mut().take()).ok().flatten();
    let signal = match kept.map_or_else(Signal::new, Ok) {
        Ok(signal) => signal,
        Err(error) => return Ok(Err(error)),
    };
    let waker = Waker::from(signal.clone());
    let ended = loop {
        signal.clear();
        match run_wait(waits, &waker, mode.is_killable(), at, || signal.poll(socket, wanted)) {
            Ok(Ok(false)) => {}
            Ok(ready) => break Ok(ready.map(|_| ())),
            Err(interrupt) => break Err(interrupt),
        }
    };
    let _ = SIGNAL.try_with(|kept| *kept.borrow_mut() = Some(signal));
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_wakeups_are_cleared() {
        let signal = Signal::new().unwrap();
        let unread = || rustix::io::read(&signal.0, &mut [0; 8]).is_ok();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        signal.wake_by_ref();
        assert!(!signal.poll(socket.as_fd(), PollFlags::IN).unwrap(), "woken, and not ready");
        assert!(signal.poll(socket.as_fd(), PollFlags::OUT).unwrap());
        signal.wake_by_ref();
        signal.clear();
        assert!(!unread());
    }
}
