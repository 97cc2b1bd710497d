//! What ships.

pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(target_os = "linux")]
pub(crate) use parking_lot::{Condvar, MutexGuard};
pub(crate) use parking_lot::{Mutex, ReentrantMutex};
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::thread::{Builder, panicking};
use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time since 1970, as of the last tick of the system's clock: some milliseconds ago at most.
/// It costs a fifth of what the time to the nanosecond does.
#[cfg(target_os = "linux")]
pub(crate) fn time_of_last_tick() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn time_of_last_tick() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// A thread-local whose first value is a constant expression.
macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $type = const { $first }; }
    };
}
pub(crate) use per_thread;
