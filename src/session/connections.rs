//! Watches the client's connection of a session, on a thread for all sessions of a manager.

use crate::core::connections::Connections;
use crate::core::record::Record;
use crate::core::registry::Keyed as _;
use crate::core::shared::Shared;
use crate::core::thread::ThreadRecord;
use crate::session::attached::Attached;
use crate::session::session::Session;
use crate::session::thread::{Kind, Thread};
use crate::session::timer;
use crate::types::error::{OpenError, StartError};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use std::sync::{Arc, Weak};
use std::thread::Builder;

const NAME: &str = "connections";

impl Session {
    /// Watches the client's connection, so that the session ends if the client leaves in the middle of a statement and
    /// [`Timeouts::client_disconnect`](crate::session::Timeouts::client_disconnect) has passed. A statement costs
    /// nothing for it: the system reports the end of a connection once. The reason is
    /// [`ClientDisconnected`](crate::request::InterruptReason::ClientDisconnected).
    ///
    /// Call it once for each connection, and again if the session gets another one. Nothing has to be undone: the
    /// system stops watching the socket when its last descriptor is closed. A descriptor that was duplicated keeps the
    /// connection open, as ever, so close it too.
    ///
    /// A client that has closed only its sending side, and still reads, looks as if it had left. PostgreSQL's
    /// `client_connection_check_interval` has the same limit. So set the timeout for protocols in which a client keeps
    /// its sending side open until it has its answer. Behind a proxy this is the proxy's connection. A peer that
    /// vanishes without closing is found by TCP keep-alive only, which the server sets on the socket.
    ///
    /// The first watched connection of a manager starts a background thread, and its timer. Available on Linux only.
    ///
    /// # Errors
    /// Returns the system's error, or an error if the manager cannot start its threads. Then no connection is watched.
    ///
    /// # Examples
    ///
    /// ```
    /// use safepoint::session::Timeouts;
    /// use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// let manager = SessionManager::new(ThreadModel::PerSession);
    /// let mut session = manager.open(ClientInfo::default())?;
    /// let (socket, client) = UnixStream::pair()?;
    /// session.watch_connection(&socket)?;
    /// session.set_timeouts(Timeouts::new().with_client_disconnect(Duration::from_millis(10)))?;
    ///
    /// let thread = session.own_thread().ok_or("a pool")?;
    /// let mut attached = session.attach(&thread)?;
    /// let statement = attached.begin()?;
    /// drop(client);
    /// let interrupt = statement.sleep(Duration::from_secs(60)).unwrap_err();
    /// assert_eq!((interrupt.sqlstate(), interrupt.message()), ("08006", "connection to client lost"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_connection(&self, socket: impl AsFd) -> io::Result<()> {
        watch(&self.record, &self.owner.shared, socket.as_fd())
    }
}

impl Attached<'_> {
    /// Watches the client's connection, as [`Session::watch_connection`] does. Use it if a client asks for the timeout
    /// by a statement, so that only connections with a timeout are watched.
    ///
    /// # Errors
    /// As [`Session::watch_connection`].
    pub fn watch_connection(&self, socket: impl AsFd) -> io::Result<()> {
        watch(self.record, &self.owner.shared, socket.as_fd())
    }
}

fn watch(record: &Record, shared: &Arc<Shared>, socket: BorrowedFd<'_>) -> io::Result<()> {
    let timer = timer::ensure_running(shared).map_err(into_io)?;
    let connections = ensure_running(shared).map_err(into_io)?;
    let is_open = |session| shared.sessions.get(session).is_some();
    let number = connections.number(record.number(), is_open);
    let before = record.connection_watched(timer, number);
    connections.forget(before);
    connections.add(socket, number).inspect_err(|_| {
        record.connection_watched(timer, 0);
        connections.forget(number);
    })
}

fn into_io(error: StartError) -> io::Error {
    match error {
        StartError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Returns the watched connections of a manager, and starts the thread if it does not run.
fn ensure_running(shared: &Arc<Shared>) -> Result<Arc<Connections>, StartError> {
    let mut owned = shared.connections.0.lock();
    if let Some(connections) = &*owned {
        return Ok(connections.clone());
    }
    let record =
        ThreadRecord::new(Arc::from(NAME), shared.slots.clone(), false).ok_or(OpenError::Full)?;
    let record = shared.threads.insert(0, Arc::new(record))?;
    let registered = Thread::new(Kind::Registered { record, threads: shared.threads.clone() });
    let connections = Arc::new(Connections::new()?);
    let (weak, mine) = (Arc::downgrade(shared), connections.clone());
    Builder::new().name(NAME.into()).spawn(move || {
        let _registered = registered;
        run(&weak, &mine);
    })?;
    Ok(owned.insert(connections).clone())
}

fn run(shared: &Weak<Shared>, connections: &Connections) {
    let mut ended = Vec::new();
    while connections.wait(&mut ended) {
        let Some(shared) = shared.upgrade() else { return };
        for (number, session) in ended.drain(..) {
            if let Some(record) = shared.sessions.get(session) {
                record.connection_closed(number);
            }
        }
    }
}
