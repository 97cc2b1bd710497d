//! Who waits for the emergency lane, and how many threads it has.

use crate::pool::queue::{EMERGENCY_DELAY, Job, Queue, QueueState, Wakeup};
use crate::sync::now;
use std::time::Instant;

impl<T> Queue<T> {
    /// Wakes a lane for a session that has waited for long enough.
    pub(super) fn call_lane(&self, jobs: &QueueState<T>, now: Instant) {
        let waits = |job: &Job<T>| !job.lane_declined && job.since + EMERGENCY_DELAY <= now;
        if jobs.first.iter().any(waits) {
            self.for_lanes.notify_one();
        }
    }

    /// Returns the next session for a lane, which has waited for long enough. Returns `None` if the
    /// queue is closed, or this lane is not needed any more.
    pub(in crate::pool) fn pop_for_lane(&self) -> Option<Job<T>> {
        let mut jobs = self.jobs.lock();
        jobs.idle_lanes += 1;
        let retire = now() + self.patience;
        let job = loop {
            if jobs.closed {
                break None;
            }
            let waiting = jobs.first.iter().position(|job| !job.lane_declined);
            match waiting.map(|at| (at, jobs.first[at].since + EMERGENCY_DELAY)) {
                Some((at, due)) if due <= now() => break jobs.first.remove(at),
                Some((_, due)) => {
                    self.for_lanes.wait_until(&mut jobs, due);
                }
                None if now() < retire => {
                    self.for_lanes.wait_until(&mut jobs, retire);
                }
                None if jobs.idle_lanes > 1 => break None,
                None => self.for_lanes.wait(&mut jobs),
            }
        };
        jobs.idle_lanes -= 1;
        if job.is_none() {
            jobs.counts.lanes -= 1;
        }
        job
    }

    /// Returns a session to the workers, at its old position: before those that came later.
    pub(in crate::pool) fn push_back_from_lane(&self, job: Job<T>) -> Wakeup {
        let mut jobs = self.jobs.lock();
        let at = jobs.first.partition_point(|other| other.since <= job.since);
        jobs.first.insert(at, Job { lane_declined: true, ..job });
        self.call_worker(&mut jobs)
    }

    /// Whether another lane thread is wanted: then it counts from now on.
    pub(in crate::pool) fn wants_lane(&self, max: usize) -> bool {
        let mut jobs = self.jobs.lock();
        let wanted = jobs.idle_lanes == 0 && jobs.counts.lanes < max && !jobs.closed;
        if wanted {
            jobs.counts.lanes += 1;
            jobs.threads += 1;
        }
        wanted
    }

    /// A lane thread that was wanted could not be started.
    pub(in crate::pool) fn lane_failed(&self) {
        let mut jobs = self.jobs.lock();
        jobs.counts.lanes -= 1;
        jobs.threads -= 1;
    }
}
