//! Connections, as the pool serves them.

use crate::session::attached::Attached;
use crate::session::session::Session;
use crate::types::interrupt::Interrupt;
use std::os::fd::AsFd;

/// One connection as the pool sees it. Its file descriptor is a socket in non-blocking mode,
/// the same for the client's whole life.
pub trait Connection: AsFd + Send + 'static {
    /// Reads what has arrived and runs it. The pool calls this if the socket is readable or the
    /// peer has closed the connection.
    ///
    /// Where it had to wait for a worker the pool has [queued](Session::reserve_statement) a command in its
    /// name. A client that finds that it was none, such as half a line, calls
    /// [`discard_reserved`](Attached::discard_reserved).
    ///
    /// # Errors
    /// The [`Interrupt`] that ends the session; the pool calls [`on_close`](Self::on_close) next.
    /// The connection handles a cancel itself.
    fn on_readable(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt>;

    /// Tells the peer that the session is over, without blocking. The pool drops the connection
    /// next, which closes it. The requester's thread may be the one that calls this.
    ///
    /// A session that was queued has unread input. Closing a TCP socket with unread input resets
    /// the connection, and the peer may lose the last message, so read the input first.
    fn on_close(&mut self, session: &Session, why: CloseReason);

    /// Returns the priority among connections that wait for a worker. The default is
    /// [`Priority::Normal`]. It must not block, since a requester may be waiting for the session.
    fn priority(&self) -> Priority {
        Priority::Normal
    }

    /// Returns whether what has just arrived may run in the emergency lane while no worker is free,
    /// such as a KILL. It may read from the socket, but must not block, since a requester may be
    /// waiting for the session. In either case [`on_readable`](Self::on_readable) is called next,
    /// by the lane or once a worker is free, even if nothing is left in the socket. The default is
    /// `false`.
    ///
    /// The pool asks only connections with [`Priority::High`], after
    /// [`EMERGENCY_DELAY`](crate::pool::EMERGENCY_DELAY).
    fn is_emergency(&mut self) -> bool {
        false
    }
}

/// What the pool does next with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// To be called when there is more to read. It has read something, if not all there was.
    WaitReadable,
    /// To be called again, after the others: it has more to run already.
    Yield,
    /// To be closed.
    Close,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// For new connections, and for administrators who may end the sessions that keep the workers
    /// busy.
    High,
    /// For all other connections.
    Normal,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// A termination was due.
    Interrupted(Interrupt),
    /// The client asked for it, or the pool is gone.
    Closed,
    /// A panic unwound out of [`Connection::on_readable`].
    Panicked,
}
