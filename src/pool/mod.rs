//! A pool: many sessions share a few worker threads, and idle ones hold none.
//!
//! A worker with nothing to run waits for all idle sessions of its group at once, and runs the
//! first whose socket has something to read: it attaches the session, lets the [`Client`] run
//! what has arrived, detaches it, and has its socket watched again. While no worker is free, the
//! *listener* moves what turns ready into the *queue*.
//!
//! **Who is served first.** Sessions that are told to end need no worker at all, as the killer
//! itself ends them (below). Then come those whose client says [`Priority::First`], newcomers and
//! administrators; then the rest, in the order in which they turned ready. Of [`FIRST_IN_A_ROW`]
//! and one taken, at least one is of the rest, and a client that has more to do already
//! ([`Next::Again`]) goes to the end of its queue: nobody waits for ever. This order holds among
//! those in the queue. What turns ready while workers come and go gets there within 2 ms, or is
//! served before that.
//!
//! **An idle or queued victim is ended by its killer.** While no worker runs a session it
//! lies in its *seat*. The killer takes it from there, has the client told, and closes the
//! connection, on its own thread and without a worker. A worker puts a session back into its
//! seat, and takes the step to "detached", under the seat's lock: a kill that came before that
//! step is seen by the worker, one that came after finds the session in the seat.
//!
//! **Workers are added** where sessions wait and no worker has taken one for 10 ms: as many as
//! there are, up to [`Config::max_workers`], and so again. They end when they have had nothing to
//! do for 10 s. A worker that says that it blocks ([`blocking`](crate::blocking)) gives its place
//! to another at once.
//!
//! **The emergency lane.** With every worker stuck and the maximum reached, a thread apart serves
//! those at the head of the queue who say, after a look at what has arrived, that it is for the
//! lane ([`Client::emergency`]): new connections, and an administrator's KILL. It steps in once
//! such a session has waited for [`LANE_DELAY`]. While lane threads are busy themselves more
//! are added, up to [`MAX_LANES`] in each group.
//!
//! **Groups.** Each has its share of the sessions, and workers, a queue, a listener and a lane of
//! its own. A session belongs to one group, that with the fewest as it came. [`ThreadPoolAttr`] says
//! how many there are, and on which CPUs their workers run.

#[cfg(not(safepoint_shuttle))]
mod attr;
#[cfg(not(safepoint_shuttle))]
mod binding;
mod config;
mod lane;
mod listener;
#[cfg(not(safepoint_shuttle))]
mod poller;
#[cfg(safepoint_shuttle)]
#[path = "poller_shuttle.rs"]
mod poller;
mod queue;
mod seat;
mod status;
mod worker;

use crate::attached::Attached;
use crate::drain::Drained;
use crate::interrupt::Interrupt;
use crate::manager::{SessionManager, Terminate};
use crate::registry::OpenError;
use crate::session::Session;
use crate::sync::{AtomicU64, Builder, Mutex, Ordering, now};
use crate::thread::ThreadModel;
use poller::Poller;
use queue::{Queue, Size};
use seat::Seat;
use slab::Slab;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(safepoint_shuttle))]
pub use attr::{Binding, InvalidAttr, MAX_GROUPS, MAX_THREADS, ThreadPoolAttr};
#[cfg(not(safepoint_shuttle))]
pub use binding::Layout;
pub use config::Config;
use config::Cpus;
#[cfg(safepoint_shuttle)]
pub use poller::Descriptor;
pub use status::{GroupStatus, WorkerStatus};

/// How many sessions with [`Priority::First`] are taken in a row while others wait.
pub const FIRST_IN_A_ROW: usize = 8;

/// How long a session that may use the emergency lane waits for a worker first.
pub const LANE_DELAY: Duration = Duration::from_millis(50);

/// How many lane threads a group has at most.
pub const MAX_LANES: usize = 8;

