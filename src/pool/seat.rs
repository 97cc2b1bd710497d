//! Where a session lies while no worker runs it.

use super::{Client, End, Shared};
use crate::current;
use crate::pool::Priority;
use crate::session::Session;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// A session and its connection. The connection is dropped, and so closed, first.
pub(super) struct Conn<C> {
    pub(super) client: C,
    pub(super) session: Session,
}

pub(super) enum State<C> {
    /// Nothing to run.
    Idle(Conn<C>),
    /// In the queue.
    Queued(Conn<C>),
    /// With a worker. `ready`: its socket has turned readable meanwhile.
    Taken { ready: bool },
    /// Ended.
    Gone,
}

pub(super) struct Seat<C: Client> {
    state: Mutex<State<C>>,
    token: usize,
    shared: Weak<Shared<C>>,
}

/// A client that panics over this takes its turn; the thread that asks lives on.
pub(super) fn priority_of<C: Client>(client: &C) -> Priority {
    catch_unwind(AssertUnwindSafe(|| client.priority())).unwrap_or(Priority::InOrder)
}

/// A client that panics over this takes its turn as well.
pub(super) fn has_input<C: Client>(client: &C) -> bool {
    catch_unwind(AssertUnwindSafe(|| client.has_input())).unwrap_or(true)
}

impl<C: Client> Seat<C> {
    pub(super) fn take_in(shared: &Arc<Shared<C>>, session: Session, client: C) -> io::Result<()> {
        let descriptor = client.as_fd().as_raw_fd();
        let seat = {
            let mut seats = shared.seats.lock();
            let entry = seats.vacant_entry();
            let seat = Arc::new(Seat {
                state: Mutex::new(State::Taken { ready: false }),
                token: entry.key(),
                shared: Arc::downgrade(shared),
            });
            entry.insert(seat.clone());
            seat
        };
        session.set_detached_waker(Some(Waker::from(seat.clone())));
        let watched = {
            // Until it lies in its seat neither the listener nor a killer gets at it, so the
            // descriptor stays its own.
            let mut state = seat.state.lock();
            let mut source = SourceFd(&descriptor);
            let watched = shared.poll.register(&mut source, Token(seat.token), Interest::READABLE);
            *state = State::Idle(Conn { client, session });
            watched
        };
        if watched.is_err() || shared.queue.is_closed() {
            seat.close();
        }
        // A kill that came before the waker was left has found no one to wake.
        seat.end_if_due();
        watched
    }

    /// Ends it, where no worker has it and no killer was faster.
    pub(super) fn close(&self) {
        if let Some(conn) = self.take() {
            self.end(conn, End::Closed);
        }
    }

    /// The session, to be run. `None` where its killer was faster.
    pub(super) fn take(&self) -> Option<Conn<C>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Taken { ready: false }) {
            State::Idle(conn) | State::Queued(conn) => Some(conn),
            other => {
                *state = other;
                None
            }
        }
    }

    /// For whoever took the session to put it back. The step to "detached" is to be taken
    /// under this lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock()
    }

    /// The socket has something to read: the priority with which the session is to be queued.
    pub(super) fn turns_ready(&self) -> Option<Priority> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Idle(conn) if has_input(&conn.client) => {
                conn.session.queue();
                let priority = priority_of(&conn.client);
                *state = State::Queued(conn);
                Some(priority)
            }
            State::Taken { .. } => {
                *state = State::Taken { ready: true };
                None
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
        match std::mem::replace(&mut *state, State::Taken { ready: false }) {
            State::Queued(mut conn) => {
                let ask = catch_unwind(AssertUnwindSafe(|| conn.client.emergency()));
                // A client that panics here will do so again where it is told of it.
                if ask.unwrap_or(false) {
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
            let due = match &*state {
                State::Idle(conn) | State::Queued(conn) => conn.session.due().err(),
                _ => None,
            };
            let Some(interrupt) = due else { return };
            match std::mem::replace(&mut *state, State::Gone) {
                State::Idle(conn) | State::Queued(conn) => (conn, interrupt),
                other => {
                    *state = other;
                    return;
                }
            }
        };
        self.end(conn, End::Interrupted(interrupt));
    }

    /// Tells the client, closes the connection, then the session, whose receipts complete.
    pub(super) fn end(&self, conn: Conn<C>, why: End) {
        *self.state.lock() = State::Gone;
        let Conn { mut client, session } = conn;
        let kept = self.shared.upgrade().and_then(|shared| {
            let descriptor = client.as_fd().as_raw_fd();
            // It may never have been registered.
            let _ = shared.poll.deregister(&mut SourceFd(&descriptor));
            let mut seats = shared.seats.lock();
            let mine = seats.get(self.token).is_some_and(|seat| std::ptr::eq(&**seat, self));
            mine.then(|| seats.remove(self.token))
        });
        current::hidden(|| {
            // A client that panics over its farewell is dropped all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                client.end(&session, why);
                drop(client);
            }));
            drop(session);
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
