//! What happens, as `tracing` events and as `metrics`.

use crate::audit::Event;
use crate::interrupt::InterruptKind;
#[cfg(feature = "metrics")]
pub(crate) use figures::{count, gap};
#[cfg(feature = "tracing")]
pub(crate) use spoken::trace;

fn name(kind: InterruptKind) -> &'static str {
    match kind {
        InterruptKind::Cancel => "cancel",
        InterruptKind::Terminate => "terminate",
    }
}

#[cfg(feature = "tracing")]
mod spoken {
    use super::{Event, name};
    use crate::interrupt::Author;
    use crate::kill::{Refused, Target};
    use crate::outcome::HowEnded;
    use tracing::{debug, info, warn};

    /// Fields of an event: numbers as numbers, and what is not known left out.
    struct By<'a> {
        session: Option<u64>,
        user: Option<&'a str>,
        address: Option<&'a str>,
    }

    impl<'a> From<&'a Author> for By<'a> {
        fn from(author: &'a Author) -> By<'a> {
            By {
                session: author.session.map(|id| id.get()),
                user: author.user.as_deref(),
                address: author.address.as_deref(),
            }
        }
    }

    pub(crate) fn trace(event: &Event<'_>) {
        match *event {
            Event::Opened { session, description } => debug!(
                target: "safepoint",
                session = session.get(),
                user = &*description.user,
                address = &*description.client,
                "session opened"
            ),
            Event::Requested { session, kind, when, request, found } => {
                let by = By::from(&request.author);
                info!(
                    target: "safepoint",
                    session = session.get(),
                    kind = name(kind),
                    when = when.map(tracing::field::debug),
                    reason = ?request.reason,
                    author.session = by.session,
                    author.user = by.user,
                    author.address = by.address,
                    text = request.text.as_deref(),
                    found = %found.doing,
                    statement = found.statement.map(|statement| statement.get()),
                    thread = found.thread.map(|thread| thread.get()),
                    "end requested"
                );
            }
            Event::Refused { target, kind, author, refused } => {
                let (session, thread) = match target {
                    Target::Session(id) => (Some(id.get()), None),
                    Target::AttachedTo(thread) => (None, Some(thread.get())),
                    Target::Pair(thread, id) => (Some(id.get()), Some(thread.get())),
                };
                let by = By::from(author);
                macro_rules! say {
                    ($level:ident, $message:literal) => {
                        $level!(
                            target: "safepoint",
                            session,
                            thread,
                            kind = name(kind),
                            author.session = by.session,
                            author.user = by.user,
                            author.address = by.address,
                            sqlstate = refused.sqlstate(),
                            refused = %refused,
                            $message
                        )
                    };
                }
                if let Refused::NotPermitted(_) = refused {
                    say!(warn, "permission refused");
                } else {
                    say!(info, "request refused");
                }
            }
            Event::Seen { session, kind, request } => debug!(
                target: "safepoint",
                session = session.get(),
                kind = name(kind),
                reason = ?request.reason,
                seconds = request.age().as_secs_f64(),
                "request seen"
            ),
            Event::StatementOver { session, request, over } => info!(
                target: "safepoint",
                session = session.get(),
                cancelled = over.cancelled,
                reason = ?request.reason,
                seconds = request.age().as_secs_f64(),
                "statement over"
            ),
            Event::Stalled { stalled } => warn!(
                target: "safepoint",
                session = stalled.session.get(),
                thread = stalled.thread.map(|thread| thread.get()),
                seconds = stalled.at_least.as_secs_f64(),
                last = stalled.last.map(tracing::field::display),
                hold_off = stalled.hold_off.map(tracing::field::display),
                wait = stalled.wait.map(tracing::field::display),
                text = stalled.text.as_str(),
                "no safe point"
            ),
            Event::LimitHit { session, reason } => info!(
                target: "safepoint",
                session = session.get(),
                reason = ?reason,
                "limit hit"
            ),
            Event::Ended { session, ended } => {
                let (how, request) = match &ended.how {
                    HowEnded::Killed(request) => ("killed", Some(request)),
                    HowEnded::Panicked => ("panicked", None),
                    _ => ("closed", None),
                };
                info!(
                    target: "safepoint",
                    session = session.get(),
                    how,
                    reason = request.map(|request| tracing::field::debug(request.reason)),
                    seconds = request.map(|request| request.age().as_secs_f64()),
                    "session ended"
                );
            }
        }
    }
}

