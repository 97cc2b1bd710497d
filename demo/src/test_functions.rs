//! The functions of `--test-functions`, which imitate an engine without safe points.

use crate::functions::{Define, Number, number};
use safepoint::current;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The calls of `safepoint_test_stall()`. No request ends one, only `safepoint_test_release()`
/// does.
#[derive(Default)]
pub(crate) struct Stalls {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    stalled: i64,
    /// The number of releases. A call waits for the next one.
    releases: u64,
}

impl Stalls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stalls the calling thread. It writes a line to standard error first, so that a test knows
    /// that the session is here. The call is counted before, so a release after that line ends it.
    fn stall(&self) {
        let mut state = self.lock();
        state.stalled += 1;
        let session = current::session_id().map_or(0, |id| id.get());
        eprintln!("session {session} has called safepoint_test_stall()");
        let releases = state.releases;
        let waits = |state: &mut State| state.releases == releases;
        drop(self.released.wait_while(state, waits));
    }

    /// Ends all calls, and returns their number.
    fn release(&self) -> i64 {
        let mut state = self.lock();
        state.releases += 1;
        self.released.notify_all();
        std::mem::take(&mut state.stalled)
    }
}

pub(crate) fn define(define: &Define<'_>, stalls: &Arc<Stalls>) -> rusqlite::Result<()> {
    define.function("safepoint_test_panic", 0, |_, _| -> rusqlite::Result<Option<i64>> {
        panic!("safepoint_test_panic() was called")
    })?;
    define.function("safepoint_test_stall", 1, |call, _| -> rusqlite::Result<Option<i64>> {
        let Number::Int(milliseconds) = number(call, 0)? else { return Ok(None) };
        std::thread::sleep(Duration::from_millis(milliseconds.try_into().unwrap_or(0)));
        Ok(Some(1))
    })?;
    let at = stalls.clone();
    define.function("safepoint_test_stall", 0, move |_, _| {
        at.stall();
        Ok(1)
    })?;
    let at = stalls.clone();
    define.function("safepoint_test_release", 0, move |_, _| Ok(at.release()))
}
