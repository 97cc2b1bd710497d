//! The status of a pool.

use crate::session::thread::Thread;
use crate::sync::{AtomicU64, Ordering};
use crate::types::id::{SessionId, ThreadId};
use crate::types::time::UnixMicros;
use std::time::{Duration, SystemTime};

/// The status of one group of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupStatus {
    /// The number of the group, from 0.
    pub group: usize,
    /// The number of workers that the group starts with, and shrinks to.
    pub min_workers: usize,
    /// The maximum number of workers that may run sessions at a time.
    pub max_workers: usize,
    /// The number of workers that may be active now. It is larger than `min_workers` if the group
    /// has grown.
    pub active_limit: usize,
    /// The number of worker threads, including threads that block in place.
    pub workers: usize,
    /// The number of workers that are starting.
    pub starting: usize,
    /// The number of workers that wait for work.
    pub idle: usize,
    /// The number of sessions in this group.
    pub sessions: usize,
    /// The number of sessions that wait for a worker.
    pub queued: usize,
    /// The number of sessions that a thread runs.
    pub running: usize,
    /// The CPUs that the group's workers are bound to. Empty if they are not bound.
    pub cpus: Vec<usize>,
    /// The threads of the group that run sessions.
    pub threads: Vec<WorkerStatus>,
}

/// The status of a thread of a pool that runs sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The thread's id.
    pub thread_id: ThreadId,
    /// Whether the thread belongs to the emergency lane.
    pub is_emergency: bool,
    /// The session that the thread runs, if any.
    pub session_id: Option<SessionId>,
    /// The time at which the thread last began or stopped running a session.
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

    /// Returns whether the worker has run one session for this long. A thread of the emergency lane
    /// is no worker, and is always busy.
    pub(super) fn is_busy(&self, time: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let runs = self.session.load(Ordering::Relaxed) != 0;
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.lane || (runs && UnixMicros::now().raw().saturating_sub(since) >= time)
    }

    pub(super) fn status(&self) -> WorkerStatus {
        let since = UnixMicros::from_raw(self.since.load(Ordering::Relaxed));
        WorkerStatus {
            thread_id: self.thread,
            is_emergency: self.lane,
            session_id: SessionId::from_raw(self.session.load(Ordering::Relaxed)),
            since: since.time().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}
