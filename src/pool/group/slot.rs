//! The slot of a connection: it holds the session while no worker runs it.
//!
//! The names of steps belong to this file. The worker, after it has run the session:
//!
//! - `D1` locks the slot;
//! - `D2` takes the transition to detached;
//! - `D3` puts the session into the slot;
//! - `D4` unlocks the slot.
//!
//! The requester of a termination:
//!
//! - `K1` takes the transition to pending;
//! - `K2` locks the slot;
//! - `K3` takes the session out of the slot, and ends it.
//!
//! No termination is missed: `K1` and `D2` are read-modify-writes of one word, so one is first. If
//! `K1` is first, the worker sees it in the result of `D2`, and ends the session. If `D2` is first,
//! `K1` sees a detached session and `K2` waits for `D4`, so `K3` finds the session in its slot.
//!
//! A suspended statement is the same, except that `D2` suspends it, and that the session waits for its socket with the
//! slot's own waker. A requester of a cancel takes `K1` and `K2`, and then queues the session, so that a worker resumes
//! the statement. If a cancel's `K1` comes before `D2`, the worker sees it in the result, and queues the session itself.
//!
//! The queue keeps the entry of a queued session that a requester, or the listener, has ended. Such an entry is
//! *stale*. That thread counts it (`Queue::add_stale`), so that the length of the queue has only sessions that wait. The
//! thread that takes the entry, and finds no session in the slot, subtracts it again (`Queue::remove_stale`).

use crate::pool::connection::{CloseReason, Connection, Priority};
use crate::pool::group::Group;
use crate::pool::poller::Interest;
use crate::session::current;
use crate::session::session::Session;
use crate::sync::catch::catch_panic;
use crate::sync::{Mutex, MutexGuard};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// A session and its connection. The connection is dropped, and so closed, first.
pub(in crate::pool) struct Entry<C> {
    pub(in crate::pool) client: C,
    pub(in crate::pool) session: Session,
}

pub(in crate::pool) enum SlotState<C> {
    /// The session waits for its socket, which is armed: no command has arrived, or a statement is suspended.
    Idle(Entry<C>),
    /// In the queue.
    Queued(Entry<C>),
    /// A worker runs the session, or another thread has taken it out for a moment.
    Running,
    /// Ended.
    Closed,
}

impl<C> SlotState<C> {
    fn take(&mut self) -> Option<Entry<C>> {
        match std::mem::replace(self, SlotState::Running) {
            SlotState::Idle(conn) | SlotState::Queued(conn) => Some(conn),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(in crate::pool) fn conn(&self) -> Option<&Entry<C>> {
        match self {
            SlotState::Idle(conn) | SlotState::Queued(conn) => Some(conn),
            _ => None,
        }
    }
}

pub(in crate::pool) struct ConnectionSlot<C: Connection> {
    state: Mutex<SlotState<C>>,
    token: u64,
    pub(in crate::pool) group: Weak<Group<C>>,
}

/// Returns the priority of a connection, or `Normal` if its method panics.
pub(in crate::pool) fn priority_of<C: Connection>(client: &C) -> Priority {
    catch_panic(|| client.priority()).unwrap_or(Priority::Normal)
}

/// Returns the socket of a connection, or `None` if its method panics.
pub(in crate::pool) fn socket_of<C: Connection>(client: &C) -> Option<BorrowedFd<'_>> {
    catch_panic(|| client.as_fd())
}

/// Arms the socket again. Returns `false` if it cannot be watched any more.
pub(in crate::pool) fn arm<C: Connection>(
    group: &Group<C>,
    socket: BorrowedFd<'_>,
    slot: &ConnectionSlot<C>,
    interest: Interest,
) -> bool {
    group.poller.arm(socket, slot.token, interest).is_ok()
}

impl<C: Connection> ConnectionSlot<C> {
    pub(in crate::pool) fn take_in(
        group: &Arc<Group<C>>,
        session: Session,
        client: C,
    ) -> Result<(), (C, io::Error)> {
        let slot = group.new_slot(|token| ConnectionSlot {
            state: Mutex::new(SlotState::Running),
            token,
            group: Arc::downgrade(group),
        });
        session.set_detached_waker(Some(Waker::from(slot.clone())));
        let conn = Entry { client, session };
        let add = |socket| {
            group.poller.add(socket, slot.token)?;
            let Some((hang_ups, _)) = &group.hang_ups else { return Ok(()) };
            hang_ups.add(socket, slot.token).inspect_err(|_| group.poller.remove(socket))
        };
        let no_socket = || Err(io::Error::other("the client panicked"));
        // Until the session is in its slot, no worker and no requester takes it, so the descriptor
        // stays open.
        let socket = socket_of(&conn.client);
        let mut state = slot.state.lock();
        if let Err(error) = socket.map_or_else(no_socket, add) {
            drop(state);
            // The socket is not registered, so it is not removed from the poller: its descriptor
            // may be registered for another connection.
            return Err((slot.reject(conn), error));
        }
        *state = SlotState::Idle(conn);
        drop(state);
        if group.queue.is_closed() {
            slot.close();
        }
        // A request that was accepted before the waker was set has woken no thread.
        slot.close_if_due();
        Ok(())
    }

