//! The steps of the group's workers, and the permits that they share.

use crate::pool::queue::queue::{Queue, QueueState};
use crate::sync::now;
use std::time::Duration;

/// The wake-up that the caller must carry out after a change.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Wakeup {
    None,
    /// Wake an idle worker.
    Idle,
    /// Start this many workers; they are counted already.
    Spawn(usize),
}

/// The next step of a worker.
pub(in crate::pool) enum WorkerStep<T> {
    Run(T, Wakeup),
    /// Wait at the poller, for at most this time.
    Poll(Option<Duration>),
    /// Wait for a permit.
    Park(Wakeup),
    /// Exit. The worker is not counted any more.
    Exit,
}

/// How a worker's wait at the poller ended, if it returned no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum PollEnd {
    Woken,
    /// The wait timed out.
    InVain,
}

impl<T> Queue<T> {
    /// Returns the wake-up for a waiting session, if there is a permit.
    pub(super) fn call_worker(&self, state: &mut QueueState<T>) -> Wakeup {
        if state.closed || state.len() == 0 {
            Wakeup::None
        } else if state.counts.idle > 0 {
            Wakeup::Idle
        } else {
            let free = state.counts.permits.saturating_sub(state.counts.active);
            self.fill(state, free.min(1))
        }
    }

    /// Gives this many free permits to spares, and to new workers.
    pub(super) fn fill(&self, state: &mut QueueState<T>, count: usize) -> Wakeup {
        let skips = count.min(state.counts.parked);
        state.counts.parked -= skips;
        state.called += skips;
        (0..skips).for_each(|_| {
            self.for_parked.notify_one();
        });
        state.counts.active += count;
        let fresh = count - skips;
        state.counts.workers += fresh;
        state.counts.starting += fresh;
        state.threads += fresh;
        if fresh > 0 { Wakeup::Spawn(fresh) } else { Wakeup::None }
    }

    /// Counts the first workers, before they are started.
    pub(in crate::pool) fn first_workers(&self) {
        let mut state = self.state.lock();
        let _ = self.fill(&mut state, self.size.min);
    }

    /// Records that a counted worker has started, or that it could not be started.
    pub(in crate::pool) fn worker_started(&self, started: bool) {
        let mut state = self.state.lock();
        state.counts.starting -= 1;
        if !started {
            state.threads -= 1;
            self.worker_goes(&mut state);
        }
    }

    /// Stops counting an active worker.
    fn worker_goes(&self, state: &mut QueueState<T>) {
        state.counts.active -= 1;
        state.counts.workers -= 1;
        self.call_listener(state);
    }

    /// Returns the next step of an active worker. `waited` is the result of its wait at the poller,
    /// if it returned no session.
    pub(in crate::pool) fn next(&self, waited: Option<PollEnd>) -> WorkerStep<T> {
        let mut state = self.state.lock();
        if let Some(waited) = waited {
            state.counts.idle -= 1;
            let spent = waited == PollEnd::InVain && state.len() == 0;
            if spent && state.counts.active > self.size.min {
                state.counts.permits = (state.counts.permits - 1).max(self.size.min);
                self.worker_goes(&mut state);
                return WorkerStep::Exit;
            }
            self.call_listener(&mut state);
        }
        if state.closed {
            self.worker_goes(&mut state);
            return WorkerStep::Exit;
        }
        // Two wake-ups may have been merged, or have reached a worker without a permit.
        let more = |state: &QueueState<T>| match state.len() > 0 && state.counts.idle > 0 {
            true => Wakeup::Idle,
            false => Wakeup::None,
        };
        if state.counts.active > state.counts.permits {
            state.counts.active -= 1;
            state.counts.parked += 1;
            self.call_listener(&mut state);
            return WorkerStep::Park(more(&state));
        }
        if let Some(entry) = state.take() {
            state.taken += 1;
            return WorkerStep::Run(entry, more(&state));
        }
        state.counts.idle += 1;
        WorkerStep::Poll((state.counts.active > self.size.min).then_some(self.idle_timeout))
    }

    /// Waits as a spare. Returns `false` after the idle timeout, when the spare is not counted any
    /// more.
    pub(in crate::pool) fn wait_as_spare(&self) -> bool {
        let mut state = self.state.lock();
        let deadline = now() + self.idle_timeout;
        let mut in_vain = false;
        loop {
            // Checked first: the spare may have been given a permit as its wait timed out.
            if state.called > 0 {
                state.called -= 1;
                return true;
            }
            if in_vain || state.closed {
                state.counts.parked = state.counts.parked.saturating_sub(1);
                state.counts.workers -= 1;
                return false;
            }
            in_vain = self.for_parked.wait_until(&mut state, deadline).timed_out();
        }
    }

    /// Counts a session that an idle worker received from the poller.
    pub(in crate::pool) fn takes_ready(&self) {
        let mut state = self.state.lock();
        state.counts.idle -= 1;
        state.taken += 1;
        self.call_listener(&mut state);
    }

    /// Releases the permit of a worker that blocks in place.
    pub(in crate::pool) fn release_permit(&self) -> Wakeup {
        let mut state = self.state.lock();
        state.counts.active -= 1;
        // A permit is free, so the listener must not wait for its interval.
        if state.counts.idle == 0 {
            state.listener_sleeps = false;
            self.for_listener.notify_one();
        }
        self.call_worker(&mut state)
    }

    /// Takes a permit again. It never waits for one, since the worker that has the permit may wait
    /// for this worker.
    pub(in crate::pool) fn reacquire_permit(&self) {
        self.state.lock().counts.active += 1;
    }
}
