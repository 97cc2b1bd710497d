//! Replaces threads and time in the models of `loom-tests`.

pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

loom::thread_local! {
    static UNWINDING: Cell<bool> = Cell::new(false);
    static NEAR: Cell<usize> = Cell::new(0);
}

std::thread_local! {
    // All threads of a model run on the thread that explores it.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SHARDS: Cell<usize> = const { Cell::new(1) };
    static HELPER_SLOTS: Cell<usize> = const { Cell::new(1) };
}

/// Returns the model's own time. It changes only by [`set_clock`], and waits with a time limit
/// never expire.
pub(crate) fn now() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + CLOCK.get()
}

/// Sets the time. Each execution of a model must begin with it.
pub fn set_clock(time: Duration) {
    CLOCK.set(time);
}

pub(crate) fn panicking() -> bool {
    UNWINDING.with(Cell::get)
}

/// Runs code as if a panic unwound through it. A real panic would not do: loom cannot switch
/// threads while one unwinds.
pub fn unwinding<T>(run: impl FnOnce() -> T) -> T {
    UNWINDING.with(|unwinding| unwinding.set(true));
    let result = run();
    UNWINDING.with(|unwinding| unwinding.set(false));
    result
}

macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        loom::thread_local! { $(#[$meta])* static $name: $type = $first; }
    };
}
pub(crate) use per_thread;

macro_rules! shared {
    (static $name:ident: $type:ty = $first:expr;) => {
        loom::lazy_static! { static ref $name: $type = $first; }
    };
}
pub(crate) use shared;

macro_rules! zeroes {
    ($count:expr) => {
        std::array::from_fn(|_| AtomicU32::new(0))
    };
}
pub(crate) use zeroes;

pub(crate) const FLAGS: usize = 16;

/// Returns the number set by [`set_session_shards`], or 1.
pub(crate) fn session_shards() -> usize {
    SHARDS.get()
}

/// Sets the number of shards of managers that are created from then on. More than one costs much
/// time, so each execution that needs several must call this.
pub fn set_session_shards(shards: usize) {
    SHARDS.set(shards);
}

/// Returns the number set by [`set_helper_slots`], or 1.
pub(crate) fn helper_slots() -> usize {
    HELPER_SLOTS.get()
}

/// Sets the number of slots of the helper sets that are created from then on. Each execution that does not
/// need 1 must call this, and each other one of the same thread too.
pub fn set_helper_slots(slots: usize) {
    HELPER_SLOTS.set(slots);
}

pub(crate) fn near() -> usize {
    NEAR.with(Cell::get)
}

/// Sets the shard of the sessions that the calling thread opens from then on.
pub fn set_near(shard: usize) {
    NEAR.with(|near| near.set(shard));
}

/// A mutex that is not reentrant, since loom has none that is. A thread that locks it twice
/// deadlocks, for example by nested calls of
/// [`SessionLocal::with`](crate::local::SessionLocal::with) on one static.
pub(crate) type ReentrantMutex<T> = Mutex<T>;

/// loom's mutex without the poisoning that parking_lot does not have.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A cell that is written once. Its value may have loom's atomics in it, so loom has to see that a
/// thread that finds the value acquires its creation.
#[derive(Debug)]
pub(crate) struct OnceCell<T> {
    is_set: AtomicU32,
    value: OnceLock<T>,
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

impl<T> OnceCell<T> {
    pub(crate) fn new() -> Self {
        OnceCell { is_set: AtomicU32::new(0), value: OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) != 0 { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, first: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(first);
        self.is_set.store(1, Ordering::Release);
        value
    }
}

/// A parker with a token, like crossbeam's. Its time limits never expire.
#[derive(Debug)]
pub(crate) struct Parker(Unparker);

#[derive(Clone, Debug)]
pub(crate) struct Unparker(Arc<(loom::sync::Mutex<bool>, loom::sync::Condvar)>);

impl Parker {
    pub(crate) fn new() -> Self {
        Parker(Unparker(Arc::new((loom::sync::Mutex::new(false), loom::sync::Condvar::new()))))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park(&self) {
        let (token, signal) = &*self.0.0;
        let mut token = token.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !*token {
            token = signal.wait(token).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *token = false;
    }

    pub(crate) fn park_deadline(&self, _never: Instant) {
        self.park();
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        let (token, signal) = &*self.0;
        *token.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        signal.notify_one();
    }
}

pub(crate) fn time_of_last_tick() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
