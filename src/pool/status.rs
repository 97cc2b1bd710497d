//! How a pool is doing.

use crate::session::thread::Thread;
use crate::sync::{AtomicU64, Ordering};
use crate::types::id::{SessionId, ThreadId};
use crate::types::time::UnixMicros;
use std::time::SystemTime;

/// How one group of a pool is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its number, from 0.
    pub group: usize,
    /// How many workers it starts with, and goes back to.
    pub min_workers: usize,
    /// How many may run sessions at a time, at most.
    pub max_workers: usize,
    /// The number of workers that may be active now; more than at first if the pool has grown.
    pub active_limit: usize,
    /// The number of worker threads, with those that block in place.
    pub workers: usize,
    /// The number of workers that are starting.
    pub starting: usize,
    /// The number of workers that wait for work.
    pub idle: usize,
    /// Sessions in this group.
    pub sessions: usize,
    /// The number of sessions that wait for a worker.
    pub queued: usize,
    /// The number of sessions that a thread runs.
    pub running: usize,
    /// The CPUs that its workers are bound to; none where they are not bound.
    pub cpus: Vec<usize>,
    /// Its threads that run sessions.
    pub threads: Vec<WorkerStatus>,
}

/// One thread of a pool that runs sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its id.
    pub thread_id: ThreadId,
    /// Whether it belongs to the emergency lane.
    pub is_emergency: bool,
    /// The session that it is coupled to.
    pub session_id: Option<SessionId>,
    /// Since when it is coupled, or decoupled.
    pub since: SystemTime,
}

/// The visible state of a worker. Relaxed: each value is a hint, and may be out of date.
pub(super) struct WorkerState {
    thread: ThreadId,
    lane: bool,
    session: AtomicU64,
    since: AtomicU64,
}

impl WorkerState {
    pub(super) fn new(thread: &Thread, lane: bool) -> WorkerState {
        let since = AtomicU64::new(UnixMicros::now().raw());
        WorkerState { thread: thread.id(), lane, session: AtomicU64::new(0), since }
    }

    pub(super) fn runs(&self, session: Option<SessionId>) {
        self.session.store(session.map_or(0, SessionId::get), Ordering::Relaxed);
        self.since.store(UnixMicros::now().raw(), Ordering::Relaxed);
    }

    pub(super) fn look(&self) -> WorkerStatus {
        let since = UnixMicros::from_raw(self.since.load(Ordering::Relaxed));
        WorkerStatus {
            thread_id: self.thread,
            is_emergency: self.lane,
            session_id: SessionId::from_raw(self.session.load(Ordering::Relaxed)),
            since: since.time().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}
