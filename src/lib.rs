// The README's links, where they lead from here: whoever defines one first, defines it.
//! [guide]: crate::guide
//! [Operating]: crate::guide::operating
//! [limitations]: crate::guide::limitations
//! [benchmarks]: https://docs.rs/crate/safepoint/latest/source/BENCHMARKS.md
//! [contention]: https://docs.rs/crate/safepoint/latest/source/docs/contention.md
//! [MIT]: https://docs.rs/crate/safepoint/latest/source/LICENSE-MIT
//! [Apache-2.0]: https://docs.rs/crate/safepoint/latest/source/LICENSE-APACHE
//!
#![doc = include_str!("../README.md")]
//! # Features
//!
//! None is on by default.
//!
//! - `async`: sessions as tasks of whatever runtime there is: `Session::run`,
//!   `Session::interrupted`.
//! - `serde`: `Serialize` for ids (as numbers), rows, requests, refusals and outcomes.
//! - `tracing`: an event with the target `safepoint` for each [`Event`]; who, whom and why are
//!   fields of it. Sessions that open and requests that are seen are on the level `DEBUG`,
//!   requests for which the permission is missing and sessions that a [`Watchdog`] reports on
//!   `WARN`, all else on `INFO`.
//! - `metrics`: the counters `safepoint_sessions_opened_total`, `safepoint_sessions_ended_total`
//!   (by `how`), `safepoint_kills_total` (by `kind` and `outcome`: accepted, seen, or why it was
//!   refused), `safepoint_limits_hit_total` and `safepoint_stalls_total`; the histograms `safepoint_kill_to_end_seconds`
//!   (by `kind`) and `safepoint_gap_seconds`, how long a session that was probed took to its next
//!   safe point (a [`Watchdog`] probes all that run); and the gauges that
//!   `SessionManager::record_sessions` and `Pool::record_queues` set: `safepoint_sessions` (by
//!   `state`), `safepoint_queue_length` and `safepoint_workers` (by `group`).
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(safepoint_loom, safepoint_shuttle))))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod about;
mod activity;
mod aim;
mod ambient;
mod attached;
mod audit;
mod bell;
mod blocking;
mod contain;
mod current;
mod drain;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
pub mod guide;
mod hold;
mod home;
mod id;
mod interrupt;
mod kill;
mod local;
mod manager;
mod outcome;
mod places;
mod policy;
#[cfg(all(target_os = "linux", not(safepoint_loom)))]
pub mod pool;
mod record;
mod registry;
mod session;
pub mod sql;
mod stamp;
mod sweep;
mod sync;
#[cfg(feature = "async")]
mod task;
#[cfg(any(feature = "tracing", feature = "metrics"))]
mod telemetry;
mod thread;
mod timeout;
mod timer;
mod values;
mod wait;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
mod watchdog;
mod why;
mod word;

pub use about::{Description, STATEMENT_TEXT_BYTES};
pub use activity::{SessionRow, Sessions, ThreadRow};
pub use ambient::{
    block_on, block_on_for, check, current_author, current_session, current_thread, describe,
    set_transaction, sleep,
};
pub use attached::{Attached, Statement};
pub use audit::{Audit, Event};
pub use blocking::blocking;
pub use drain::Drained;
pub use hold::{HoldOff, Unwinding, hold_off};
pub use id::{InvalidId, SessionId, StatementId, ThreadId};
pub use interrupt::{Author, Interrupt, InterruptKind, Reason, Request, When};
pub use kill::{Doing, Found, Receipt, Refused, Target};
pub use local::{NoSession, SessionLocal};
pub use manager::{Cancel, SessionManager, SessionManagerBuilder, Terminate};
pub use outcome::{Ended, HowEnded, StatementOver};
pub use policy::{Policy, Roles, SameUserOrAdmin};
pub use record::Probe;
pub use registry::OpenError;
pub use session::{AttachError, Session};
pub use sweep::{Sweep, Swept};
#[cfg(safepoint_loom)]
pub use sync::{set_clock, set_near, set_session_shards, unwinding};
#[cfg(feature = "async")]
pub use task::{Interrupted, Run, RunError};
pub use thread::{Thread, ThreadModel};
pub use timeout::{Limits, current_limits, lock_wait, set_limits};
pub use wait::EndedBy;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
pub use watchdog::{Watchdog, assert_responsive};
pub use why::{HeldOff, PendingInterrupt, Progress, Spot, Stalled, WhyNotYet};
