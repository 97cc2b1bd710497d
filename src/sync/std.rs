//! The primitives of a normal build, without loom and shuttle.

pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(target_os = "linux")]
pub(crate) use parking_lot::{Condvar, MutexGuard};
pub(crate) use parking_lot::{Mutex, ReentrantMutex};
pub(crate) use std::sync::OnceLock as OnceCell;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::thread::{Builder, panicking};
use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the time since 1970, as of the last tick of the system's clock, which is at most some
/// milliseconds ago. It costs a fifth of a clock with nanoseconds.
pub(crate) fn time_of_last_tick() -> Duration {
    #[cfg(target_os = "linux")]
    let time =
        Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse));
    #[cfg(not(target_os = "linux"))]
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time.unwrap_or_default()
}

/// Declares a thread-local whose first value is a constant expression.
macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $type = const { $first }; }
    };
}
pub(crate) use per_thread;

/// Declares a static that exists once for a process, or once for an execution of a model.
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

/// Returns the number of shards of a manager's sessions.
pub(crate) const fn session_shards() -> usize {
    16
}

/// Returns the number of slots for the helper threads of a statement: twice as many as processors, and a
/// power of two.
pub(crate) fn helper_slots() -> usize {
    // Asking the system reads files.
    static SLOTS: OnceCell<usize> = OnceCell::new();
    *SLOTS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(4, usize::from);
        (2 * processors).next_power_of_two().clamp(8, 128)
    })
}

/// Returns a number that stays the same for one thread, and that spreads threads evenly.
pub(crate) fn near() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        // Relaxed: only the distribution matters.
        static NEAR: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NEAR.with(|near| *near)
}

/// As many flags as an index of 16 bits can name: 256 KiB, of which the system provides only the
/// pages in use.
pub(crate) const FLAGS: usize = 1 << 16;
