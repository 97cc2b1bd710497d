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
    jobs: Mutex<QueueState<T>>,
    size: Size,
    /// [`IDLE_TIMEOUT`], or less in a test.
    patience: Duration,
    for_spares: Condvar,
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
    gone: isize,
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
    pub(super) places: usize,
    pub(super) workers: usize,
    /// The number of workers that are starting.
    pub(super) starting: usize,
    pub(super) active: usize,
    pub(super) idle: usize,
    pub(super) spare: usize,
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
    calm: u32,
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
            calm: 0,
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
        if self.closed { 0 } else { self.len().saturating_add_signed(-self.gone) }
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
            jobs: Mutex::new(QueueState {
                first: VecDeque::new(),
                in_order: VecDeque::new(),
                high_streak: 0,
                gone: 0,
                counts: Counts { places: size.min, ..Counts::default() },
                called: 0,
                taken: 0,
                taken_by_lanes: 0,
                listener_sleeps: false,
                idle_lanes: 0,
                threads: 0,
                closed: false,
            }),
            size,
            patience: IDLE_TIMEOUT,
            for_spares: Condvar::new(),
            for_lanes: Condvar::new(),
            for_listener: Condvar::new(),
            for_end: Condvar::new(),
        }
    }

    /// Puts a session into the queue.
    pub(super) fn push(&self, entry: T, priority: Priority) -> Result<Wakeup, Closed> {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(Closed);
        }
        jobs.put(entry, priority);
        Ok(self.call_worker(&mut jobs))
    }

    /// Requeues a session that the calling worker has run. The caller takes the next session
    /// itself, so no worker is woken if this is the only one.
    pub(super) fn push_back(&self, entry: T, priority: Priority) -> Result<Wakeup, Closed> {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(Closed);
        }
        let alone = jobs.len() == 0;
        jobs.put(entry, priority);
        Ok(if alone { Wakeup::None } else { self.call_worker(&mut jobs) })
    }

    /// Returns the wake-up for a waiting session, if there is a permit.
    fn call_worker(&self, jobs: &mut QueueState<T>) -> Wakeup {
        if jobs.closed || jobs.len() == 0 {
            Wakeup::None
        } else if jobs.counts.idle > 0 {
            Wakeup::Idle
        } else {
            let free = jobs.counts.places.saturating_sub(jobs.counts.active);
            self.fill(jobs, free.min(1))
        }
    }

    /// Gives this many free permits to spares, and to new workers.
    fn fill(&self, jobs: &mut QueueState<T>, count: usize) -> Wakeup {
        let skips = count.min(jobs.counts.spare);
        jobs.counts.spare -= skips;
        jobs.called += skips;
        (0..skips).for_each(|_| {
            self.for_spares.notify_one();
        });
        jobs.counts.active += count;
        let fresh = count - skips;
        jobs.counts.workers += fresh;
        jobs.counts.starting += fresh;
        jobs.threads += fresh;
        if fresh > 0 { Wakeup::Spawn(fresh) } else { Wakeup::None }
    }

    /// Wakes the listener if no worker polls any more.
    fn call_listener(&self, jobs: &mut QueueState<T>) {
        if jobs.counts.idle == 0 && jobs.listener_sleeps {
            jobs.listener_sleeps = false;
            self.for_listener.notify_one();
        }
    }

    /// Counts the first workers, before they are started.
    pub(super) fn first_workers(&self) {
        let mut jobs = self.jobs.lock();
        let _ = self.fill(&mut jobs, self.size.min);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.jobs.lock().closed
    }

    /// Counts an entry whose session a requester has ended. It stays in the queue until it is
    /// taken.
    pub(super) fn add_stale(&self) {
        self.jobs.lock().gone += 1;
    }

    /// Subtracts a stale entry that was taken.
    pub(super) fn remove_stale(&self) {
        self.jobs.lock().gone -= 1;
    }

    /// Returns whether new connections must be rejected.
    pub(super) fn is_full(&self) -> bool {
        let jobs = self.jobs.lock();
        jobs.waiting() >= self.size.queue
    }

    /// Returns whether all workers have a permit and a session, and no worker can be added.
    pub(super) fn is_saturated(&self) -> bool {
        let Counts { places, active, idle, .. } = self.jobs.lock().counts;
        idle == 0 && active >= places && places >= self.size.max
    }

    pub(super) fn counts(&self) -> Counts {
        let jobs = self.jobs.lock();
        Counts { queued: jobs.waiting(), ..jobs.counts }
    }

    // Workers.

    /// Records that a counted worker has started, or that it could not be started.
    pub(super) fn worker_started(&self, started: bool) {
        let mut jobs = self.jobs.lock();
        jobs.counts.starting -= 1;
        if !started {
            jobs.threads -= 1;
            self.worker_goes(&mut jobs);
        }
    }

    /// Stops counting an active worker.
    fn worker_goes(&self, jobs: &mut QueueState<T>) {
        jobs.counts.active -= 1;
        jobs.counts.workers -= 1;
        self.call_listener(jobs);
    }

    /// Returns the next step of an active worker. `waited` is the result of its wait at the poller,
    /// if it returned no session.
    pub(super) fn next(&self, waited: Option<PollEnd>) -> WorkerStep<T> {
        let mut jobs = self.jobs.lock();
        if let Some(waited) = waited {
            jobs.counts.idle -= 1;
            let spent = waited == PollEnd::InVain && jobs.len() == 0;
            if spent && jobs.counts.active > self.size.min {
                jobs.counts.places = (jobs.counts.places - 1).max(self.size.min);
                self.worker_goes(&mut jobs);
                return WorkerStep::Exit;
            }
            self.call_listener(&mut jobs);
        }
        if jobs.closed {
            self.worker_goes(&mut jobs);
            return WorkerStep::Exit;
        }
        // Two wake-ups may have been merged, or have reached a worker without a permit.
        let more = |jobs: &QueueState<T>| match jobs.len() > 0 && jobs.counts.idle > 0 {
            true => Wakeup::Idle,
            false => Wakeup::None,
        };
        if jobs.counts.active > jobs.counts.places {
            jobs.counts.active -= 1;
            jobs.counts.spare += 1;
            self.call_listener(&mut jobs);
            return WorkerStep::Park(more(&jobs));
        }
        if let Some(entry) = jobs.take() {
            jobs.taken += 1;
            return WorkerStep::Run(entry, more(&jobs));
        }
        jobs.counts.idle += 1;
        WorkerStep::Poll((jobs.counts.active > self.size.min).then_some(self.patience))
    }

    /// Waits as a spare. Returns `false` after the idle timeout, when the spare is not counted any
    /// more.
    pub(super) fn wait_as_spare(&self) -> bool {
        let mut jobs = self.jobs.lock();
        let deadline = now() + self.patience;
        let mut in_vain = false;
        loop {
            // Checked first: the spare may have been given a permit as its wait timed out.
            if jobs.called > 0 {
                jobs.called -= 1;
                return true;
            }
            if in_vain || jobs.closed {
                jobs.counts.spare = jobs.counts.spare.saturating_sub(1);
                jobs.counts.workers -= 1;
                return false;
            }
            in_vain = self.for_spares.wait_until(&mut jobs, deadline).timed_out();
        }
    }

    /// Counts a session that an idle worker received from the poller.
    pub(super) fn takes_ready(&self) {
        let mut jobs = self.jobs.lock();
        jobs.counts.idle -= 1;
        jobs.taken += 1;
        self.call_listener(&mut jobs);
    }

    /// Releases the permit of a worker that blocks in place.
    pub(super) fn release_permit(&self) -> Wakeup {
        let mut jobs = self.jobs.lock();
        jobs.counts.active -= 1;
        // A permit is free, so the listener must not wait for its interval.
        if jobs.counts.idle == 0 {
            jobs.listener_sleeps = false;
            self.for_listener.notify_one();
        }
        self.call_worker(&mut jobs)
    }

    /// Takes a permit again. It never waits for one, since the worker that has the permit may wait
    /// for this worker.
    pub(super) fn reacquire_permit(&self) {
        self.jobs.lock().counts.active += 1;
    }

    // The listener.

    /// Returns the next step of the listener. It blocks here while workers poll.
    pub(super) fn watch(&self, watch: &mut StallDetector) -> ListenerStep {
        let mut jobs = self.jobs.lock();
        if watch.flows && !jobs.closed {
            self.for_listener.wait_until(&mut jobs, now() + LISTENER_INTERVAL);
        }
        while jobs.counts.idle > 0 && !jobs.closed {
            watch.calm += 1;
            if watch.calm < QUIET_TICKS {
                self.for_listener.wait_until(&mut jobs, now() + LISTENER_INTERVAL);
            } else {
                jobs.listener_sleeps = true;
                self.for_listener.wait(&mut jobs);
                watch.calm = 0;
            }
        }
        if jobs.closed {
            return ListenerStep::Stop;
        }
        let now = now();
        let moved = watch.taken != jobs.taken;
        if moved {
            watch.since = now;
        }
        (watch.calm, watch.taken) = (0, jobs.taken);
        let lanes = self.call_lane(&mut jobs, watch, now);
        let room = self.size.max - jobs.counts.places;
        let stalled = now.saturating_duration_since(watch.since) >= STALL_AFTER;
        let call = if jobs.counts.active < jobs.counts.places {
            // The thread that was woken for that permit may not have used it.
            self.call_worker(&mut jobs)
        } else if stalled && jobs.len() > 0 && room > 0 {
            let more = jobs.len().min(jobs.counts.places).min(room);
            jobs.counts.places += more;
            watch.since = now;
            self.fill(&mut jobs, more)
        } else {
            Wakeup::None
        };
        // All permits are in use and sessions make progress, so the workers poll as soon as they
        // can.
        watch.flows = moved && jobs.counts.active >= jobs.counts.places;
        let limit = if watch.flows { Duration::ZERO } else { STALL_AFTER };
        ListenerStep::Poll(limit, call, lanes)
    }

    /// Returns whether the listener must pass a wake-up on: it was meant for a worker, or for the
    /// end.
    pub(super) fn passes_on(&self) -> bool {
        let jobs = self.jobs.lock();
        (jobs.len() > 0 && jobs.counts.idle > 0) || jobs.closed
    }

    // The end.

    pub(super) fn close(&self) {
        self.jobs.lock().closed = true;
        self.for_spares.notify_all();
        self.for_lanes.notify_all();
        self.for_listener.notify_all();
    }

    pub(super) fn thread_starts(&self) {
        self.jobs.lock().threads += 1;
    }

    pub(super) fn thread_ends(&self) {
        self.jobs.lock().threads -= 1;
        self.for_end.notify_all();
    }

    /// Waits until all threads have ended, or until the deadline.
    pub(super) fn wait_for_threads(&self, deadline: Option<Instant>) {
        let mut jobs = self.jobs.lock();
        while jobs.threads > 0 {
            match deadline {
                None => self.for_end.wait(&mut jobs),
                Some(deadline) => {
                    if self.for_end.wait_until(&mut jobs, deadline).timed_out() {
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
