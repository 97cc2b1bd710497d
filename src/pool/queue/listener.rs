//! The steps of the group's listener: when it polls, when it sleeps, and when it adds permits.

use crate::pool::queue::queue::{Queue, QueueState};
use crate::pool::queue::workers::Wakeup;
use crate::sync::now;
use std::time::{Duration, Instant};

/// How often the listener polls while no worker is idle.
pub(super) const LISTENER_INTERVAL: Duration = Duration::from_millis(2);

/// The number of intervals with an idle worker after which the listener sleeps. It is lower in the
/// scenes of `shuttle-tests`, which are short, so that the listener sleeps in them as well.
pub(super) const QUIET_TICKS: u32 = if cfg!(safepoint_shuttle) { 2 } else { 50 };

/// The time without a session taken after which permits are added.
pub(super) const STALL_AFTER: Duration = Duration::from_millis(10);

/// The next step of the listener.
pub(in crate::pool) enum ListenerStep {
    /// Wait at the poller for at most this time, and queue the sessions whose sockets become
    /// readable. Before that, start this many lane threads, which are counted already.
    Poll(Duration, Wakeup, usize),
    Stop,
}

/// The last observations of the listener.
#[derive(Debug)]
pub(in crate::pool) struct StallDetector {
    pub(super) quiet_ticks: u32,
    /// The value of `QueueState::taken` at the last check, and the time since which no session was
    /// taken.
    pub(super) taken: u64,
    pub(super) since: Instant,
    /// The value of `QueueState::taken_by_lanes` at the last check, and the time since which no
    /// session for the lane waits, or one was taken.
    pub(super) taken_by_lanes: u64,
    pub(super) lanes_since: Instant,
    /// Whether the workers make progress by themselves, so that the next poll can wait.
    pub(super) flows: bool,
}

impl StallDetector {
    pub(in crate::pool) fn new() -> StallDetector {
        let since = now();
        StallDetector {
            quiet_ticks: 0,
            taken: 0,
            since,
            taken_by_lanes: 0,
            lanes_since: since,
            flows: false,
        }
    }

    /// Returns for how long no worker has taken a session.
    pub(in crate::pool) fn stalled_for(&self) -> Duration {
        now().saturating_duration_since(self.since)
    }
}

impl<T> Queue<T> {
    /// Wakes the listener if no worker polls any more.
    pub(super) fn call_listener(&self, state: &mut QueueState<T>) {
        if state.counts.idle == 0 && state.listener_sleeps {
            state.listener_sleeps = false;
            self.for_listener.notify_one();
        }
    }

    /// Returns the next step of the listener. It blocks here while workers poll.
    pub(in crate::pool) fn watch(&self, watch: &mut StallDetector) -> ListenerStep {
        let mut state = self.state.lock();
        if watch.flows && !state.closed {
            self.for_listener.wait_until(&mut state, now() + LISTENER_INTERVAL);
        }
        while state.counts.idle > 0 && !state.closed {
            watch.quiet_ticks += 1;
            if watch.quiet_ticks < QUIET_TICKS {
                self.for_listener.wait_until(&mut state, now() + LISTENER_INTERVAL);
            } else {
                state.listener_sleeps = true;
                self.for_listener.wait(&mut state);
                watch.quiet_ticks = 0;
            }
        }
        if state.closed {
            return ListenerStep::Stop;
        }
        let now = now();
        let moved = watch.taken != state.taken;
        if moved {
            watch.since = now;
        }
        (watch.quiet_ticks, watch.taken) = (0, state.taken);
        let lanes = self.call_lane(&mut state, watch, now);
        let room = self.size.max - state.counts.permits;
        let stalled = now.saturating_duration_since(watch.since) >= STALL_AFTER;
        let call = if state.counts.active < state.counts.permits {
            // The thread that was woken for that permit may not have used it.
            self.call_worker(&mut state)
        } else if stalled && state.len() > 0 && room > 0 {
            let more = state.len().min(state.counts.permits).min(room);
            state.counts.permits += more;
            watch.since = now;
            self.fill(&mut state, more)
        } else {
            Wakeup::None
        };
        // All permits are in use and sessions make progress, so the workers poll as soon as they
        // can.
        watch.flows = moved && state.counts.active >= state.counts.permits;
        let limit = if watch.flows { Duration::ZERO } else { STALL_AFTER };
        ListenerStep::Poll(limit, call, lanes)
    }

    /// Returns whether the listener must pass a wake-up on: it was meant for a worker, or for the
    /// end.
    pub(in crate::pool) fn passes_on(&self) -> bool {
        let state = self.state.lock();
        (state.len() > 0 && state.counts.idle > 0) || state.closed
    }
}
