//! The watchdog: finds sessions that run for too long without a safe point, and overdue requests.

use crate::core::record::Record;
use crate::core::record::helpers::UnansweredHelper;
use crate::core::registry::Cursor;
use crate::manager::info::SessionInfo;
use crate::manager::manager::SessionManager;
use crate::manager::overdue::DueRequests;
use crate::observe::event::Event;
use crate::sync::now;
use crate::types::error::StartError;
use crate::types::id::SessionId;
use crate::types::location::CallSite;
use crate::types::model::ThreadModel;
use crate::types::pending::ProbeResult;
use crate::types::reports::{OverdueInterrupt, StalledSession};
use std::collections::HashSet;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The minimum pause between two probes of all sessions, for any limit.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// A watchdog for all sessions of a manager. It has its own registered thread. Dropping it stops
/// and joins that thread, which may be in `report`.
///
/// It probes each running session twice in each `limit`. A session that has not answered a probe
/// for `limit` is reported, once until its next safe point: to the manager's audit, as
/// [`Event::SessionStalled`], and to `report`. An idle or queued session, or a session in an
/// interruptible wait, needs no safe point. A session whose thread gets no CPU time is reported
/// too, so choose a limit that is long enough.
///
/// Each [helper](crate::session::StatementHandle) on a thread is probed and reported for itself, also if its
/// statement or its session has ended. A helper in a wait, and a task that is on no thread, need no safe
/// point. [`StatementHandle::check`](crate::session::StatementHandle::check) does not know which helper
/// calls it, so it answers no probe. A helper that calls only this function is reported.
///
/// With [`WatchdogBuilder::overdue`] it also reports requests that have not ended their session or statement.
///
/// # Examples
///
/// ```
/// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let session = manager.open(ClientInfo::default())?;
/// use safepoint::diagnose::Watchdog;
/// use std::time::Duration;
///
/// let watchdog = Watchdog::start(&manager, Duration::from_secs(1), |stalled| eprintln!("{stalled}"))?;
/// watchdog.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a `Watchdog` stops it"]
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts a watchdog for stalls, as [`WatchdogBuilder::stalled`] alone does. `report` runs on the watchdog's
    /// thread. If `report` panics, the panic is printed and the watchdog stops.
    ///
    /// # Errors
    /// Returns [`StartError`] if the system gives no thread, or the manager registers no more
    /// threads.
    pub fn start(
        manager: &SessionManager,
        limit: Duration,
        report: impl FnMut(StalledSession) + Send + 'static,
    ) -> Result<Watchdog, StartError> {
        Watchdog::builder().stalled(limit, report).start(manager)
    }

    /// Returns a builder for a watchdog that reports nothing yet.
    pub fn builder() -> WatchdogBuilder {
        WatchdogBuilder { stalled: None, overdue: None }
    }

    /// Stops the watchdog, as dropping it does. Blocks until its thread has ended, unless it is
    /// called within `report`.
    pub fn stop(self) {}
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        // `report` may drop the watchdog, and a thread cannot join itself.
        let this = std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != this) {
            // A panic in `report` was printed, and has stopped only the watchdog.
            let _ = thread.join();
        }
    }
}

/// A limit, and the function that receives the reports.
type Reports<T> = (Duration, Box<dyn FnMut(T) + Send>);

/// A builder for [`Watchdog`]. Its functions run on the watchdog's thread. If one of them panics, the panic is printed
/// and the watchdog stops.
///
/// # Examples
///
/// ```
/// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let session = manager.open(ClientInfo::default())?;
/// use safepoint::diagnose::Watchdog;
/// use std::time::Duration;
///
/// let watchdog = Watchdog::builder()
///     .stalled(Duration::from_secs(1), |stalled| eprintln!("{stalled}"))
///     .overdue(Duration::from_secs(10), |overdue| eprintln!("{overdue}"))
///     .start(&manager)?;
/// watchdog.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder starts nothing by itself"]
pub struct WatchdogBuilder {
    stalled: Option<Reports<StalledSession>>,
    overdue: Option<Reports<OverdueInterrupt>>,
}

