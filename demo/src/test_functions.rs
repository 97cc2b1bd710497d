//! The functions of `--test-functions`: what an engine does that knows nothing of sessions.

use crate::functions::{Define, Number, number};
use crate::shared::Shared;
use safepoint::current;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The calls of `safepoint_test_stall()`. No kill ends one, only `safepoint_test_release()` does.
#[derive(Default)]
pub(crate) struct Stalls {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    stalled: i64,
    /// How often they were released. A call waits for the next time.
    releases: u64,
}

impl Stalls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so on the standard error, so that a test knows that the session has come here. The
    /// call counts by then: a release that follows the line ends it.
    fn stall(&self) {
        let mut state = self.lock();
        state.stalled += 1;
        let session = current::session_id().map_or(0, |id| id.get());
        eprintln!("session {session} has called safepoint_test_stall()");
        let releases = state.releases;
        let waits = |state: &mut State| state.releases == releases;
        drop(self.released.wait_while(state, waits));
    }

    /// Ends all calls, and returns how many there were.
    fn release(&self) -> i64 {
        let mut state = self.lock();
        state.releases += 1;
        self.released.notify_all();
        std::mem::take(&mut state.stalled)
    }
}

pub(crate) fn define(define: &Define<'_>, shared: &Arc<Shared>) -> rusqlite::Result<()> {
    define.function("safepoint_test_panic", 0, |_, _| -> rusqlite::Result<Option<i64>> {
        panic!("safepoint_test_panic() was called")
    })?;
    define.function("safepoint_test_stall", 1, |call, _| -> rusqlite::Result<Option<i64>> {
        let Number::Int(milliseconds) = number(call, 0)? else { return Ok(None) };
        std::thread::sleep(Duration::from_millis(milliseconds.try_into().unwrap_or(0)));
        Ok(Some(1))
    })?;
    let at = shared.clone();
    define.function("safepoint_test_stall", 0, move |_, _| {
        at.stalls.stall();
        Ok(1)
    })?;
    let at = shared.clone();
    define.function("safepoint_test_release", 0, move |_, _| Ok(at.stalls.release()))
}
