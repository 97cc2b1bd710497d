//! What ships.

pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(target_os = "linux")]
pub(crate) use parking_lot::{Condvar, MutexGuard};
pub(crate) use parking_lot::{Mutex, ReentrantMutex};
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::thread::{Builder, panicking};
use std::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A thread-local whose first value is a constant expression.
macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $type = const { $first }; }
    };
}
pub(crate) use per_thread;
