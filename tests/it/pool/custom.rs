//! A connection whose methods run closures of the test.

use crate::common::{TEST_TIMEOUT, locked, of, wait_until};
use crossbeam_channel::Sender;
use safepoint::pool::{Action, CloseReason, Connection, Pool, PoolBuilder, Priority};
use safepoint::{Attached, Interrupt, Session, SessionManager, ThreadModel};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

/// A side effect of a method.
pub(crate) type Calls = Box<dyn Fn(&SessionManager) + Send + Sync>;

/// The closure that runs for the input that has arrived.
pub(crate) type Runs = Box<dyn FnMut(&mut Attached<'_>) -> Result<Action, Interrupt> + Send>;

/// Reads, runs something, and answers with a dot.
pub(crate) struct CustomConnection {
    pub(crate) socket: UnixStream,
    pub(crate) manager: SessionManager,
    pub(crate) runs: Runs,
    /// As it is asked for its socket.
    pub(crate) as_fd: Calls,
    pub(crate) priority: Calls,
    pub(crate) goes: Priority,
    pub(crate) emergency: Calls,
    pub(crate) is_emergency: bool,
    pub(crate) farewell: Calls,
    pub(crate) dropped: Calls,
    pub(crate) ends: Arc<Mutex<Vec<CloseReason>>>,
}

impl CustomConnection {
    /// Creates a connection without side effects, its session, and the test's end of its socket.
    pub(crate) fn new(manager: &SessionManager) -> (CustomConnection, Session, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        (CustomConnection::of(manager, socket), manager.open(of("ann")).unwrap(), peer)
    }

    /// The same for a socket that is there.
    pub(crate) fn of(manager: &SessionManager, socket: UnixStream) -> CustomConnection {
        let nothing = || Box::new(|_: &_| ());
        CustomConnection {
            socket,
            manager: manager.clone(),
            runs: Box::new(|_| Ok(Action::WaitReadable)),
            as_fd: nothing(),
            priority: nothing(),
            goes: Priority::High,
            emergency: nothing(),
            is_emergency: false,
            farewell: nothing(),
            dropped: nothing(),
            ends: Arc::default(),
        }
    }
}

impl Drop for CustomConnection {
    fn drop(&mut self) {
        (self.dropped)(&self.manager);
    }
}

impl AsFd for CustomConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (self.as_fd)(&self.manager);
        self.socket.as_fd()
    }
}

impl Connection for CustomConnection {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        let mut bytes = [0; 64];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Ok(Action::Close),
            Ok(_) => {}
            // It has asked for another turn.
            Err(_) => return (self.runs)(session),
        }
        let next = (self.runs)(session)?;
        let _ = self.socket.write_all(b".");
        Ok(next)
    }

    fn on_close(&mut self, _: &Session, why: CloseReason) {
        locked(&self.ends).push(why);
        (self.farewell)(&self.manager);
    }

    fn priority(&self) -> Priority {
        (self.priority)(&self.manager);
        self.goes
    }

    fn is_emergency(&mut self) -> bool {
        (self.emergency)(&self.manager);
        self.is_emergency
    }
}

/// A pool with one worker.
pub(crate) fn pool() -> (SessionManager, Pool<CustomConnection>) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = PoolBuilder::new(1).start(manager.clone()).unwrap();
    (manager, pool)
}

/// Another client is served as if nothing had been, and hangs up.
pub(crate) fn serves(manager: &SessionManager, pool: &Pool<CustomConnection>) {
    let (client, session, mut peer) = CustomConnection::new(manager);
    let id = session.id();
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).expect("an answer");
    drop(peer);
    wait_until("it has gone", || manager.session_info(id).is_none());
}

/// A session that a worker runs until this is dropped.
pub(crate) struct Stuck {
    _release: Sender<()>,
    _peer: UnixStream,
}

pub(crate) fn stick(manager: &SessionManager, pool: &Pool<CustomConnection>) -> Stuck {
    let (release, wait) = crossbeam_channel::bounded::<()>(0);
    let (mut client, session, mut peer) = CustomConnection::new(manager);
    client.runs = Box::new(move |_| {
        let _ = wait.recv();
        Ok(Action::WaitReadable)
    });
    let id = session.id();
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    wait_until("it is with the worker", || manager.session_info(id).unwrap().thread_id.is_some());
    Stuck { _release: release, _peer: peer }
}

/// Whether the server's end of this connection is closed.
pub(crate) fn is_closed(mut peer: &UnixStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    let mut bytes = [0; 64];
    loop {
        match peer.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}
