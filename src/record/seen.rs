//! What is due, and who hears that the session has seen it.

use super::Record;
use super::told::{Slow, Terminating};
use crate::audit::Event;
use crate::interrupt::{Interrupt, InterruptKind, Request};
use crate::why::{Moment, Place};
use std::panic::Location;
use std::sync::Arc;

impl Terminating {
    pub(super) fn new(request: Arc<Request>, asked: Moment) -> Box<Terminating> {
        Box::new(Terminating {
            request,
            seen: None,
            said: false,
            asked,
            seen_at: None,
            unwoken: true,
            ticket: Arc::default(),
        })
    }

    /// The request, where nobody has said yet that the session has seen it.
    pub(super) fn unsaid(&mut self) -> Option<Arc<Request>> {
        let said = std::mem::replace(&mut self.said, true);
        self.seen.clone().filter(|_| !said)
    }
}

impl Record {
    /// What is due now, whether held off or not, for the safe point `at`.
    pub(crate) fn due(&self, at: Place) -> Result<(), Interrupt> {
        let (due, unsaid) = self.look_due(at, true);
        if let (Err(interrupt), true) = (&due, unsaid) {
            self.say_seen(interrupt.kind(), interrupt.request());
        }
        due
    }

    /// The same for whoever holds a lock in which nobody may be told: the audit hears of it
    /// from the end of the session.
    #[track_caller]
    pub(crate) fn due_unsaid(&self) -> Result<(), Interrupt> {
        self.look_due(Location::caller(), false).0
    }

    /// What is due, and whether the caller has to say that it has been seen.
    fn look_due(&self, at: Place, says: bool) -> (Result<(), Interrupt>, bool) {
        // First, as the killer may still have the lock.
        let now = Moment::now();
        let mut slow = self.slow.lock();
        let word = self.word.load();
        match &mut *slow {
            Slow { terminate: Some(pending), .. } if word.terminate_due() => {
                if !pending.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &pending.request)) {
                    pending.seen = Some(pending.request.clone());
                    pending.said = false;
                }
                pending.seen_at.get_or_insert((at, now));
                let unsaid = says && pending.unsaid().is_some();
                (Err(Interrupt::new(InterruptKind::Terminate, pending.request.clone())), unsaid)
            }
            Slow { cancel: Some(pending), .. } if word.cancel_due() => {
                pending.seen_at.get_or_insert((at, now));
                let unsaid = !std::mem::replace(&mut pending.seen, true);
                (Err(Interrupt::new(InterruptKind::Cancel, pending.request.clone())), unsaid)
            }
            _ => (Ok(()), false),
        }
    }

    pub(super) fn say_seen(&self, kind: InterruptKind, request: &Request) {
        self.emit(&Event::Seen { session: self.id, kind, request });
    }
}
