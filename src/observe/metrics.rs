//! Events as `metrics`.

use crate::observe::event::Event;
use crate::types::error::RequestError;
use crate::types::interrupt::InterruptKind;
use crate::types::outcome::EndReason;
use crate::types::request::Request;
use metrics::{counter, histogram};
use std::time::Duration;

pub(crate) fn count(event: &Event<'_>) {
    match *event {
        Event::InterruptRequested { kind, .. } => kill(kind, "accepted"),
        Event::RequestRejected { kind, error, .. } => kill(kind, outcome(error)),
        Event::InterruptObserved { kind, .. } => kill(kind, "observed"),
        Event::SessionEnded { end, .. } => {
            let how = match &end.reason {
                EndReason::Terminated(request) => {
                    has_ended(InterruptKind::Terminate, request);
                    "terminated"
                }
                EndReason::Panicked => "panicked",
                _ => "closed",
            };
            counter!("safepoint_sessions_ended_total", "reason" => how).increment(1);
        }
        Event::StatementEnded { request, end, .. } => {
            if end.cancelled {
                has_ended(InterruptKind::Cancel, request);
            }
        }
        Event::SessionOpened { .. } => counter!("safepoint_sessions_opened_total").increment(1),
        Event::SessionStalled { .. } => counter!("safepoint_stalls_total").increment(1),
        Event::InterruptOverdue { overdue } => {
            let kind = overdue.pending.kind.name();
            counter!("safepoint_overdue_total", "kind" => kind).increment(1);
        }
        Event::TimeoutExpired { .. } => counter!("safepoint_timeouts_total").increment(1),
    }
}

/// Records the time between a probe and the safe point that answered it.
pub(crate) fn gap(length: Duration) {
    histogram!("safepoint_safe_point_gap_seconds").record(length);
}

fn has_ended(kind: InterruptKind, request: &Request) {
    let kind = kind.name();
    histogram!("safepoint_kill_to_end_seconds", "kind" => kind).record(request.elapsed());
}

fn kill(kind: InterruptKind, outcome: &'static str) {
    let kind = kind.name();
    counter!("safepoint_kills_total", "kind" => kind, "outcome" => outcome).increment(1);
}

fn outcome(refused: &RequestError) -> &'static str {
    match refused {
        RequestError::PermissionDenied(_) => "permission denied",
        RequestError::NoSuchSession(_) | RequestError::AlreadyEnded(_) => "no such session",
        RequestError::NoActiveStatement(_)
        | RequestError::StatementEnded { .. }
        | RequestError::NoSuchStatement { .. } => "no such statement",
        RequestError::SessionChanged(_) => "session changed",
        RequestError::ThreadIdle(_) => "thread idle",
        RequestError::NotAttached { .. } => "not attached",
        RequestError::BackgroundThread { .. } => "background thread",
        RequestError::TimerUnavailable(_) => "timer unavailable",
        RequestError::NoSuchThread(_) => "no such thread",
    }
}
