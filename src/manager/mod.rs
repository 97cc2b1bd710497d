//! The session manager: opens, lists and resolves sessions, sends requests, drains, watches.

mod builder;
pub(crate) mod bulk;
pub(crate) mod drain;
pub(crate) mod info;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
pub(crate) mod manager;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
mod overdue;
pub(crate) mod policy;
pub(crate) mod resolve;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
pub(crate) mod watchdog;

pub use crate::manager::builder::SessionManagerBuilder;
pub use crate::manager::bulk::{BulkOptions, BulkResult};
pub use crate::manager::drain::{DrainOptions, DrainReport};
pub use crate::types::error::{OpenError, StartError};