/// One connection as the pool sees it. Its file descriptor is a socket in non-blocking mode,
/// the same for the client's whole life.
pub trait Client: AsFd + Send + 'static {
    /// Something can be read, or the peer has gone: read what there is, and run it.
    ///
    /// Where it had to wait for a worker the pool has [queued](Session::queue) a command in its
    /// name. A client that finds that it was none, such as half a line, calls
    /// [`void_queued`](Attached::void_queued).
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

    /// Who goes first where several wait for a worker; by default nobody does. It says so without
    /// blocking: a killer may be waiting for the session.
    fn priority(&self) -> Priority {
        Priority::InOrder
    }

    /// Whether what has just arrived may run in the emergency lane, where no worker is free: a
    /// kill, say. It may read from the socket to find out, but not block: a killer may be waiting
    /// for the session. Whatever it says, [`ready`](Self::ready) is called next, by the lane or
    /// once a worker is free, also where nothing is left in the socket. By default it may not.
    ///
    /// Only those are asked that have [`Priority::First`], after [`LANE_DELAY`].
    fn emergency(&mut self) -> bool {
        false
    }
}

/// What a client wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// To be called when there is more to read. It has read something, if not all there was.
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
    /// The client asked for it, or the pool is gone.
    Closed,
    /// A panic unwound out of [`Client::ready`].
    Panicked,
}

/// The pool. Its threads run until it is shut down or dropped; dropping it closes the sessions
/// that no worker runs, and the others as their workers are done with them.
pub struct Pool<C: Client> {
    manager: SessionManager,
    groups: Vec<Arc<Group<C>>>,
}

/// What the threads of one group share.
struct Group<C: Client> {
    number: usize,
    /// Whether it is the only one.
    alone: bool,
    manager: SessionManager,
    queue: Queue<C>,
    poller: Poller,
    seats: Mutex<Seats<C>>,
    size: Size,
    cpus: Cpus,
    workers: Mutex<Slab<Arc<status::WorkerState>>>,
    last_worker: AtomicU64,
}

struct Seats<C: Client> {
    slab: Slab<Arc<Seat<C>>>,
    last_serial: u64,
}

/// A token is the place in the slab, in its lower half, and a serial: an event that was on its
/// way as its session ended finds no successor.
fn place_of(token: u64) -> usize {
    (token & u64::from(u32::MAX)) as usize
}

/// Why a pool did not take a session in.
#[non_exhaustive]
pub enum ServeError<C> {
    /// As many wait for a worker already as [`Config::max_queue`] allows. The connection comes
    /// back, and its session is closed.
    Overloaded(C),
    /// The system can't watch the descriptor.
    Io(io::Error),
}

impl<C> fmt::Debug for ServeError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<C> fmt::Display for ServeError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Overloaded(_) => f.write_str("too many sessions wait for a worker already"),
            ServeError::Io(error) => write!(f, "the connection can't be watched: {error}"),
        }
    }
}

impl<C> std::error::Error for ServeError<C> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Overloaded(_) => None,
            ServeError::Io(error) => Some(error),
        }
    }
}

impl<C: Client> Pool<C> {
    /// Starts the workers, and for each group the listener and the emergency lane.
    ///
    /// # Errors
    /// Where the manager was made for [another model](crate::ThreadModel), the system gives no
    /// thread or no poller, or the manager refuses to register their threads.
    pub fn start(manager: SessionManager, config: &Config) -> io::Result<Pool<C>> {
        if manager.model() != ThreadModel::Pool {
            let message = "a pool needs a manager that was made for one: ThreadModel::Pool";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut pool = Pool { manager, groups: Vec::new() };
        let shares: Vec<_> = config.shares().collect();
        let alone = shares.len() == 1;
        for (number, (size, cpus)) in shares.into_iter().enumerate() {
            let group = Arc::new(Group {
                number,
                alone,
                manager: pool.manager.clone(),
                queue: Queue::new(size),
                poller: Poller::new()?,
                seats: Mutex::new(Seats { slab: Slab::new(), last_serial: 0 }),
                size,
                cpus,
                workers: Mutex::default(),
                last_worker: AtomicU64::new(0),
            });
            // If a thread can't start, dropping the pool stops the others.
            pool.groups.push(group.clone());
            listener::start(&group)?;
            group.queue.first_workers();
            for started in 0..size.least {
                worker::start(&group).inspect_err(|_| {
                    // The rest counts already.
                    (started + 1..size.least).for_each(|_| group.queue.worker_started(false));
                })?;
            }
            lane::start(&group)?;
        }
        Ok(pool)
    }

    /// Takes a session and its connection in. It is served when there is something to read.
    ///
    /// # Errors
    /// [`ServeError`]. Then the session has ended.
    pub fn serve(&self, session: Session, client: C) -> Result<(), ServeError<C>> {
        let group = self.groups.iter().min_by_key(|group| group.sessions());
        // There is at least one.
        let Some(group) = group else { return Ok(()) };
        if group.queue.is_full() {
            return Err(ServeError::Overloaded(client));
        }
        Seat::take_in(group, session, client).map_err(ServeError::Io)
    }

    /// How each group is doing.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups.iter().map(|group| group.status()).collect()
    }

