//! Where a session lies while no worker runs it.

use super::{Client, End, Group};
use crate::contain::contain;
use crate::current;
use crate::pool::Priority;
use crate::session::Session;
use crate::sync::{Mutex, MutexGuard};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// A session and its connection. The connection is dropped, and so closed, first.
pub(super) struct Conn<C> {
    pub(super) client: C,
    pub(super) session: Session,
}

pub(super) enum State<C> {
    /// Nothing to run. Its socket is armed.
    Idle(Conn<C>),
    /// In the queue.
    Queued(Conn<C>),
    /// With a worker.
    Taken,
    /// Ended.
    Gone,
}

impl<C> State<C> {
    fn take(&mut self) -> Option<Conn<C>> {
        match std::mem::replace(self, State::Taken) {
            State::Idle(conn) | State::Queued(conn) => Some(conn),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn conn(&self) -> Option<&Conn<C>> {
        match self {
            State::Idle(conn) | State::Queued(conn) => Some(conn),
            _ => None,
        }
    }
}

pub(super) struct Seat<C: Client> {
    state: Mutex<State<C>>,
    token: u64,
    pub(super) group: Weak<Group<C>>,
}

/// A client that panics over this takes its turn.
pub(super) fn priority_of<C: Client>(client: &C) -> Priority {
    contain(|| client.priority()).unwrap_or(Priority::InOrder)
}

/// The socket of a client, unless that panics over it.
pub(super) fn socket_of<C: Client>(client: &C) -> Option<BorrowedFd<'_>> {
    contain(|| client.as_fd())
}

/// Arms the socket again; `false` where it can't be watched any more.
pub(super) fn arm<C: Client>(group: &Group<C>, socket: BorrowedFd<'_>, seat: &Seat<C>) -> bool {
    group.poller.arm(socket, seat.token).is_ok()
}

impl<C: Client> Seat<C> {
    pub(super) fn take_in(group: &Arc<Group<C>>, session: Session, client: C) -> io::Result<()> {
        let seat = group.new_seat(|token| Seat {
            state: Mutex::new(State::Taken),
            token,
            group: Arc::downgrade(group),
        });
        session.set_detached_waker(Some(Waker::from(seat.clone())));
        let conn = Conn { client, session };
        let add = |socket| group.poller.add(socket, seat.token);
        let no_socket = || Err(io::Error::other("the client panicked"));
        // Until it lies in its seat neither a worker nor a killer gets at it, so the descriptor
        // stays its own.
        let socket = socket_of(&conn.client);
        let mut state = seat.state.lock();
        if let Err(error) = socket.map_or_else(no_socket, add) {
            drop(state);
            // What watches the descriptor now, if anything does, is not this.
            seat.over(conn, End::Closed);
            return Err(error);
        }
        *state = State::Idle(conn);
        drop(state);
        if group.queue.is_closed() {
            seat.close();
        }
        // A kill that came before the waker was left has found no one to wake.
        seat.end_if_due();
        Ok(())
    }

    /// One that nobody sits in.
    #[cfg(all(test, not(safepoint_shuttle)))]
    pub(super) fn empty(token: u64) -> Seat<C> {
        Seat { state: Mutex::new(State::Gone), token, group: Weak::new() }
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Ends it, where no worker has it and no killer was faster. One that was told to end before
    /// that hears of it.
    pub(super) fn close(&self) {
        if let Some(conn) = self.take() {
            let due = conn.session.due_unsaid();
            self.end(conn, due.map_or_else(End::Interrupted, |()| End::Closed));
        }
    }

    /// The session, to be run. `None` where its killer was faster.
    pub(super) fn take(&self) -> Option<Conn<C>> {
        self.state.lock().take()
    }

    /// For whoever took the session to put it back. The step to "detached" is to be taken
    /// under this lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock()
    }

    /// The socket has something to read, and there was no worker to run it at once: the priority
    /// with which the session is to be queued.
    pub(super) fn turns_ready(&self) -> Option<Priority> {
        let conn = self.take_if(|state| matches!(state, State::Idle(_)))?;
        let priority = priority_of(&conn.client);
        if self.put_back_queued(conn) {
            return Some(priority);
        }
        if let Some(group) = self.group.upgrade() {
            group.queue.one_was_gone();
        }
        None
    }

    /// Takes it out, so that its client can be asked something with no lock held.
    fn take_if(&self, wanted: impl FnOnce(&State<C>) -> bool) -> Option<Conn<C>> {
        let mut state = self.state.lock();
        if wanted(&state) { state.take() } else { None }
    }

    /// Puts one back that is to be queued; `false` where it has ended, as one that was queued.
    fn put_back_queued(&self, conn: Conn<C>) -> bool {
        {
            let mut state = self.state.lock();
            conn.session.queue();
            *state = State::Queued(conn);
        }
        // Whoever killed it meanwhile has not found it.
        self.end_if_due();
        matches!(*self.state.lock(), State::Queued(_))
    }

    /// For the lane: the session, if what has arrived may run there; else whether it still is
    /// in the queue.
    pub(super) fn take_for_lane(&self) -> Result<Conn<C>, bool> {
        let queued = self.take_if(|state| matches!(state, State::Queued(_)));
        let Some(mut conn) = queued else { return Err(false) };
        // A client that panics here will do so again where it is told of it.
        if contain(|| conn.client.emergency()).unwrap_or(false) {
            Ok(conn)
        } else {
            Err(self.put_back_queued(conn))
        }
    }

    fn end_if_due(&self) {
        let (conn, interrupt, was_queued) = {
            let mut state = self.state.lock();
            let due = state.conn().and_then(|conn| conn.session.due_unsaid().err());
            let Some(interrupt) = due else { return };
            let was_queued = matches!(*state, State::Queued(_));
            let Some(conn) = state.take() else { return };
            (conn, interrupt, was_queued)
        };
        if let Some(group) = self.group.upgrade().filter(|_| was_queued) {
            group.queue.one_has_gone();
        }
        self.end(conn, End::Interrupted(interrupt));
    }

    /// Tells the client, closes the connection, then the session, whose receipts complete.
    pub(super) fn end(&self, conn: Conn<C>, why: End) {
        if let (Some(group), Some(socket)) = (self.group.upgrade(), socket_of(&conn.client)) {
            group.poller.remove(socket);
        }
        self.over(conn, why);
    }

    /// The same, for one whose socket is not watched.
    fn over(&self, conn: Conn<C>, why: End) {
        *self.state.lock() = State::Gone;
        let Conn { mut client, session } = conn;
        let kept = self.group.upgrade().and_then(|group| group.forget(self));
        current::hidden(|| {
            // A client that panics over its farewell is dropped all the same, and not while it
            // unwinds.
            contain(|| client.end(&session, why));
            contain(|| drop(client));
            contain(|| drop(session));
        });
        drop(kept);
    }
}

/// What a killer does to a session that no thread runs.
impl<C: Client> Wake for Seat<C> {
    fn wake(self: Arc<Self>) {
        self.end_if_due();
    }
}
