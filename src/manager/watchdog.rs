//! Finds sessions that run on and on without a safe point.

use crate::core::registry::Cursor;
use crate::manager::info::SessionInfo;
use crate::manager::manager::SessionManager;
use crate::observe::event::Event;
use crate::types::error::StartError;
use crate::types::id::SessionId;
use crate::types::model::ThreadModel;
use crate::types::pending::{ProbeResult, StalledSession};
use std::collections::HashSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The shortest pause between two probes of all sessions, however short the limit is.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A watchdog for all sessions of a manager. It has its own registered thread, and stops when it is
/// dropped; the drop joins that thread, which may be in `report`.
///
/// It probes each running session twice in each `limit`. A session that has not answered a probe
/// for `limit` is reported, once for each such section: to the manager's audit, as
/// [`Event::SessionStalled`], and to `report`. An idle or queued session, or one in an
/// interruptible wait, needs no safe point. A session that gets no processor is reported too, so
/// choose a longer `limit`.
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
    /// Starts a watchdog. `report` runs on its thread; if it panics, the watch ends, and nothing else.
    ///
    /// # Errors
    /// [`StartError`] if the system gives no thread, or the manager registers no more threads.
    pub fn start(
        manager: &SessionManager,
        limit: Duration,
        mut report: impl FnMut(StalledSession) + Send + 'static,
    ) -> Result<Watchdog, StartError> {
        let registered = manager.register_background("watchdog")?;
        let manager = manager.clone();
        let (stop, stopped) = channel();
        let pause = pause(limit);
        let thread = Builder::new().name("watchdog".into()).spawn(move || {
            let _registered = registered;
            let mut reported = HashSet::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                look(&manager, limit, &mut reported, &mut report);
            }
            // A section that has lasted for the limit is reported before the watchdog stops.
            look(&manager, limit, &mut reported, &mut report);
        })?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }

    /// Stops the watchdog, as dropping it does. Blocks until its thread, which may be in `report`, has
    /// ended; within `report` it does not.
    pub fn stop(self) {}
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its own report may drop it.
        let this = std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != this) {
            // A panic in `report` has been printed, and ended nothing but the watch.
            let _ = thread.join();
        }
    }
}

/// Twice in each limit.
fn pause(limit: Duration) -> Duration {
    (limit / 2).max(LEAST_PAUSE)
}

/// Probes all sessions. `reported` has the sessions whose present section has been reported.
fn look(
    manager: &SessionManager,
    limit: Duration,
    reported: &mut HashSet<SessionId>,
    report: &mut impl FnMut(StalledSession),
) {
    let home = &manager.0.home;
    let (mut still, mut cursor, mut batch) = (HashSet::new(), Cursor::default(), Vec::new());
    while home.sessions.next_batch(&mut cursor, &mut batch) {
        for record in batch.drain(..) {
            let ProbeResult::Unanswered { elapsed: since, last_safe_point: last } = record.probe()
            else {
                continue;
            };
            if since < limit {
                continue;
            }
            still.insert(record.id());
            if !reported.contains(&record.id()) {
                let row = SessionInfo::of(&record, home.model == ThreadModel::PerSession);
                let stalled = StalledSession {
                    session: row.id,
                    thread: row.thread_id,
                    elapsed: since,
                    last_safe_point: last,
                    hold_off: row.hold_off,
                    wait: row.uninterruptible_wait,
                    text: row.statement_text,
                };
                home.hooks.emit(&Event::SessionStalled { stalled: &stalled });
                report(stalled);
            }
        }
    }
    *reported = still;
}

/// Runs `work`, for tests, and checks that no session of the manager goes for longer than `limit`
/// without a safe point meanwhile. A shorter section never fails this; one of twice the limit does,
/// if the watchdog gets a processor in time.
///
/// # Panics
/// Where one does: the message names the session, how long it was, and the last safe point that
/// was noted. Also where no thread can be started.
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
    fn it_looks_twice_in_each_limit() {
        assert_eq!(pause(Duration::from_secs(2)), Duration::from_secs(1));
        assert_eq!(pause(Duration::ZERO), LEAST_PAUSE);
    }
}