impl WatchdogBuilder {
    /// Reports each session, and each helper, that passes no safe point for `limit`. See [`Watchdog`].
    pub fn stalled(
        self,
        limit: Duration,
        report: impl FnMut(StalledSession) + Send + 'static,
    ) -> WatchdogBuilder {
        WatchdogBuilder { stalled: Some((limit, Box::new(report))), ..self }
    }

    /// Reports each request that has been due for `limit`, once. The manager's audit receives it as
    /// [`Event::InterruptOverdue`], and `report` is called. The session may be in any state. A cancel counts until its
    /// statement has ended, a termination until the session has, both with their helpers. A deferred termination
    /// counts from the first round of the watchdog after it fell due. There are two rounds in each `limit`.
    pub fn overdue(
        self,
        limit: Duration,
        report: impl FnMut(OverdueInterrupt) + Send + 'static,
    ) -> WatchdogBuilder {
        WatchdogBuilder { overdue: Some((limit, Box::new(report))), ..self }
    }

    /// Starts the watchdog.
    ///
    /// # Errors
    /// Returns [`StartError`] if the system gives no thread, or the manager registers no more
    /// threads.
    pub fn start(mut self, manager: &SessionManager) -> Result<Watchdog, StartError> {
        let registered = manager.register_background("watchdog")?;
        let manager = manager.clone();
        let (stop, stopped) = channel();
        let pause = self.pause();
        let thread = Builder::new().name("watchdog".into()).spawn(move || {
            let _registered = registered;
            let (mut reported, mut due) = (HashSet::new(), DueRequests::default());
            let mut look = || {
                if let Some((limit, report)) = &mut self.stalled {
                    probe_all(&manager, *limit, &mut reported, report);
                }
                if let Some((limit, report)) = &mut self.overdue {
                    due.look(&manager, *limit, report);
                }
            };
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                look();
            }
            // What exceeds its limit by now is reported before the watchdog stops.
            look();
        })?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the pause between two rounds, so that there are two in each limit.
    fn pause(&self) -> Duration {
        let stalled = self.stalled.as_ref().map(|(limit, _)| *limit);
        let overdue = self.overdue.as_ref().map(|(limit, _)| *limit);
        let limit = stalled.into_iter().chain(overdue).min().unwrap_or(Duration::MAX);
        (limit / 2).max(MIN_PAUSE)
    }
}

impl fmt::Debug for WatchdogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stalled = self.stalled.as_ref().map(|(limit, _)| limit);
        let overdue = self.overdue.as_ref().map(|(limit, _)| limit);
        f.debug_struct("WatchdogBuilder")
            .field("stalled", &stalled)
            .field("overdue", &overdue)
            .finish_non_exhaustive()
    }
}

/// A session or a helper that has been reported, until its next safe point.
#[derive(PartialEq, Eq, Hash)]
struct Stall {
    session: SessionId,
    /// The slot of the helper, and the time of its probe.
    helper: Option<(usize, Instant)>,
}

/// Probes all sessions and their helpers. `reported` has the stalls that have been reported.
fn probe_all(
    manager: &SessionManager,
    limit: Duration,
    reported: &mut HashSet<Stall>,
    report: &mut impl FnMut(StalledSession),
) {
    let shared = &manager.0.shared;
    let own_threads = shared.model == ThreadModel::PerSession;
    let (mut stalled_now, mut cursor, mut batch) = (HashSet::new(), Cursor::default(), Vec::new());
    let mut found = |stall: Stall, elapsed, describe: &dyn Fn() -> StalledSession| {
        if elapsed < limit {
            return;
        }
        if !reported.contains(&stall) {
            let stalled = describe();
            shared.hooks.emit(&Event::SessionStalled { stalled: &stalled });
            report(stalled);
        }
        stalled_now.insert(stall);
    };
    while shared.sessions.next_batch(&mut cursor, &mut batch) {
        for record in batch.drain(..) {
            let session = record.id();
            for helper in record.probe_helpers() {
                let elapsed = now().saturating_duration_since(helper.asked);
                let stall = Stall { session, helper: Some((helper.slot, helper.asked)) };
                found(stall, elapsed, &|| of_helper(&record, own_threads, &helper, elapsed));
            }
            if let ProbeResult::Unanswered { elapsed, last_safe_point } = record.probe() {
                let stall = Stall { session, helper: None };
                let describe = || of_runner(&record, own_threads, elapsed, last_safe_point);
                found(stall, elapsed, &describe);
            }
        }
    }
    *reported = stalled_now;
}

