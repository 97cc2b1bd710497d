//! Reasons why a session has not ended yet, and the answers of probes.

use crate::types::id::{SessionId, ThreadId};
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
    /// No thread runs it, or it sleeps where an interrupt ends the sleep: it needs no safe point.
    NotRunning,
    /// It runs, and was asked by this very call; ask again.
    #[non_exhaustive]
    Requested {
        /// The last safe point that was noted.
        last_safe_point: Option<CallSite>,
    },
    /// It runs, was asked before, and has passed no safe point since.
    #[non_exhaustive]
    Unanswered {
        /// For so long.
        elapsed: Duration,
        /// The last safe point that was noted.
        last_safe_point: Option<CallSite>,
    },
}

/// A hold-off in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ActiveHoldOff {
    /// The name that the code gave it.
    pub name: &'static str,
    /// Where it began, and when.
    pub spot: CallSite,
}

impl fmt::Display for ActiveHoldOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.spot)
    }
}

/// The progress of a rollback, in units of the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    completed: u64,
    total: Option<u64>,
}

impl Progress {
    /// Creates the progress of a rollback that has completed this many units, of a number that is not
    /// known.
    #[must_use]
    pub fn new(completed: u64) -> Progress {
        Progress { completed, total: None }
    }

    /// Sets the number of all units.
    #[must_use]
    pub fn of(self, total: u64) -> Progress {
        Progress { total: Some(total), ..self }
    }

    /// Returns the number of completed units.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Returns the number of all units, if it is known.
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

/// The reason why a session or a statement with a pending request has not ended yet, as of one
/// moment.
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
    /// Its command waits for a thread.
    Queued,
    /// No thread runs it. Its holder has been woken, and has not ended it yet.
    Detached,
    /// It runs, and has passed no safe point since the request fell due.
    #[non_exhaustive]
    NoSafePoint {
        /// The least time since the last safe point. Zero if it is not known, because a deferred
        /// request has fallen due at an unknown time.
        elapsed: Duration,
        /// The last safe point that was stored. A safe point is stored only when it answers a
        /// [probe](crate::diagnose::ProbeResult), so there may have been later ones before the
        /// request fell due.
        last_safe_point: Option<CallSite>,
    },
    /// A hold-off is in force: the outermost one.
    HeldOff(ActiveHoldOff),
    /// It is in a wait that the request does not end. See [`SessionInfo::uninterruptible_wait`].
    ///
    /// [`SessionInfo::uninterruptible_wait`]: crate::view::SessionInfo::uninterruptible_wait
    UninterruptibleWait(CallSite),
    /// A safe point has reported the interrupt, or the code [rolls
    /// back](crate::Attached::begin_rollback).
    #[non_exhaustive]
    RollingBack {
        /// The safe point, or the begin of the rollback.
        spot: CallSite,
        /// The progress of the rollback, if the code reports it.
        progress: Option<Progress>,
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
            PendingReason::NoSafePoint { elapsed: at_least, last_safe_point: last } => {
                write!(f, "no safe point for at least {} ms", at_least.as_millis())?;
                last.map_or(Ok(()), |last| write!(f, ", the last one known at {last}"))
            }
            PendingReason::HeldOff(held) => write!(f, "held off by {held}"),
            PendingReason::UninterruptibleWait(spot) => {
                write!(f, "in a wait that can't be interrupted, at {spot}")
            }
            PendingReason::RollingBack { spot, progress } => {
                write!(f, "unwinding since the safe point at {spot}")?;
                progress.map_or(Ok(()), |progress| write!(f, ", {progress} rolled back"))
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
    /// When a termination falls due; `None` for a cancel.
    pub mode: Option<TerminateMode>,
    /// The request, with its requester, reason and comment.
    pub request: Arc<Request>,
    /// When they asked.
    pub requested_at: SystemTime,
    /// The safe point that reported it, if one has.
    pub observed_at: Option<CallSite>,
}

/// In the words of `pg_stat_activity`, without the time: `terminate (immediate) by omm`.
impl fmt::Display for PendingInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(mode) = self.mode {
            write!(f, " ({mode})")?;
        }
        let author = &self.request.requester;
        match (&author.user, author.session) {
            (Some(user), _) => write!(f, " by {user}"),
            (None, Some(session)) => write!(f, " by session {session}"),
            (None, None) => Ok(()),
        }
    }
}

/// A session that has gone longer than the limit without a safe point.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StalledSession {
    /// The session.
    pub session: SessionId,
    /// The thread that runs it; `None` where it has left that by now.
    pub thread: Option<ThreadId>,
    /// It has passed no safe point for so long at least.
    pub elapsed: Duration,
    /// The last safe point that was noted. One is noted for each time that the watchdog asks, so
    /// it may have passed later ones.
    pub last_safe_point: Option<CallSite>,
    /// The hold-off that is in force.
    pub hold_off: Option<ActiveHoldOff>,
    /// The wait that it is in, if that can't be interrupted.
    pub wait: Option<CallSite>,
    /// The text of the statement that runs, or ran last.
    pub text: String,
}

impl fmt::Display for StalledSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StalledSession { session, elapsed: at_least, last_safe_point: last, .. } = self;
        write!(f, "session {session} passed no safe point for {} ms", at_least.as_millis())?;
        if let Some(last) = last {
            write!(f, ", the last one known at {last}")?;
        }
        if let Some(held) = &self.hold_off {
            write!(f, ", held off by {held}")?;
        }
        if let Some(wait) = &self.wait {
            write!(f, ", in a wait at {wait}")?;
        }
        write!(f, ": {}", self.text)
    }
}
