//! The jobs that wait for the emergency lane, and the number of lane threads.

use crate::pool::queue::{
    EMERGENCY_DELAY, Job, Queue, QueueState, STALL_AFTER, StallDetector, Wakeup,
};
use crate::sync::now;
use std::time::Instant;

impl<T> Queue<T> {
    /// Wakes a lane if a session has waited for `EMERGENCY_DELAY`. Returns the number of lanes that
    /// the caller must start, because all are busy and have taken no session for `STALL_AFTER`. They
    /// are counted already.
    pub(super) fn call_lane(
        &self,
        jobs: &mut QueueState<T>,
        watch: &mut StallDetector,
        now: Instant,
    ) -> usize {
        let waits = |job: &&Job<T>| !job.lane_declined && job.since + EMERGENCY_DELAY <= now;
        let waiting = jobs.first.iter().filter(waits).count();
        if waiting > 0 {
            self.for_lanes.notify_one();
        }
        let moved = watch.taken_by_lanes != jobs.taken_by_lanes;
        watch.taken_by_lanes = jobs.taken_by_lanes;
        if waiting == 0 || jobs.idle_lanes > 0 || moved {
            watch.lanes_since = now;
            return 0;
        }
        if now.saturating_duration_since(watch.lanes_since) < STALL_AFTER {
            return 0;
        }
        watch.lanes_since = now;
        // As with workers, at most as many as there are.
        let more = waiting.min(jobs.counts.lanes.max(1));
        jobs.counts.lanes += more;
        jobs.threads += more;
        more
    }

    /// Waits for a session that has waited for `EMERGENCY_DELAY`. Returns `None` if the queue is
    /// closed, or if this lane is not needed any more.
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
        } else {
            jobs.taken_by_lanes += 1;
        }
        job
    }

    /// Returns a job to the workers, at its old position: before all jobs that were queued later.
    pub(in crate::pool) fn push_back_from_lane(&self, job: Job<T>) -> Wakeup {
        let mut jobs = self.jobs.lock();
        let at = jobs.first.partition_point(|other| other.since <= job.since);
        jobs.first.insert(at, Job { lane_declined: true, ..job });
        self.call_worker(&mut jobs)
    }

    /// Returns whether another lane thread must be started at once, which is counted from then on.
    pub(in crate::pool) fn wants_lane(&self, max: usize) -> bool {
        let mut jobs = self.jobs.lock();
        let wanted = jobs.idle_lanes == 0 && jobs.counts.lanes < max && !jobs.closed;
        if wanted {
            jobs.counts.lanes += 1;
            jobs.threads += 1;
        }
        wanted
    }

    /// Stops counting a lane thread that could not be started.
    pub(in crate::pool) fn lane_failed(&self) {
        let mut jobs = self.jobs.lock();
        jobs.counts.lanes -= 1;
        jobs.threads -= 1;
    }
}
