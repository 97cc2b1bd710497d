//! The facade: what the core and the pool need of threads, with one API over parking_lot and
//! std, over loom under `cfg(safepoint_loom)`, or over shuttle under `cfg(safepoint_shuttle)`.

#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
#[path = "sync/std.rs"]
mod backend;
#[cfg(safepoint_loom)]
#[path = "sync/loom.rs"]
mod backend;
#[cfg(safepoint_shuttle)]
#[path = "sync/shuttle.rs"]
mod backend;

pub(crate) use backend::*;
#[cfg(safepoint_loom)]
pub use backend::{set_clock, set_near, set_session_shards, unwinding};
