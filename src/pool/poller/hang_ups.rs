//! Watches sockets for the end of their connections.

use crate::pool::poller::epoll::Events;
use rustix::event::epoll::{EventData, EventFlags};
use rustix::event::{Timespec, epoll};
use rustix::fd::{BorrowedFd, OwnedFd};
use std::io;

/// The sockets whose peers have closed the connection, at any time and armed or not. A socket is
/// reported again and again, until it is removed.
#[derive(Debug)]
pub(in crate::pool) struct HangUps {
    epoll: OwnedFd,
}

impl HangUps {
    pub(in crate::pool) fn new() -> io::Result<HangUps> {
        Ok(HangUps { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    pub(in crate::pool) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), EventFlags::RDHUP)?)
    }

    pub(in crate::pool) fn remove(&self, socket: BorrowedFd<'_>) {
        // Fails only if the socket was never registered.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Fills `events` with the sockets that are reported now, without waiting. If they do not all
    /// fit, the next call reports others.
    pub(in crate::pool) fn now(&self, events: &mut Events) {
        events.0.clear();
        let room = rustix::buffer::spare_capacity(&mut events.0);
        // After an error there are no events.
        let _ = epoll::wait(&self.epoll, room, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::poller::Event;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// A hang-up is reported until the socket is removed, behind unread input too.
    #[test]
    fn hang_ups_are_reported_until_their_sockets_are_removed() {
        let hang_ups = HangUps::new().unwrap();
        let seen = || {
            let mut events = Events::with_capacity(8);
            hang_ups.now(&mut events);
            events.iter().collect::<Vec<_>>()
        };
        let [(first, mut one), (second, two)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        hang_ups.add(first.as_fd(), 1).unwrap();
        hang_ups.add(second.as_fd(), 2).unwrap();
        one.write_all(b"x").unwrap();
        assert_eq!(seen(), [], "both are there");
        one.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(seen(), [Event::Ready(1)]);
        drop(two);
        let both = seen();
        assert!(both.len() == 2 && both.contains(&Event::Ready(1)), "{both:?}");
        hang_ups.remove(first.as_fd());
        assert_eq!(seen(), [Event::Ready(2)]);
        hang_ups.remove(second.as_fd());
        assert_eq!(seen(), []);
    }
}
