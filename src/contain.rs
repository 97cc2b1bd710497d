//! Calls of the embedder's code that must not unwind into ours.

use crate::current::hidden;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs it. `None` says that it panicked, which the panic hook has reported.
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // What it carries may panic once more as it is dropped; what that carries is left
            // alone.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            None
        }
    }
}

/// Wakes whom it is to wake. One that panics keeps nobody from what is to be done after that, and
/// none has to do with the session that the calling thread runs.
pub(crate) fn wake(waker: Waker) {
    let _ = contain(|| hidden(|| waker.wake()));
}
