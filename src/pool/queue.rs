//! Sessions that wait for a worker.

use super::seat::Seat;
use super::{Client, LANE_DELAY, Priority};
use crate::sync::{Condvar, Mutex, MutexGuard, now};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a thread waits for something to do before it ends, where it is one too many.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Queue<C: Client> {
    jobs: Mutex<Jobs<C>>,
    /// How many workers may run sessions at a time, those that block elsewhere not counted.
    places: usize,
    for_workers: Condvar,
    for_lanes: Condvar,
}

struct Jobs<C: Client> {
    first: VecDeque<Job<C>>,
    in_order: VecDeque<Arc<Seat<C>>>,
    /// Threads that run sessions, or wait for one.
    workers: usize,
    /// Those of them that wait, or are about to.
    idle_workers: usize,
    /// Those of them that have a place: they run, and don't block elsewhere.
    placed: usize,
    lanes: usize,
    idle_lanes: usize,
    closed: bool,
}

pub(super) struct Job<C: Client> {
    pub(super) seat: Arc<Seat<C>>,
    since: Instant,
    /// Whether the lane has looked at it, and left it.
    looked_at: bool,
}

/// What is left to do for whoever has put something into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Done,
    /// There is a place and no thread for it: one is to be started, and counts already.
    WantsWorker,
    /// The queue is closed.
    Refused,
}

impl<C: Client> Jobs<C> {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.in_order.is_empty()
    }
}

impl<C: Client> Queue<C> {
    pub(super) fn new(places: usize) -> Queue<C> {
        Queue {
            jobs: Mutex::new(Jobs {
                first: VecDeque::new(),
                in_order: VecDeque::new(),
                workers: 0,
                idle_workers: 0,
                placed: 0,
                lanes: 0,
                idle_lanes: 0,
                closed: false,
            }),
            places,
            for_workers: Condvar::new(),
            for_lanes: Condvar::new(),
        }
    }

