//! Finds requests that are due for too long.

use crate::core::record::Record;
use crate::core::record::due::DueInterrupt;
use crate::core::registry::Cursor;
use crate::manager::info::SessionInfo;
use crate::manager::manager::SessionManager;
use crate::observe::event::Event;
use crate::sync::now;
use crate::types::model::ThreadModel;
use crate::types::pending::PendingReason;
use crate::types::reports::OverdueInterrupt;
use crate::types::request::Request;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The due requests that a watchdog has seen.
#[derive(Default)]
pub(super) struct DueRequests {
    /// By the addresses of the requests, which are alive here.
    seen: HashMap<usize, Seen>,
    round: u64,
}

struct Seen {
    request: Arc<Request>,
    since: Instant,
    reported: bool,
    /// The last round that has seen the request.
    round: u64,
}

impl DueRequests {
    /// Reports each request that has been due for `limit`, and was not reported yet.
    pub(super) fn look(
        &mut self,
        manager: &SessionManager,
        limit: Duration,
        report: &mut dyn FnMut(OverdueInterrupt),
    ) {
        let shared = &manager.0.shared;
        let own_threads = shared.model == ThreadModel::PerSession;
        let (mut cursor, mut batch) = (Cursor::default(), Vec::new());
        self.round += 1;
        while shared.sessions.next_batch(&mut cursor, &mut batch) {
            for record in batch.drain(..) {
                for due in record.due_interrupts() {
                    let Some(elapsed) = self.overdue_for(&due, limit) else { continue };
                    let Some(reason) = record.why_not_done(&due) else { continue };
                    let overdue = describe(&record, own_threads, due, elapsed, reason);
                    shared.hooks.emit(&Event::InterruptOverdue { overdue: &overdue });
                    report(overdue);
                }
            }
        }
        // The cancel of a statement moves to its helper set as the statement ends. A round may find it in
        // neither of the two.
        self.seen.retain(|_, seen| self.round - seen.round <= 1);
    }

    /// Returns for how long a request has been due, if that is longer than `limit` for the first time.
    fn overdue_for(&mut self, due: &DueInterrupt, limit: Duration) -> Option<Duration> {
        let (now, request) = (now(), &due.pending.request);
        let since = || due.due_since().map_or(now, |since| since.at);
        let seen = self.seen.entry(Arc::as_ptr(request).addr()).or_insert_with(|| Seen {
            request: request.clone(),
            since: since(),
            reported: false,
            round: 0,
        });
        debug_assert!(
            Arc::ptr_eq(&seen.request, request),
            "it is alive, so its address is its own"
        );
        seen.round = self.round;
        let elapsed = now.saturating_duration_since(seen.since);
        (elapsed >= limit && !std::mem::replace(&mut seen.reported, true)).then_some(elapsed)
    }
}

fn describe(
    record: &Record,
    own_threads: bool,
    due: DueInterrupt,
    elapsed: Duration,
    reason: PendingReason,
) -> OverdueInterrupt {
    let row = SessionInfo::of(record, own_threads);
    // A cancelled statement may have ended, and another one may run.
    let text = match due.statement.filter(|of| row.statement_id != Some(*of)) {
        Some(earlier) => record.text_of(earlier),
        None => row.statement_text,
    };
    OverdueInterrupt {
        session: row.id,
        pending: due.pending,
        elapsed,
        reason,
        state: row.state,
        thread: row.thread_id,
        text,
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{ClientInfo, Requester, Terminate, TerminateMode};

    #[test]
    fn a_request_is_kept_for_one_round_after_it_was_seen() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let session = manager.open(ClientInfo::default()).unwrap();
        let kill = Terminate::new(TerminateMode::Immediate, Requester::system());
        drop(manager.terminate(session.id(), kill).unwrap());
        let (mut requests, mut reports) = (DueRequests::default(), 0);
        let mut look = || {
            requests.look(&manager, Duration::ZERO, &mut |_| reports += 1);
            requests.seen.len()
        };
        assert_eq!(look(), 1);
        drop(session);
        assert_eq!((look(), look(), look()), (1, 0, 0));
        assert_eq!(reports, 1);
    }
}
