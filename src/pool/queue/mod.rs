//! The queue of a group: the sessions that wait for a worker, and the permits of the workers.
//!
//! A worker is *active* while it runs a session or looks for one; it has a permit then. An active
//! worker with nothing to run is *idle*: it waits at the poller. It runs the first session whose
//! socket becomes readable, so that a command costs no hand-over between threads. A worker that
//! blocks in place releases its permit. If there are too many active workers when it comes back, it
//! becomes a *spare*, until its idle timeout.
//!
//! While a worker is idle, no session stays in the queue. A thread that queues a session wakes an
//! idle worker, and a worker that takes one and leaves others wakes the next. While no worker is
//! idle, the listener (`pool/listener.rs`) moves readable sessions into the queue, where the order
//! below holds. It adds permits if no session is taken.

mod lanes;

use crate::pool::connection::Priority;
use crate::sync::{Condvar, Mutex, now};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of sessions with [`Priority::High`] that are taken in a row while others wait.
pub const HIGH_PRIORITY_BURST: usize = 8;

/// How long a session that may use the emergency lane waits for a worker first.
pub const EMERGENCY_DELAY: Duration = Duration::from_millis(50);

/// How long a worker or a lane thread that is not needed waits for work before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the listener polls while no worker is idle.
const LISTENER_INTERVAL: Duration = Duration::from_millis(2);

/// The number of intervals with an idle worker after which the listener sleeps. It is lower in the
/// scenes of `shuttle-tests`, which are short, so that the listener sleeps in them as well.
const QUIET_TICKS: u32 = if cfg!(safepoint_shuttle) { 2 } else { 50 };

/// The time without a session taken after which permits are added.
const STALL_AFTER: Duration = Duration::from_millis(10);

pub(super) struct Queue<T> {
    state: Mutex<QueueState<T>>,
    size: Size,
    /// [`IDLE_TIMEOUT`], or less in a test.
    idle_timeout: Duration,
    for_parked: Condvar,
    for_lanes: Condvar,
    for_listener: Condvar,
    for_end: Condvar,
}

/// The smallest and largest number of permits, and the length of the queue at which new connections
/// are rejected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) queue: usize,
}

struct QueueState<T> {
    first: VecDeque<Job<T>>,
    in_order: VecDeque<T>,
    high_streak: usize,
    /// The number of stale entries: sessions that a requester has ended while they were queued. A
    /// worker may take such an entry, and subtract it, before the requester adds it. Then the number
    /// is one too small for a moment, and may be negative.
    stale: isize,
    counts: Counts,
    /// The number of spares that have a permit and have not seen it yet.
    called: usize,
    /// The number of sessions that workers have taken.
    taken: u64,
    /// The number of sessions that lane threads have taken.
    taken_by_lanes: u64,
    /// The listener sleeps until no worker is idle.
    listener_sleeps: bool,
    idle_lanes: usize,
    /// The number of threads of any kind that have not ended.
    threads: usize,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) permits: usize,
    pub(super) workers: usize,
    /// The number of workers that are starting.
    pub(super) starting: usize,
    pub(super) active: usize,
    pub(super) idle: usize,
    pub(super) parked: usize,
    pub(super) lanes: usize,
    pub(super) queued: usize,
}

pub(super) struct Job<T> {
    pub(super) entry: T,
    since: Instant,
    /// Whether a lane has taken it and returned it.
    lane_declined: bool,
}

/// The wake-up that the caller must carry out after a change.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    None,
    /// Wake an idle worker.
    Idle,
    /// Start this many workers; they are counted already.
    Spawn(usize),
}

/// The next step of a worker.
pub(super) enum WorkerStep<T> {
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
pub(super) enum PollEnd {
    Woken,
    /// The wait timed out.
    InVain,
}

/// The next step of the listener.
pub(super) enum ListenerStep {
    /// Wait at the poller for at most this time, and queue the sessions whose sockets become
    /// readable. Before that, start this many lane threads, which are counted already.
    Poll(Duration, Wakeup, usize),
    Stop,
}

/// The last observations of the listener.
#[derive(Debug)]
pub(super) struct StallDetector {
    quiet_ticks: u32,
    /// The value of `QueueState::taken` at the last check, and the time since which no session was
    /// taken.
    taken: u64,
    since: Instant,
    /// The value of `QueueState::taken_by_lanes` at the last check, and the time since which no
    /// session for the lane waits, or one was taken.
    taken_by_lanes: u64,
    lanes_since: Instant,
    /// Whether the workers make progress by themselves, so that the next poll can wait.
    flows: bool,
}

impl StallDetector {
    pub(super) fn new() -> StallDetector {
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
    pub(super) fn stalled_for(&self) -> Duration {
        now().saturating_duration_since(self.since)
    }
}

impl<T> QueueState<T> {
    fn len(&self) -> usize {
        self.first.len() + self.in_order.len()
    }

    /// Returns the number of sessions that wait for a worker. It is 0 after the end, when all
    /// entries are closed.
    fn waiting(&self) -> usize {
        if self.closed { 0 } else { self.len().saturating_add_signed(-self.stale) }
    }

