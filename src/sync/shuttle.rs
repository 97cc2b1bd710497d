//! Replaces threads and time in the scenes of `shuttle-tests`.
//!
//! A scene has its own time, which changes only by waits with a time limit. Such a wait expires
//! after a few turns of the other threads, and sets the clock to its deadline.

pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use shuttle::thread::Builder;
pub(crate) use std::sync::OnceLock as OnceCell;
pub(crate) use std::thread::panicking;

use shuttle::rand::Rng;
use shuttle::thread::{Thread, current, park, yield_now};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $first:expr;) => {
        shuttle::thread_local! { $(#[$meta])* static $name: $type = $first }
    };
}
pub(crate) use per_thread;

macro_rules! shared {
    (static $name:ident: $type:ty = $first:expr;) => {
        shuttle::lazy_static! { static ref $name: $type = $first; }
    };
}
pub(crate) use shared;

macro_rules! zeroes {
    ($count:expr) => {
        std::array::from_fn(|_| AtomicU32::new(0))
    };
}
pub(crate) use zeroes;

pub(crate) const FLAGS: usize = 256;

pub(crate) const fn session_shards() -> usize {
    1
}

/// Returns the number of slots for the helper threads of a statement: few, so that some find none.
pub(crate) const fn helper_slots() -> usize {
    2
}

pub(crate) const fn near() -> usize {
    0
}

std::thread_local! {
    // All threads of a scene run on the thread that explores it.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

pub(crate) fn now() -> Instant {
    start() + CLOCK.get()
}

/// Waits until `done` returns `true`, or until the wait expires, which sets the clock to the
/// deadline.
fn wait_until(deadline: Instant, done: impl Fn() -> bool) {
    for _ in 0..shuttle::rand::thread_rng().gen_range(0..8) {
        if done() {
            return;
        }
        yield_now();
    }
    CLOCK.set(CLOCK.get().max(deadline - start()));
}

/// A mutex that is not reentrant, since shuttle has none that is. A thread that locks it twice
/// deadlocks, for example by nested calls of
/// [`SessionLocal::with`](crate::local::SessionLocal::with) on one static.
pub(crate) type ReentrantMutex<T> = Mutex<T>;

/// shuttle's mutex without the poisoning that parking_lot does not have.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while a thread waits for a condition.
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let mut guard = MutexGuard { mutex: self, held: None };
        guard.lock();
        guard
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = self.0.try_lock().ok()?;
        Some(MutexGuard { mutex: self, held: Some(held) })
    }
}

impl<T> MutexGuard<'_, T> {
    fn lock(&mut self) {
        self.held = Some(self.mutex.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("locked")
    }
}

/// The wake-up of one waiting thread.
#[derive(Debug)]
struct Call {
    made: AtomicU32,
    thread: Thread,
}

impl Call {
    fn make(&self) {
        // Pairs with the load in `was_made`. Shuttle runs every access as `SeqCst`.
        self.made.store(1, Ordering::SeqCst);
        self.thread.unpark();
    }

    fn was_made(&self) -> bool {
        // Pairs with the store in `make`.
        self.made.load(Ordering::SeqCst) != 0
    }
}

/// parking_lot's condition variable, except that it may wake any waiting thread. shuttle's own has
/// no time limits.
#[derive(Debug)]
pub(crate) struct Condvar(Mutex<Vec<Arc<Call>>>);

pub(crate) struct TimedOut(bool);

impl TimedOut {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar(Mutex::new(Vec::new()))
    }

    fn wait_with<T>(&self, guard: &mut MutexGuard<'_, T>, wait: impl FnOnce(&Call)) -> TimedOut {
        let call = Arc::new(Call { made: AtomicU32::new(0), thread: current() });
        self.0.lock().push(call.clone());
        guard.held = None;
        wait(&call);
        let mut waiting = self.0.lock();
        let called = !waiting.iter().any(|other| Arc::ptr_eq(other, &call));
        waiting.retain(|other| !Arc::ptr_eq(other, &call));
        drop(waiting);
        guard.lock();
        TimedOut(!called)
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_with(guard, |call| {
            while !call.was_made() {
                park();
            }
        });
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> TimedOut {
        self.wait_with(guard, |call| wait_until(deadline, || call.was_made()))
    }

    pub(crate) fn notify_one(&self) {
        let mut waiting = self.0.lock();
        if !waiting.is_empty() {
            let chosen = shuttle::rand::thread_rng().gen_range(0..waiting.len());
            let call = waiting.swap_remove(chosen);
            drop(waiting);
            call.make();
        }
    }

    pub(crate) fn notify_all(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        waiting.iter().for_each(|call| call.make());
    }
}

/// A parker with a token, like crossbeam's.
#[derive(Debug)]
pub(crate) struct Parker(Unparker);

#[derive(Clone, Debug)]
pub(crate) struct Unparker(Arc<(Mutex<bool>, Condvar)>);

impl Parker {
    pub(crate) fn new() -> Self {
        Parker(Unparker(Arc::new((Mutex::new(false), Condvar::new()))))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park(&self) {
        let (token, signal) = &*self.0.0;
        let mut token = token.lock();
        while !*token {
            signal.wait(&mut token);
        }
        *token = false;
    }

    pub(crate) fn park_deadline(&self, deadline: Instant) {
        let (token, signal) = &*self.0.0;
        let mut token = token.lock();
        while !*token && !signal.wait_until(&mut token, deadline).timed_out() {}
        *token = false;
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        let (token, signal) = &*self.0;
        *token.lock() = true;
        signal.notify_one();
    }
}

pub(crate) fn time_of_last_tick() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
