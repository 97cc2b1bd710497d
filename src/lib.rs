//! A session manager for servers: cancel statements and terminate sessions at safe points, with a
//! thread for each session, a thread pool, or async tasks.
//!
//! A [`Session`] is one client's logical connection. The thread that runs it
//! [attaches](Session::attach) it and calls [`check`](Attached::check) often. Each call is a *safe
//! point*: it returns an [`Interrupt`] if the session or its statement must end. Any thread may
//! request that from the [`SessionManager`], and gets a [`Receipt`] for the outcome.
//!
//! ```
//! use safepoint::{ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel};
//!
//! let manager = SessionManager::new(ThreadModel::PerSession);
//! let mut session = manager.open(ClientInfo::default())?;
//! let thread = session.own_thread().expect("each session has its own");
//! let attached = session.attach(&thread)?;
//! attached.check()?;
//!
//! let request = Terminate::new(TerminateMode::Immediate, Requester::system());
//! let receipt = manager.terminate(attached.id(), request)?;
//! assert_eq!(attached.check().unwrap_err().sqlstate(), "57P01");
//! assert!(receipt.try_get().is_none(), "the session has not ended yet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! - [`current`]: functions for code that has no reference to the session. They use the session that is
//!   attached to the calling thread.
//! - [`session`], [`manager`], [`request`]: arguments and results of the types at the root.
//! - [`view`], [`diagnose`]: rows of sessions, and reasons why a session has not ended yet.
//! - [`policy`], [`audit`]: permissions and events.
//! - [`local`]: one value for each session; see [`session_local!`].
//! - [`pool`](https://docs.rs/safepoint/latest/x86_64-unknown-linux-gnu/safepoint/pool/index.html): a thread
//!   pool, on Linux. `task`: async tasks, with the feature `async`. [`sql`]: the SQL commands.
//! - [`guide`](https://docs.rs/safepoint/latest/safepoint/guide/index.html): where safe points belong, how to
//!   make a blocking call interruptible, how to port a server; operating; limitations.
//!
//! # Platforms
//!
//! The pool and the waits for sockets are available on Linux only, all other items on every platform.
//!
//! # Features
//!
//! All features are off by default.
//!
//! - `async`: sessions as tasks of any async runtime: `Session::run`, `Session::run_with`,
//!   `Session::interrupted`.
//! - `crossbeam-channel`: `Attached::recv`, an interruptible wait for a message of a channel.
//! - `serde`: `Serialize` for ids (as numbers), rows, requests, errors and outcomes, and `Deserialize` for
//!   the settings `Timeouts` and `ThreadPoolAttr`.
//! - `tracing`: an event with the target `safepoint` for each [`Event`](crate::audit::Event). The session, the
//!   requester and the reason are its fields. The level is `DEBUG` for sessions that open and for observed
//!   interrupts. It is `WARN` for requests without permission, and for sessions and requests that a
//!   [`Watchdog`](crate::diagnose::Watchdog) reports. It is `INFO` for all other events.
//! - `metrics`: counters, histograms and gauges.
//!
//! The metrics are:
//!
//! - counters: `safepoint_sessions_opened_total`, `safepoint_sessions_ended_total` (by `reason`),
//!   `safepoint_kills_total` (by `kind` and `outcome`: accepted, observed, or the reason of the rejection),
//!   `safepoint_timeouts_total`, `safepoint_stalls_total` and `safepoint_overdue_total` (by `kind`);
//! - the histogram `safepoint_kill_to_end_seconds` (by `kind`);
//! - the histogram `safepoint_safe_point_gap_seconds`: the time from a probe to the next safe point of the
//!   session. A [`Watchdog`](crate::diagnose::Watchdog) probes all running sessions;
//! - gauges that `SessionManager::record_metrics` sets: `safepoint_sessions` (by `state`);
//! - gauges that `Pool::record_metrics` sets: `safepoint_queue_length` and `safepoint_workers` (by `group`).
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(safepoint_loom, safepoint_shuttle))))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod core;
#[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
pub mod guide;
pub mod manager;
mod observe;
#[cfg(all(target_os = "linux", not(safepoint_loom)))]
pub mod pool;
pub mod session;
pub mod sql;
mod sync;
mod types;

#[doc(inline)]
pub use crate::manager::manager::SessionManager;
#[doc(inline)]
pub use crate::session::ambient::check;
#[doc(inline)]
pub use crate::session::attached::{Attached, Statement};
#[doc(inline)]
pub use crate::session::receipt::Receipt;
#[doc(inline)]
pub use crate::session::session::Session;
#[doc(inline)]
pub use crate::session::thread::Thread;
#[doc(inline)]
pub use crate::types::client_info::ClientInfo;
#[doc(inline)]
pub use crate::types::id::SessionId;
#[doc(inline)]
pub use crate::types::interrupt::Interrupt;
#[doc(inline)]
pub use crate::types::model::ThreadModel;
#[doc(inline)]
pub use crate::types::request::{Cancel, Requester, Terminate, TerminateMode};

