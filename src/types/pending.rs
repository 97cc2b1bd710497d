//! Reasons why a session has not ended yet, and results of probes.

use crate::types::helper::HelperInfo;
use crate::types::hold_off::ActiveHoldOff;
use crate::types::interrupt::InterruptKind;
use crate::types::location::CallSite;
use crate::types::request::{Request, TerminateMode};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ProbeResult {
    /// No thread runs the session, or it is in a wait that an interrupt ends. It needs no safe
    /// point.
    NotRunning,
    /// The session runs, and this call has set a probe. Call again later.
    #[non_exhaustive]
    Requested {
        /// The last safe point that was stored.
        last_safe_point: Option<CallSite>,
    },
    /// The session runs, and has passed no safe point since an earlier call set the probe.
    #[non_exhaustive]
    Unanswered {
        /// The time since the probe was set.
        elapsed: Duration,
        /// The last safe point that was stored.
        last_safe_point: Option<CallSite>,
    },
}

/// The progress of a rollback, in units of the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    completed: u64,
    total: Option<u64>,
}

impl Progress {
    /// Creates the progress of a rollback that has completed this many units. The total is unknown.
    #[must_use]
    pub fn new(completed: u64) -> Progress {
        Progress { completed, total: None }
    }

    /// Sets the total number of units.
    #[must_use]
    pub fn of(self, total: u64) -> Progress {
        Progress { total: Some(total), ..self }
    }

    /// Returns the number of completed units.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Returns the total number of units, or `None` if it is unknown.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Some(total) => write!(f, "{} of {total}", self.completed),
            None => write!(f, "{}", self.completed),
        }
    }
}

/// The reason why a session or a statement with a pending request has not ended yet, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PendingReason {
    /// The request is deferred: the statement, or the transaction, continues.
    #[non_exhaustive]
    Deferred {
        /// The mode of the request.
        mode: TerminateMode,
    },
    /// The session's command waits for a thread.
    Queued,
    /// No thread runs the session. Its owner has been woken, and has not ended it yet.
    Detached,
    /// The session runs, and has passed no safe point since the request fell due.
    #[non_exhaustive]
    NoSafePoint {
        /// A lower bound of the time since the last safe point. Zero if no bound is known, because
        /// a deferred request has fallen due at an unknown time.
        elapsed: Duration,
        /// The last safe point that was stored. A safe point is stored only when it answers a
        /// [probe](crate::diagnose::ProbeResult), so there may have been later ones before the
        /// request fell due.
        last_safe_point: Option<CallSite>,
    },
    /// A hold-off is in force. This is the outermost one.
    HeldOff(ActiveHoldOff),
    /// The session is in a wait that the request does not end. See
    /// [`SessionInfo::uninterruptible_wait`].
    ///
    /// [`SessionInfo::uninterruptible_wait`]: crate::view::SessionInfo::uninterruptible_wait
    UninterruptibleWait(CallSite),
    /// A safe point has reported the interrupt, or the code [rolls
    /// back](crate::Attached::begin_rollback).
    #[non_exhaustive]
    RollingBack {
        /// The safe point, or the start of the rollback.
        call_site: CallSite,
        /// The progress of the rollback, if the code reports it.
        progress: Option<Progress>,
    },
    /// The statement or the session has ended for its client, and helpers still work for it.
    #[non_exhaustive]
    ActiveHelpers {
        /// The number of helpers.
        count: usize,
        /// One of them.
        first: HelperInfo,
    },
}

impl fmt::Display for PendingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PendingReason::Deferred { mode: TerminateMode::AfterTransaction } => {
                f.write_str("it may finish its transaction")
            }
            PendingReason::Deferred { .. } => f.write_str("it may finish its statement"),
            PendingReason::Queued => f.write_str("queued for a worker"),
            PendingReason::Detached => f.write_str("its holder has not ended it yet"),
            PendingReason::NoSafePoint { elapsed, last_safe_point } => {
                write!(f, "no safe point for at least {} ms", elapsed.as_millis())?;
                last_safe_point.map_or(Ok(()), |last| write!(f, ", the last one known at {last}"))
            }
            PendingReason::HeldOff(held) => write!(f, "held off by {held}"),
            PendingReason::UninterruptibleWait(call_site) => {
                write!(f, "in a wait that can't be interrupted, at {call_site}")
            }
            PendingReason::RollingBack { call_site, progress } => {
                write!(f, "rolling back since {call_site}")?;
                progress.map_or(Ok(()), |progress| write!(f, ", {progress} rolled back"))
            }
            PendingReason::ActiveHelpers { count: 1, first } => {
                write!(f, "a helper is active: {first}")
            }
            PendingReason::ActiveHelpers { count, first } => {
                write!(f, "{count} helpers are active, one of them: {first}")
            }
        }
    }
}

/// A request that is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PendingInterrupt {
    /// Whether the session or the statement ends.
    pub kind: InterruptKind,
    /// The mode of a termination; `None` for a cancel.
    pub mode: Option<TerminateMode>,
    /// The request, with its requester, reason and comment.
    pub request: Arc<Request>,
    /// The time of the request.
    pub requested_at: SystemTime,
    /// The safe point that reported the request, or `None` if none has.
    pub observed_at: Option<CallSite>,
}

/// Formats the request as `pg_stat_activity` shows it, without the time: `terminate (immediate) by
/// omm`.
impl fmt::Display for PendingInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(mode) = self.mode {
            write!(f, " ({mode})")?;
        }
        let requester = &self.request.requester;
        match (&requester.user, requester.session) {
            (Some(user), _) => write!(f, " by {user}"),
            (None, Some(session)) => write!(f, " by session {session}"),
            (None, None) => Ok(()),
        }
    }
}
