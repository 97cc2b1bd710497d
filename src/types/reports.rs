//! The reports of a watchdog.

use crate::types::helper::HelperInfo;
use crate::types::hold_off::ActiveHoldOff;
use crate::types::id::{SessionId, ThreadId};
use crate::types::interrupt::InterruptKind;
use crate::types::location::CallSite;
use crate::types::pending::{PendingInterrupt, PendingReason};
use crate::types::state::SessionState;
use std::fmt;
use std::time::Duration;

/// A session that has passed no safe point for longer than the limit of a watchdog, on the thread that
/// runs it or on a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StalledSession {
    /// The id of the session.
    pub session: SessionId,
    /// The thread that runs the session, or `None` if the session has already left it.
    pub thread: Option<ThreadId>,
    /// The helper that has passed no safe point, or `None` if it is the thread that runs the session.
    /// The statement of the helper, and even its session, may have ended.
    pub helper: Option<HelperInfo>,
    /// A lower bound of the time since the last safe point.
    pub elapsed: Duration,
    /// The last safe point that was stored, of the helper if there is one. A safe point is stored only
    /// when it answers a probe of the watchdog, so there may have been later ones.
    pub last_safe_point: Option<CallSite>,
    /// The hold-off that is in force, if any. With a helper, it is a hold-off of the helper.
    pub hold_off: Option<ActiveHoldOff>,
    /// The wait that the session is in, if the wait cannot be interrupted. `None` for a helper.
    pub wait: Option<CallSite>,
    /// The text of the running statement, or of the last statement with a text. Empty if the
    /// running statement has none. With a helper, the text of its statement, and empty if another
    /// statement with a text has begun.
    pub text: String,
}

impl fmt::Display for StalledSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StalledSession { session, elapsed, last_safe_point, .. } = self;
        if let Some(helper) = &self.helper {
            write!(f, "a helper of session {session} passed no safe point for ")?;
            // The row has the last safe point and the hold-off.
            return write!(f, "{} ms, {helper}: {}", elapsed.as_millis(), self.text);
        }
        write!(f, "session {session} passed no safe point for {} ms", elapsed.as_millis())?;
        if let Some(last) = last_safe_point {
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

/// A request that has been due for longer than the limit of a watchdog, and whose session or statement
/// has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OverdueInterrupt {
    /// The id of the session.
    pub session: SessionId,
    /// The request, with its requester and its time.
    pub pending: PendingInterrupt,
    /// The time since the request fell due. A lower bound if the request was deferred.
    pub elapsed: Duration,
    /// Why the session or the statement has not ended yet.
    pub reason: PendingReason,
    /// The state of the session.
    pub state: SessionState,
    /// The thread that runs the session, or `None` if no thread does.
    pub thread: Option<ThreadId>,
    /// The text of the running statement, or of the last statement with a text. Empty if the
    /// running statement has none.
    pub text: String,
}

impl fmt::Display for OverdueInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverdueInterrupt { session, pending, elapsed, reason, state, text, .. } = self;
        f.write_str(match pending.kind {
            InterruptKind::Terminate => "session",
            InterruptKind::Cancel => "a statement of session",
        })?;
        write!(f, " {session} ({state}) has not ended {} ms after ", elapsed.as_millis())?;
        write!(f, "{pending}: {reason}: {text}")
    }
}
