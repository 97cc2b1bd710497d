//! Waits for code that has no reference to the session. An interrupt of the session that the calling thread runs, or
//! whose statement it helps with, ends them. On any other thread no interrupt ends them.

use crate::core::record::waits::{NoSession, Waits};
use crate::session::current::{Current, current};
use crate::session::wait::{self, WaitMode};
use crate::sync::now;
use crate::types::interrupt::Interrupt;
use std::panic::Location;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Calls `wait` with the session or the helper of the calling thread.
#[track_caller]
pub(super) fn as_current<T>(wait: impl FnOnce(&dyn Waits) -> T) -> T {
    match current() {
        Some(Current::Runs(record)) => wait(&*record),
        Some(Current::Helps(helper)) => wait(&helper),
        None => wait(&NoSession),
    }
}

/// Sleeps until `time` has passed or an interrupt is due, as
/// [`Attached::sleep`](crate::Attached::sleep) does.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn sleep(time: Duration) -> Result<(), Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait::sleep(waits, time, at))
}

/// Runs a future until it is ready or an interrupt is due, as
/// [`Attached::block_on`](crate::Attached::block_on) does.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Interrupt> {
    let output = block_on_until(future, None)?;
    Ok(output.expect("without a deadline there is an output"))
}

/// Runs a future as [`block_on`] does, for at most `timeout`. Returns `Ok(None)` if `timeout`
/// elapses.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn block_on_timeout<F: Future>(
    timeout: Duration,
    future: F,
) -> Result<Option<F::Output>, Interrupt> {
    // A timeout that is too long for the clock counts as none.
    block_on_until(future, now().checked_add(timeout))
}

#[track_caller]
fn block_on_until<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> Result<Option<F::Output>, Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait::block_on(waits, future, deadline, at))
}

/// Parks the thread until the waker of [`park_waker`] is woken, or until an interrupt is due, as
/// [`Attached::park`](crate::Attached::park) does. It may also return spuriously.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn park() -> Result<(), Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait::park_until(waits, None, at))
}

/// Parks the thread as [`park`] does, at most until `deadline`.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off.
#[track_caller]
pub fn park_deadline(deadline: Instant) -> Result<(), Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait::park_until(waits, Some(deadline), at))
}

/// Returns a waker that ends this thread's present or next [`park`]. Call this outside of other waits: during
/// another wait the thread uses another parker.
#[must_use]
pub fn park_waker() -> Waker {
    wait::with_thread_parker(|parker| parker.waker.clone())
}

/// Runs `block`, which blocks in its own way, as [`Attached::wait`](crate::Attached::wait) does.
///
/// # Errors
/// Returns the [`Interrupt`] that is due and not held off when the wait begins. Then `block` is not called.
#[track_caller]
pub fn wait<T>(mode: WaitMode, waker: &Waker, block: impl FnOnce() -> T) -> Result<T, Interrupt> {
    let at = Location::caller();
    as_current(|waits| wait::run_wait(waits, waker, mode.is_killable(), at, block))
}
