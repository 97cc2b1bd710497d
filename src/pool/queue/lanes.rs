//! The jobs that wait for the emergency lane, and the number of lane threads.

use crate::pool::queue::listener::{STALL_AFTER, StallDetector};
use crate::pool::queue::queue::{Job, Queue, QueueState};
use crate::pool::queue::workers::Wakeup;
use crate::sync::now;
use std::time::{Duration, Instant};

/// How long a session that may use the emergency lane waits for a worker first.
pub const EMERGENCY_DELAY: Duration = Duration::from_millis(50);

impl<T> Queue<T> {
    /// Wakes a lane if a session has waited for `EMERGENCY_DELAY`. Returns the number of lanes that
    /// the caller must start, because all are busy and have taken no session for `STALL_AFTER`. They
    /// are counted already.
    pub(super) fn call_lane(
        &self,
        state: &mut QueueState<T>,
        watch: &mut StallDetector,
        now: Instant,
    ) -> usize {
        let waits = |job: &&Job<T>| !job.lane_declined && job.since + EMERGENCY_DELAY <= now;
        let waiting = state.first.iter().filter(waits).count();
        if waiting > 0 {
            self.for_lanes.notify_one();
        }
        let moved = watch.taken_by_lanes != state.taken_by_lanes;
        watch.taken_by_lanes = state.taken_by_lanes;
        if waiting == 0 || state.idle_lanes > 0 || moved {
            watch.lanes_since = now;
            return 0;
        }
        if now.saturating_duration_since(watch.lanes_since) < STALL_AFTER {
            return 0;
        }
        watch.lanes_since = now;
        // As with workers, at most as many as there are.
        let more = waiting.min(state.counts.lanes.max(1));
        state.counts.lanes += more;
        state.threads += more;
        more
    }

    /// Waits for a session that has waited for `EMERGENCY_DELAY`. Returns `None` if the queue is
    /// closed, or if this lane is not needed any more.
    pub(in crate::pool) fn pop_for_lane(&self) -> Option<Job<T>> {
        let mut state = self.state.lock();
        state.idle_lanes += 1;
        let retire = now() + self.idle_timeout;
        let job = loop {
            if state.closed {
                break None;
            }
            let waiting = state.first.iter().position(|job| !job.lane_declined);
            match waiting.map(|at| (at, state.first[at].since + EMERGENCY_DELAY)) {
                Some((at, due)) if due <= now() => break state.first.remove(at),
                Some((_, due)) => {
                    self.for_lanes.wait_until(&mut state, due);
                }
                None if now() < retire => {
                    self.for_lanes.wait_until(&mut state, retire);
                }
                None if state.idle_lanes > 1 => break None,
                None => self.for_lanes.wait(&mut state),
            }
        };
        state.idle_lanes -= 1;
        if job.is_none() {
            state.counts.lanes -= 1;
        } else {
            state.taken_by_lanes += 1;
        }
        job
    }

    /// Returns a job to the workers, at its old position: before all jobs that were queued later.
    pub(in crate::pool) fn push_back_from_lane(&self, job: Job<T>) -> Wakeup {
        let mut state = self.state.lock();
        let at = state.first.partition_point(|other| other.since <= job.since);
        state.first.insert(at, Job { lane_declined: true, ..job });
        self.call_worker(&mut state)
    }

    /// Returns whether another lane thread must be started at once, which is counted from then on.
    pub(in crate::pool) fn wants_lane(&self, max: usize) -> bool {
        let mut state = self.state.lock();
        let wanted = state.idle_lanes == 0 && state.counts.lanes < max && !state.closed;
        if wanted {
            state.counts.lanes += 1;
            state.threads += 1;
        }
        wanted
    }

    /// Stops counting a lane thread that could not be started.
    pub(in crate::pool) fn lane_failed(&self) {
        let mut state = self.state.lock();
        state.counts.lanes -= 1;
        state.threads -= 1;
    }
}
