//! A session in a statement, and helpers of it.

use super::{JoinHandle, spawn};
use loom::sync::{Condvar, Mutex};
use safepoint_under_loom::audit::{Audit, Event};
use safepoint_under_loom::id::StatementId;
use safepoint_under_loom::request::{InterruptReason, StatementEnd};
use safepoint_under_loom::session::StatementHandle;
use safepoint_under_loom::{
    Cancel, ClientInfo, Interrupt, Receipt, Requester, SessionId, SessionManager, Statement,
    ThreadModel, current,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a thread waits for until another opens it.
#[derive(Default)]
pub(crate) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub(crate) fn new() -> Arc<Gate> {
        Arc::default()
    }

    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait(open).unwrap();
        }
    }
}

/// The first requester of a manager is held back after its step.
#[derive(Default)]
pub(crate) struct HeldBack {
    /// Opens after the requester's step.
    pub(crate) asked: Gate,
    /// What the requester waits for then.
    pub(crate) goes_on: Gate,
    is_first: AtomicBool,
}

struct HoldsBack(Arc<HeldBack>);

impl Audit for HoldsBack {
    fn on_event(&self, event: &Event<'_>) {
        if matches!(event, Event::InterruptRequested { .. })
            && !self.0.is_first.swap(true, Ordering::Relaxed)
        {
            self.0.asked.open();
            self.0.goes_on.wait();
        }
    }
}

pub(crate) fn manager() -> SessionManager {
    SessionManager::new(ThreadModel::PerSession)
}

pub(crate) fn manager_that_holds_back() -> (SessionManager, Arc<HeldBack>) {
    holds_back(ThreadModel::PerSession)
}

/// Its sessions are tasks.
pub(crate) fn manager_that_holds_back_tasks() -> (SessionManager, Arc<HeldBack>) {
    holds_back(ThreadModel::Pool)
}

fn holds_back(model: ThreadModel) -> (SessionManager, Arc<HeldBack>) {
    let held = Arc::<HeldBack>::default();
    let audit = HoldsBack(held.clone());
    (SessionManager::builder(model).audit(audit).build(), held)
}

/// Runs `scene` in the first statement of a session, on the calling thread, and ends the session.
pub(crate) fn in_statement(manager: &SessionManager, scene: impl FnOnce(Statement<'_>)) {
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    scene(attached.begin().unwrap());
    drop(attached);
    session.close();
    assert!(manager.is_empty());
}

pub(crate) fn cancel(
    manager: &SessionManager,
    session: SessionId,
    statement: StatementId,
) -> Option<Receipt<StatementEnd>> {
    let request = Cancel::statement(statement, Requester::system());
    manager.cancel(session, request.comment(statement.to_string())).ok()
}

/// Cancels the statement on another thread. The comment of each cancel is the number of its statement.
pub(crate) fn canceller(
    manager: &SessionManager,
    statement: &Statement<'_>,
) -> JoinHandle<Option<Receipt<StatementEnd>>> {
    let (manager, session, number) = (manager.clone(), statement.id(), statement.statement_id());
    spawn(move || cancel(&manager, session, number))
}

pub(crate) fn reason(interrupt: &Interrupt) -> InterruptReason {
    interrupt.request().reason()
}

/// Enters, and works until the ambient safe point reports something, which it must once `asked` has
/// returned. `raised`: the thread's flag is raised for another reason.
pub(crate) fn works(
    handle: &StatementHandle,
    raised: bool,
    asked: impl FnOnce(),
) -> InterruptReason {
    let helper = match handle.enter() {
        Ok(helper) => helper,
        Err(interrupt) => {
            asked();
            return reason(&interrupt);
        }
    };
    if raised {
        current::without_session(|| ());
    }
    let early = safepoint_under_loom::check();
    asked();
    let late = safepoint_under_loom::check().expect_err("no helper runs on");
    helper.check().expect_err("nor by its guard");
    if let Err(early) = early {
        assert_eq!(reason(&early), InterruptReason::UserRequest);
    }
    reason(&late)
}
