//! The threads that run sessions: workers, and the emergency lane.

use super::seat::{Conn, Seat, State};
use super::{Client, End, MAX_LANES, Next, Priority, Shared};
use crate::session::Session;
use crate::thread::Thread;
use parking_lot::MutexGuard;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How long a lane thread beyond the first waits for something to do before it ends.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn start<C: Client>(
    shared: Arc<Shared<C>>,
    number: usize,
) -> io::Result<JoinHandle<()>> {
    let name = format!("worker {number}");
    let thread = shared.manager.register_worker(&name)?;
    Builder::new().name(name).spawn(move || {
        while let Some(seat) = shared.queue.pop() {
            if let Some(conn) = seat.take() {
                run(&shared, &seat, conn, &thread);
            }
        }
    })
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
    while let Some(job) = shared.queue.pop_for_lane(PATIENCE) {
        match job.seat.take_for_lane() {
            Ok(conn) => {
                // Should this one take long, the next emergency finds another thread. If the
                // system gives none, it waits.
                let _ = start_lane(shared);
                run(shared, &job.seat, conn, thread);
            }
            Err(still_queued) => {
                if still_queued {
                    shared.queue.push_back_from_lane(job);
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
    },
    Over(End),
}

fn run<C: Client>(shared: &Shared<C>, seat: &Arc<Seat<C>>, mut conn: Conn<C>, thread: &Thread) {
    let Conn { client, session } = &mut conn;
    // If a panic unwinds through the attachment, the session learns of it there.
    let turn = catch_unwind(AssertUnwindSafe(|| turn(seat, client, session, thread)));
    match turn {
        Ok(Turn::Back { seat: mut place, queue: None }) => {
            *place = State::Idle(conn);
            drop(place);
            if shared.queue.is_closed() {
                seat.close();
            }
        }
        Ok(Turn::Back { seat: mut place, queue: Some(priority) }) => {
            *place = State::Queued(conn);
            drop(place);
            if !shared.queue.push(seat.clone(), priority) {
                seat.close();
            }
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
        _ if matches!(*place, State::Taken { ready: true }) => Some(client.priority()),
        _ => None,
    };
    let left = if queue.is_some() { attached.detach_queued() } else { attached.detach() };
    match left {
        Ok(()) => Turn::Back { seat: place, queue },
        Err(interrupt) => Turn::Over(End::Interrupted(interrupt)),
    }
}