    /// Opens no more sessions, tells all to end as [`SessionManager::drain`] does, and stops the
    /// pool's threads. Workers that are stuck are left behind and end when they can.
    pub fn shut_down(&self, request: &Terminate, grace: Duration, limit: Duration) -> Drained {
        // A limit too long for the clock is no limit.
        let deadline = now().checked_add(grace.saturating_add(limit));
        let drained = self.manager.drain(request, grace, limit);
        self.stop();
        if drained.left == 0 {
            self.groups.iter().for_each(|group| group.queue.wait_for_threads(deadline));
        }
        drained
    }

    fn stop(&self) {
        for group in &self.groups {
            // Closed first: whoever puts a session back after this looks, and closes it.
            group.queue.close();
            let seats: Vec<_> =
                group.seats.lock().slab.iter().map(|(_, seat)| seat.clone()).collect();
            seats.iter().for_each(|seat| seat.close());
            group.poller.wake();
        }
    }
}

impl<C: Client> Group<C> {
    /// The name of one of its threads.
    fn name(&self, what: &str) -> String {
        if self.alone { what.to_owned() } else { format!("{what} of group {}", self.number) }
    }

    fn next_worker(&self) -> u64 {
        // Relaxed: nothing else hangs on it.
        self.last_worker.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts a thread that counts already.
    fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<()> {
        struct Ends<C: Client>(Arc<Group<C>>);
        impl<C: Client> Drop for Ends<C> {
            fn drop(&mut self) {
                self.0.queue.thread_ends();
            }
        }
        let group = self.clone();
        let body = move || {
            let ends = Ends(group);
            run(&ends.0);
        };
        Builder::new().name(name.into()).spawn(body).map(drop)
    }

    /// Binds the calling thread, the worker of that number, to its CPUs, if it has any. Where the
    /// system does not let it, it runs elsewhere.
    fn bind(&self, worker: u64) {
        #[cfg(not(safepoint_shuttle))]
        if !self.cpus.is_empty() {
            let _ = binding::bind(&self.cpus[worker as usize % self.cpus.len()]);
        }
        #[cfg(safepoint_shuttle)]
        let _ = worker;
    }

    fn sessions(&self) -> usize {
        self.seats.lock().slab.len()
    }

    fn seat(&self, token: u64) -> Option<Arc<Seat<C>>> {
        let seats = self.seats.lock();
        seats.slab.get(place_of(token)).filter(|seat| seat.token() == token).cloned()
    }

    fn new_seat(&self, seat: impl FnOnce(u64) -> Seat<C>) -> Arc<Seat<C>> {
        let mut seats = self.seats.lock();
        seats.last_serial += 1;
        let serial = seats.last_serial << 32;
        let entry = seats.slab.vacant_entry();
        let seat = Arc::new(seat(serial | entry.key() as u64));
        entry.insert(seat.clone());
        seat
    }

    fn forget(&self, seat: &Seat<C>) -> Option<Arc<Seat<C>>> {
        let mut seats = self.seats.lock();
        let place = place_of(seat.token());
        let mine = seats.slab.get(place).is_some_and(|other| other.token() == seat.token());
        mine.then(|| seats.slab.remove(place))
    }
}

impl<C: Client> Drop for Pool<C> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<C: Client> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        io::Error::other(error)
    }
}

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests;
