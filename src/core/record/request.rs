//! The pending requests of a session, how they are accepted, and what the end of the session
//! completes.

use crate::core::completion::Completion;
use crate::core::metadata::Metadata;
use crate::core::record::{COMPLETED, Record};
use crate::core::state::{Slot, Snapshot, Transition, TransitionError};
use crate::observe::event::Event;
use crate::observe::hooks::Hooks;
use crate::sync::catch::catch_panic;
use crate::sync::wake_list::WakeList;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::interrupt::InterruptKind;
use crate::types::location::CallerLocation;
use crate::types::outcome::{EndReason, SessionEnd, StatementEnd};
use crate::types::pending::PendingInterrupt;
use crate::types::reason::InterruptReason;
use crate::types::request::{Request, Requester, TerminateMode};
use crate::types::time::Timestamp;
use std::sync::Arc;
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) terminate: Option<Box<PendingTerminate>>,
    pub(super) cancel: Option<Box<PendingCancel>>,
    /// Stored by the runner before it waits. Boxed, since most sessions of a pool never wait.
    pub(super) wait_waker: Option<Box<Waker>>,
    /// Set by the owner, and woken when a termination falls due while no thread runs the session.
    pub(super) detached_waker: Option<Waker>,
    pub(super) metadata: Metadata,
}

/// The parts of [`Guarded`] that the end of a session takes.
#[derive(Default)]
struct Spent {
    terminate: Option<Box<PendingTerminate>>,
    wakers: [Option<Waker>; 2],
}

impl Guarded {
    #[inline(always)]
    pub(super) fn new(metadata: Metadata) -> Guarded {
        Guarded { terminate: None, cancel: None, wait_waker: None, detached_waker: None, metadata }
    }

    /// Returns the waker to wake now, if there is one. A waiter that is `held` off is not woken.
    pub(super) fn waker_of(&self, now: Snapshot, held: bool) -> Option<Waker> {
        if !now.needs_wake() {
            None
        } else if now.waiting() {
            self.wait_waker.as_deref().filter(|_| !held).cloned()
        } else {
            self.detached_waker.clone()
        }
    }

    /// Returns the waker that a requester must wake. The first requester wakes for all, since the
    /// others may be delayed.
    pub(super) fn waker_once(&mut self, now: Snapshot, held: bool) -> Option<Waker> {
        let wake_needed = self.terminate.as_ref().is_some_and(|pending| pending.wake_needed)
            || self.cancel.as_ref().is_some_and(|pending| pending.wake_needed);
        // A clone that is not needed would be dropped under the lock.
        if !wake_needed {
            return None;
        }
        let waker = self.waker_of(now, held)?;
        self.terminate.iter_mut().for_each(|pending| pending.wake_needed = false);
        self.cancel.iter_mut().for_each(|pending| pending.wake_needed = false);
        Some(waker)
    }

    fn spend(&mut self) -> Spent {
        Spent {
            terminate: self.terminate.take(),
            wakers: [self.wait_waker.take().map(|waker| *waker), self.detached_waker.take()],
        }
    }
}

#[derive(Debug)]
pub(super) struct PendingTerminate {
    pub(super) request: Arc<Request>,
    /// The request that the session observed last. A stronger request may have been accepted since.
    pub(super) seen: Option<Arc<Request>>,
    /// Whether the audit has received the event that the request was observed.
    pub(super) reported: bool,
    pub(super) asked: Timestamp,
    pub(super) seen_at: Option<(CallerLocation, Timestamp)>,
    pub(super) completion: Arc<Completion<SessionEnd>>,
    /// Whether no requester has woken the session since the request was accepted.
    pub(super) wake_needed: bool,
}

#[derive(Debug)]
pub(super) struct PendingCancel {
    pub(super) request: Arc<Request>,
    pub(super) seen: bool,
    pub(super) asked: Timestamp,
    pub(super) seen_at: Option<(CallerLocation, Timestamp)>,
    pub(super) completion: Arc<Completion<StatementEnd>>,
    /// As in [`PendingTerminate`].
    wake_needed: bool,
}

/// Returns how a session ends by this transition.
#[inline(always)]
fn end_reason(terminate: Option<&PendingTerminate>, transition: Transition) -> EndReason {
    match terminate {
        Some(t) if t.request.reason == InterruptReason::InternalError => EndReason::Panicked,
        // The request that the client was notified of, if there is one.
        Some(PendingTerminate { seen: Some(seen), .. }) => EndReason::Terminated(seen.clone()),
        // A termination that is due once the session is detached counts, even if the owner never
        // checked.
        Some(pending) if transition.before.detach().terminate_due() => {
            EndReason::Terminated(pending.request.clone())
        }
        _ => EndReason::Closed,
    }
}

/// A finished cancel: its statement has ended; and the wakers of the statement's helpers. Complete it
/// after the lock is released, since the audit and the wakers are application code.
#[must_use]
pub(crate) struct FinishedCancel(Option<Box<OverOne>>);

struct OverOne {
    cancelled: Option<CancelledOne>,
    /// The wakers of helpers, whose statement has ended.
    wakers: WakeList,
}