    /// Creates an empty slot.
    #[cfg(all(test, not(safepoint_shuttle)))]
    pub(in crate::pool) fn empty(token: u64) -> ConnectionSlot<C> {
        ConnectionSlot { state: Mutex::new(SlotState::Closed), token, group: Weak::new() }
    }

    pub(in crate::pool) fn token(&self) -> u64 {
        self.token
    }

    /// Ends the session, if no worker and no other requester has it. If a termination was due, the
    /// client is notified of it.
    pub(in crate::pool) fn close(&self) {
        if let Some(conn) = self.take() {
            let due = conn.session.check_unreported();
            self.end(conn, due.map_or_else(CloseReason::Interrupted, |()| CloseReason::Closed));
        }
    }

    /// Takes the session to run it, for its entry in the queue. Returns `None` if a requester was faster.
    pub(in crate::pool) fn take(&self) -> Option<Entry<C>> {
        self.state.lock().take()
    }

    /// Takes the session to run it, for an event of its socket. Returns `None` if it does not wait for its
    /// socket: a requester was faster, or it has an entry in the queue.
    pub(in crate::pool) fn take_ready(&self) -> Option<Entry<C>> {
        self.take_if(|state| matches!(state, SlotState::Idle(_)))
    }

    /// Locks the slot, for the thread that puts the session back. The transition to detached must
    /// be taken under this lock.
    pub(in crate::pool) fn lock(&self) -> MutexGuard<'_, SlotState<C>> {
        self.state.lock()
    }

    /// Marks a session whose socket is readable while no worker is idle. Returns the priority with
    /// which to queue it.
    pub(in crate::pool) fn mark_readable(&self) -> Option<Priority> {
        let conn = self.take_ready()?;
        let priority = priority_of(&conn.client);
        if self.put_back_queued(conn) {
            return Some(priority);
        }
        if let Some(group) = self.group.upgrade() {
            group.queue.remove_stale();
        }
        None
    }

    /// Queues a session whose suspended statement must be resumed, unless it is in the queue or a worker runs it.
    fn queue_if_cancelled(self: &Arc<Self>) {
        let must = |state: &SlotState<C>| matches!(state, SlotState::Idle(conn) if conn.session.must_resume());
        let Some(conn) = self.take_if(must) else { return };
        let priority = priority_of(&conn.client);
        let (queued, group) = (self.put_back_queued(conn), self.group.upgrade());
        if let Some(group) = group {
            if queued { group.enqueue(self, priority) } else { group.queue.remove_stale() }
        }
    }

    /// Takes the session out, so that its connection's methods can be called without a lock.
    fn take_if(&self, wanted: impl FnOnce(&SlotState<C>) -> bool) -> Option<Entry<C>> {
        let mut state = self.state.lock();
        if wanted(&state) { state.take() } else { None }
    }

