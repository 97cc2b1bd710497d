//! Waits for many sockets at once.

#[cfg(not(safepoint_shuttle))]
mod epoll;
#[cfg(not(safepoint_shuttle))]
mod hang_ups;
#[cfg(safepoint_shuttle)]
mod shuttle;

#[cfg(not(safepoint_shuttle))]
pub(super) use epoll::{Event, Events, Poller};
#[cfg(not(safepoint_shuttle))]
pub(super) use hang_ups::HangUps;
#[cfg(safepoint_shuttle)]
pub use shuttle::Descriptor;
#[cfg(safepoint_shuttle)]
pub(super) use shuttle::{Event, Events, HangUps, Poller};
