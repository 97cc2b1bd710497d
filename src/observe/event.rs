//! Events, and the audit that receives them.

use crate::types::client_info::ClientInfo;
use crate::types::error::RequestError;
use crate::types::id::SessionId;
use crate::types::interrupt::InterruptKind;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::pending::StalledSession;
use crate::types::reason::InterruptReason;
use crate::types::request::{Request, Requester, Target, TerminateMode};
use crate::types::state::TargetSnapshot;

/// Something that happened to a session, or did not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A session was opened. Mostly its user is not known yet.
    #[non_exhaustive]
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Information about the client.
        client: &'a ClientInfo,
    },
    /// A request was accepted.
    #[non_exhaustive]
    InterruptRequested {
        /// The target.
        session: SessionId,
        /// Whether it ends the statement or the session.
        kind: InterruptKind,
        /// When a termination falls due; `None` for a cancel.
        mode: Option<TerminateMode>,
        /// The request, with its requester, time and comment.
        request: &'a Request,
        /// Where it found its target.
        target_state: TargetSnapshot,
    },
    /// A request was rejected: the requester has no permission, or there is no such target. A text
    /// that is no id is an error of the caller, and no request.
    #[non_exhaustive]
    RequestRejected {
        /// The target that the request named.
        target: Target,
        /// Whether the request was for a statement or a session.
        kind: InterruptKind,
        /// The requester.
        requester: &'a Requester,
        /// The reason.
        error: &'a RequestError,
    },
    /// A safe point has reported a request, for the first time.
    #[non_exhaustive]
    InterruptObserved {
        /// The session that saw it.
        session: SessionId,
        /// Whether it ends the statement or the session.
        kind: InterruptKind,
        /// The request.
        request: &'a Request,
    },
    /// A statement with a pending cancel has ended. Its receipts complete after this event.
    #[non_exhaustive]
    StatementEnded {
        /// The session that ran it.
        session: SessionId,
        /// The request.
        request: &'a Request,
        /// Whether the statement ended because of the request.
        end: StatementEnd,
    },
    /// A session has used up one of its time limits.
    #[non_exhaustive]
    TimeoutExpired {
        /// Which session.
        session: SessionId,
        /// Which limit.
        reason: InterruptReason,
    },
    /// A session has gone for longer than a [watchdog](crate::diagnose::Watchdog)'s limit without a safe
    /// point.
    #[non_exhaustive]
    SessionStalled {
        /// Which, for how long, and where it was last.
        stalled: &'a StalledSession,
    },
    /// A session has ended. Its receipts are complete a moment later.
    #[non_exhaustive]
    SessionEnded {
        /// Which.
        session: SessionId,
        /// How.
        end: &'a SessionEnd,
    },
}

/// Receives the events of a manager, for example to log them.
///
/// It is called on the thread that causes the event, without a lock of this library held, so it may
/// list sessions and even end them. That thread waits for it. A panic in it is caught, and has no
/// other effect. Events of one session are in order, except that no thread waits for another: a
/// request may be reported before the thread that opened the session reports that, and the end of
/// the session before the requester's thread reports the request.
///
/// # Examples
///
/// ```
/// use safepoint::{SessionManager, ThreadModel, audit::Event};
///
/// let audit = |event: &Event<'_>| eprintln!("{event:?}");
/// let manager = SessionManager::builder(ThreadModel::PerSession).audit(audit).build();
/// ```
pub trait Audit: Send + Sync {
    /// Receives an event. It must not block for long, since the thread that caused the event waits.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Audit for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}
