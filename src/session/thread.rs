//! Registered threads, and the sessions' own threads.

use crate::core::registry::{Keyed as _, Registry};
use crate::core::shared::Shared;
use crate::core::thread::{SlotAllocator, ThreadRecord};
use crate::types::error::OpenError;
use crate::types::id::{SessionId, ThreadId};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

impl Shared {
    pub(crate) fn register(&self, name: &str, runs: bool) -> Result<Thread, OpenError> {
        let record =
            ThreadRecord::new(Arc::from(name), self.slots.clone(), runs).ok_or(OpenError::Full)?;
        let record = self.threads.insert(0, Arc::new(record))?;
        Ok(Thread::new(Kind::Registered { record, threads: self.threads.clone() }))
    }
}

/// A registered thread, to which sessions are attached. Dropping it unregisters the thread.
///
/// A thread that only serves one session needs no registration: see
/// [`Session::own_thread`](crate::Session::own_thread).
///
/// It represents one thread of the system at a time, so it is `Send` but not `Sync`.
#[must_use = "dropping a `Thread` unregisters it"]
pub struct Thread(pub(crate) Kind, NotSync);

type NotSync = PhantomData<Cell<()>>;

pub(crate) enum Kind {
    Registered {
        record: Arc<ThreadRecord>,
        threads: Arc<Registry<ThreadRecord>>,
    },
    /// The session's own thread, and the slot allocator of its manager.
    Own(SessionId, Arc<SlotAllocator>),
}

impl Thread {
    pub(crate) fn new(kind: Kind) -> Thread {
        Thread(kind, PhantomData)
    }

    /// Returns the thread's id.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        match &self.0 {
            Kind::Registered { record, .. } => record.id(),
            Kind::Own(session, _) => session.own_thread(),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Kind::Registered { record, threads } = &self.0 {
            threads.remove(record.number());
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.id()).finish()
    }
}
