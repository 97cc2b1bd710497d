//! Waits for many sockets at once.

#[cfg(not(safepoint_shuttle))]
mod epoll;
#[cfg(not(safepoint_shuttle))]
mod hang_ups;
#[cfg(safepoint_shuttle)]
mod shuttle;

/// The readiness that a socket is armed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// There is input, or the peer has closed its sending side.
    Readable,
    /// The socket takes output.
    Writable,
}

#[cfg(not(safepoint_shuttle))]
pub(super) use epoll::{Event, Events, Poller};
#[cfg(not(safepoint_shuttle))]
pub(super) use hang_ups::HangUps;
#[cfg(safepoint_shuttle)]
pub use shuttle::Descriptor;
#[cfg(safepoint_shuttle)]
pub(super) use shuttle::{Event, Events, HangUps, Poller};
