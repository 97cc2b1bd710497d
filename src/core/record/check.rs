//! The interrupt that a safe point reports, and the event that it was observed.

use crate::core::record::Record;
use crate::core::record::request::{Guarded, PendingTerminate};
use crate::observe::event::Event;
use crate::types::interrupt::{Interrupt, InterruptKind};
use crate::types::location::CallerLocation;
use crate::types::request::Request;
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

    /// Returns the due interrupt, and whether the caller must emit that it was observed.
    fn observe_due(&self, at: CallerLocation, report: bool) -> (Result<(), Interrupt>, bool) {
        // The clock is read before the lock is taken: the requester may still hold the lock.
        let now = Timestamp::now();
        let mut guarded = self.guarded.lock();
        let word = self.word.load();
        match &mut *guarded {
            Guarded { terminate: Some(pending), .. } if word.terminate_due() => {
                if !pending.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &pending.request)) {
                    pending.seen = Some(pending.request.clone());
                    pending.reported = false;
                }
                pending.seen_at.get_or_insert((at, now));
                let take_unreported = report && pending.take_unreported().is_some();
                (
                    Err(Interrupt::new(InterruptKind::Terminate, pending.request.clone())),
                    take_unreported,
                )
            }
            Guarded { cancel: Some(pending), .. } if word.cancel_due() => {
                pending.seen_at.get_or_insert((at, now));
                let take_unreported = !std::mem::replace(&mut pending.seen, true);
                (
                    Err(Interrupt::new(InterruptKind::Cancel, pending.request.clone())),
                    take_unreported,
                )
            }
            _ => (Ok(()), false),
        }
    }

    pub(super) fn emit_observed(&self, kind: InterruptKind, request: &Request) {
        self.emit(&Event::InterruptObserved { session: self.id, kind, request });
    }
}
