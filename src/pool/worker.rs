//! The threads that run sessions: workers, and the emergency lane.

use super::queue::Pushed;
use super::seat::{Conn, Seat, State, has_input, priority_of};
use super::{Client, End, MAX_LANES, Next, Priority, Shared};
use crate::record::Over;
use crate::session::Session;
use crate::sync::per_thread;
use crate::thread::Thread;
use parking_lot::MutexGuard;
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

per_thread! {
    /// The pool in which this thread has a place.
    static POOL: RefCell<Option<Arc<dyn Places>>> = RefCell::new(None);
}

trait Places {
    fn leave(&self);
    fn take(&self);
}

impl<C: Client> Places for Arc<Shared<C>> {
    fn leave(&self) {
        let pushed = self.queue.leave_place();
        self.start_if_wanted(pushed);
    }

    fn take(&self) {
        self.queue.take_place();
    }
}

/// Runs code that blocks outside the pool's sight, for as long as another session needs:
/// a wait for a lock that a session holds, or for the client in the middle of a transaction.
/// Meanwhile another worker has this one's place, and one is started if there is none. On a
/// thread that is no pool's worker it just runs the code.
///
/// The thread id of the session stays what it is.
pub fn blocking<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<dyn Places>>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(pool) = self.0.take() {
                pool.take();
                POOL.with(|mine| *mine.borrow_mut() = Some(pool));
            }
        }
    }
    // Taken out meanwhile, so that `blocking` within `blocking` leaves no second place.
    let back = Back(POOL.with(|mine| mine.borrow_mut().take()));
    if let Some(pool) = &back.0 {
        pool.leave();
    }
    run()
}

impl<C: Client> Shared<C> {
    /// Starts a worker where the queue has found that one is wanted. Where the system gives
    /// none, the session waits for another.
    fn start_if_wanted(self: &Arc<Self>, pushed: Pushed) {
        if pushed == Pushed::WantsWorker {
            let _ = spawn(self.clone(), "stand-in worker");
        }
    }

    /// Queues a session. Where that is too late it is closed.
    pub(super) fn enqueue(self: &Arc<Self>, seat: &Arc<Seat<C>>, priority: Priority) {
        match self.queue.push(seat.clone(), priority) {
            Pushed::Refused => seat.close(),
            pushed => self.start_if_wanted(pushed),
        }
    }
}

pub(super) fn start<C: Client>(
    shared: Arc<Shared<C>>,
    number: usize,
) -> io::Result<JoinHandle<()>> {
    shared.queue.worker_starts();
    spawn(shared, &format!("worker {number}"))
}

/// Starts a worker that counts already.
fn spawn<C: Client>(shared: Arc<Shared<C>>, name: &str) -> io::Result<JoinHandle<()>> {
    let run = shared.clone();
    let started = shared.manager.register_worker(name).map_err(io::Error::from);
    let started = started
        .and_then(|thread| Builder::new().name(name.into()).spawn(move || serve(&run, &thread)));
    started.inspect_err(|_| shared.queue.worker_failed())
}

fn serve<C: Client>(shared: &Arc<Shared<C>>, thread: &Thread) {
    POOL.with(|mine| *mine.borrow_mut() = Some(Arc::new(shared.clone())));
    while let Some(seat) = shared.queue.pop() {
        if let Some(conn) = seat.take() {
            run(shared, &seat, conn, thread);
        }
        shared.queue.done();
    }
}

/// Starts a lane thread where none is free.
pub(super) fn start_lane<C: Client>(shared: &Arc<Shared<C>>) -> io::Result<()> {
    if !shared.queue.wants_lane(MAX_LANES) {
        return Ok(());
    }
    let lane = shared.clone();
    let started = shared.manager.register_worker("emergency lane").map_err(io::Error::from);
    let started = started.and_then(|thread| {
        Builder::new().name("emergency lane".into()).spawn(move || serve_lane(&lane, &thread))
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => {
            shared.queue.lane_failed();
            Err(error)
        }
    }
}

fn serve_lane<C: Client>(shared: &Arc<Shared<C>>, thread: &Thread) {
    while let Some(job) = shared.queue.pop_for_lane() {
        match job.seat.take_for_lane() {
            Ok(conn) => {
                // Should this one take long, the next emergency finds another thread. If the
                // system gives none, it waits.
                let _ = start_lane(shared);
                run(shared, &job.seat, conn, thread);
            }
            Err(still_queued) => {
                if still_queued {
                    shared.start_if_wanted(shared.queue.push_back_from_lane(job));
                }
            }
        }
    }
}

/// What one turn of a session came to.
enum Turn<'a, C> {
    /// It is detached, and goes back into its seat, which is locked since before that step.
    Back {
        seat: MutexGuard<'a, State<C>>,
        queue: Option<Priority>,
        over: Over,
    },
    Over(End),
}

fn run<C: Client>(
    shared: &Arc<Shared<C>>,
    seat: &Arc<Seat<C>>,
    mut conn: Conn<C>,
    thread: &Thread,
) {
    let Conn { client, session } = &mut conn;
    // If a panic unwinds through the attachment, the session learns of it there.
    let turn = catch_unwind(AssertUnwindSafe(|| turn(seat, client, session, thread)));
    match turn {
        Ok(Turn::Back { seat: mut place, queue: None, over }) => {
            *place = State::Idle(conn);
            drop(place);
            over.complete();
            if shared.queue.is_closed() {
                seat.close();
            }
        }
        Ok(Turn::Back { seat: mut place, queue: Some(priority), over }) => {
            *place = State::Queued(conn);
            drop(place);
            over.complete();
            shared.enqueue(seat, priority);
        }
        Ok(Turn::Over(why)) => seat.end(conn, why),
        Err(_) => seat.end(conn, End::Panicked),
    }
}

fn turn<'a, C: Client>(
    seat: &'a Seat<C>,
    client: &mut C,
    session: &mut Session,
    thread: &Thread,
) -> Turn<'a, C> {
    // A pool's own threads can run its sessions.
    let Ok(mut attached) = session.attach(thread) else { return Turn::Over(End::Closed) };
    // Told to end while it was queued: the command does not begin.
    let next = match attached.check().and_then(|()| client.ready(&mut attached)) {
        Ok(Next::Close) => return Turn::Over(End::Closed),
        Ok(next) => next,
        Err(interrupt) => return Turn::Over(End::Interrupted(interrupt)),
    };
    let place = seat.lock();
    let queue = match next {
        // One that always has more to do waits its turn.
        Next::Again => Some(Priority::InOrder),
        _ if matches!(*place, State::Taken { ready: true }) && has_input(client) => {
            Some(priority_of(client))
        }
        _ => None,
    };
    let (due, over) = attached.leave(queue.is_some());
    match due {
        Ok(()) => Turn::Back { seat: place, queue, over },
        Err(interrupt) => {
            drop(place);
            over.complete();
            Turn::Over(End::Interrupted(interrupt))
        }
    }
}
