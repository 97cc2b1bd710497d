//! The connections of clients, watched for their end.
//!
//! A socket is registered once, edge-triggered, for the end of the peer's side. That makes one event, also with unread
//! input, and none for other input. The system removes the registration when the last descriptor of the socket is
//! closed. So a session that ends has nothing to take back.
//!
//! Each registration has a number, which no other one of the manager has. So a late event of an earlier socket of a
//! session, or of a session that has ended, is recognized.

use parking_lot::Mutex;
use rustix::event::epoll::{EventData, EventFlags};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The token of the event that wakes the thread. No connection has this number.
const WAKE: u64 = 0;

/// The pause after an error of the system's wait.
const PAUSE: Duration = Duration::from_millis(10);

/// The maximum number of events of one wait.
const BATCH: usize = 64;

/// How many registrations there are before sessions that have ended are removed.
const FIRST_SWEEP: usize = 64;

/// The watched connections of a manager.
#[derive(Debug)]
pub(crate) struct Connections {
    epoll: OwnedFd,
    wake: OwnedFd,
    registered: Mutex<Registered>,
    /// The manager was dropped. Relaxed: the wake-up that follows is a system call.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Registered {
    /// The session of each registration.
    sessions: HashMap<u64, u64>,
    last: u64,
    sweep_at: usize,
}

/// The watched connections, from the first one on. Dropping it stops the thread.
#[derive(Debug, Default)]
pub(crate) struct ConnectionsOwner(pub(crate) Mutex<Option<Arc<Connections>>>);

impl Drop for ConnectionsOwner {
    fn drop(&mut self) {
        if let Some(connections) = self.0.get_mut() {
            connections.closed.store(true, Ordering::Relaxed);
            // Fails only if the counter is full; then a wake-up is pending already.
            let _ = rustix::io::write(&connections.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Connections {
    pub(crate) fn new() -> io::Result<Connections> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let registered = Registered { sessions: HashMap::new(), last: WAKE, sweep_at: FIRST_SWEEP };
        let closed = AtomicBool::new(false);
        Ok(Connections { epoll, wake, registered: Mutex::new(registered), closed })
    }

    /// Returns the number for a new registration of a session. `is_open` returns whether a session has not
    /// ended.
    pub(crate) fn number(&self, session: u64, is_open: impl Fn(u64) -> bool) -> u64 {
        let mut registered = self.registered.lock();
        if registered.sessions.len() >= registered.sweep_at {
            registered.sessions.retain(|_, session| is_open(*session));
            registered.sweep_at = FIRST_SWEEP.max(2 * registered.sessions.len());
        }
        registered.last += 1;
        let number = registered.last;
        registered.sessions.insert(number, session);
        number
    }

    pub(crate) fn forget(&self, number: u64) {
        self.registered.lock().sessions.remove(&number);
    }

    /// Watches a socket. A peer that has closed its side already makes an event at once.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let (flags, token) = (EventFlags::RDHUP | EventFlags::ET, EventData::new_u64(number));
        match epoll::add(&self.epoll, socket, token, flags) {
            // The same socket again, perhaps for another session.
            Err(Errno::EXIST) => Ok(epoll::modify(&self.epoll, socket, token, flags)?),
            added => Ok(added?),
        }
    }

    /// Waits until clients have closed their side, and appends the numbers and sessions of their
    /// connections. Returns `false` after the manager was dropped.
    pub(crate) fn wait(&self, ended: &mut Vec<(u64, u64)>) -> bool {
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
        let mut registered = self.registered.lock();
        for event in &events {
            let number = event.data.u64();
            if let Some(session) = registered.sessions.remove(&number) {
                ended.push((number, session));
            }
        }
        !self.closed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientInfo, SessionManager, ThreadModel};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn connections(manager: &SessionManager) -> Arc<Connections> {
        manager.0.shared.connections.0.lock().clone().unwrap()
    }

    #[test]
    fn the_thread_ends_with_its_manager() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let session = manager.open(ClientInfo::default()).unwrap();
        let (socket, _client) = UnixStream::pair().unwrap();
        session.watch_connection(&socket).unwrap();
        let connections = connections(&manager);
        assert!(Arc::strong_count(&connections) > 2);
        drop((session, manager));
        let deadline = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&connections) > 1 {
            assert!(Instant::now() < deadline, "the thread does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn sessions_that_have_ended_are_removed() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let (socket, _client) = UnixStream::pair().unwrap();
        let kept = manager.open(ClientInfo::default()).unwrap();
        kept.watch_connection(&socket).unwrap();
        for _ in 0..10 * FIRST_SWEEP {
            // A connection of each session: two watches of one socket are one registration.
            let session = manager.open(ClientInfo::default()).unwrap();
            session.watch_connection(UnixStream::pair().unwrap().0).unwrap();
        }
        let connections = connections(&manager);
        let registered = connections.registered.lock();
        assert!(registered.sessions.len() <= FIRST_SWEEP, "{}", registered.sessions.len());
        assert!(registered.sessions.values().any(|session| *session == kept.id().get()));
    }

    #[test]
    fn a_sweep_comes_each_time_that_the_sessions_have_doubled() {
        let connections = Connections::new().unwrap();
        let asked = std::cell::Cell::new(0);
        let open = |_| asked.replace(asked.get() + 1) < usize::MAX;
        for session in 0..4 * FIRST_SWEEP {
            connections.number(session as u64, open);
        }
        // The first one, and that of twice as many.
        assert_eq!(asked.get(), 3 * FIRST_SWEEP);
        connections.number(0, |_| false);
        assert_eq!(connections.registered.lock().sessions.len(), 1);
    }

    #[test]
    fn a_registration_that_fails_is_forgotten() {
        let connections = Connections::new().unwrap();
        let number = connections.number(7, |_| true);
        connections.forget(number);
        assert!(connections.registered.lock().sessions.is_empty());
    }
}
