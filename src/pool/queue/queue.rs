//! The queue itself: its entries in order, the counts of the group, and the end of its threads.

use crate::pool::connection::Priority;
use crate::pool::queue::workers::Wakeup;
use crate::sync::{Condvar, Mutex, now};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of sessions with [`Priority::High`] that are taken in a row while others wait.
pub const HIGH_PRIORITY_BURST: usize = 8;

pub(in crate::pool) struct Queue<T> {
    pub(super) state: Mutex<QueueState<T>>,
    pub(super) size: Size,
    /// How long a worker or a lane thread that is not needed waits for work before it ends.
    pub(super) idle_timeout: Duration,
    pub(super) for_parked: Condvar,
    pub(super) for_lanes: Condvar,
    pub(super) for_listener: Condvar,
    for_end: Condvar,
}

/// The smallest and largest number of permits, and the length of the queue at which new connections
/// are rejected.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Size {
    pub(in crate::pool) min: usize,
    pub(in crate::pool) max: usize,
    pub(in crate::pool) queue: usize,
}

pub(super) struct QueueState<T> {
    pub(super) first: VecDeque<Job<T>>,
    pub(super) in_order: VecDeque<T>,
    high_streak: usize,
    /// The number of stale entries: sessions that a requester has ended while they were queued. A
    /// worker may take such an entry, and subtract it, before the requester adds it. Then the number
    /// is one too small for a moment, and may be negative.
    pub(super) stale: isize,
    pub(super) counts: Counts,
    /// The number of spares that have a permit and have not seen it yet.
    pub(super) called: usize,
    /// The number of sessions that workers have taken.
    pub(super) taken: u64,
    /// The number of sessions that lane threads have taken.
    pub(super) taken_by_lanes: u64,
    /// The listener sleeps until no worker is idle.
    pub(super) listener_sleeps: bool,
    pub(super) idle_lanes: usize,
    /// The number of threads of any kind that have not ended.
    pub(super) threads: usize,
    pub(super) closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pool) struct Counts {
    pub(in crate::pool) permits: usize,
    pub(in crate::pool) workers: usize,
    /// The number of workers that are starting.
    pub(in crate::pool) starting: usize,
    pub(in crate::pool) active: usize,
    pub(in crate::pool) idle: usize,
    pub(in crate::pool) parked: usize,
    pub(in crate::pool) lanes: usize,
    pub(in crate::pool) queued: usize,
}

pub(in crate::pool) struct Job<T> {
    pub(in crate::pool) entry: T,
    pub(super) since: Instant,
    /// Whether a lane has taken it and returned it.
    pub(super) lane_declined: bool,
}

/// The error of a queue that accepts no more entries.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Closed;

impl<T> QueueState<T> {
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.in_order.len()
    }

    /// Returns the number of sessions that wait for a worker. It is 0 after the end, when all
    /// entries are closed.
    fn waiting(&self) -> usize {
        if self.closed { 0 } else { self.len().saturating_add_signed(-self.stale) }
    }

    pub(super) fn put(&mut self, entry: T, priority: Priority) {
        match priority {
            Priority::High => {
                self.first.push_back(Job { entry, since: now(), lane_declined: false });
            }
            Priority::Normal => self.in_order.push_back(entry),
        }
    }

    /// Takes the next entry: high priority first, but one of normal priority after each burst.
    pub(super) fn take(&mut self) -> Option<T> {
        let others_turn = self.high_streak >= HIGH_PRIORITY_BURST && !self.in_order.is_empty();
        let first = if others_turn { None } else { self.first.pop_front() };
        self.high_streak = if first.is_some() { self.high_streak + 1 } else { 0 };
        first.map(|job| job.entry).or_else(|| self.in_order.pop_front())
    }
}

impl<T> Queue<T> {
    pub(in crate::pool) fn new(size: Size, idle_timeout: Duration) -> Queue<T> {
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
            idle_timeout,
            for_parked: Condvar::new(),
            for_lanes: Condvar::new(),
            for_listener: Condvar::new(),
            for_end: Condvar::new(),
        }
    }

    /// Puts a session into the queue.
    pub(in crate::pool) fn push(&self, entry: T, priority: Priority) -> Result<Wakeup, Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.put(entry, priority);
        Ok(self.call_worker(&mut state))
    }

    /// Requeues a session that the calling worker has run. The caller takes the next session
    /// itself, so no worker is woken if this is the only one.
    pub(in crate::pool) fn push_back(
        &self,
        entry: T,
        priority: Priority,
    ) -> Result<Wakeup, Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        let alone = state.len() == 0;
        state.put(entry, priority);
        Ok(if alone { Wakeup::None } else { self.call_worker(&mut state) })
    }

    pub(in crate::pool) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Counts an entry whose session a requester has ended. It stays in the queue until it is
    /// taken.
    pub(in crate::pool) fn add_stale(&self) {
        self.state.lock().stale += 1;
    }

    /// Subtracts a stale entry that was taken.
    pub(in crate::pool) fn remove_stale(&self) {
        self.state.lock().stale -= 1;
    }

    /// Returns whether new connections must be rejected.
    pub(in crate::pool) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.waiting() >= self.size.queue
    }

    /// Returns whether all workers have a permit and a session, and no worker can be added.
    pub(in crate::pool) fn is_saturated(&self) -> bool {
        let Counts { permits, active, idle, .. } = self.state.lock().counts;
        idle == 0 && active >= permits && permits >= self.size.max
    }

    pub(in crate::pool) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts { queued: state.waiting(), ..state.counts }
    }

    // The end.

    pub(in crate::pool) fn close(&self) {
        self.state.lock().closed = true;
        self.for_parked.notify_all();
        self.for_lanes.notify_all();
        self.for_listener.notify_all();
    }

    pub(in crate::pool) fn thread_starts(&self) {
        self.state.lock().threads += 1;
    }

    pub(in crate::pool) fn thread_ends(&self) {
        self.state.lock().threads -= 1;
        self.for_end.notify_all();
    }

    /// Waits until all threads have ended, or until the deadline.
    pub(in crate::pool) fn wait_for_threads(&self, deadline: Option<Instant>) {
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