    pub(super) fn push(&self, seat: Arc<Seat<C>>, priority: Priority) -> Pushed {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Pushed::Refused;
        }
        match priority {
            Priority::First => {
                jobs.first.push_back(Job { seat, since: now(), looked_at: false });
                self.call_lane(&jobs);
            }
            Priority::InOrder => jobs.in_order.push_back(seat),
        }
        self.call_worker(jobs)
    }

    /// Sees to it that a lane watches what no worker may come for.
    fn call_lane(&self, jobs: &Jobs<C>) {
        let stuck = jobs.idle_workers == 0 || jobs.placed >= self.places;
        if stuck && jobs.first.iter().any(|job| !job.looked_at) {
            self.for_lanes.notify_one();
        }
    }

    /// Sees to it that someone takes what waits, if there is a place.
    fn call_worker(&self, mut jobs: MutexGuard<'_, Jobs<C>>) -> Pushed {
        if jobs.closed || jobs.is_empty() || jobs.placed >= self.places {
            return Pushed::Done;
        }
        if jobs.idle_workers == 0 {
            jobs.workers += 1;
            jobs.idle_workers += 1;
            return Pushed::WantsWorker;
        }
        drop(jobs);
        self.for_workers.notify_one();
        Pushed::Done
    }

    pub(super) fn is_closed(&self) -> bool {
        self.jobs.lock().closed
    }

    /// A thread is about to serve the queue: it counts from now on.
    pub(super) fn worker_starts(&self) {
        let mut jobs = self.jobs.lock();
        jobs.workers += 1;
        jobs.idle_workers += 1;
    }

    /// It could not be started after all.
    pub(super) fn worker_failed(&self) {
        let mut jobs = self.jobs.lock();
        jobs.workers -= 1;
        jobs.idle_workers -= 1;
    }

    /// The next session for a worker, and a place to run it in. `None` once the queue is
    /// closed, or where this worker is one too many: then it counts no longer.
    pub(super) fn pop(&self) -> Option<Arc<Seat<C>>> {
        let mut jobs = self.jobs.lock();
        let retire = now() + PATIENCE;
        let mut patient = true;
        let seat = loop {
            if jobs.closed {
                break None;
            }
            if jobs.placed < self.places {
                let first = jobs.first.pop_front().map(|job| job.seat);
                if let Some(seat) = first.or_else(|| jobs.in_order.pop_front()) {
                    break Some(seat);
                }
            }
            if jobs.workers <= self.places {
                self.for_workers.wait(&mut jobs);
            } else if patient {
                // It may have been called as its time ran out, so it looks once more.
                patient = !self.for_workers.wait_until(&mut jobs, retire).timed_out();
            } else {
                break None;
            }
        };
        jobs.idle_workers -= 1;
        match seat {
            Some(_) => {
                jobs.placed += 1;
                // Those were pushed as this worker counted as idle, so no lane was told.
                self.call_lane(&jobs);
            }
            None => jobs.workers -= 1,
        }
        seat
    }

    /// A worker has run what it took.
    pub(super) fn done(&self) {
        let mut jobs = self.jobs.lock();
        jobs.placed -= 1;
        jobs.idle_workers += 1;
    }

    /// A worker blocks elsewhere, and gives its place to another meanwhile.
    pub(super) fn leave_place(&self) -> Pushed {
        let mut jobs = self.jobs.lock();
        jobs.placed -= 1;
        self.call_worker(jobs)
    }

    /// It goes on. It does not wait for its place: who waits for it might be who has it.
    pub(super) fn take_place(&self) {
        let mut jobs = self.jobs.lock();
        jobs.placed += 1;
        self.call_lane(&jobs);
    }

    /// The next session for a lane to look at: one that has waited for long enough. `None`
    /// once the queue is closed, or where this lane is one too many.
    pub(super) fn pop_for_lane(&self) -> Option<Job<C>> {
        let mut jobs = self.jobs.lock();
        jobs.idle_lanes += 1;
        let retire = now() + PATIENCE;
        let job = loop {
            if jobs.closed {
                break None;
            }
            let waiting = jobs.first.iter().position(|job| !job.looked_at);
            let due = waiting.map(|at| jobs.first[at].since + LANE_DELAY);
            match (waiting, due) {
                (Some(at), Some(due)) if due <= now() => break jobs.first.remove(at),
                (_, Some(due)) => {
                    self.for_lanes.wait_until(&mut jobs, due);
                }
                _ if now() < retire => {
                    self.for_lanes.wait_until(&mut jobs, retire);
                }
                _ if jobs.idle_lanes > 1 => break None,
                _ => self.for_lanes.wait(&mut jobs),
            }
        };
        jobs.idle_lanes -= 1;
        match &job {
            // The next may have been announced to this lane alone.
            Some(_) => self.call_lane(&jobs),
            None => jobs.lanes -= 1,
        }
        job
    }

    /// The lane leaves this one to the workers.
    pub(super) fn push_back_from_lane(&self, job: Job<C>) -> Pushed {
        let mut jobs = self.jobs.lock();
        jobs.first.push_front(Job { looked_at: true, ..job });
        self.call_worker(jobs)
    }

    /// Whether another lane thread is wanted: then it counts from now on.
    pub(super) fn wants_lane(&self, max: usize) -> bool {
        let mut jobs = self.jobs.lock();
        let wanted = jobs.idle_lanes == 0 && jobs.lanes < max && !jobs.closed;
        if wanted {
            jobs.lanes += 1;
        }
        wanted
    }

    /// A lane thread that was wanted could not be started.
    pub(super) fn lane_failed(&self) {
        self.jobs.lock().lanes -= 1;
    }

    pub(super) fn close(&self) {
        self.jobs.lock().closed = true;
        self.for_workers.notify_all();
        self.for_lanes.notify_all();
    }
}