fn of_runner(
    record: &Record,
    own_threads: bool,
    elapsed: Duration,
    last_safe_point: Option<CallSite>,
) -> StalledSession {
    let row = SessionInfo::of(record, own_threads);
    StalledSession {
        session: row.id,
        thread: row.thread_id,
        helper: None,
        elapsed,
        last_safe_point,
        hold_off: row.hold_off,
        wait: row.uninterruptible_wait,
        text: row.statement_text,
    }
}

fn of_helper(
    record: &Record,
    own_threads: bool,
    helper: &UnansweredHelper,
    elapsed: Duration,
) -> StalledSession {
    let row = SessionInfo::of(record, own_threads);
    StalledSession {
        session: row.id,
        thread: row.thread_id,
        helper: Some(helper.info),
        elapsed,
        last_safe_point: helper.info.last_safe_point,
        hold_off: helper.info.hold_off,
        wait: None,
        text: record.text_of(helper.statement),
    }
}

/// Runs `work` in a test, and checks that each session of the manager passes a safe point at least
/// once in each `limit`. A shorter time without a safe point never fails the check. A time of twice
/// the `limit` fails it, if the watchdog gets CPU time soon enough.
///
/// # Panics
/// Panics if a session does not. The message names the session, the time without a safe point, and
/// the last safe point that was stored. Also panics if no thread can be started.
///
/// # Examples
///
/// ```
/// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let mut session = manager.open(ClientInfo::default())?;
/// # let thread = session.own_thread().expect("each session has its own");
/// # let mut attached = session.attach(&thread)?;
/// use safepoint::diagnose::assert_responsive;
/// use std::time::Duration;
///
/// let sum = assert_responsive(&manager, Duration::from_secs(60), || (1..=10).sum::<u32>());
/// assert_eq!(sum, 55);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn assert_responsive<T>(
    manager: &SessionManager,
    limit: Duration,
    work: impl FnOnce() -> T,
) -> T {
    let found = Arc::new(Mutex::new(Vec::new()));
    let kept = found.clone();
    let watchdog = Watchdog::start(manager, limit, move |stalled| {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(stalled.to_string());
    });
    let watchdog = watchdog.expect("a thread for the watchdog");
    let result = work();
    drop(watchdog);
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(found.is_empty(), "{}", found.join("\n"));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_rounds_in_each_limit() {
        let pause = |stalled, overdue| {
            let none = Watchdog::builder();
            let none = match stalled {
                Some(limit) => none.stalled(Duration::from_secs(limit), |_| ()),
                None => none,
            };
            match overdue {
                Some(limit) => none.overdue(Duration::from_secs(limit), |_| ()).pause(),
                None => none.pause(),
            }
        };
        assert_eq!(pause(Some(2), None), Duration::from_secs(1));
        assert_eq!(pause(None, Some(2)), Duration::from_secs(1));
        assert_eq!(pause(Some(4), Some(2)), Duration::from_secs(1));
        assert_eq!(pause(Some(2), Some(4)), Duration::from_secs(1));
        assert_eq!(pause(Some(0), Some(4)), MIN_PAUSE);
        assert_eq!(pause(None, None), Duration::MAX / 2);
    }
}
