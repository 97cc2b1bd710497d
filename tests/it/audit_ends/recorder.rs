//! An audit that records its events, and a requester that ends the session of these events.

use crate::common::{
    CountingWaker, MODELS, admin, is_supervised, locked, of, sleep_until_woken, thread_for, until,
};
use safepoint::audit::Event;
use safepoint::request::{EndReason, Request, SessionEnd, StatementEnd};
use safepoint::{
    Cancel, Receipt, Session, SessionId, SessionManager, Statement, Terminate, TerminateMode,
    Thread, ThreadModel,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Waker;

/// The recorded events: one line for each event, with the names of the sessions.
#[derive(Default)]
struct Recorder {
    /// Looked at from within each event: there is no lock that the audit could wait for.
    manager: Mutex<Option<SessionManager>>,
    names: Mutex<HashMap<SessionId, Arc<str>>>,
    lines: Mutex<Vec<String>>,
    /// Receipts that must not complete before the audit has received the end.
    ends: Mutex<Vec<Receipt<SessionEnd>>>,
    overs: Mutex<Vec<Receipt<StatementEnd>>>,
    /// The waiter that must not be woken before the audit has received the request.
    waiter: Mutex<Arc<CountingWaker>>,
    /// The session that the audit ends when it receives the end of a statement.
    ends_at_over: Mutex<Option<SessionId>>,
}

fn why(request: &Request) -> String {
    request.comment().map_or_else(|| format!("{:?}", request.reason()), str::to_owned)
}

/// Returns a note if one of the session's receipts is complete. Removes the receipts of the
/// session.
fn too_early<T: Clone>(receipts: &Mutex<Vec<Receipt<T>>>, of: SessionId) -> &'static str {
    let mut receipts = locked(receipts);
    let early = receipts.iter().any(|one| one.session() == of && one.try_get().is_some());
    receipts.retain(|one| one.session() != of);
    if early { " (a receipt was faster)" } else { "" }
}

impl Recorder {
    fn look_at_all(&self) {
        let Some(manager) = locked(&self.manager).clone() else { return };
        let look = || {
            let _registered = manager.register_background("audit");
            let _ = manager.threads();
            for row in manager.sessions() {
                let _ = manager.pending_reason(row.id);
            }
            // A session that is ending may be gone from the registry.
            for receipt in &*locked(&self.ends) {
                let _ = receipt.pending_reason();
            }
        };
        if is_supervised() { until("the audit has looked at all", look) } else { look() }
    }

    fn hear(&self, event: &Event<'_>) {
        self.look_at_all();
        let name = |id: &SessionId| locked(&self.names).get(id).cloned().unwrap_or_default();
        let woken = match locked(&self.waiter).get() {
            0 => "",
            _ => " (and was woken before)",
        };
        let line = match event {
            Event::SessionOpened { session, client: description, .. } => {
                locked(&self.names).insert(*session, description.user().into());
                format!("{} opened", description.user())
            }
            Event::InterruptRequested {
                session,
                kind,
                mode: when,
                request,
                target_state: found,
                ..
            } => {
                let when = when.map_or(String::new(), |when| format!(" {when:?}"));
                let pending = found
                    .pending_mode
                    .map_or(String::new(), |pending| format!(" after {pending:?}"));
                let (of, why) = (name(session), why(request));
                format!("{kind:?}{when} for {of}, {}{pending}: {why}{woken}", found.state)
            }
            Event::RequestRejected { kind, error: refused, .. } => {
                format!("{kind:?} refused: {refused}")
            }
            Event::InterruptObserved { session, kind, request, .. } => {
                format!("{} saw {kind:?}: {}", name(session), why(request))
            }
            Event::StatementEnded { session, request, end: over, .. } => {
                let how = if over.cancelled { "cancelled" } else { "over" };
                let early = too_early(&self.overs, *session);
                format!("{}'s statement {how}: {}{early}", name(session), why(request))
            }
            Event::TimeoutExpired { session, reason, .. } => {
                format!("{} hit {reason:?}{woken}", name(session))
            }
            Event::SessionEnded { session, end: ended, .. } => {
                let early = too_early(&self.ends, *session);
                match &ended.reason {
                    EndReason::Terminated(by) => {
                        format!("{} killed: {}{early}", name(session), why(by))
                    }
                    how => format!("{} {how:?}{early}", name(session)),
                }
            }
            other => format!("{other:?}"),
        };
        locked(&self.lines).push(line);
        let over = match event {
            Event::StatementEnded { session, .. } => Some(*session),
            _ => None,
        };
        let ends = locked(&self.ends_at_over).take_if(|id| Some(*id) == over);
        let manager = locked(&self.manager).clone();
        if let (Some(id), Some(manager)) = (ends, manager) {
            let request = Terminate::new(TerminateMode::Immediate, admin("audit")).comment("audit");
            drop(manager.terminate(id, request).unwrap());
        }
    }
}

