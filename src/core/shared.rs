//! The state that all handles of a manager share.

use crate::core::admission::AdmissionLimit;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
use crate::core::connections::ConnectionsOwner;
use crate::core::record::Record;
use crate::core::registry::{Keyed as _, Registry};
use crate::core::thread::{SlotAllocator, ThreadRecord};
use crate::core::timer::TimerOwner;
use crate::observe::hooks::Hooks;
use crate::types::model::ThreadModel;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// One of several counted handles on a manager's [`Shared`]. Each has its own count, so that
/// threads that open sessions through different handles do not share a cache line.
pub(crate) type SharedHandle = Arc<CachePadded<Arc<Shared>>>;

/// The state of a manager that its sessions use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) model: ThreadModel,
    pub(crate) sessions: Registry<Record>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) slots: Arc<SlotAllocator>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) timers: TimerOwner,
    #[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
    pub(crate) connections: ConnectionsOwner,
    /// `None` if there is no limit on sessions.
    pub(crate) admission: Option<AdmissionLimit>,
}

/// All managers, for code that has only the record of a session. A reference in the record or in
/// the thread-local would make each open or each attachment slower.
static MANAGERS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Shared {
    /// Creates the state of a manager, and adds it to the list of all managers.
    pub(crate) fn listed(shared: Shared) -> Arc<Shared> {
        let shared = Arc::new(shared);
        let mut managers = MANAGERS.lock();
        managers.retain(|other| other.strong_count() > 0);
        managers.push(Arc::downgrade(&shared));
        drop(managers);
        shared
    }

    /// Returns the manager's state for a session that has not ended.
    pub(crate) fn of(record: &Arc<Record>) -> Option<Arc<Shared>> {
        // Upgraded and dropped after the lock is released, since dropping the last reference runs
        // application code.
        let managers = MANAGERS.lock().clone();
        managers.iter().filter_map(Weak::upgrade).find(|shared| {
            let same = shared.sessions.get(record.number());
            same.is_some_and(|same| Arc::ptr_eq(&same, record))
        })
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{SessionManager, ThreadModel};

    #[test]
    fn dropped_managers_leave_the_list() {
        // Other tests run at the same time, and have a few managers.
        for _ in 0..1_000 {
            drop(SessionManager::new(ThreadModel::Pool));
        }
        assert!(MANAGERS.lock().len() < 500);
    }
}
