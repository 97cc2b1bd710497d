//! The library under loom, with the mistakes of `mutation-tests/table.rs` built in, each behind a
//! switch. See `build.rs`.

#![forbid(unsafe_code)]
#![allow(unused_parens, missing_docs, clippy::all, reason = "of the switches")]

include!(concat!(env!("OUT_DIR"), "/src/root.rs"));

/// What a model sets of the library's environment.
pub mod model {
    pub use crate::sync::{set_clock, set_helper_slots, set_near, set_session_shards, unwinding};

    /// Returns the library's time, as the last [`set_clock`] has set it.
    #[must_use]
    pub fn now() -> std::time::Instant {
        crate::sync::now()
    }
}

/// Which mistake is switched on.
pub mod mutation {
    include!(concat!(env!("OUT_DIR"), "/mutation.rs"));
}