#[cfg(feature = "metrics")]
mod figures {
    use super::{Event, name};
    use crate::interrupt::{InterruptKind, Request};
    use crate::kill::{Doing, Refused};
    use crate::manager::SessionManager;
    use crate::outcome::HowEnded;
    use metrics::{counter, gauge, histogram};
    use std::time::Duration;

    pub(crate) fn count(event: &Event<'_>) {
        match *event {
            Event::Requested { kind, .. } => kill(kind, "accepted"),
            Event::Refused { kind, refused, .. } => kill(kind, outcome(refused)),
            Event::Seen { kind, .. } => kill(kind, "seen"),
            Event::Ended { ended, .. } => {
                let how = match &ended.how {
                    HowEnded::Killed(request) => {
                        has_ended(InterruptKind::Terminate, request);
                        "killed"
                    }
                    HowEnded::Panicked => "panicked",
                    _ => "closed",
                };
                counter!("safepoint_sessions_ended_total", "how" => how).increment(1);
            }
            Event::StatementOver { request, over, .. } => {
                if over.cancelled {
                    has_ended(InterruptKind::Cancel, request);
                }
            }
            Event::Opened { .. } => counter!("safepoint_sessions_opened_total").increment(1),
            Event::Stalled { .. } => counter!("safepoint_stalls_total").increment(1),
            Event::LimitHit { .. } => counter!("safepoint_limits_hit_total").increment(1),
        }
    }

    /// A safe point has answered a probe, so long after it.
    pub(crate) fn gap(length: Duration) {
        histogram!("safepoint_gap_seconds").record(length);
    }

    fn has_ended(kind: InterruptKind, request: &Request) {
        let kind = name(kind);
        histogram!("safepoint_kill_to_end_seconds", "kind" => kind).record(request.age());
    }

    fn kill(kind: InterruptKind, outcome: &'static str) {
        let kind = name(kind);
        counter!("safepoint_kills_total", "kind" => kind, "outcome" => outcome).increment(1);
    }

    fn outcome(refused: &Refused) -> &'static str {
        match refused {
            Refused::NotPermitted(_) => "not permitted",
            Refused::NoSuchSession(_) | Refused::AlreadyEnded(_) => "no such session",
            Refused::NothingRuns(_) | Refused::Stale(..) | Refused::NoSuchStatement(..) => {
                "no such statement"
            }
            Refused::NothingAttached(_) => "nothing attached",
            Refused::NotAttached(..) => "not attached",
            Refused::BackgroundThread(..) => "background thread",
            Refused::NoTimer(_) => "no timer",
            Refused::NoSuchThread(_) => "no such thread",
        }
    }

    impl SessionManager {
        /// Sets the gauge `safepoint_sessions`, by `state`, to the sessions that there are now.
        /// It looks at all of them, so call it as the figures are collected.
        pub fn record_sessions(&self) {
            const STATES: [Doing; 6] = [
                Doing::Idle,
                Doing::IdleInTransaction,
                Doing::Queued,
                Doing::BetweenStatements,
                Doing::Running,
                Doing::Waiting,
            ];
            let mut counts = [0_u32; STATES.len()];
            for row in self.sessions() {
                if let Some(at) = STATES.iter().position(|state| *state == row.doing) {
                    counts[at] += 1;
                }
            }
            for (state, count) in STATES.iter().zip(counts) {
                gauge!("safepoint_sessions", "state" => state.to_string()).set(count);
            }
        }
    }
}
