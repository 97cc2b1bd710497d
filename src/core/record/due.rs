//! The requests of a session that are due, and have not ended it or its statement.

use crate::core::record::Record;
use crate::core::record::request::{PendingCancel, PendingTerminate};
use crate::core::state::Snapshot;
use crate::types::id::StatementId;
use crate::types::interrupt::InterruptKind;
use crate::types::location::{CallSite, CallerLocation};
use crate::types::pending::{PendingInterrupt, PendingReason};
use crate::types::request::{Request, TerminateMode};
use crate::types::time::Timestamp;
use std::sync::Arc;

/// A request that is due.
pub(crate) struct DueInterrupt {
    pub(crate) pending: PendingInterrupt,
    asked: Timestamp,
    /// The statement of a cancel.
    pub(crate) statement: Option<StatementId>,
}

impl PendingCancel {
    /// Returns the row of the request, and when it was made.
    pub(super) fn row(&self) -> (PendingInterrupt, Timestamp) {
        interrupt_row(InterruptKind::Cancel, None, &self.request, self.asked, self.seen_at)
    }
}

impl PendingTerminate {
    /// Returns the row of the request in this value of the word, and when it was made.
    pub(super) fn row(&self, word: Snapshot) -> (PendingInterrupt, Timestamp) {
        let mode = word.terminate_mode();
        interrupt_row(InterruptKind::Terminate, mode, &self.request, self.asked, self.seen_at)
    }
}

fn interrupt_row(
    kind: InterruptKind,
    mode: Option<TerminateMode>,
    request: &Arc<Request>,
    asked: Timestamp,
    seen_at: Option<(CallerLocation, Timestamp)>,
) -> (PendingInterrupt, Timestamp) {
    let seen = |(location, moment): (_, Timestamp)| CallSite { location, reached_at: moment.time };
    let row = PendingInterrupt {
        kind,
        mode,
        request: request.clone(),
        requested_at: asked.time,
        observed_at: seen_at.map(seen),
    };
    (row, asked)
}

impl DueInterrupt {
    /// Returns when the request fell due, or `None` if that is unknown, because the request was
    /// deferred.
    pub(crate) fn due_since(&self) -> Option<Timestamp> {
        let deferred = self.pending.mode.is_some_and(|mode| mode != TerminateMode::Immediate);
        (!deferred).then_some(self.asked)
    }
}

impl Record {
    /// Returns the requests that are due. A cancel is due until its statement and all helpers of that
    /// statement have ended, a termination until the session and all its helpers have.
    pub(crate) fn due_interrupts(&self) -> Vec<DueInterrupt> {
        let mut due = Vec::new();
        let word = self.snapshot();
        // Most sessions have no request. Checked first, without the lock.
        if word.terminate_due() || word.cancelled() || word.ended() {
            let guarded = self.guarded.lock();
            let word = self.snapshot();
            if let Some(pending) = &guarded.terminate
                && (word.terminate_due() || word.ended())
            {
                let (pending, asked) = pending.row(word);
                due.push(DueInterrupt { pending, asked, statement: None });
            }
            if let Some(pending) = &guarded.cancel
                && word.cancelled()
            {
                let (pending, asked) = pending.row();
                due.push(DueInterrupt { pending, asked, statement: word.statement() });
            }
        }
        for (statement, (pending, asked)) in self.cancels_with_helpers() {
            due.push(DueInterrupt { pending, asked, statement: Some(statement) });
        }
        due
    }

    /// Returns why a due request has not taken effect yet, or `None` if it has.
    pub(crate) fn why_not_done(&self, due: &DueInterrupt) -> Option<PendingReason> {
        match due.pending.kind {
            InterruptKind::Terminate => self.why_not_yet(InterruptKind::Terminate),
            InterruptKind::Cancel => self.why_not_cancelled(due.statement),
        }
    }
}
