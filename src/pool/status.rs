//! How a pool is doing.

use super::{Client, Group};
use crate::about::Stamp;
use crate::id::{SessionId, ThreadId};
use crate::sync::{AtomicU64, Ordering};
use crate::thread::Thread;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// How one group of a pool is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its number, from 0.
    pub group: usize,
    /// How many workers it starts with, and goes back to.
    pub default_workers: usize,
    /// How many may run sessions at a time, at most.
    pub max_workers: usize,
    /// How many may do so now; more than at first where it has grown.
    pub places: usize,
    /// Worker threads there are, those that block outside of the pool's sight included.
    pub workers: usize,
    /// Those of them on their way.
    pub starting: usize,
    /// Those that wait for something to do.
    pub idle: usize,
    /// Sessions in this group.
    pub sessions: usize,
    /// Those that wait for a worker.
    pub queued: usize,
    /// Those that are with a thread.
    pub running: usize,
    /// The CPUs that its workers are bound to; none where they are not bound.
    pub cpus: Vec<usize>,
    /// Its threads that run sessions.
    pub threads: Vec<WorkerStatus>,
}

/// One thread of a pool that runs sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its id.
    pub thread: ThreadId,
    /// Whether it belongs to the emergency lane.
    pub lane: bool,
    /// The session that it is coupled to.
    pub session: Option<SessionId>,
    /// Since when it is coupled, or decoupled.
    pub since: SystemTime,
}

/// What a worker shows of itself. Relaxed: each is a hint, and a look a moment later tells more.
pub(super) struct WorkerState {
    thread: ThreadId,
    lane: bool,
    session: AtomicU64,
    since: AtomicU64,
}

impl WorkerState {
    pub(super) fn new(thread: &Thread, lane: bool) -> WorkerState {
        let since = AtomicU64::new(Stamp::now().raw());
        WorkerState { thread: thread.id(), lane, session: AtomicU64::new(0), since }
    }

    pub(super) fn runs(&self, session: Option<SessionId>) {
        self.session.store(session.map_or(0, SessionId::get), Ordering::Relaxed);
        self.since.store(Stamp::now().raw(), Ordering::Relaxed);
    }

    pub(super) fn look(&self) -> WorkerStatus {
        let since = Stamp::from_raw(self.since.load(Ordering::Relaxed));
        WorkerStatus {
            thread: self.thread,
            lane: self.lane,
            session: SessionId::from_raw(self.session.load(Ordering::Relaxed)),
            since: since.time().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// A worker's entry in its group's list, for as long as it lives.
pub(super) struct Watched<C: Client> {
    state: Arc<WorkerState>,
    key: usize,
    group: Weak<Group<C>>,
}

impl<C: Client> Watched<C> {
    pub(super) fn new(group: &Arc<Group<C>>, state: WorkerState) -> Watched<C> {
        let state = Arc::new(state);
        let key = group.workers.lock().insert(state.clone());
        Watched { state, key, group: Arc::downgrade(group) }
    }

    pub(super) fn state(&self) -> &WorkerState {
        &self.state
    }
}

impl<C: Client> Drop for Watched<C> {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            group.workers.lock().remove(self.key);
        }
    }
}

impl<C: Client> Group<C> {
    pub(super) fn status(&self) -> GroupStatus {
        let counts = self.queue.counts();
        let threads: Vec<_> = self.workers.lock().iter().map(|(_, worker)| worker.look()).collect();
        GroupStatus {
            group: self.number,
            default_workers: self.size.least,
            max_workers: self.size.most,
            places: counts.places,
            workers: counts.workers,
            starting: counts.starting,
            idle: counts.idle + counts.spare,
            sessions: self.sessions(),
            queued: counts.queued,
            running: threads.iter().filter(|thread| thread.session.is_some()).count(),
            cpus: self.cpus.concat(),
            threads,
        }
    }
}

#[cfg(feature = "metrics")]
impl<C: Client> super::Pool<C> {
    /// Sets the gauges `safepoint_queue_length`, sessions that wait for a worker, and
    /// `safepoint_workers`, both by `group`. Call it as the figures are collected.
    pub fn record_queues(&self) {
        for group in &self.groups {
            let counts = group.queue.counts();
            let number = group.number.to_string();
            let label = || ("group", number.clone());
            metrics::gauge!("safepoint_queue_length", &[label()]).set(counts.queued as f64);
            metrics::gauge!("safepoint_workers", &[label()]).set(counts.workers as f64);
        }
    }
}
