//! Deadlines for waits that have no deadline.
//!
//! A blocked thread cannot be ended, and [`std::thread::scope`] waits for each of its threads. So a
//! test with such waits runs on a separate thread and announces each wait. If a wait lasts too
//! long, the test fails and its thread is left behind.

use super::{TEST_TIMEOUT, locked};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The maximum time of a whole test. The longest tests take a few seconds of computing, and at
/// `nice -n 19` beside busy programs a thread gets a hundredth of a core.
const WHOLE: Duration = Duration::from_secs(480);

thread_local! {
    static WAITS: RefCell<Option<Arc<Waits>>> = const { RefCell::new(None) };
}

/// The present waits of the threads of one test.
#[derive(Default)]
struct Waits(Mutex<Vec<Arc<Wait>>>);

struct Wait {
    what: String,
    at: &'static Location<'static>,
    since: Instant,
}

impl Waits {
    fn mine() -> Option<Arc<Waits>> {
        WAITS.with_borrow(Clone::clone)
    }

    /// Returns the wait that has lasted longest.
    fn oldest(&self) -> Option<Arc<Wait>> {
        locked(&self.0).iter().min_by_key(|wait| wait.since).cloned()
    }
}

/// An announced wait. It ends when this is dropped.
struct Announced(Arc<Waits>, Arc<Wait>);

impl Announced {
    #[track_caller]
    fn new(what: &str, at: &'static Location<'static>) -> Announced {
        let waits = Waits::mine().expect("only a supervised test announces its waits");
        let wait = Arc::new(Wait { what: what.into(), at, since: Instant::now() });
        locked(&waits.0).push(wait.clone());
        Announced(waits, wait)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        locked(&self.0.0).retain(|other| !Arc::ptr_eq(other, &self.1));
    }
}

/// Runs a test. The test fails if one of the waits that it announces lasts for longer than
/// [`TEST_TIMEOUT`]. The message names the wait.
#[track_caller]
pub(crate) fn supervised(test: impl FnOnce() + Send + 'static) {
    let waits = Arc::<Waits>::default();
    let (ends, ended) = channel();
    let its = waits.clone();
    // The thread has the test's name, which is part of panic messages.
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let run = move || {
        WAITS.set(Some(its));
        let _ = ends.send(catch_unwind(AssertUnwindSafe(test)));
    };
    Builder::new().name(name).spawn(run).unwrap();
    let whole = Instant::now() + WHOLE;
    loop {
        let oldest = waits.oldest();
        let until = oldest.map_or(Instant::now(), |wait| wait.since) + TEST_TIMEOUT;
        match ended.recv_timeout(until.min(whole).saturating_duration_since(Instant::now())) {
            Ok(Ok(())) => return,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended without a word"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(wait) = waits.oldest().filter(|wait| wait.since.elapsed() >= TEST_TIMEOUT) {
            panic!("waited too long until {} ({})", wait.what, wait.at);
        }
        assert!(Instant::now() < whole, "it does not come to its end");
    }
}

/// Whether the calling thread may announce its waits.
pub(crate) fn is_supervised() -> bool {
    Waits::mine().is_some()
}

/// Runs a wait that has no deadline, in a [supervised] test.
#[track_caller]
pub(crate) fn until<T>(what: &str, wait: impl FnOnce() -> T) -> T {
    let _announced = Announced::new(what, Location::caller());
    wait()
}

/// Fails the test if it does not end soon: a thread of it is about to panic, and may be blocked as it
/// unwinds. Does nothing in a test that is not supervised.
#[track_caller]
pub(crate) fn must_end_soon() {
    if is_supervised() {
        std::mem::forget(Announced::new("the test ends, which has failed", Location::caller()));
    }
}

/// The threads of a test.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'scope, 'env: 'scope>(&'scope std::thread::Scope<'scope, 'env>);

impl<'scope> Scope<'scope, '_> {
    pub(crate) fn spawn<T: Send + 'scope>(
        &self,
        run: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        self.spawn_named("of a test", run)
    }

    pub(crate) fn spawn_named<T: Send + 'scope>(
        &self,
        name: &str,
        run: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        let waits = Waits::mine();
        let run = move || {
            WAITS.set(waits);
            run()
        };
        Builder::new().name(name.into()).spawn_scoped(self.0, run).unwrap()
    }
}

/// [`std::thread::scope`] in a [supervised] test, whose threads may announce their waits too. Once
/// `run` is over, or has panicked, they have [`TEST_TIMEOUT`] to end.
#[track_caller]
pub(crate) fn scope<'env, T>(run: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> T) -> T {
    let at = Location::caller();
    let mut announced = None;
    let result = std::thread::scope(|scope| {
        let result = catch_unwind(AssertUnwindSafe(|| run(Scope(scope))));
        announced = Some(Announced::new("the other threads end", at));
        result
    });
    drop(announced);
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Joins a thread, in a [supervised] test, and returns its result. If the thread panicked, this
/// panics too.
#[track_caller]
pub(crate) fn joined<T>(what: &str, thread: ScopedJoinHandle<'_, T>) -> T {
    until(what, || thread.join()).unwrap_or_else(|panic| resume_unwind(panic))
}
