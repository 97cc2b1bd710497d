//! Where a session lies while no worker runs it.

use super::{Client, End, Group};
use crate::contain::contain;
use crate::current;
use crate::pool::Priority;
use crate::session::Session;
use crate::sync::{Mutex, MutexGuard};
use crate::twin::Twin;
use std::io;
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
    group: Weak<Group<C>>,
}

/// A client that panics over this takes its turn.
pub(super) fn priority_of<C: Client>(client: &C) -> Priority {
    contain(|| client.priority()).unwrap_or(Priority::InOrder)
}

/// Arms the socket again; `false` where it can't be watched any more.
pub(super) fn arm<C: Client>(group: &Group<C>, client: &C, seat: &Seat<C>) -> bool {
    let armed = contain(|| group.poller.arm(client.as_fd(), seat.token));
    armed.is_some_and(|armed| armed.is_ok())
}

impl<C: Client> Seat<C> {
    pub(super) fn take_in(group: &Arc<Group<C>>, session: Session, client: C) -> io::Result<()> {
        let seat = group.new_seat(|token| Seat {
            state: Mutex::new(State::Taken),
            token,
            group: Arc::downgrade(group),
        });
        session.set_detached_waker(Some(Waker::from(seat.clone())));
        let watched = {
            // Until it lies in its seat neither a worker nor a killer gets at it, so the
            // descriptor stays its own.
            let mut state = seat.state.lock();
            let conn = Conn { client, session };
            let watched = contain(|| group.poller.add(conn.client.as_fd(), seat.token));
            *state = State::Idle(conn);
            watched.unwrap_or_else(|| Err(io::Error::other("the client panicked")))
        };
        if watched.is_err() || group.queue.is_closed() {
            seat.close();
        }
        // A kill that came before the waker was left has found no one to wake.
        seat.end_if_due();
        watched
    }

    /// One that nobody sits in.
    #[cfg(all(test, not(safepoint_shuttle)))]
    pub(super) fn empty() -> Arc<Seat<C>> {
        Arc::new(Seat { state: Mutex::new(State::Gone), token: 0, group: Weak::new() })
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Ends it, where no worker has it and no killer was faster.
    pub(super) fn close(&self) {
        if let Some(conn) = self.take() {
            self.end(conn, End::Closed);
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
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Idle(conn) => {
                conn.session.queue();
                let priority = priority_of(&conn.client);
                *state = State::Queued(conn);
                Some(priority)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// For the lane: the session, if what has arrived may run there; else whether it still is
    /// in the queue.
    pub(super) fn take_for_lane(&self) -> Result<Conn<C>, bool> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Queued(mut conn) => {
                // A client that panics here will do so again where it is told of it.
                if contain(|| conn.client.emergency()).unwrap_or(false) {
                    Ok(conn)
                } else {
                    *state = State::Queued(conn);
                    Err(true)
                }
            }
            other => {
                *state = other;
                Err(false)
            }
        }
    }

    fn end_if_due(&self) {
        let (conn, interrupt) = {
            let mut state = self.state.lock();
            let due = state.conn().and_then(|conn| conn.session.due_unsaid().err());
            let Some(interrupt) = due else { return };
            if Twin::QueuedLeftToWorkers.is_on() && matches!(*state, State::Queued(_)) {
                return;
            }
            let Some(conn) = state.take() else { return };
            (conn, interrupt)
        };
        self.end(conn, End::Interrupted(interrupt));
    }

    /// Tells the client, closes the connection, then the session, whose receipts complete.
    pub(super) fn end(&self, conn: Conn<C>, why: End) {
        *self.state.lock() = State::Gone;
        let Conn { mut client, session } = conn;
        let kept = self.group.upgrade().and_then(|group| {
            contain(|| group.poller.remove(client.as_fd()));
            group.forget(self)
        });
        current::hidden(|| {
            // A client that panics over its farewell is dropped all the same.
            contain(|| {
                client.end(&session, why);
                drop(client);
            });
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

    fn wake_by_ref(self: &Arc<Self>) {
        self.end_if_due();
    }
}
