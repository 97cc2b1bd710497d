//! The queue of a group: the sessions that wait for a worker, and the permits of the workers.
//!
//! A worker is *active* while it runs a session or looks for one; it has a permit then. An active
//! worker with nothing to run is *idle*: it waits at the poller. It runs the first session whose
//! socket becomes readable, so that a command costs no hand-over between threads. A worker that
//! blocks in place releases its permit. If there are too many active workers when it comes back, it
//! becomes a *spare*, until its idle timeout.
//!
//! While a worker is idle, no session stays in the queue. A thread that queues a session wakes an
//! idle worker, and a worker that takes one and leaves others wakes the next. While no worker is
//! idle, the listener (`pool/listener.rs`) moves readable sessions into the queue, where the order
//! of `queue.rs` holds. It adds permits if no session is taken.

mod lanes;
mod listener;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
mod queue;
mod workers;

pub use lanes::EMERGENCY_DELAY;
pub(super) use listener::{ListenerStep, StallDetector};
pub use queue::HIGH_PRIORITY_BURST;
pub(super) use queue::{Queue, Size};
pub(super) use workers::{PollEnd, Wakeup, WorkerStep};

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests;
