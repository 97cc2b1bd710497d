//! What a session needs beside its record.

use crate::audit::Hooks;
use crate::places::Places;
use crate::record::Record;
use crate::registry::{Numbered, OpenError, Registry};
use crate::thread::{Kind, Slots, Thread, ThreadModel, ThreadRecord};
use crate::timer::Timers;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// What its owner keeps.
pub(crate) struct Ties {
    /// From its first attachment on. The thread that runs it has this reference meanwhile, so that
    /// to attach and to detach counts none.
    pub(crate) spare: Option<Arc<Record>>,
    pub(crate) home: Way,
}

impl Ties {
    /// Asks for admission, where places are kept for administrators.
    pub(crate) fn admit(&self, record: &Record) -> Result<(), OpenError> {
        self.home.places.as_ref().map_or(Ok(()), |places| record.admit(places))
    }
}

/// A reference to a manager's [`Home`] by one of several ways there. Each has a count of its own,
/// so that threads which open sessions by different ways do not share a cache line.
pub(crate) type Way = Arc<CachePadded<Arc<Home>>>;

/// What a session needs of its manager.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) model: ThreadModel,
    pub(crate) sessions: Registry<Record>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) timers: Timers,
    /// `None`: there is no limit.
    pub(crate) places: Option<Places>,
}

/// All there are, for code that has a session's record and nothing else. A record, or a thread's
/// note of what it runs, has no room for this: it would cost each open, or each attachment.
static HOMES: Mutex<Vec<Weak<Home>>> = Mutex::new(Vec::new());

impl Home {
    /// A manager's.
    pub(crate) fn listed(home: Home) -> Arc<Home> {
        let home = Arc::new(home);
        let mut homes = HOMES.lock();
        homes.retain(|other| other.strong_count() > 0);
        homes.push(Arc::downgrade(&home));
        drop(homes);
        home
    }

    /// That of a session which has not ended.
    pub(crate) fn of(record: &Arc<Record>) -> Option<Arc<Home>> {
        // Looked at, and dropped, with the lock released: the last to drop one runs the embedder's
        // code.
        let homes = HOMES.lock().clone();
        homes.iter().filter_map(Weak::upgrade).find(|home| {
            let same = home.sessions.get(record.number());
            same.is_some_and(|same| Arc::ptr_eq(&same, record))
        })
    }

    pub(crate) fn register(&self, name: &str, runs: bool) -> Result<Thread, OpenError> {
        let record =
            ThreadRecord::new(Arc::from(name), self.slots.clone(), runs).ok_or(OpenError::Full)?;
        let record = self.threads.insert(0, Arc::new(record))?;
        Ok(Thread::new(Kind::Registered { record, threads: self.threads.clone() }))
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{SessionManager, ThreadModel};

    #[test]
    fn the_list_forgets_managers_that_are_gone() {
        // Other tests run meanwhile, and have a few of their own.
        for _ in 0..1_000 {
            drop(SessionManager::new(ThreadModel::Pool));
        }
        assert!(HOMES.lock().len() < 500);
    }
}
