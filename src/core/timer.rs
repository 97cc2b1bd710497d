//! The timer: one thread that knows which session to check, and when.
//!
//! It has at most one entry for each session, and knows nothing about timeouts. When the time of an
//! entry has come, it calls the session's record, which returns the next time. Its thread starts
//! with the first timeout of any session, and ends with its manager.

use crate::sync::{AtomicU64, Mutex, Ordering, Parker, Unparker, now};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A time that never comes, and a length without an end.
pub(crate) const NEVER: u64 = u64::MAX;

/// The maximum number of sessions that are checked before the lock is taken again.
const BATCH: usize = 64;

/// Returns the length in nanoseconds.
pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(NEVER)
}

#[derive(Debug)]
pub(crate) struct Timer {
    /// The instant at which the timer's clock was 0.
    start: Instant,
    entries: Mutex<Entries>,
    unparker: Unparker,
}

#[derive(Debug)]
struct Entries {
    /// The time of each entry, and the session to check.
    order: BTreeSet<(u64, u64)>,
    /// The time at which the thread wakes by itself; 0 while it is awake.
    wakes_at: u64,
    /// The manager was dropped.
    closed: bool,
}

/// A manager's timer. Dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct TimerOwner {
    pub(crate) timer: Arc<Timer>,
    /// `None` once the timer thread has taken it.
    #[cfg_attr(safepoint_loom, allow(dead_code, reason = "no model has a timer's thread"))]
    pub(crate) parker: Mutex<Option<Parker>>,
}

impl TimerOwner {
    pub(crate) fn new() -> TimerOwner {
        let parker = Parker::new();
        let entries = Entries { order: BTreeSet::new(), wakes_at: 0, closed: false };
        let timer = Timer {
            start: now(),
            entries: Mutex::new(entries),
            unparker: parker.unparker().clone(),
        };
        TimerOwner { timer: Arc::new(timer), parker: Mutex::new(Some(parker)) }
    }
}

impl Drop for TimerOwner {
    fn drop(&mut self) {
        self.timer.entries.lock().closed = true;
        self.timer.unparker.unpark();
    }
}

impl Timer {
    /// Returns the time of an instant on the timer's clock.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.start))
    }

    pub(crate) fn now(&self) -> u64 {
        self.at(now())
    }

    /// Returns the instant of a time on the timer's clock, the inverse of [`at`](Self::at).
    #[cfg(not(safepoint_loom))]
    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    /// Moves a session's entry to the time that `next` returns; without a time there is no entry.
    /// `NEVER` is stored in `armed` before `next` is called, so a thread that sees the transition
    /// in `next` also sees `NEVER`.
    pub(crate) fn arm(&self, session: u64, armed: &AtomicU64, next: impl FnOnce() -> Option<u64>) {
        let mut entries = self.entries.lock();
        entries.forget(session, armed);
        let Some(at) = next() else { return };
        entries.order.insert((at, session));
        armed.store(at, Ordering::Relaxed);
        if at < entries.wakes_at {
            entries.wakes_at = at;
            drop(entries);
            self.unparker.unpark();
        }
    }

    pub(crate) fn disarm(&self, session: u64, armed: &AtomicU64) {
        self.entries.lock().forget(session, armed);
    }

    /// Removes entries that have expired by `now`, at most [`BATCH`] of them, and appends their
    /// sessions to `due`. The error is the time of the next entry, if none has expired. Returns
    /// `None` after the manager was dropped.
    pub(crate) fn take(&self, now: u64, due: &mut Vec<u64>) -> Option<Result<(), u64>> {
        let mut entries = self.entries.lock();
        if entries.closed {
            return None;
        }
        entries.wakes_at = 0;
        while let Some(first) = entries.order.first().copied() {
            if first.0 > now || due.len() == BATCH {
                break;
            }
            entries.order.remove(&first);
            due.push(first.1);
        }
        if due.is_empty() {
            entries.wakes_at = entries.order.first().map_or(NEVER, |first| first.0);
            return Some(Err(entries.wakes_at));
        }
        Some(Ok(()))
    }

    #[cfg(safepoint_loom)]
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().order.len()
    }
}

impl Entries {
    fn forget(&mut self, session: u64, armed: &AtomicU64) {
        // Relaxed: written under this lock only. A thread that reads it without the lock (`R3` in
        // `core/record/timeouts/mod.rs`) has taken its transition before. The acquire half of that
        // transition pairs with the release half of the transition that follows here (`T2`).
        let at = armed.load(Ordering::Relaxed);
        if at != NEVER {
            self.order.remove(&(at, session));
            armed.store(NEVER, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::{NEVER, TimerOwner};
    use crate::session::Timeouts;
    use crate::{ClientInfo, SessionManager, ThreadModel};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn idle(length: Duration) -> Timeouts {
        Timeouts { idle: Some(length), ..Timeouts::default() }
    }

    /// Waits until the timer sleeps, and returns the time at which it will wake.
    fn wait_until_asleep(manager: &SessionManager) -> u64 {
        let timer = &manager.0.shared.timers.timer;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let wakes_at = timer.entries.lock().wakes_at;
            if wakes_at != 0 {
                return wakes_at;
            }
            assert!(Instant::now() < deadline, "the timer does not sleep");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_timers_clock_converts_both_ways() {
        let timer = TimerOwner::new().timer.clone();
        let later = timer.start + Duration::from_secs(5);
        assert_eq!(timer.instant(timer.at(later)), later);
    }

    /// The timer is woken both if it has no entry, and if its next entry is much later.
    #[test]
    fn a_sleeping_timer_is_woken_for_an_earlier_deadline() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let ends = |length| {
            let session = manager.open(ClientInfo::default()).unwrap();
            session.set_timeouts(idle(length)).unwrap();
            session
        };
        let ends_now = || {
            let session = ends(Duration::ZERO);
            let deadline = Instant::now() + Duration::from_secs(30);
            while session.check().is_ok() {
                assert!(Instant::now() < deadline, "the timer was not woken");
                std::thread::yield_now();
            }
        };
        ends_now();
        assert_eq!(wait_until_asleep(&manager), NEVER);
        ends_now();
        let later = ends(Duration::from_secs(3600));
        // The timer wakes once more, and then sleeps again.
        ends_now();
        assert_ne!(wait_until_asleep(&manager), NEVER);
        ends_now();
        later.check().unwrap();
    }

    /// The timer's thread ends both if it has no entry, and if its next entry is much later. It
    /// ends if a panic drops the manager, too. Repeated, since a timer that was woken a moment ago
    /// checks once more by itself.
    #[test]
    fn the_timers_thread_ends_with_its_manager() {
        let long = Duration::from_secs(3600);
        for (length, by_a_panic) in [(Duration::ZERO, false), (long, false), (long, true)] {
            for _ in 0..20 {
                ends_with_its_manager(length, by_a_panic);
            }
        }
    }

    fn ends_with_its_manager(length: Duration, by_a_panic: bool) {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let session = manager.open(ClientInfo::default()).unwrap();
        session.set_timeouts(idle(length)).unwrap();
        let timer = manager.0.shared.timers.timer.clone();
        wait_until_asleep(&manager);
        let deadline = Instant::now() + Duration::from_secs(30);
        let both = AssertUnwindSafe((session, manager));
        let _ = catch_unwind(move || {
            let _both = both;
            if by_a_panic {
                resume_unwind(Box::new("on purpose"));
            }
        });
        // The timer's thread has a reference as well.
        while Arc::strong_count(&timer) > 1 {
            assert!(Instant::now() < deadline, "the timer's thread does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