struct CancelledOne {
    pending: Box<PendingCancel>,
    session: SessionId,
    hooks: Option<Arc<Hooks>>,
}

impl FinishedCancel {
    pub(crate) const NOTHING: FinishedCancel = FinishedCancel(None);

    /// Returns the cancel, and when it was requested.
    pub(super) fn pending(&self) -> Option<(PendingInterrupt, Timestamp)> {
        self.0.as_ref()?.cancelled.as_ref().map(|one| one.pending.row())
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn with_wakers(self, wakers: WakeList) -> FinishedCancel {
        if wakers.is_empty() {
            return self;
        }
        let mut over = self
            .0
            .unwrap_or_else(|| Box::new(OverOne { cancelled: None, wakers: WakeList::EMPTY }));
        over.wakers.append(wakers);
        FinishedCancel(Some(over))
    }

    pub(crate) fn complete(self) -> WakeList {
        self.0.map_or(WakeList::EMPTY, |over| over.complete())
    }
}

impl OverOne {
    #[cold]
    fn complete(self) -> WakeList {
        let mut wakers = self.wakers;
        if let Some(cancelled) = self.cancelled {
            wakers.append(cancelled.complete());
        }
        wakers
    }
}

impl CancelledOne {
    fn complete(self) -> WakeList {
        let CancelledOne { pending, session, hooks } = self;
        let over = StatementEnd { cancelled: pending.seen };
        // The audit receives the event before the receipts complete.
        if let Some(hooks) = hooks {
            hooks.emit(&Event::StatementEnded { session, request: &pending.request, end: over });
        }
        pending.completion.complete(over)
    }
}

/// An accepted request. The caller must [wake](Record::take_wakers) the target.
#[must_use]
pub(crate) struct Accepted<T> {
    pub(crate) before: Snapshot,
    pub(crate) thread: Option<ThreadId>,
    pub(crate) completion: Arc<Completion<T>>,
}

impl Record {
    pub(crate) fn terminate(
        &self,
        when: TerminateMode,
        request: Request,
        only: Option<Slot>,
    ) -> Result<Accepted<SessionEnd>, TransitionError> {
        self.terminate_if_unchanged(when, request, only, None)
    }

    /// Requests a termination as `terminate` does, but only if the activity of the session is
    /// unchanged since `expected`.
    pub(crate) fn terminate_if_unchanged(
        &self,
        when: TerminateMode,
        request: Request,
        only: Option<Slot>,
        expected: Option<Snapshot>,
    ) -> Result<Accepted<SessionEnd>, TransitionError> {
        let asked = request.asked();
        self.terminate_by(request, asked, |word| match expected {
            Some(expected) if !word.same_activity(expected) => {
                Err(if word.ended() { TransitionError::Ended } else { TransitionError::Stale })
            }
            _ => word.terminate(when, only),
        })
    }

    /// Requests a termination. `next` is the requester's transition, taken under `guarded`. After
    /// it the target may wait for that lock, so everything slow is done before.
    pub(super) fn terminate_by(
        &self,
        request: Request,
        asked: Timestamp,
        next: impl Fn(Snapshot) -> Result<Snapshot, TransitionError>,
    ) -> Result<Accepted<SessionEnd>, TransitionError> {
        let fresh = PendingTerminate::new(Arc::new(request), asked);
        let mut guarded = self.guarded.lock();
        let thread = self.last_thread();
        let transition = self.try_transition(next)?;
        let adds = transition.before.terminate_mode() != transition.after.terminate_mode();
        let mut spent = None;
        let completion = match &mut guarded.terminate {
            Some(pending) => {
                if adds {
                    spent = Some(std::mem::replace(&mut pending.request, fresh.request.clone()));
                    pending.asked = asked;
                }
                pending.wake_needed |= adds;
                pending.completion.clone()
            }
            none => none.insert(fresh).completion.clone(),
        };
        drop(guarded);
        drop(spent);
        Ok(self.accepted(transition.before, thread, completion))
    }

    pub(crate) fn cancel(
        &self,
        named: Option<StatementId>,
        or_queued: bool,
        request: Request,
        only: Option<Slot>,
    ) -> Result<Accepted<StatementEnd>, TransitionError> {
        self.cancel_by(request, |word| {
            let named = named.or_else(|| word.statement().filter(|_| or_queued));
            word.cancel(named, only)
        })
    }

    pub(super) fn cancel_by(
        &self,
        request: Request,
        next: impl Fn(Snapshot) -> Result<Snapshot, TransitionError>,
    ) -> Result<Accepted<StatementEnd>, TransitionError> {
        let (asked, request, completion) = (request.asked(), Arc::new(request), Arc::default());
        let fresh = PendingCancel {
            request,
            seen: false,
            asked,
            seen_at: None,
            completion,
            wake_needed: true,
        };
        let fresh = Box::new(fresh);
        let mut guarded = self.guarded.lock();
        let thread = self.last_thread();
        let transition = self.try_transition(next)?;
        let completion = guarded.cancel.get_or_insert(fresh).completion.clone();
        drop(guarded);
        Ok(self.accepted(transition.before, thread, completion))
    }

