//! The state word, the record and the registry.
//!
//! Application code runs here in two cases only. A waker is cloned and compared under the lock that
//! guards it. With no lock held, audit events are emitted, and wakers and session-local values are
//! dropped.

pub(crate) mod admission;
pub(crate) mod attention;
pub(crate) mod completion;
pub(crate) mod diagnostics;
pub(crate) mod locals;
pub(crate) mod metadata;
pub(crate) mod record;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod thread;
pub(crate) mod timer;
