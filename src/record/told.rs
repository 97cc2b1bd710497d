//! What a session has been told, how it is told, and what its end answers.

use super::{COMPLETED, Record};
use crate::about::About;
use crate::audit::{Event, Hooks};
use crate::contain::contain;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::{Author, InterruptKind, Reason, Request, When};
use crate::outcome::{Ended, HowEnded, StatementOver, Ticket};
use crate::why::{Moment, Place};
use crate::word::{Slot, Snapshot, Step, Void};
use std::sync::Arc;
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Slow {
    pub(super) terminate: Option<Box<Terminating>>,
    pub(super) cancel: Option<Box<Cancelling>>,
    /// Left by the runner before it sleeps. In a box, as most sessions of a pool never do.
    pub(super) sleep_waker: Option<Box<Waker>>,
    /// Left by the holder; woken when a termination falls due while nobody runs the session.
    pub(super) detached_waker: Option<Waker>,
    pub(super) about: About,
}

/// What there is of [`Slow`] beside what is known of the session.
#[derive(Default)]
struct Spent {
    terminate: Option<Box<Terminating>>,
    wakers: [Option<Waker>; 2],
}

impl Slow {
    #[inline(always)]
    pub(super) fn new(about: About) -> Slow {
        Slow { terminate: None, cancel: None, sleep_waker: None, detached_waker: None, about }
    }

    /// Whom to wake now, if anyone is to be: a sleeper that is `held` off sleeps on.
    pub(super) fn waker_of(&self, now: Snapshot, held: bool) -> Option<Waker> {
        if !now.wants_waking() {
            None
        } else if now.asleep() {
            self.sleep_waker.as_deref().filter(|_| !held).cloned()
        } else {
            self.detached_waker.clone()
        }
    }

    /// Whom a killer is to wake: whoever comes first wakes for all, who may have been held up.
    pub(super) fn waker_once(&mut self, now: Snapshot, held: bool) -> Option<Waker> {
        let unwoken = self.terminate.as_ref().is_some_and(|told| told.unwoken)
            || self.cancel.as_ref().is_some_and(|told| told.unwoken);
        let waker = self.waker_of(now, held).filter(|_| unwoken)?;
        self.terminate.iter_mut().for_each(|told| told.unwoken = false);
        self.cancel.iter_mut().for_each(|told| told.unwoken = false);
        Some(waker)
    }

    fn spend(&mut self) -> Spent {
        Spent {
            terminate: self.terminate.take(),
            wakers: [self.sleep_waker.take().map(|waker| *waker), self.detached_waker.take()],
        }
    }
}

#[derive(Debug)]
pub(super) struct Terminating {
    pub(super) request: Arc<Request>,
    /// The request that the session saw last; a stronger one may have come since.
    pub(super) seen: Option<Arc<Request>>,
    /// Whether the audit has heard that it was seen.
    pub(super) said: bool,
    pub(super) asked: Moment,
    pub(super) seen_at: Option<(Place, Moment)>,
    pub(super) ticket: Arc<Ticket<Ended>>,
    /// Nobody has come to wake the session since it was told.
    pub(super) unwoken: bool,
}

#[derive(Debug)]
pub(super) struct Cancelling {
    pub(super) request: Arc<Request>,
    pub(super) seen: bool,
    pub(super) asked: Moment,
    pub(super) seen_at: Option<(Place, Moment)>,
    pub(super) ticket: Arc<Ticket<StatementOver>>,
    /// As in [`Terminating`].
    unwoken: bool,
}

/// A statement that was told to end is over, and those who wait for that are to be told. It is
/// the embedder's code that wakes them, so no lock may be held.
#[must_use]
pub(crate) struct Over(Option<Box<OverOne>>);

struct OverOne {
    told: Box<Cancelling>,
    session: SessionId,
    hooks: Option<Arc<Hooks>>,
}

impl Over {
    pub(crate) const NOTHING: Over = Over(None);

    pub(crate) fn complete(self) {
        if let Some(over) = self.0 {
            over.complete();
        }
    }
}

impl OverOne {
    #[cold]
    fn complete(self) {
        let OverOne { told, session, hooks } = self;
        let over = StatementOver { cancelled: told.seen };
        // Whoever learns from a receipt that it is over finds it in the audit.
        if let Some(hooks) = hooks {
            hooks.emit(&Event::StatementOver { session, request: &told.request, over });
        }
        told.ticket.complete(over);
    }
}

/// A killer's accepted step. What is left to do is to [wake](Record::wake_if_due) the target.
#[must_use]
pub(crate) struct Accepted<T> {
    pub(crate) before: Snapshot,
    pub(crate) thread: Option<ThreadId>,
    pub(crate) ticket: Arc<Ticket<T>>,
}

impl Record {
    pub(crate) fn terminate(
        &self,
        when: When,
        request: Request,
        only: Option<Slot>,
    ) -> Result<Accepted<Ended>, Void> {
        self.terminate_as_seen(when, request, only, None)
    }

    /// The same, only if the session still does what it did as `seen` was taken.
    pub(crate) fn terminate_as_seen(
        &self,
        when: When,
        request: Request,
        only: Option<Slot>,
        seen: Option<Snapshot>,
    ) -> Result<Accepted<Ended>, Void> {
        let asked = request.asked();
        self.terminate_by(request, asked, |word| match seen {
            Some(seen) if !word.does_as(seen) => {
                Err(if word.ended() { Void::Ended } else { Void::Stale })
            }
            _ => word.terminate(when, only),
        })
    }