    fn accepted<T>(
        &self,
        before: Snapshot,
        last: u64,
        completion: Arc<Completion<T>>,
    ) -> Accepted<T> {
        Accepted { before, thread: self.thread_in(before, last), completion }
    }

    /// Requests the termination of a session that cannot continue.
    pub(crate) fn fail(&self, reason: InterruptReason) {
        let mut guarded = self.guarded.lock();
        let request = Arc::new(Request::new(Requester::system(), reason));
        match &mut guarded.terminate {
            Some(pending) => pending.request = request,
            None => {
                let mut pending = PendingTerminate::new(request.clone(), request.asked());
                pending.seen = Some(request);
                guarded.terminate = Some(pending);
            }
        }
        // Rejected only if the session has ended already.
        let _ = self.try_transition(|word| word.terminate(TerminateMode::Immediate, None));
    }

    // The end.

    /// Takes the finished cancel, if this transition ended its statement.
    pub(crate) fn cancel_finished(&self, transition: Transition) -> FinishedCancel {
        let left = transition.before.cancelled()
            && (!transition.after.cancelled() || transition.after.ended());
        if left { self.take_cancel() } else { FinishedCancel::NOTHING }
    }

    #[cold]
    fn take_cancel(&self) -> FinishedCancel {
        let pending = self.guarded.lock().cancel.take();
        let hooks = self.hooks.clone();
        FinishedCancel(pending.map(|pending| {
            let cancelled = Some(CancelledOne { pending, session: self.id, hooks });
            Box::new(OverOne { cancelled, wakers: WakeList::EMPTY })
        }))
    }

    /// Takes the transition that ends the session. The caller must remove the record from the
    /// registry next, and then call `completed`.
    #[inline]
    pub(crate) fn end(&self) -> Transition {
        let transition = self.transition(Snapshot::end);
        self.disarm();
        transition
    }

    /// Completes all receipts with the outcome, and returns the wakers to wake.
    pub(crate) fn completed(&self, transition: Transition) -> (SessionEnd, WakeList) {
        let mut wakers = self.cancel_finished(transition).complete();
        let mut spent = {
            let mut guarded = self.guarded.lock();
            self.set(COMPLETED, true);
            guarded.spend()
        };
        let ended = SessionEnd { reason: end_reason(spent.terminate.as_deref(), transition) };
        if let Some(request) =
            spent.terminate.as_mut().and_then(|pending| pending.take_unreported())
        {
            self.emit_observed(InterruptKind::Terminate, &request);
        }
        // The audit receives the event before the receipts complete.
        self.emit(&Event::SessionEnded { session: self.id, end: &ended });
        if let Some(terminating) = spent.terminate.take() {
            wakers.append(terminating.completion.complete(ended.clone()));
        }
        // Each waker may panic when it is dropped.
        for waker in spent.wakers {
            let _ = catch_panic(|| drop(waker));
        }
        (ended, wakers)
    }

    /// Returns how the session ends, and the receipts of its last statement, while helpers are active.
    /// Their last one calls [`completed_after_helpers`](Self::completed_after_helpers).
    #[cold]
    pub(crate) fn decide_end(&self, transition: Transition) -> (FinishedCancel, SessionEnd) {
        let finished = self.cancel_finished(transition);
        let finished = match self.cold.get().filter(|_| transition.before.in_statement()) {
            Some(cold) => self.close_helpers(cold, transition.before, finished),
            None => finished,
        };
        let (reason, unreported) = {
            let mut guarded = self.guarded.lock();
            let reason = end_reason(guarded.terminate.as_deref(), transition);
            let pending = guarded.terminate.as_mut();
            (reason, pending.and_then(|pending| pending.take_unreported()))
        };
        if let Some(request) = unreported {
            self.emit_observed(InterruptKind::Terminate, &request);
        }
        (finished, SessionEnd { reason })
    }

    /// Completes all receipts with an outcome that was decided earlier.
    #[cold]
    pub(crate) fn completed_after_helpers(&self, ended: &SessionEnd) -> WakeList {
        let Spent { terminate, wakers: spent } = {
            let mut guarded = self.guarded.lock();
            self.set(COMPLETED, true);
            guarded.spend()
        };
        self.emit(&Event::SessionEnded { session: self.id, end: ended });
        for waker in spent {
            let _ = catch_panic(|| drop(waker));
        }
        match terminate {
            Some(terminating) => terminating.completion.complete(ended.clone()),
            None => WakeList::EMPTY,
        }
    }

    /// Returns the completion for a requester that finds the session ended but still in the
    /// registry. Returns `None` if it has left the registry.
    pub(crate) fn ending(&self, request: Request) -> Option<Arc<Completion<SessionEnd>>> {
        let mut guarded = self.guarded.lock();
        if self.has(COMPLETED) {
            return None;
        }
        let asked = request.asked();
        let new = || PendingTerminate::new(Arc::new(request), asked);
        let pending = guarded.terminate.get_or_insert_with(new);
        Some(pending.completion.clone())
    }
}
