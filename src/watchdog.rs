//! Finds sessions that run on and on without a safe point.

use crate::activity::SessionRow;
use crate::audit::Event;
use crate::id::SessionId;
use crate::manager::SessionManager;
use crate::record::Probe;
use crate::registry::Cursor;
use crate::thread::ThreadModel;
use crate::why::Stalled;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How long it rests between two looks, however short its limit is.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// Watches all sessions of a manager, from a registered thread of its own, until it is dropped.
///
/// It probes each session that runs, twice in each limit; a session that has left a probe
/// unanswered for the limit is reported, once for each such stretch: to the manager's audit, as
/// [`Event::Stalled`], and to whoever started the watchdog. Sessions that are idle or
/// queued, or in a wait that an interrupt ends, need no safe point. One that is not given a
/// processor is reported too: take a limit longer than that may last.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts it. `report` runs on its thread.
    ///
    /// # Errors
    /// Those of [`Builder::spawn`], and that the manager registers no more threads.
    pub fn start(
        manager: &SessionManager,
        limit: Duration,
        mut report: impl FnMut(Stalled) + Send + 'static,
    ) -> io::Result<Watchdog> {
        let registered = manager.register_background("watchdog").map_err(io::Error::other)?;
        let manager = manager.clone();
        let (stop, stopped) = bounded(0);
        let pause = pause(limit);
        let thread = Builder::new().name("watchdog".into()).spawn(move || {
            let _registered = registered;
            let mut reported = HashSet::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                look(&manager, limit, &mut reported, &mut report);
            }
            // A stretch that has lasted for the limit by now is one all the same.
            look(&manager, limit, &mut reported, &mut report);
        })?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }
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

/// Probes everyone. `reported` has those whose present stretch has been reported.
fn look(
    manager: &SessionManager,
    limit: Duration,
    reported: &mut HashSet<SessionId>,
    report: &mut impl FnMut(Stalled),
) {
    let home = &manager.0.home;
    let (mut still, mut cursor, mut batch) = (HashSet::new(), Cursor::default(), Vec::new());
    while home.sessions.next_batch(&mut cursor, &mut batch) {
        for record in batch.drain(..) {
            let Probe::Unanswered { since, last } = record.probe() else { continue };
            if since < limit {
                continue;
            }
            still.insert(record.id());
            if !reported.contains(&record.id()) {
                let row = SessionRow::of(&record, home.model == ThreadModel::PerSession);
                let stalled = Stalled {
                    session: row.session,
                    thread: row.thread,
                    at_least: since,
                    last,
                    hold_off: row.hold_off,
                    wait: row.wait,
                    text: row.text,
                };
                home.hooks.emit(&Event::Stalled { stalled: &stalled });
                report(stalled);
            }
        }
    }
    *reported = still;
}

/// For tests: runs `work` and sees that meanwhile no session of the manager goes for longer than
/// `limit` without a safe point. One that is shorter never fails this; one of twice the limit does
/// wherever the watchdog gets a processor in time.
///
/// # Panics
/// Where one does: the message names the session, how long it was, and the last safe point that
/// was noted. Also where no thread can be started.
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
