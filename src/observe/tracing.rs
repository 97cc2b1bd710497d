//! Events as `tracing` events.

use crate::observe::event::Event;
use crate::types::error::RequestError;
use crate::types::outcome::EndReason;
use crate::types::pending::PendingInterrupt;
use crate::types::reports::OverdueInterrupt;
use crate::types::request::{Requester, Target};
use tracing::{debug, info, warn};

/// The requester, as fields of an event. Ids are numbers, and unknown fields are left out.
struct By<'a> {
    session: Option<u64>,
    user: Option<&'a str>,
    address: Option<&'a str>,
}

impl<'a> From<&'a Requester> for By<'a> {
    fn from(author: &'a Requester) -> By<'a> {
        By {
            session: author.session.map(|id| id.get()),
            user: author.user.as_deref(),
            address: author.address.as_deref(),
        }
    }
}

pub(crate) fn trace(event: &Event<'_>) {
    match *event {
        Event::SessionOpened { session, client: description } => debug!(
            target: "safepoint",
            session = session.get(),
            user = &*description.user,
            address = &*description.address,
            "session opened"
        ),
        Event::InterruptRequested { session, kind, mode: when, request, target_state: found } => {
            let by = By::from(&request.requester);
            info!(
                target: "safepoint",
                session = session.get(),
                kind = kind.name(),
                mode = when.map(tracing::field::debug),
                reason = ?request.reason,
                requester.session = by.session,
                requester.user = by.user,
                requester.address = by.address,
                comment = request.comment.as_deref(),
                state = %found.state,
                statement = found.statement_id.map(|statement| statement.get()),
                thread = found.thread_id.map(|thread| thread.get()),
                "interrupt requested"
            );
        }
        Event::RequestRejected { target, kind, requester, error } => {
            let (session, thread) = match target {
                Target::Session(id) => (Some(id.get()), None),
                Target::AttachedTo(thread) => (None, Some(thread.get())),
                Target::Pair(thread, id) => (Some(id.get()), Some(thread.get())),
            };
            let by = By::from(requester);
            macro_rules! emit {
                ($level:ident, $message:literal) => {
                    $level!(
                        target: "safepoint",
                        session,
                        thread,
                        kind = kind.name(),
                        requester.session = by.session,
                        requester.user = by.user,
                        requester.address = by.address,
                        sqlstate = error.sqlstate(),
                        error = %error,
                        $message
                    )
                };
            }
            if let RequestError::PermissionDenied(_) = error {
                emit!(warn, "permission denied");
            } else {
                emit!(info, "request rejected");
            }
        }
        Event::InterruptObserved { session, kind, request } => debug!(
            target: "safepoint",
            session = session.get(),
            kind = kind.name(),
            reason = ?request.reason,
            seconds = request.elapsed().as_secs_f64(),
            "interrupt observed"
        ),
        Event::StatementEnded { session, request, end } => info!(
            target: "safepoint",
            session = session.get(),
            cancelled = end.cancelled,
            reason = ?request.reason,
            seconds = request.elapsed().as_secs_f64(),
            "statement ended"
        ),
        Event::SessionStalled { stalled } => warn!(
            target: "safepoint",
            session = stalled.session.get(),
            thread = stalled.thread.map(|thread| thread.get()),
            helper = stalled.helper.map(tracing::field::display),
            seconds = stalled.elapsed.as_secs_f64(),
            last_safe_point = stalled.last_safe_point.map(tracing::field::display),
            hold_off = stalled.hold_off.map(tracing::field::display),
            wait = stalled.wait.map(tracing::field::display),
            text = stalled.text.as_str(),
            "session stalled"
        ),
        Event::InterruptOverdue { overdue } => trace_overdue(overdue),
        Event::TimeoutExpired { session, reason } => info!(
            target: "safepoint",
            session = session.get(),
            reason = ?reason,
            "timeout expired"
        ),
        Event::SessionEnded { session, end } => {
            let (how, request) = match &end.reason {
                EndReason::Terminated(request) => ("terminated", Some(request)),
                EndReason::Panicked => ("panicked", None),
                _ => ("closed", None),
            };
            info!(
                target: "safepoint",
                session = session.get(),
                how,
                reason = request.map(|request| tracing::field::debug(request.reason)),
                seconds = request.map(|request| request.elapsed().as_secs_f64()),
                "session ended"
            );
        }
    }
}

fn trace_overdue(overdue: &OverdueInterrupt) {
    let PendingInterrupt { kind, mode, request, .. } = &overdue.pending;
    let by = By::from(&request.requester);
    warn!(
        target: "safepoint",
        session = overdue.session.get(),
        kind = kind.name(),
        mode = mode.map(tracing::field::debug),
        reason = ?request.reason,
        requester.session = by.session,
        requester.user = by.user,
        requester.address = by.address,
        comment = request.comment.as_deref(),
        pending = %overdue.reason,
        state = %overdue.state,
        thread = overdue.thread.map(|thread| thread.get()),
        seconds = overdue.elapsed.as_secs_f64(),
        text = overdue.text.as_str(),
        "interrupt overdue"
    );
}
