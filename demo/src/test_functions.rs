//! The functions of `--test-functions`. They imitate an engine without safe points, and an engine that computes on
//! several threads.

use crate::functions::{Define, Number, number};
use crate::sqlite_error::interrupted;
use safepoint::session::StatementHandle;
use safepoint::{Interrupt, current};
use std::panic::resume_unwind;
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

/// Returns the sum of the numbers from 1 to `last`, modulo 2<sup>64</sup>. Two helpers of the statement compute it,
/// one the odd numbers and the other one the even numbers.
fn parallel_sum(last: i64) -> Result<i64, Interrupt> {
    let sum = |handle: &StatementHandle, first: i64| {
        let helper = handle.enter()?;
        let mut sum = 0_i64;
        for number in (first..=last).step_by(2) {
            helper.check()?;
            sum = sum.wrapping_add(number);
        }
        Ok(sum)
    };
    let handle = current::statement("sum").expect("a function runs in a statement");
    // The helpers end soon after an interrupt, and so does this wait for them.
    current::block_in_place(|| {
        std::thread::scope(|scope| {
            let halves = [1, 2].map(|first| {
                let handle = &handle;
                scope.spawn(move || sum(handle, first))
            });
            halves.into_iter().try_fold(0_i64, |total, half| {
                let half = half.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                Ok(total.wrapping_add(half))
            })
        })
    })
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
    define.function("safepoint_test_parallel", 1, |call, _| -> rusqlite::Result<Option<i64>> {
        let Number::Int(last) = number(call, 0)? else { return Ok(None) };
        parallel_sum(last).map(Some).map_err(interrupted)
    })?;
    let at = stalls.clone();
    define.function("safepoint_test_release", 0, move |_, _| Ok(at.release()))
}