    fn put(&mut self, entry: T, priority: Priority) {
        match priority {
            Priority::High => {
                self.first.push_back(Job { entry, since: now(), lane_declined: false });
            }
            Priority::Normal => self.in_order.push_back(entry),
        }
    }

    /// Takes the next entry: high priority first, but one of normal priority after each burst.
    fn take(&mut self) -> Option<T> {
        let others_turn = self.high_streak >= HIGH_PRIORITY_BURST && !self.in_order.is_empty();
        let first = if others_turn { None } else { self.first.pop_front() };
        self.high_streak = if first.is_some() { self.high_streak + 1 } else { 0 };
        first.map(|job| job.entry).or_else(|| self.in_order.pop_front())
    }
}

impl<T> Queue<T> {
    pub(super) fn new(size: Size) -> Queue<T> {
        Queue {
            state: Mutex::new(QueueState {
                first: VecDeque::new(),
                in_order: VecDeque::new(),
                high_streak: 0,
                stale: 0,
                counts: Counts { permits: size.min, ..Counts::default() },
                called: 0,
                taken: 0,
                taken_by_lanes: 0,
                listener_sleeps: false,
                idle_lanes: 0,
                threads: 0,
                closed: false,
            }),
            size,
            idle_timeout: IDLE_TIMEOUT,
            for_parked: Condvar::new(),
            for_lanes: Condvar::new(),
            for_listener: Condvar::new(),
            for_end: Condvar::new(),
        }
    }

    /// Puts a session into the queue.
    pub(super) fn push(&self, entry: T, priority: Priority) -> Result<Wakeup, Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.put(entry, priority);
        Ok(self.call_worker(&mut state))
    }

    /// Requeues a session that the calling worker has run. The caller takes the next session
    /// itself, so no worker is woken if this is the only one.
    pub(super) fn push_back(&self, entry: T, priority: Priority) -> Result<Wakeup, Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        let alone = state.len() == 0;
        state.put(entry, priority);
        Ok(if alone { Wakeup::None } else { self.call_worker(&mut state) })
    }

    /// Returns the wake-up for a waiting session, if there is a permit.
    fn call_worker(&self, state: &mut QueueState<T>) -> Wakeup {
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
    fn fill(&self, state: &mut QueueState<T>, count: usize) -> Wakeup {
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

    /// Wakes the listener if no worker polls any more.
    fn call_listener(&self, state: &mut QueueState<T>) {
        if state.counts.idle == 0 && state.listener_sleeps {
            state.listener_sleeps = false;
            self.for_listener.notify_one();
        }
    }

    /// Counts the first workers, before they are started.
    pub(super) fn first_workers(&self) {
        let mut state = self.state.lock();
        let _ = self.fill(&mut state, self.size.min);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Counts an entry whose session a requester has ended. It stays in the queue until it is
    /// taken.
    pub(super) fn add_stale(&self) {
        self.state.lock().stale += 1;
    }

    /// Subtracts a stale entry that was taken.
    pub(super) fn remove_stale(&self) {
        self.state.lock().stale -= 1;
    }

    /// Returns whether new connections must be rejected.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.waiting() >= self.size.queue
    }

    /// Returns whether all workers have a permit and a session, and no worker can be added.
    pub(super) fn is_saturated(&self) -> bool {
        let Counts { permits, active, idle, .. } = self.state.lock().counts;
        idle == 0 && active >= permits && permits >= self.size.max
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts { queued: state.waiting(), ..state.counts }
    }

    // Workers.

    /// Records that a counted worker has started, or that it could not be started.
    pub(super) fn worker_started(&self, started: bool) {
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
    pub(super) fn next(&self, waited: Option<PollEnd>) -> WorkerStep<T> {
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
    pub(super) fn wait_as_spare(&self) -> bool {
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
    pub(super) fn takes_ready(&self) {
        let mut state = self.state.lock();
        state.counts.idle -= 1;
        state.taken += 1;
        self.call_listener(&mut state);
    }

    /// Releases the permit of a worker that blocks in place.
    pub(super) fn release_permit(&self) -> Wakeup {
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
    pub(super) fn reacquire_permit(&self) {
        self.state.lock().counts.active += 1;
    }

    // The listener.

    /// Returns the next step of the listener. It blocks here while workers poll.
    pub(super) fn watch(&self, watch: &mut StallDetector) -> ListenerStep {
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
    pub(super) fn passes_on(&self) -> bool {
        let state = self.state.lock();
        (state.len() > 0 && state.counts.idle > 0) || state.closed
    }

    // The end.

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.for_parked.notify_all();
        self.for_lanes.notify_all();
        self.for_listener.notify_all();
    }

    pub(super) fn thread_starts(&self) {
        self.state.lock().threads += 1;
    }

    pub(super) fn thread_ends(&self) {
        self.state.lock().threads -= 1;
        self.for_end.notify_all();
    }

    /// Waits until all threads have ended, or until the deadline.
    pub(super) fn wait_for_threads(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        while state.threads > 0 {
            match deadline {
                None => self.for_end.wait(&mut state),
                Some(deadline) => {
                    if self.for_end.wait_until(&mut state, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

/// The error of a queue that accepts no more entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests;
