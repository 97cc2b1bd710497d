#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod about;
mod activity;
mod ambient;
mod blocking;
mod current;
mod drain;
mod hold;
mod id;
mod interrupt;
mod kill;
mod local;
mod manager;
mod outcome;
mod places;
#[cfg(all(target_os = "linux", not(safepoint_loom)))]
pub mod pool;
mod record;
mod registry;
mod session;
pub mod sql;
mod sync;
mod thread;
mod twin;
mod values;
mod wait;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
mod watchdog;
mod why;
mod word;

pub use about::{Description, STATEMENT_TEXT_BYTES};
pub use activity::{SessionRow, Sessions, ThreadRow};
pub use ambient::{
    block_on, block_on_for, check, current_author, current_session, current_thread, sleep,
};
pub use blocking::blocking;
pub use drain::Drained;
pub use hold::{HoldOff, Unwinding};
pub use id::{InvalidId, SessionId, StatementId, ThreadId};
pub use interrupt::{Author, Interrupt, InterruptKind, Reason, Request, When};
pub use kill::{Doing, Found, Policy, Receipt, Refused, SameUserOrAdmin, Target};
pub use local::{NoSession, SessionLocal};
pub use manager::{Cancel, SessionManager, SessionManagerBuilder, Terminate};
pub use outcome::{Ended, HowEnded, StatementOver};
pub use record::Probe;
pub use registry::OpenError;
pub use session::{AttachError, Attached, Session, Statement};
#[cfg(safepoint_loom)]
pub use sync::unwinding;
pub use thread::{Thread, ThreadModel};
#[cfg(any(safepoint_loom, safepoint_shuttle))]
pub use twin::Twin;
pub use wait::EndedBy;
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
pub use watchdog::{Stalled, Watchdog, assert_responsive};
pub use why::{HeldOff, PendingInterrupt, Progress, Spot, WhyNotYet};
