//! Sessions that wait for a worker.

use super::seat::Seat;
use super::{Client, LANE_DELAY, Priority};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Queue<C: Client> {
    jobs: Mutex<Jobs<C>>,
    for_workers: Condvar,
    for_lanes: Condvar,
}

struct Jobs<C: Client> {
    first: VecDeque<Job<C>>,
    in_order: VecDeque<Arc<Seat<C>>>,
    idle_workers: usize,
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

impl<C: Client> Queue<C> {
    pub(super) fn new() -> Queue<C> {
        Queue {
            jobs: Mutex::new(Jobs {
                first: VecDeque::new(),
                in_order: VecDeque::new(),
                idle_workers: 0,
                lanes: 0,
                idle_lanes: 0,
                closed: false,
            }),
            for_workers: Condvar::new(),
            for_lanes: Condvar::new(),
        }
    }

    /// `false` once the queue is closed.
    pub(super) fn push(&self, seat: Arc<Seat<C>>, priority: Priority) -> bool {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return false;
        }
        match priority {
            Priority::First => {
                jobs.first.push_back(Job { seat, since: Instant::now(), looked_at: false });
                if jobs.idle_workers == 0 {
                    self.for_lanes.notify_one();
                }
            }
            Priority::InOrder => jobs.in_order.push_back(seat),
        }
        drop(jobs);
        self.for_workers.notify_one();
        true
    }

    pub(super) fn is_closed(&self) -> bool {
        self.jobs.lock().closed
    }

    /// The next session for a worker; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<Arc<Seat<C>>> {
        let mut jobs = self.jobs.lock();
        loop {
            if jobs.closed {
                return None;
            }
            let first = jobs.first.pop_front().map(|job| job.seat);
            if let Some(seat) = first.or_else(|| jobs.in_order.pop_front()) {
                return Some(seat);
            }
            jobs.idle_workers += 1;
            self.for_workers.wait(&mut jobs);
            jobs.idle_workers -= 1;
        }
    }

    /// The next session for a lane to look at: one that has waited for long enough. `None`
    /// once the queue is closed, or where this lane is one too many and has waited for
    /// `patience`.
    pub(super) fn pop_for_lane(&self, patience: Duration) -> Option<Job<C>> {
        let mut jobs = self.jobs.lock();
        jobs.idle_lanes += 1;
        let retire = Instant::now() + patience;
        let job = loop {
            if jobs.closed {
                break None;
            }
            let now = Instant::now();
            let waiting = jobs.first.iter().position(|job| !job.looked_at);
            let due = waiting.map(|at| jobs.first[at].since + LANE_DELAY);
            match (waiting, due) {
                (Some(at), Some(due)) if due <= now => break jobs.first.remove(at),
                (_, Some(due)) => {
                    self.for_lanes.wait_until(&mut jobs, due);
                }
                _ if now < retire => {
                    self.for_lanes.wait_until(&mut jobs, retire);
                }
                _ if jobs.idle_lanes > 1 => break None,
                _ => self.for_lanes.wait(&mut jobs),
            }
        };
        jobs.idle_lanes -= 1;
        if job.is_none() {
            jobs.lanes -= 1;
        }
        job
    }

    /// The lane leaves this one to the workers.
    pub(super) fn push_back_from_lane(&self, job: Job<C>) {
        self.jobs.lock().first.push_front(Job { looked_at: true, ..job });
        self.for_workers.notify_one();
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