    /// Puts a session back as queued. Returns `false` if it has ended.
    fn put_back_queued(&self, conn: Entry<C>) -> bool {
        {
            let mut state = self.state.lock();
            conn.session.reserve_statement();
            *state = SlotState::Queued(conn);
        }
        // A request that came while the session was out of its slot did not find it.
        self.close_if_due();
        matches!(*self.state.lock(), SlotState::Queued(_))
    }

    /// Takes the session for the lane, if its command may run there.
    ///
    /// # Errors
    /// Returns `true` if the session is back in its slot as queued, and waits for a worker. Returns
    /// `false` if the session has ended or another thread has taken it, so that the entry is stale.
    pub(in crate::pool) fn take_for_lane(&self) -> Result<Entry<C>, bool> {
        let queued = self.take_if(|state| matches!(state, SlotState::Queued(_)));
        let Some(mut conn) = queued else { return Err(false) };
        // A suspended statement waits for a worker. If this panics, the connection waits too, and may panic again.
        let may_run = !conn.session.has_suspended();
        if may_run && catch_panic(|| conn.client.is_emergency()).unwrap_or(false) {
            Ok(conn)
        } else {
            Err(self.put_back_queued(conn))
        }
    }

    fn close_if_due(&self) {
        let (conn, interrupt, was_queued) = {
            let mut state = self.state.lock();
            let due = state.conn().and_then(|conn| conn.session.check_unreported().err());
            let Some(interrupt) = due else { return };
            let was_queued = matches!(*state, SlotState::Queued(_));
            let Some(conn) = state.take() else { return };
            (conn, interrupt, was_queued)
        };
        if let Some(group) = self.group.upgrade().filter(|_| was_queued) {
            group.queue.add_stale();
        }
        self.end(conn, CloseReason::Interrupted(interrupt));
    }

    /// Ends a queued session whose peer has closed the connection.
    pub(in crate::pool) fn close_abandoned(&self) {
        let queued = self.take_if(|state| matches!(state, SlotState::Queued(_)));
        let Some(conn) = queued else { return };
        if let Some(group) = self.group.upgrade() {
            group.queue.add_stale();
        }
        let due = conn.session.check_unreported();
        self.end(conn, due.map_or_else(CloseReason::Interrupted, |()| CloseReason::Abandoned));
    }

    /// Notifies the client, closes the connection, and then the session, whose receipts complete.
    pub(in crate::pool) fn end(&self, conn: Entry<C>, why: CloseReason) {
        if let (Some(group), Some(socket)) = (self.group.upgrade(), socket_of(&conn.client)) {
            group.poller.remove(socket);
            if let Some((hang_ups, _)) = &group.hang_ups {
                hang_ups.remove(socket);
            }
        }
        self.over(conn, why);
    }

    /// Ends a session that was not accepted, and returns its connection.
    fn reject(&self, conn: Entry<C>) -> C {
        *self.state.lock() = SlotState::Closed;
        let Entry { client, session } = conn;
        let kept = self.group.upgrade().and_then(|group| group.forget(self));
        current::without_session(|| catch_panic(|| drop(session)));
        drop(kept);
        client
    }

    /// Ends a session whose socket is not watched.
    fn over(&self, conn: Entry<C>, why: CloseReason) {
        *self.state.lock() = SlotState::Closed;
        let Entry { mut client, session } = conn;
        let kept = self.group.upgrade().and_then(|group| group.forget(self));
        current::without_session(|| {
            // If `on_close` panics, the connection is still dropped, after the panic is caught.
            catch_panic(|| client.on_close(&session, why));
            catch_panic(|| drop(client));
            catch_panic(|| drop(session));
        });
        drop(kept);
    }
}

/// Ends a detached session on the requester's thread, or queues it if its suspended statement is cancelled.
impl<C: Connection> Wake for ConnectionSlot<C> {
    fn wake(self: Arc<Self>) {
        self.close_if_due();
        self.queue_if_cancelled();
    }
}