/// The requester that ends ann's session or its statements.
pub(crate) struct Requesting {
    pub(crate) manager: SessionManager,
    recorder: Arc<Recorder>,
    pub(crate) id: SessionId,
}

impl Requesting {
    /// Opens ann's session in a new manager.
    pub(crate) fn new(model: ThreadModel) -> (Requesting, Session) {
        let recorder = Arc::<Recorder>::default();
        let hears = recorder.clone();
        let audit = move |event: &Event<'_>| hears.hear(event);
        let manager = SessionManager::builder(model).audit(audit).build();
        *locked(&recorder.manager) = Some(manager.clone());
        let session = manager.open(of("ann")).unwrap();
        let requester = Requesting { manager, recorder, id: session.id() };
        requester.heard(&["ann opened"]);
        (requester, session)
    }

    #[track_caller]
    pub(crate) fn kill(&self, when: TerminateMode, why: &str) {
        let request = Terminate::new(when, admin("root")).comment(why);
        let receipt = self.manager.terminate(self.id, request).unwrap();
        locked(&self.recorder.ends).push(receipt);
    }

    #[track_caller]
    pub(crate) fn cancel(&self, why: &str) {
        let statement = self.manager.session_info(self.id).and_then(|row| row.statement_id);
        let statement = statement.expect("one runs, or is queued");
        let request = Cancel::statement(statement, admin("root")).comment(why);
        let receipt = self.manager.cancel(self.id, request).unwrap();
        locked(&self.recorder.overs).push(receipt);
    }

    /// A waker for the next wait, which counts.
    pub(crate) fn waiter(&self) -> (Arc<CountingWaker>, Waker) {
        let (count, waker) = CountingWaker::waker();
        *locked(&self.recorder.waiter) = count.clone();
        (count, waker)
    }

    /// Lets the statement wait, and calls `asks` meanwhile, as [`sleep_until_woken`]. The audit notes if the
    /// wait is woken before a request.
    pub(crate) fn sleep(&self, statement: &Statement<'_>, asks: impl FnOnce()) {
        sleep_until_woken(statement, self.waiter(), asks);
    }

    /// Makes the audit end the session when it receives the end of a statement.
    pub(crate) fn audit_ends_it(&self) {
        *locked(&self.recorder.ends_at_over) = Some(self.id);
    }

    /// Returns the events since the last call.
    #[track_caller]
    pub(crate) fn heard(&self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut *locked(&self.recorder.lines)), expected);
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.recorder.lines).len()
    }

    /// Adds a receipt that must not complete before the audit has received the end.
    pub(crate) fn watch(&self, receipt: Receipt<SessionEnd>) {
        locked(&self.recorder.ends).push(receipt);
    }
}

/// The manager has the audit, and that the manager.
impl Drop for Requesting {
    fn drop(&mut self) {
        let manager = locked(&self.recorder.manager).take();
        drop(manager);
    }
}

/// In both models: ann's session, which has just been opened.
pub(crate) fn each(test: impl Fn(Requesting, Session, Thread)) {
    for model in MODELS {
        let (requester, session) = Requesting::new(model);
        let thread = thread_for(&requester.manager, &session);
        test(requester, session, thread);
    }
}
