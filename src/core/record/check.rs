//! The interrupt that a safe point reports, and the event that it was observed.

use crate::core::record::Record;
use crate::core::record::request::{Guarded, PendingTerminate};
use crate::core::state::RunningStatement;
use crate::observe::event::Event;
use crate::types::interrupt::{Interrupt, InterruptKind};
use crate::types::location::CallerLocation;
use crate::types::reason::InterruptReason;
use crate::types::request::{Request, Requester};
use crate::types::time::Timestamp;
use std::panic::Location;
use std::sync::Arc;

impl PendingTerminate {
    pub(super) fn new(request: Arc<Request>, asked: Timestamp) -> Box<PendingTerminate> {
        Box::new(PendingTerminate {
            request,
            seen: None,
            reported: false,
            asked,
            seen_at: None,
            wake_needed: true,
            completion: Arc::default(),
        })
    }

    /// Returns the request if the event that it was observed must still be emitted.
    pub(super) fn take_unreported(&mut self) -> Option<Arc<Request>> {
        let reported = std::mem::replace(&mut self.reported, true);
        self.seen.clone().filter(|_| !reported)
    }
}

impl Record {
    /// Returns the due interrupt, held off or not, for the safe point `at`.
    pub(crate) fn due(&self, at: CallerLocation) -> Result<(), Interrupt> {
        let (due, take_unreported) = self.observe_due(at, true);
        if let (Err(interrupt), true) = (&due, take_unreported) {
            self.emit_observed(interrupt.kind(), interrupt.request());
        }
        due
    }

    /// Returns the due interrupt for a caller that holds a lock and so may not emit events: the end
    /// of the session emits the event.
    #[track_caller]
    pub(crate) fn check_due_unreported(&self) -> Result<(), Interrupt> {
        self.observe_due(Location::caller(), false).0
    }

    /// Returns the due termination, held off or not. A cancel of a suspended statement is left to its resume.
    pub(crate) fn due_termination(&self, at: CallerLocation) -> Result<(), Interrupt> {
        if self.snapshot().terminate_due() { self.due(at) } else { Ok(()) }
    }

    /// Returns the due termination for a caller that holds a lock, as
    /// [`check_due_unreported`](Self::check_due_unreported) does.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    #[track_caller]
    pub(crate) fn check_termination_unreported(&self) -> Result<(), Interrupt> {
        if self.snapshot().terminate_due() { self.check_due_unreported() } else { Ok(()) }
    }

    /// Returns the due interrupt, and whether the caller must emit that it was observed.
    fn observe_due(&self, at: CallerLocation, report: bool) -> (Result<(), Interrupt>, bool) {
        // The clock is read before the lock is taken: the requester may still hold the lock.
        let now = Timestamp::now();
        let mut guarded = self.guarded.lock();
        let word = self.word.load();
        guarded.observe(word.terminate_due(), word.cancel_due(), (at, now), report)
    }

    /// Returns the interrupt that a helper of this statement must report.
    pub(super) fn due_for_helper(
        &self,
        statement: RunningStatement,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        let now = Timestamp::now();
        let (due, take_unreported) = {
            let mut guarded = self.guarded.lock();
            let word = self.word.load();
            if !word.runs_statement(statement) {
                return Err(statement_ended());
            }
            if !word.stops_helpers() {
                return Ok(());
            }
            // In a wait that no cancel ends, a cancel is due for the helpers and not for the runner.
            guarded.observe(word.terminate_due(), word.cancelled(), (at, now), true)
        };
        if let (Err(interrupt), true) = (&due, take_unreported) {
            self.emit_observed(interrupt.kind(), interrupt.request());
        }
        due
    }

    /// Returns the interrupt that a safe point of the running statement has reported, the stronger one if
    /// there were two.
    #[cfg(feature = "async")]
    pub(crate) fn observed(&self) -> Option<Interrupt> {
        if !self.snapshot().due() {
            return None;
        }
        let guarded = self.guarded.lock();
        let terminate = guarded.terminate.as_ref().and_then(|pending| pending.seen.clone());
        let cancel = guarded.cancel.as_ref().filter(|pending| pending.seen);
        let told = terminate.map(|request| (InterruptKind::Terminate, request));
        told.or_else(|| cancel.map(|pending| (InterruptKind::Cancel, pending.request.clone())))
            .map(|(kind, request)| Interrupt::new(kind, request))
    }

    pub(super) fn emit_observed(&self, kind: InterruptKind, request: &Request) {
        self.emit(&Event::InterruptObserved { session: self.id, kind, request });
    }
}

impl Guarded {
    /// Returns the request that is due, as observed at this safe point, and whether the caller must emit
    /// that it was observed.
    fn observe(
        &mut self,
        terminate_due: bool,
        cancel_due: bool,
        safe_point: (CallerLocation, Timestamp),
        report: bool,
    ) -> (Result<(), Interrupt>, bool) {
        match self {
            Guarded { terminate: Some(pending), .. } if terminate_due => {
                if !pending.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &pending.request)) {
                    pending.seen = Some(pending.request.clone());
                    pending.reported = false;
                }
                pending.seen_at.get_or_insert(safe_point);
                let take_unreported = report && pending.take_unreported().is_some();
                (
                    Err(Interrupt::new(InterruptKind::Terminate, pending.request.clone())),
                    take_unreported,
                )
            }
            Guarded { cancel: Some(pending), .. } if cancel_due => {
                pending.seen_at.get_or_insert(safe_point);
                let take_unreported = !std::mem::replace(&mut pending.seen, true);
                (
                    Err(Interrupt::new(InterruptKind::Cancel, pending.request.clone())),
                    take_unreported,
                )
            }
            _ => (Ok(()), false),
        }
    }
}

/// Returns the error of a helper whose statement has ended.
#[cold]
pub(crate) fn statement_ended() -> Interrupt {
    let request = Request::new(Requester::system(), InterruptReason::StatementEnded);
    Interrupt::new(InterruptKind::Cancel, Arc::new(request))
}