/// Functions for code that has no reference to the session. They act on the session that is
/// attached to the calling thread.
pub mod current {
    pub use crate::session::ambient::{
        check, client_info, requester, session_id, set_in_transaction, thread_id, try_check,
        update_client_info,
    };
    pub use crate::session::block_in_place::block_in_place;
    pub use crate::session::current::without_session;
    pub use crate::session::helper::statement;
    pub use crate::session::hold_off::hold_off;
    pub use crate::session::timeouts::{set_timeouts, timeouts, with_lock_timeout};
    pub use crate::session::wait::ambient::{
        block_on, block_on_timeout, park, park_deadline, park_waker, sleep, wait,
    };
    #[cfg(all(feature = "crossbeam-channel", not(any(safepoint_loom, safepoint_shuttle))))]
    pub use crate::session::wait::channel::recv;
    #[cfg(all(target_os = "linux", not(any(safepoint_loom, safepoint_shuttle))))]
    pub use crate::session::wait::socket::{wait_readable, wait_writable};
    pub use crate::session::wait::stop::with_interrupt_waker;
}

/// Ids of sessions, threads and statements.
pub mod id {
    pub use crate::types::id::{InvalidIdError, StatementId, ThreadId};
}

/// Requests to end a session or a statement, their targets, errors and outcomes.
pub mod request {
    pub use crate::types::error::RequestError;
    pub use crate::types::interrupt::InterruptKind;
    pub use crate::types::outcome::{EndReason, SessionEnd, StatementEnd};
    pub use crate::types::reason::InterruptReason;
    pub use crate::types::request::{Request, Target};
    pub use crate::types::state::TargetSnapshot;
}

/// Rows of sessions and threads, for an activity view.
pub mod view {
    pub use crate::core::metadata::STATEMENT_TEXT_BYTES;
    pub use crate::manager::info::{SessionInfo, Sessions, ThreadInfo};
    pub use crate::manager::manager::VisibleSessions;
    pub use crate::types::helper::HelperInfo;
    pub use crate::types::state::SessionState;
}

/// Reasons why a session has not ended yet, sessions without safe points, and overdue requests.
pub mod diagnose {
    #[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
    pub use crate::manager::watchdog::{Watchdog, WatchdogBuilder, assert_responsive};
    pub use crate::types::hold_off::ActiveHoldOff;
    pub use crate::types::location::CallSite;
    pub use crate::types::pending::{PendingInterrupt, PendingReason, ProbeResult, Progress};
    pub use crate::types::reports::{OverdueInterrupt, StalledSession};
}

/// Policies: permissions of requesters.
pub mod policy {
    pub use crate::manager::policy::{Policy, Roles, SameUserOrAdmin};
}

/// Events and the audit.
pub mod audit {
    pub use crate::observe::event::{Audit, Event};
}

/// Session-local values.
pub mod local {
    pub use crate::session::local::SessionLocal;
    pub use crate::types::error::NoSessionError;
}

/// Sessions as tasks of an async runtime. A session is attached during each poll.
///
/// ```
/// use safepoint::Session;
/// use safepoint::task::RunError;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt, Result};
/// use tokio::net::TcpStream;
///
/// pub async fn serve(mut session: Session, mut socket: TcpStream) -> Result<()> {
///     let mut line = [0; 1024];
///     loop {
///         let length = tokio::select! {
///             length = socket.read(&mut line) => length?,
///             interrupt = session.interrupted() => {
///                 return socket.write_all(format!("FATAL: {interrupt}\n").as_bytes()).await;
///             }
///         };
///         if length == 0 {
///             return Ok(());
///         }
///         let work = async { String::from_utf8_lossy(&line[..length]).to_uppercase() };
///         let answer = match session.run(work).with_text("to uppercase").await {
///             Ok(answer) => answer,
///             Err(RunError::Interrupted(cancel)) if !cancel.is_terminate() => format!("ERROR: {cancel}\n"),
///             Err(error) => return socket.write_all(format!("FATAL: {error}\n").as_bytes()).await,
///         };
///         tokio::select! {
///             // An answer that fits the socket is sent first.
///             biased;
///             written = socket.write_all(answer.as_bytes()) => written?,
///             // The client does not read, so it cannot be notified.
///             _ = session.interrupted() => return Ok(()),
///         }
///     }
/// }
/// ```
#[cfg(feature = "async")]
pub mod task {
    pub use crate::session::run_with::{Returned, RunWith};
    pub use crate::session::task::{Interrupted, Run, RunError};
}

/// The README's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
