//! The state word, the record and the registry.
//!
//! Under a lock, the only application code that runs here is the `clone` of a waker, by the lock
//! that guards it. With no lock held, this folder emits audit events, calls the closure of
//! `update_client_info` and the `complete` of `Record::begin_at`, and drops wakers and
//! session-local values. It also wakes helpers by `HelperSet::wake`, and ends a session after its last
//! helper.

pub(crate) mod admission;
pub(crate) mod attention;
pub(crate) mod completion;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
pub(crate) mod connections;
pub(crate) mod diagnostics;
pub(crate) mod locals;
pub(crate) mod metadata;
pub(crate) mod record;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod thread;
pub(crate) mod timer;
