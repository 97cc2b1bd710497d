//! The primitives of the core and the pool, with one API over parking_lot and std, over loom under
//! `cfg(safepoint_loom)`, or over shuttle under `cfg(safepoint_shuttle)`.

#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
#[path = "std.rs"]
mod backend;
#[cfg(safepoint_loom)]
#[path = "loom.rs"]
mod backend;
#[cfg(safepoint_shuttle)]
#[path = "shuttle.rs"]
mod backend;

pub(crate) mod catch;
pub(crate) mod wake_list;

pub(crate) use backend::*;
#[cfg(safepoint_loom)]
pub use backend::{set_clock, set_helper_slots, set_near, set_session_shards, unwinding};
