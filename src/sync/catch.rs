//! Calls of application code that must not unwind into this library.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `run`. Returns `None` if it panics; the panic hook has reported the panic.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // The panic's payload may panic again when it is dropped. The payload of that second
            // panic is leaked.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            None
        }
    }
}
