//! The records of threads that run sessions, and of background threads.

use crate::core::registry::Keyed;
use crate::core::state::Slot;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::types::id::{Parts, SessionId, ThreadId};
use slab::Slab;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The thread slots, which session words name. A slot is free again after the last reference to the
/// record of its thread is dropped (rule 4 of `core/state/mod.rs`).
#[derive(Debug, Default)]
pub(crate) struct SlotAllocator(Mutex<Slab<()>>);

impl SlotAllocator {
    fn take(&self) -> Option<Slot> {
        let mut slots = self.0.lock();
        if slots.len() < Slot::COUNT { Slot::new(slots.insert(())) } else { None }
    }

    pub(crate) fn release(&self, slot: Slot) {
        self.0.lock().remove(slot.index());
    }
}

/// The record of a thread.
pub(crate) struct ThreadRecord {
    id: ThreadId,
    pub(crate) name: Arc<str>,
    pub(crate) since: SystemTime,
    /// `None` for threads that never run sessions.
    pub(crate) slot: Option<Slot>,
    pub(crate) slots: Arc<SlotAllocator>,
    /// The session that the thread runs, or 0. Relaxed: it is a hint. The word of that session
    /// decides whether the session is attached to this thread.
    session: AtomicU64,
}

impl ThreadRecord {
    pub(crate) fn new(
        name: Arc<str>,
        slots: Arc<SlotAllocator>,
        runs: bool,
    ) -> Option<ThreadRecord> {
        let slot = if runs { Some(slots.take()?) } else { None };
        Some(ThreadRecord {
            id: ThreadId::PLACEHOLDER,
            name,
            since: SystemTime::now(),
            slot,
            slots,
            session: AtomicU64::new(0),
        })
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.id
    }

    /// Returns whether the thread's slot is one of `slots`. Each manager has its own slots.
    pub(crate) fn is_of(&self, slots: &Arc<SlotAllocator>) -> bool {
        Arc::ptr_eq(&self.slots, slots)
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        self.slot
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        SessionId::from_raw(self.session.load(Ordering::Relaxed))
    }

    /// Sets the session that the thread runs, or 0, and returns the previous one. Only the thread
    /// itself calls this.
    #[inline]
    pub(crate) fn run(&self, session: u64) -> u64 {
        let before = self.session.load(Ordering::Relaxed);
        self.session.store(session, Ordering::Relaxed);
        before
    }
}

impl fmt::Debug for ThreadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadRecord").field(&self.id).finish()
    }
}

impl Drop for ThreadRecord {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.slots.release(slot);
        }
    }
}

impl Keyed for ThreadRecord {
    fn number(&self) -> u64 {
        self.id.get()
    }

    fn set_number(&mut self, parts: Parts) {
        self.id = ThreadId::from_parts(parts);
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Each thread that runs sessions has its own slot. The last slot is used, and a returned slot
    /// is used again.
    #[test]
    fn slots_run_out_and_are_reused() {
        let slots = Arc::new(SlotAllocator::default());
        let thread = || ThreadRecord::new(Arc::from("worker"), slots.clone(), true);
        let mut all: Vec<_> = (0..Slot::COUNT).map(|_| thread().expect("a slot")).collect();
        let used: BTreeSet<_> = all.iter().map(|thread| thread.slot().unwrap().index()).collect();
        assert_eq!(used.len(), Slot::COUNT, "each its own");
        assert!(thread().is_none(), "no slot is left");
        let gone = all.swap_remove(4711).slot();
        let next = thread().expect("one was returned");
        assert_eq!(next.slot(), gone);
        assert!(thread().is_none(), "only one");
    }

    /// A thread that never runs sessions takes no slot.
    #[test]
    fn a_background_thread_takes_no_slot() {
        let slots = Arc::new(SlotAllocator::default());
        let thread = ThreadRecord::new(Arc::from("timer"), slots.clone(), false).unwrap();
        assert_eq!(thread.slot(), None);
        assert!(slots.0.lock().is_empty());
        drop(thread);
        assert!(slots.0.lock().is_empty());
    }
}
