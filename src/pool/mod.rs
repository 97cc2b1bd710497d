//! A pool: many sessions share a few worker threads, and idle ones hold none.
//!
//! A connection's way: the *listener* sees that its socket has something to read and puts it
//! into the *queue*; a *worker* takes it from there, attaches its session, lets the
//! [`Client`] run what has arrived, detaches it, and leaves it to the listener again.
//!
//! Who is served first: sessions that are told to end need no worker at all, as the killer
//! itself ends them (below); then come those whose client says [`Priority::First`],
//! newcomers and administrators; then the rest, in the order in which they turned ready.
//!
//! **An idle or queued victim is ended by its killer.** While no worker runs a session it
//! lies in its *seat*. The killer takes it from there, has the client told, and closes the
//! connection, on its own thread and without a worker. A worker puts a session back into its
//! seat, and takes the step to "detached", under the seat's lock: a kill that came before that
//! step is seen by the worker, one that came after finds the session in the seat.
//!
//! **The emergency lane.** With every worker stuck, a thread apart serves those at the head
//! of the queue who say, after a look at what has arrived, that it is for the lane
//! ([`Client::emergency`]): new connections, and an administrator's KILL. It steps in once
//! such a session has waited for [`LANE_DELAY`]. While lane threads are busy themselves more
//! are added, up to [`MAX_LANES`].
//!

//! **A worker that blocks** outside the pool's sight gives its place to another: see
//! [`blocking`].

mod listener;
mod queue;
mod seat;
mod worker;

use crate::interrupt::Interrupt;
use crate::manager::{SessionManager, Terminate};
use crate::registry::OpenError;
use crate::session::{Attached, Session};
use parking_lot::Mutex;
use queue::Queue;
use seat::Seat;
use slab::Slab;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use worker::blocking;

/// How long a session that may use the emergency lane waits for a worker first.
pub const LANE_DELAY: Duration = Duration::from_millis(50);

/// How many lane threads there are at most.
pub const MAX_LANES: usize = 8;

/// One connection as the pool sees it. Its file descriptor is a socket in non-blocking mode,
/// the same for the client's whole life.
pub trait Client: AsFd + Send + 'static {
    /// Something can be read, or the peer has gone: read what there is, and run it.
    ///
    /// # Errors
    /// The [`Interrupt`] that ends the session; [`end`](Self::end) is called next. One that
    /// ends a statement only is the client's own business.
    fn ready(&mut self, session: &mut Attached<'_>) -> Result<Next, Interrupt>;

    /// The session is over: tell the peer, without blocking. The client is dropped next,
    /// which closes the connection. It may be the killer's thread that calls this.
    ///
    /// A victim that was queued has input that nobody read. To close a TCP socket over it resets
    /// the connection, and the peer may lose what it was told: read it first.
    fn end(&mut self, session: &Session, why: End);

    /// Who goes first where several wait for a worker. It says so without blocking: a killer
    /// may be waiting for the session.
    fn priority(&self) -> Priority {
        Priority::InOrder
    }

    /// Whether there is something to read, or the peer has gone. An event may come after what
    /// it announced was read: then there is no command to queue, and none that a cancel could
    /// be meant for. It says so without blocking, by a peek into the socket for example, and
    /// may say `true` where it does not know.
    fn has_input(&self) -> bool {
        true
    }

    /// Whether what has just arrived may run in the emergency lane. It may read from the
    /// socket to find out, but not block: a killer may be waiting for the session.
    ///
    /// Only those are asked that have [`Priority::First`].
    fn emergency(&mut self) -> bool {
        false
    }
}

/// What a client wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// To be called when there is more to read. It has read until the socket would block.
    Wait,
    /// To be called again, after the others: it has more to run already.
    Again,
    /// To be closed.
    Close,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Newcomers, and those who may have come to free the others.
    First,
    /// Everyone else.
    InOrder,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It was told to end.
    Interrupted(Interrupt),
    /// The client asked for it.
    Closed,
    /// A panic unwound out of [`Client::ready`].
    Panicked,
}

/// The pool. Its threads run until it is shut down or dropped; dropping it closes the sessions
/// that no worker runs, and the others as their workers are done with them.
pub struct Pool<C: Client> {
    shared: Arc<Shared<C>>,
    listener: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

/// What the pool's threads share.
struct Shared<C: Client> {
    manager: SessionManager,
    queue: Queue<C>,
    seats: Mutex<Slab<Arc<Seat<C>>>>,
    poll: mio::Registry,
    wake_listener: mio::Waker,
}

impl<C: Client> Pool<C> {
    /// Starts `workers` threads (at least one), the listener, and the emergency lane.
    ///
    /// # Errors
    /// Where the system gives no thread or no poller, or the manager refuses to register
    /// their threads.
    pub fn start(manager: SessionManager, workers: usize) -> io::Result<Pool<C>> {
        let poll = mio::Poll::new()?;
        let shared = Arc::new(Shared {
            manager,
            queue: Queue::new(workers.max(1)),
            seats: Mutex::default(),
            poll: poll.registry().try_clone()?,
            wake_listener: mio::Waker::new(poll.registry(), listener::WAKE)?,
        });
        let mut pool = Pool { shared, listener: None, workers: Vec::new() };
        // If one of them can't start, dropping the pool stops the others.
        pool.listener = Some(listener::start(pool.shared.clone(), poll)?);
        for number in 1..=workers.max(1) {
            pool.workers.push(worker::start(pool.shared.clone(), number)?);
        }
        worker::start_lane(&pool.shared)?;
        Ok(pool)
    }

    /// Takes a session and its connection in. It is served when there is something to read.
    ///
    /// # Errors
    /// Where the poller refuses the descriptor. Then the session is closed.
    pub fn serve(&self, session: Session, client: C) -> io::Result<()> {
        Seat::take_in(&self.shared, session, client)
    }

    /// Opens no more sessions, tells all to end, waits for that up to `limit`, and stops the
    /// pool's threads. `true` says that every session has ended in time; otherwise workers
    /// that are stuck are left behind and end when they can.
    pub fn shut_down(mut self, request: &Terminate, limit: Duration) -> bool {
        // A limit too long for the clock is no limit.
        let deadline = Instant::now().checked_add(limit);
        let left = || match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        let receipts = self.shared.manager.shut_down(request);
        let all_ended = receipts.into_iter().all(|mut receipt| receipt.wait(left()).is_some());
        self.stop();
        if all_ended {
            for thread in self.workers.drain(..).chain(self.listener.take()) {
                // A panic of a pool thread has been reported where it happened.
                let _ = thread.join();
            }
        }
        all_ended
    }

    fn stop(&self) {
        // Closed first: whoever puts a session back after this looks, and closes it.
        self.shared.queue.close();
        let seats: Vec<_> = self.shared.seats.lock().iter().map(|(_, seat)| seat.clone()).collect();
        seats.iter().for_each(|seat| seat.close());
        // Fails only where the poller has gone, and the listener with it.
        let _ = self.shared.wake_listener.wake();
    }
}

impl<C: Client> Drop for Pool<C> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<C: Client> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        io::Error::other(error)
    }
}