    /// `next` is a killer's step; it is taken under `slow`. From there on its target may wait for
    /// that lock, so all that takes time comes before.
    pub(super) fn terminate_by(
        &self,
        request: Request,
        asked: Moment,
        next: impl Fn(Snapshot) -> Result<Snapshot, Void>,
    ) -> Result<Accepted<Ended>, Void> {
        let fresh = Terminating::new(Arc::new(request), asked);
        let mut slow = self.slow.lock();
        let thread = self.last_thread();
        let step = self.try_step(next)?;
        let adds = step.before.terminate_asked() != step.after.terminate_asked();
        let mut spent = None;
        let ticket = match &mut slow.terminate {
            Some(told) => {
                if adds {
                    spent = Some(std::mem::replace(&mut told.request, fresh.request.clone()));
                    told.asked = asked;
                }
                told.unwoken |= adds;
                told.ticket.clone()
            }
            none => none.insert(fresh).ticket.clone(),
        };
        drop(slow);
        drop(spent);
        Ok(self.accepted(step.before, thread, ticket))
    }

    pub(crate) fn cancel(
        &self,
        named: Option<StatementId>,
        request: Request,
        only: Option<Slot>,
    ) -> Result<Accepted<StatementOver>, Void> {
        self.cancel_by(request, |word| word.cancel(named, only))
    }

    pub(super) fn cancel_by(
        &self,
        request: Request,
        next: impl Fn(Snapshot) -> Result<Snapshot, Void>,
    ) -> Result<Accepted<StatementOver>, Void> {
        let (asked, request, ticket) = (request.asked(), Arc::new(request), Arc::default());
        let fresh =
            Cancelling { request, seen: false, asked, seen_at: None, ticket, unwoken: true };
        let fresh = Box::new(fresh);
        let mut slow = self.slow.lock();
        let thread = self.last_thread();
        let step = self.try_step(next)?;
        let ticket = slow.cancel.get_or_insert(fresh).ticket.clone();
        drop(slow);
        Ok(self.accepted(step.before, thread, ticket))
    }

    fn accepted<T>(&self, before: Snapshot, last: u64, ticket: Arc<Ticket<T>>) -> Accepted<T> {
        Accepted { before, thread: self.thread_in(before, last), ticket }
    }

    /// The session cannot go on.
    pub(crate) fn fail(&self, reason: Reason) {
        let mut slow = self.slow.lock();
        let request = Arc::new(Request::new(Author::system(), reason, None));
        match &mut slow.terminate {
            Some(told) => told.request = request,
            None => {
                let mut told = Terminating::new(request.clone(), request.asked());
                told.seen = Some(request);
                slow.terminate = Some(told);
            }
        }
        // Refused only where it has ended already.
        let _ = self.try_step(|word| word.terminate(When::Immediate, None));
    }

    // The end.

    /// The receipts of a cancel whose statement this step ended.
    pub(crate) fn statement_left(&self, step: Step) -> Over {
        let left = step.before.cancelled() && (!step.after.cancelled() || step.after.ended());
        if left { self.take_cancel() } else { Over::NOTHING }
    }

    #[cold]
    fn take_cancel(&self) -> Over {
        let told = self.slow.lock().cancel.take();
        let hooks = self.hooks.clone();
        Over(told.map(|told| Box::new(OverOne { told, session: self.id, hooks })))
    }

    /// The last step of a session's life but one: `completed` still has to be called, once the
    /// record is in no registry any more.
    pub(crate) fn end(&self) -> Step {
        let step = self.step(Snapshot::end);
        self.disarm();
        step
    }

    /// Completes all receipts, truthfully.
    pub(crate) fn completed(&self, step: Step) -> Ended {
        self.statement_left(step).complete();
        let mut spent = {
            let mut slow = self.slow.lock();
            self.set(COMPLETED, true);
            slow.spend()
        };
        let how = match spent.terminate.as_deref() {
            Some(t) if t.request.reason == Reason::InternalError => HowEnded::Panicked,
            // What the client was told, where it was.
            Some(Terminating { seen: Some(seen), .. }) => HowEnded::Killed(seen.clone()),
            // Whether the holder asked makes no difference to its killer.
            Some(told) if step.before.detach().terminate_due() => {
                HowEnded::Killed(told.request.clone())
            }
            _ => HowEnded::Closed,
        };
        let ended = Ended { how };
        if let Some(request) = spent.terminate.as_mut().and_then(|told| told.unsaid()) {
            self.say_seen(InterruptKind::Terminate, &request);
        }
        // Whoever learns from a receipt that it has ended finds it in the audit.
        self.emit(&Event::Ended { session: self.id, ended: &ended });
        if let Some(terminating) = spent.terminate.take() {
            terminating.ticket.complete(ended.clone());
        }
        // Each may panic as it is dropped.
        for waker in spent.wakers {
            let _ = contain(|| drop(waker));
        }
        ended
    }

    /// For whoever finds that it has ended, and waits until it is in no registry any more.
    /// `None` where that is so.
    pub(crate) fn ending(&self, request: Request) -> Option<Arc<Ticket<Ended>>> {
        let mut slow = self.slow.lock();
        if self.has(COMPLETED) {
            return None;
        }
        let asked = request.asked();
        let new = || Terminating::new(Arc::new(request), asked);
        let told = slow.terminate.get_or_insert_with(new);
        Some(told.ticket.clone())
    }
}
