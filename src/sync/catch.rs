//! Calls of the embedder's code that must not unwind into ours.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs it. `None` says that it panicked, which the panic hook has reported.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
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
