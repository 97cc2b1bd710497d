//! Waits for many sockets at once, on any number of threads at once.
//!
//! A socket is *armed* for one event. The system gives that event to one waiting thread. It reports
//! nothing more of the socket until the socket is armed again. If the socket is ready then, the
//! next event comes at once. A session that a cancel has queued stays armed. So an event may be out of date, and the
//! thread with it takes the session only if the session waits for its socket.

use crate::pool::poller::Interest;
use rustix::event::epoll::{EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// The token of [`Poller::wake`].
const WAKE: u64 = u64::MAX;

/// The pause after an error of the system's wait.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest timeout that every system accepts.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(in crate::pool) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Event {
    /// The socket with this token is ready for what it was armed for, or its peer has gone. It is no longer armed.
    Ready(u64),
    /// A thread called [`Poller::wake`].
    Woken,
}

/// The buffer for the events of one wait.
pub(in crate::pool) struct Events(pub(super) Vec<epoll::Event>);

impl Events {
    pub(in crate::pool) fn with_capacity(capacity: usize) -> Events {
        Events(Vec::with_capacity(capacity))
    }

    pub(in crate::pool) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0.iter().map(|event| match event.data.u64() {
            WAKE => Event::Woken,
            token => Event::Ready(token),
        })
    }
}

impl Poller {
    pub(in crate::pool) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each wake-up reaches one waiting thread, or the next one to wait.
        // Wake-ups that no thread has received are merged.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), flags)?;
        Ok(Poller { epoll, wake })
    }

    /// A peer that has closed its sending side may still read, so that is no event of a socket that must be writable.
    fn armed(interest: Interest) -> EventFlags {
        EventFlags::ONESHOT
            | match interest {
                Interest::Readable => EventFlags::IN | EventFlags::RDHUP,
                Interest::Writable => EventFlags::OUT,
            }
    }

    /// Registers a socket, armed for input.
    pub(in crate::pool) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let armed = Self::armed(Interest::Readable);
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), armed)?)
    }

    /// Arms a registered socket again.
    pub(in crate::pool) fn arm(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let armed = Self::armed(interest);
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), armed)?)
    }

    /// Stops watching the socket. An earlier event may still arrive.
    pub(in crate::pool) fn remove(&self, socket: BorrowedFd<'_>) {
        // Fails only if the socket was never registered.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Ends the wait of one thread, which waits now or waits next.
    pub(in crate::pool) fn wake(&self) {
        // Fails only if the counter is full; then a wake-up is pending already.
        let _ = rustix::io::write(self.wake.as_fd(), &1u64.to_ne_bytes());
    }

    /// Waits for at least one event, for at most `limit`. It may also return early without an
    /// event.
    pub(in crate::pool) fn wait(&self, limit: Option<Duration>, events: &mut Events) {
        let limit = limit.and_then(|limit| Timespec::try_from(limit.min(LONGEST)).ok());
        events.0.clear();
        let room = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.epoll, room, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
#[path = "epoll_tests.rs"]
mod tests;
