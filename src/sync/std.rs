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
pub(crate) fn time_of_last_tick() -> Duration {
    #[cfg(target_os = "linux")]
    let time =
        Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse));
    #[cfg(not(target_os = "linux"))]
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time.unwrap_or_default()
}

/// A thread-local whose first value is a constant expression.
macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $type = const { $first }; }
    };
}
pub(crate) use per_thread;

/// A static that is there for as long as what runs here: a process, or one way of a model's.
macro_rules! shared {
    (static $name:ident: $type:ty = $first:expr;) => {
        static $name: $type = $first;
    };
}
pub(crate) use shared;

macro_rules! zeroes {
    ($count:expr) => {
        [const { AtomicU32::new(0) }; $count]
    };
}
pub(crate) use zeroes;

/// Over how many shards a manager's sessions are spread.
pub(crate) const fn session_shards() -> usize {
    16
}

/// A number that is the same for one thread and spreads threads evenly.
pub(crate) fn near() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        // Relaxed: any spread will do.
        static NEAR: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NEAR.with(|near| *near)
}

/// As many as an index of sixteen bits reaches: a quarter of a megabyte, of which the system gives
/// only what is used.
pub(crate) const FLAGS: usize = 1 << 16;
