//! Events, and the audit that receives them.

use crate::types::client_info::ClientInfo;
use crate::types::error::RequestError;
use crate::types::id::SessionId;
use crate::types::interrupt::InterruptKind;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::reason::InterruptReason;
use crate::types::reports::{OverdueInterrupt, StalledSession};
use crate::types::request::{Request, Requester, Target, TerminateMode};
use crate::types::state::TargetSnapshot;

/// An event of a session, or a request that reached no session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A session was opened. Its user is mostly not known yet.
    #[non_exhaustive]
    SessionOpened {
        /// The session.
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
        /// The mode of a termination; `None` for a cancel.
        mode: Option<TerminateMode>,
        /// The request, with its requester, time and comment.
        request: &'a Request,
        /// The state of the target when the request reached it.
        target_state: TargetSnapshot,
    },
    /// A request was rejected: the requester has no permission, or there is no such target. Text that
    /// is no valid id is an error of the caller, and causes no event.
    #[non_exhaustive]
    RequestRejected {
        /// The target that the request named.
        target: Target,
        /// Whether the request was for a statement or a session.
        kind: InterruptKind,
        /// The requester.
        requester: &'a Requester,
        /// Why the request was rejected.
        error: &'a RequestError,
    },
    /// A safe point has reported a request for the first time.
    #[non_exhaustive]
    InterruptObserved {
        /// The session that observed the request.
        session: SessionId,
        /// Whether it ends the statement or the session.
        kind: InterruptKind,
        /// The request.
        request: &'a Request,
    },
    /// A statement with a pending cancel has ended. Its receipts complete after this event.
    #[non_exhaustive]
    StatementEnded {
        /// The session that ran the statement.
        session: SessionId,
        /// The request for the cancel.
        request: &'a Request,
        /// Whether the statement observed the cancel.
        end: StatementEnd,
    },
    /// One of a session's timeouts has expired. A session that runs may observe the interrupt before this event is
    /// received. A session that waits is woken after it.
    #[non_exhaustive]
    TimeoutExpired {
        /// The session.
        session: SessionId,
        /// The timeout, as the reason of the interrupt.
        reason: InterruptReason,
    },
    /// A session, or a helper of one of its statements, has run for longer than the limit of a
    /// [watchdog](crate::diagnose::Watchdog) without a safe point.
    #[non_exhaustive]
    SessionStalled {
        /// The session, the time, and its last safe point.
        stalled: &'a StalledSession,
    },
    /// A request has been due for longer than the limit of a
    /// [watchdog](crate::diagnose::WatchdogBuilder::overdue), and its session or statement has not ended.
    #[non_exhaustive]
    InterruptOverdue {
        /// The session, the request, the time, and the reason.
        overdue: &'a OverdueInterrupt,
    },
    /// A session has ended. Its receipts complete after this event.
    #[non_exhaustive]
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Why it ended.
        end: &'a SessionEnd,
    },
}

/// Receives the events of a manager, for example to log them.
///
/// It is called on the thread that causes the event, without a lock of this library held, so it may
/// list sessions and even end them. That thread waits for it. A panic in it is caught, and has no
/// other effect.
///
/// The events of one session are in order, but no thread waits for another. So a request may be
/// reported before the thread that opened the session reports the session, and the end of the
/// session may be reported before the request.
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
    /// Receives an event. Must not block for long, since the thread that caused the event waits.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Audit for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}
