//! Connections: the application's side of the pool.

use crate::session::attached::Attached;
use crate::session::session::Session;
use crate::types::interrupt::Interrupt;
use std::os::fd::AsFd;

/// A connection that a pool serves. Its file descriptor is a non-blocking socket, and must not
/// change during the connection's life.
pub trait Connection: AsFd + Send + 'static {
    /// Reads the input that has arrived, and runs it. The pool calls this if the socket is ready as the last [`Action`]
    /// asked, and at first if it is readable. It also calls this if the peer has closed the connection, and it may call
    /// this when nothing is ready.
    ///
    /// If the connection has a [suspended](crate::Statement::suspend) statement, the pool also calls this when an
    /// interrupt is due for it: [`resume`](Attached::resume) reports it. A termination ends a session with a suspended
    /// statement as it ends an idle one, without a worker.
    ///
    /// If the session had to wait for a worker, the pool has [reserved](Session::reserve_statement)
    /// a statement for its command. If no complete command has arrived, for example half a line,
    /// call [`discard_reserved`](Attached::discard_reserved).
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that ends the session. The pool calls [`on_close`](Self::on_close)
    /// next. The connection handles a cancel itself.
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt>;

    /// Notifies the peer that the session is over, without blocking. The pool drops the connection
    /// next, which closes it. The calling thread may be a requester's.
    ///
    /// A queued session has unread input. Closing a TCP socket with unread input resets the
    /// connection, and the peer may lose the last message, so read the input first.
    fn on_close(&mut self, session: &Session, reason: CloseReason);

    /// Returns the priority among connections that wait for a worker. It must not block, since a
    /// requester may be waiting for the session. The default is [`Priority::Normal`].
    fn priority(&self) -> Priority {
        Priority::Normal
    }

    /// Returns whether the input that has arrived may run in the emergency lane while no worker is
    /// free, such as a KILL. It may read from the socket, but must not block, since a requester may
    /// be waiting for the session. In either case [`on_ready`](Self::on_ready) is called
    /// next, by the lane or by a worker, even if nothing is left in the socket. The default is
    /// `false`.
    ///
    /// The pool calls this only for connections with [`Priority::High`], after
    /// [`EMERGENCY_DELAY`](crate::pool::EMERGENCY_DELAY).
    fn is_emergency(&mut self) -> bool {
        false
    }
}

/// The action that the pool takes next with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Call [`Connection::on_ready`] when there is more to read. The connection must have read
    /// something, but not necessarily everything.
    WaitReadable,
    /// Call [`Connection::on_ready`] when the socket is writable. The connection must have filled it. A peer that
    /// does not read holds neither a worker nor a thread.
    WaitWritable,
    /// Call [`Connection::on_ready`] again after the other connections: there is more to run
    /// already.
    Yield,
    /// Close the connection, and end the session.
    Close,
}

/// The priority of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// For new connections, and for administrators who may end the sessions that keep the workers
    /// busy.
    High,
    /// For all other connections.
    Normal,
}

/// The reason why the pool closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// A termination was due.
    Interrupted(Interrupt),
    /// The peer closed its side of the connection, and no worker was free to run its command within
    /// [`PoolBuilder::close_abandoned`](crate::pool::PoolBuilder::close_abandoned).
    Abandoned,
    /// [`Connection::on_ready`] returned [`Action::Close`], the pool was dropped, or the session
    /// could not be run.
    Closed,
    /// A panic unwound out of [`Connection::on_ready`].
    Panicked,
}
