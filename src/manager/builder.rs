//! The builder of a manager.

use crate::core::admission::AdmissionLimit;
use crate::core::registry::Registry;
use crate::core::shared::Shared;
use crate::core::timer::TimerOwner;
use crate::manager::manager::{Inner, SessionManager};
use crate::manager::policy::{Policy, SameUserOrAdmin};
use crate::observe::event::Audit;
use crate::observe::hooks::Hooks;
use crate::sync::session_shards;
use crate::types::id::{MAX_SERIAL, THREAD_SHARD};
use crate::types::model::ThreadModel;
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::Arc;

/// A builder for a manager. See [`SessionManager::builder`].
///
/// # Examples
///
/// ```
/// use safepoint::{SessionManager, ThreadModel, policy::Roles};
///
/// let manager = SessionManager::builder(ThreadModel::PerSession)
///     .policy(Roles::new().signaller("monitor"))
///     .max_sessions(1_000)
///     .reserved_for_admins(10)
///     .build();
/// ```
pub struct SessionManagerBuilder {
    model: ThreadModel,
    policy: Box<dyn Policy>,
    audit: Option<Box<dyn Audit>>,
    max: Option<usize>,
    reserved: usize,
    first_serial: u64,
}

impl SessionManagerBuilder {
    pub(super) fn new(model: ThreadModel) -> SessionManagerBuilder {
        let policy = Box::new(SameUserOrAdmin);
        let first_serial = any_serial();
        SessionManagerBuilder { model, policy, audit: None, max: None, reserved: 0, first_serial }
    }

    /// Sets the policy: which requester may end which session. The default is [`SameUserOrAdmin`].
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// Sets the audit, which receives the manager's events.
    #[must_use]
    pub fn audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// Sets the maximum number of open sessions. It includes the sessions of administrators, and
    /// sessions that are not admitted yet. There is no limit by default.
    #[must_use]
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    /// Reserves this many of the [`max_sessions`](Self::max_sessions) for administrators: see
    /// [`Session::admit`](crate::Session::admit). If all are reserved, only administrators are
    /// admitted.
    #[must_use]
    pub fn reserved_for_admins(mut self, reserved: usize) -> Self {
        self.reserved = reserved;
        self
    }

    /// Sets the first serial of session ids, instead of a random serial, for tests and transcripts
    /// that need the same ids each time. It is taken modulo 2<sup>37</sup>, and 0 counts as 1.
    ///
    /// Without this each manager starts at a random serial, so that an id from an old screen, or
    /// from another run of the server, names no session. If each of two runs opens a million
    /// sessions, the chance that they share an id is below one in 50,000. An id is not a secret:
    /// ids are consecutive, so a user who knows one can guess others. The [policy](Self::policy)
    /// decides about permissions.
    #[must_use]
    pub fn first_serial(mut self, serial: u64) -> Self {
        self.first_serial = serial;
        self
    }

    /// Creates the manager.
    #[must_use]
    pub fn build(self) -> SessionManager {
        let SessionManagerBuilder { model, policy, audit, max, reserved, first_serial } = self;
        let first = (first_serial % FIRST_SERIALS).max(1);
        let threads = Arc::new(Registry::new(THREAD_SHARD, 1, first));
        let shared = Shared::listed(Shared {
            model,
            sessions: Registry::new(0, session_shards(), first),
            hooks: Arc::new(Hooks(audit)),
            slots: Arc::default(),
            threads: threads.clone(),
            timers: TimerOwner::new(),
            #[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
            connections: Default::default(),
            admission: max.map(|max| AdmissionLimit::new(max, reserved)),
        });
        let handle = |_| Arc::new(CachePadded::new(shared.clone()));
        let handles = (0..session_shards()).map(handle).collect();
        SessionManager(Arc::new(Inner { shared, handles, threads, policy }))
    }
}

impl SessionManager {
    /// Creates a manager with the policy [`SameUserOrAdmin`] and no limit on its sessions.
    #[must_use]
    pub fn new(model: ThreadModel) -> SessionManager {
        SessionManager::builder(model).build()
    }

    /// Returns a builder for a manager with another policy, an audit, or a limit on its sessions.
    #[must_use]
    pub fn builder(model: ThreadModel) -> SessionManagerBuilder {
        SessionManagerBuilder::new(model)
    }
}

impl fmt::Debug for SessionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("model", &self.model)
            .field("max_sessions", &self.max)
            .field("reserved_for_admins", &self.reserved)
            .finish_non_exhaustive()
    }
}

/// Half of all serials, so that at least as many follow the first serial.
const FIRST_SERIALS: u64 = MAX_SERIAL / 2 + 1;

/// A serial that no other manager is likely to start with.
fn any_serial() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // A model checker needs the same serial each time.
    if cfg!(any(safepoint_loom, safepoint_shuttle)) { 1 } else { RandomState::new().hash_one(0) }
}
