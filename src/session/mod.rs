//! Sessions: the types for their owners, and for the threads that run them.

pub(crate) mod ambient;
pub(crate) mod attached;
pub(crate) mod block_in_place;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
mod connections;
pub(crate) mod current;
#[cfg(feature = "async")]
mod grace;
pub(crate) mod helper;
pub(crate) mod hold_off;
pub(crate) mod local;
pub(crate) mod owner;
pub(crate) mod receipt;
#[cfg(feature = "async")]
pub(crate) mod run_with;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
pub(crate) mod session;
mod suspended;
#[cfg(feature = "async")]
pub(crate) mod task;
pub(crate) mod thread;
pub(crate) mod timeouts;
pub(crate) mod timer;
#[cfg(not(safepoint_loom))]
mod timer_thread;
pub(crate) mod wait;

#[cfg(feature = "async")]
pub use crate::session::helper::future::{TrackedFuture, WrappedFuture};
#[cfg(feature = "async")]
pub use crate::session::helper::interrupted::StatementInterrupted;
pub use crate::session::helper::{HelperGuard, StatementHandle};
pub use crate::session::hold_off::{HoldOff, RollbackGuard};
pub use crate::session::suspended::SuspendedStatement;
pub use crate::session::wait::{WaitMode, waker_fn};
pub use crate::types::error::AttachError;
pub use crate::types::timeouts::Timeouts;
