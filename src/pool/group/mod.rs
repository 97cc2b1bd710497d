//! Groups: the threads, the queue and the connections that belong together.

pub(in crate::pool) mod slot;

use crate::manager::manager::SessionManager;
use crate::pool::builder::Cpus;
use crate::pool::connection::Connection;
use crate::pool::group::slot::ConnectionSlot;
use crate::pool::poller::{HangUps, Poller};
use crate::pool::queue::{Queue, Size};
use crate::pool::status::{GroupStatus, WorkerState};
use crate::sync::{AtomicU64, Builder, Mutex, Ordering};
use crate::types::error::StartError;
use slab::Slab;
use std::sync::Arc;
use std::time::Duration;

/// The times after which a worker that still runs the same session is more and more likely to be stuck.
/// Most statements take less than the first. On a busy machine a worker that serves may take longer
/// than the first, but rarely longer than the second.
const LONG_TURNS: [Duration; 2] = [Duration::from_millis(2), Duration::from_secs(1)];

/// The state that the threads of one group share.
pub(in crate::pool) struct Group<C: Connection> {
    pub(in crate::pool) number: usize,
    /// Whether the pool has no other group.
    pub(in crate::pool) alone: bool,
    pub(in crate::pool) manager: SessionManager,
    pub(in crate::pool) queue: Queue<Arc<ConnectionSlot<C>>>,
    pub(in crate::pool) poller: Poller,
    /// The sockets, watched for their ends, and the time after which an abandoned session is closed.
    pub(in crate::pool) hang_ups: Option<(HangUps, Duration)>,
    pub(in crate::pool) slots: Mutex<ConnectionTable<C>>,
    pub(in crate::pool) size: Size,
    pub(in crate::pool) cpus: Cpus,
    pub(in crate::pool) workers: Mutex<Slab<Arc<WorkerState>>>,
    pub(in crate::pool) last_worker: AtomicU64,
}

pub(in crate::pool) struct ConnectionTable<C: Connection> {
    pub(in crate::pool) slab: Slab<Arc<ConnectionSlot<C>>>,
    pub(in crate::pool) last_serial: u64,
}

/// Returns the slab key of a token. A token is that key in its lower half, and a serial number in
/// its upper half. So a late event of a session that has ended does not reach the next session with
/// its key.
pub(in crate::pool) fn key_of(token: u64) -> usize {
    (token & u64::from(u32::MAX)) as usize
}

impl<C: Connection> Group<C> {
    /// Returns the name of one of the group's threads.
    pub(in crate::pool) fn name(&self, what: &str) -> String {
        if self.alone { what.to_owned() } else { format!("{what} of group {}", self.number) }
    }

    pub(in crate::pool) fn next_worker(&self) -> u64 {
        // Relaxed: only the number matters, and it orders nothing else.
        self.last_worker.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts a thread that is counted already.
    pub(in crate::pool) fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Result<(), StartError> {
        struct Ends<C: Connection>(Arc<Group<C>>);
        impl<C: Connection> Drop for Ends<C> {
            fn drop(&mut self) {
                self.0.queue.thread_ends();
            }
        }
        let group = self.clone();
        let body = move || {
            let ends = Ends(group);
            run(&ends.0);
        };
        Builder::new().name(name.into()).spawn(body)?;
        Ok(())
    }

    /// Binds the calling thread, the worker with this number, to its CPUs, if it has any. If the
    /// system refuses, the worker runs unbound.
    pub(in crate::pool) fn bind(&self, worker: u64) {
        #[cfg(not(safepoint_shuttle))]
        if !self.cpus.is_empty() {
            let _ = crate::pool::layout::bind(&self.cpus[worker as usize % self.cpus.len()]);
        }
        #[cfg(safepoint_shuttle)]
        let _ = worker;
    }

    pub(in crate::pool) fn sessions(&self) -> usize {
        self.slots.lock().slab.len()
    }

    /// Returns the load, by which the least loaded group is chosen for a new session.
    pub(in crate::pool) fn load(&self) -> impl Ord {
        (self.queue.is_full(), self.long_turns(), self.sessions())
    }

    /// Returns how likely a new session would wait for a worker that does not come: for how many of
    /// [`LONG_TURNS`] all workers have run their sessions. It is 0 if a worker is idle or can be
    /// added. The values may change during the call, so the result is a guess.
    fn long_turns(&self) -> usize {
        if !self.queue.is_saturated() {
            return 0;
        }
        let workers = self.workers.lock();
        let all_busy = |turn| workers.iter().all(|(_, worker)| worker.is_busy(turn));
        LONG_TURNS.into_iter().take_while(|turn| all_busy(*turn)).count()
    }

    pub(in crate::pool) fn slot(&self, token: u64) -> Option<Arc<ConnectionSlot<C>>> {
        let slots = self.slots.lock();
        slots.slab.get(key_of(token)).filter(|slot| slot.token() == token).cloned()
    }

    pub(in crate::pool) fn new_slot(
        &self,
        slot: impl FnOnce(u64) -> ConnectionSlot<C>,
    ) -> Arc<ConnectionSlot<C>> {
        let mut slots = self.slots.lock();
        slots.last_serial += 1;
        let serial = slots.last_serial << 32;
        let entry = slots.slab.vacant_entry();
        let slot = Arc::new(slot(serial | entry.key() as u64));
        entry.insert(slot.clone());
        slot
    }

    pub(in crate::pool) fn forget(
        &self,
        slot: &ConnectionSlot<C>,
    ) -> Option<Arc<ConnectionSlot<C>>> {
        let mut slots = self.slots.lock();
        let key = key_of(slot.token());
        let mine = slots.slab.get(key).is_some_and(|other| other.token() == slot.token());
        mine.then(|| slots.slab.remove(key))
    }
}

impl<C: Connection> Group<C> {
    pub(super) fn status(&self) -> GroupStatus {
        let counts = self.queue.counts();
        let threads: Vec<_> =
            self.workers.lock().iter().map(|(_, worker)| worker.status()).collect();
        GroupStatus {
            group: self.number,
            min_workers: self.size.min,
            max_workers: self.size.max,
            active_limit: counts.permits,
            workers: counts.workers,
            starting: counts.starting,
            idle: counts.idle + counts.parked,
            sessions: self.sessions(),
            queued: counts.queued,
            running: threads.iter().filter(|thread| thread.session_id.is_some()).count(),
            cpus: self.cpus.concat(),
            threads,
        }
    }
}
