//! What a session needs beside its record.

use crate::audit::Hooks;
use crate::places::Places;
use crate::record::Record;
use crate::registry::{OpenError, Registry};
use crate::thread::{Kind, Slots, Thread, ThreadModel, ThreadRecord};
use crate::timer::Timers;
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// What its owner keeps.
pub(crate) struct Ties {
    /// From its first attachment on. The thread that runs it has these references meanwhile, so
    /// that to attach and to detach counts none.
    pub(crate) spare: Option<Running>,
    pub(crate) home: Way,
}

/// What a thread has while it runs a session: references to its record, and to its manager's home
/// for code that was handed no session.
pub(crate) struct Running {
    pub(crate) record: Arc<Record>,
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

impl Home {
    pub(crate) fn register(&self, name: &str, runs: bool) -> Result<Thread, OpenError> {
        let record =
            ThreadRecord::new(Arc::from(name), self.slots.clone(), runs).ok_or(OpenError::Full)?;
        let record = self.threads.insert(0, Arc::new(record))?;
        Ok(Thread::new(Kind::Registered { record, threads: self.threads.clone() }))
    }
}
