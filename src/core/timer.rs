//! The timer: one thread that knows when to look at which session.
//!
//! It has at most one entry for a session. It knows nothing of limits: when an entry's time has
//! come it asks the session's record, which says when to look next. It starts with the first
//! limit, and ends with its manager.

use crate::sync::{AtomicU64, Mutex, Ordering, Parker, Unparker, now};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A time that does not come, and a length that does not pass.
pub(crate) const NEVER: u64 = u64::MAX;

/// How many sessions are looked at before the lock is taken again.
const BATCH: usize = 64;

/// In nanoseconds.
pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(NEVER)
}

#[derive(Debug)]
pub(crate) struct Timer {
    /// When its clock was at 0.
    start: Instant,
    entries: Mutex<Entries>,
    unparker: Unparker,
}

#[derive(Debug)]
struct Entries {
    /// When to look, and at which session.
    order: BTreeSet<(u64, u64)>,
    /// When the thread wakes by itself. 0 while it is awake.
    wakes_at: u64,
    /// The manager is gone.
    closed: bool,
}

/// A manager's timer. Dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct TimerOwner {
    pub(crate) timer: Arc<Timer>,
    /// Until the thread has it.
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
    /// A moment on its clock.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.start))
    }

    pub(crate) fn now(&self) -> u64 {
        self.at(now())
    }

    /// What [`at`](Self::at) was asked for.
    #[cfg(not(safepoint_loom))]
    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    /// Puts a session's entry where it belongs: for when `next` says, which is asked once
    /// `armed` says "never". Whoever sees what `next` does sees that, too.
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

    /// Takes the sessions out that are to be looked at by `now`, some of them. `Err` says that
    /// there is none, and when there will be; `None` that all is over.
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
        // Relaxed: it is written under this lock alone. Who reads it elsewhere does so after a
        // step, whose acquire pairs with that of the step that follows here.
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

    /// Waits until the timer sleeps, and returns until when.
    fn asleep(manager: &SessionManager) -> u64 {
        let timer = &manager.0.home.timers.timer;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let wakes_at = timer.entries.lock().wakes_at;
            if wakes_at != 0 {
                return wakes_at;
            }
            assert!(Instant::now() < deadline, "the timer does not come to rest");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_timer_sleeps_until_what_its_clock_says() {
        let timer = TimerOwner::new().timer.clone();
        let later = timer.start + Duration::from_secs(5);
        assert_eq!(timer.instant(timer.at(later)), later);
    }

    /// Whether it sleeps for good, or until a time that is far away.
    #[test]
    fn a_timer_that_sleeps_is_called_for_what_is_due_earlier() {
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
                assert!(Instant::now() < deadline, "nobody has called the timer");
                std::thread::yield_now();
            }
        };
        ends_now();
        assert_eq!(asleep(&manager), NEVER);
        ends_now();
        let later = ends(Duration::from_secs(3600));
        // It is awake once more, and comes to rest after that.
        ends_now();
        assert_ne!(asleep(&manager), NEVER);
        ends_now();
        later.check().unwrap();
    }

    /// Whether it sleeps for good, or until a time that is far away; and whether its manager goes by
    /// a panic or not. Many times, as one that was called a moment ago looks once more by itself.
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
        let timer = manager.0.home.timers.timer.clone();
        asleep(&manager);
        let deadline = Instant::now() + Duration::from_secs(30);
        let both = AssertUnwindSafe((session, manager));
        let _ = catch_unwind(move || {
            let _both = both;
            if by_a_panic {
                resume_unwind(Box::new("on purpose"));
            }
        });
        // The thread has one as well.
        while Arc::strong_count(&timer) > 1 {
            assert!(Instant::now() < deadline, "the timer's thread goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
