//! The manager: opens sessions, finds them, and sends requests to them.

use crate::core::admission::AdmissionLimit;
use crate::core::record::Record;
use crate::core::record::request::Accepted;
use crate::core::registry::Registry;
use crate::core::shared::{Shared, SharedHandle};
use crate::core::state::Snapshot;
use crate::core::thread::ThreadRecord;
use crate::manager::info::{SessionInfo, Sessions, ThreadInfo, threads};
use crate::manager::policy::Policy;
use crate::observe::event::Event;
use crate::session::current::wake_all;
use crate::session::receipt::Receipt;
use crate::session::session::Session;
use crate::session::thread::Thread;
use crate::session::timer;
use crate::sync::near;
use crate::types::client_info::ClientInfo;
use crate::types::error::{OpenError, RequestError};
use crate::types::helper::HelperInfo;
use crate::types::id::SessionId;
use crate::types::interrupt::InterruptKind;
use crate::types::model::ThreadModel;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::pending::{PendingReason, ProbeResult};
use crate::types::reason::InterruptReason;
use crate::types::request::{Cancel, Request, Requester, Target, Terminate, TerminateMode};
use crate::types::state::TargetSnapshot;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// The registry of all sessions of a server: opens sessions, lists them, and sends requests to
/// them.
///
/// A clone refers to the same manager.
///
/// # Examples
///
/// ```
/// use safepoint::{ClientInfo, SessionManager, ThreadModel};
///
/// let manager = SessionManager::new(ThreadModel::PerSession);
/// let session = manager.open(ClientInfo::default())?;
/// assert_eq!(manager.len(), 1);
/// drop(session);
/// assert!(manager.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SessionManager(pub(crate) Arc<Inner>);

// No lock is held while application code runs, so a panic of it leaves nothing half done.
impl UnwindSafe for SessionManager {}
impl RefUnwindSafe for SessionManager {}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handles: Box<[SharedHandle]>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) policy: Box<dyn Policy>,
}

impl SessionManager {
    /// Returns the thread model that the manager was created with.
    #[must_use]
    pub fn model(&self) -> ThreadModel {
        self.0.shared.model
    }

    /// Opens a session, which is attached to no thread.
    ///
    /// # Errors
    /// Returns [`OpenError`] if the manager is closed or full, or if all ids are used.
    pub fn open(&self, client: ClientInfo) -> Result<Session, OpenError> {
        let shared = &self.0.shared;
        shared.admission.as_ref().map_or(Ok(()), AdmissionLimit::acquire)?;
        let record =
            Arc::new(Record::new(client, shared.hooks.hear().then(|| shared.hooks.clone())));
        let shard_hint = near();
        let record = shared.sessions.insert(shard_hint, record).inspect_err(|_| {
            if let Some(admission) = &shared.admission {
                admission.release(false);
            }
        })?;
        let session =
            Session::new(record, self.0.handles[shard_hint % self.0.handles.len()].clone());
        if shared.hooks.hear() {
            session.emit_opened();
        }
        Ok(session)
    }

    /// Registers a thread that will run sessions of a pool.
    ///
    /// # Errors
    /// Returns [`OpenError`] if all ids are used, or if 65,534 such threads are registered. A
    /// closed manager still registers threads.
    pub fn register_worker(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.shared.register(name, true)
    }

    /// Registers a thread that never runs sessions, so that [`threads`](Self::threads) lists it.
    ///
    /// # Errors
    /// Returns [`OpenError`] if all ids are used, or if the registry is full. A closed manager
    /// still registers threads.
    pub fn register_background(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.shared.register(name, false)
    }

    /// Requests the termination of a session, on behalf of the requester.
    ///
    /// If no thread runs the session, its [detached waker](crate::Session::set_detached_waker) has
    /// run when this returns. A request that is no stronger than the pending one changes nothing,
    /// and wakes no thread.
    ///
    /// # Errors
    /// Returns [`RequestError`] if the request is rejected. Then it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let session = manager.open(ClientInfo::default())?;
    /// use safepoint::{Requester, Terminate, TerminateMode};
    ///
    /// let request = Terminate::new(TerminateMode::AfterTransaction, Requester::system());
    /// let mut receipt = manager.terminate(session.id(), request)?;
    /// drop(session);
    /// println!("it ended: {:?}", receipt.wait());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminate(
        &self,
        target: impl Into<Target>,
        request: Terminate,
    ) -> Result<Receipt<SessionEnd>, RequestError> {
        self.terminate_if_unchanged(target.into(), request, None)
    }

    /// Requests a termination as [`terminate`](Self::terminate) does, but rejects it if the session
    /// has changed since the snapshot `expected`.
    pub(crate) fn terminate_if_unchanged(
        &self,
        target: Target,
        request: Terminate,
        expected: Option<Snapshot>,
    ) -> Result<Receipt<SessionEnd>, RequestError> {
        let Terminate { mode, grace, requester, comment } = request;
        let kind = InterruptKind::Terminate;
        let resolved = self.resolve_target(target, kind, &requester)?;
        let request = resolved.request(requester, InterruptReason::AdministratorCommand, comment);
        let grace = grace.filter(|_| mode != TerminateMode::Immediate);
        let timer = || match timer::ensure_running(&self.0.shared) {
            Ok(timer) => Ok(timer),
            Err(_) => {
                let unavailable = RequestError::TimerUnavailable(resolved.record.id());
                Err(self.emit_rejected(kind, target, &request.requester, unavailable))
            }
        };
        let timer = grace.map(|grace| Ok((grace, timer()?))).transpose()?;
        let send =
            |slot| resolved.record.terminate_if_unchanged(mode, request.clone(), slot, expected);
        match resolved.required_slot().and_then(send) {
            Ok(accepted) => {
                if let Some((grace, timer)) = timer {
                    resolved.record.escalate(timer, grace, request.clone());
                }
                self.emit_requested(&resolved.record, kind, Some(mode), &request, &accepted);
                Ok(wake_and_receipt(&resolved.record, accepted))
            }
            Err(error) => {
                let rejected = resolved.rejection(error, None);
                Err(self.emit_rejected(kind, target, &request.requester, rejected))
            }
        }
    }

    /// Requests the cancel of one statement. The session and its other statements continue.
    ///
    /// # Errors
    /// Returns [`RequestError`] if the request is rejected. Then it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// use safepoint::{Cancel, Requester};
    ///
    /// let statement = attached.begin()?;
    /// let cancel = Cancel::statement(statement.statement_id(), Requester::system());
    /// let receipt = manager.cancel(statement.id(), cancel)?;
    /// assert_eq!(statement.check().unwrap_err().sqlstate(), "57014");
    /// drop(statement);
    /// assert!(receipt.try_get().is_some_and(|end| end.cancelled));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(
        &self,
        target: impl Into<Target>,
        request: Cancel,
    ) -> Result<Receipt<StatementEnd>, RequestError> {
        let (target, kind) = (target.into(), InterruptKind::Cancel);
        let Cancel { statement, or_queued, requester, comment } = request;
        let resolved = self.resolve_target(target, kind, &requester)?;
        let request = resolved.request(requester, InterruptReason::UserRequest, comment);
        let send = |slot| resolved.record.cancel(statement, or_queued, request.clone(), slot);
        match resolved.required_slot().and_then(send) {
            Ok(accepted) => {
                self.emit_requested(&resolved.record, kind, None, &request, &accepted);
                Ok(wake_and_receipt(&resolved.record, accepted))
            }
            Err(error) => {
                let rejected = resolved.rejection(error, statement);
                Err(self.emit_rejected(kind, target, &request.requester, rejected))
            }
        }
    }

    fn emit_requested<T>(
        &self,
        record: &Record,
        kind: InterruptKind,
        mode: Option<TerminateMode>,
        request: &Request,
        accepted: &Accepted<T>,
    ) {
        let target_state = TargetSnapshot::new(accepted.before, accepted.thread);
        let session = record.id();
        self.0.shared.hooks.emit(&Event::InterruptRequested {
            session,
            kind,
            mode,
            request,
            target_state,
        });
    }

    pub(crate) fn emit_rejected(
        &self,
        kind: InterruptKind,
        target: Target,
        requester: &Requester,
        rejected: RequestError,
    ) -> RequestError {
        self.0.shared.hooks.emit(&Event::RequestRejected {
            target,
            kind,
            requester,
            error: &rejected,
        });
        rejected
    }

    /// Sets a probe: the next safe point of a running session stores its time and location. Returns
    /// whether the last probe is still unanswered, or `None` if the session has ended. A later row
    /// has the location in [`SessionInfo::last_safe_point`]. A `Watchdog` probes all sessions.
    ///
    /// The helpers of the session's statements are probed too. The result is about the thread that runs the
    /// session. The rows of [`helpers`](Self::helpers) have the safe points of the helpers.
    #[must_use]
    pub fn probe(&self, id: SessionId) -> Option<ProbeResult> {
        let record = self.0.shared.sessions.get(id.get())?;
        record.probe_helpers();
        Some(record.probe())
    }

    /// Returns why a session or its statement has not ended yet, as [`Receipt::pending_reason`]
    /// does. If both a termination and a cancel are pending, it returns the reason for the
    /// termination. Returns `None` if no request is pending, or the session has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// use safepoint::{Requester, Terminate, TerminateMode};
    ///
    /// assert_eq!(manager.pending_reason(attached.id()), None);
    /// let request = Terminate::new(TerminateMode::Immediate, Requester::system());
    /// manager.terminate(attached.id(), request)?;
    /// let _held = attached.hold_off("write the log");
    /// let reason = manager.pending_reason(attached.id()).expect("it is still there");
    /// assert!(reason.to_string().contains("write the log"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pending_reason(&self, id: SessionId) -> Option<PendingReason> {
        let record = self.0.shared.sessions.get(id.get())?;
        record.why_not_yet(record.pending()?.kind)
    }

    /// Returns the rows of the helpers of a session's statements: threads and tasks that work for them by a
    /// [`StatementHandle`](crate::session::StatementHandle). Empty if there are none, or no such session.
    ///
    /// The row of a helper that the policy may not disclose is not for its requester: ask
    /// [`session_info_visible_to`](Self::session_info_visible_to) first.
    #[must_use]
    pub fn helpers(&self, id: SessionId) -> Vec<HelperInfo> {
        let record = self.0.shared.sessions.get(id.get());
        record.map(|record| record.helpers(None)).unwrap_or_default()
    }

    /// Returns the row of one session, or `None` if there is no such session.
    #[must_use]
    pub fn session_info(&self, id: SessionId) -> Option<SessionInfo> {
        let record = self.0.shared.sessions.get(id.get())?;
        Some(SessionInfo::of(&record, self.0.shared.model == ThreadModel::PerSession))
    }

    /// Returns the row of one session as `requester` may see it: without what the policy [does not
    /// disclose](crate::policy::Policy::discloses_activity). Returns `None` if there is no such
    /// session, or if the policy hides it.
    #[must_use]
    pub fn session_info_visible_to(
        &self,
        id: SessionId,
        requester: &Requester,
    ) -> Option<SessionInfo> {
        let row = self.session_info(id)?;
        let visible = self.is_visible_to(requester, id, &row.client);
        visible.then(|| self.disclose(requester, row))
    }

    /// Returns an iterator over the rows of all open sessions. A session that was requested to end
    /// is included until it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let session = manager.open(ClientInfo::default())?;
    /// for row in manager.sessions() {
    ///     println!("{}: {} since {:?}", row.id, row.state, row.changed_at);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.0.shared.clone())
    }

    /// Returns the rows of the open sessions that the policy shows to `requester`. A row lacks what
    /// the policy [does not disclose](crate::policy::Policy::discloses_activity).
    #[must_use]
    pub fn sessions_visible_to<'a>(&'a self, requester: &'a Requester) -> VisibleSessions<'a> {
        VisibleSessions { sessions: self.sessions(), manager: self, requester }
    }

    /// Returns the rows of all registered threads: they are few, so the list is made at once.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadInfo> {
        threads(&self.0.threads)
    }

    /// Returns the number of open sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shared.sessions.len()
    }

    /// Returns whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops opening sessions. When this returns, every open session is in
    /// [`sessions`](Self::sessions).
    pub fn close(&self) {
        self.0.shared.sessions.close();
    }

    /// Closes the manager, requests the termination of every session, and returns the receipts.
    /// When all receipts are complete, the manager is empty. The policy is not called, since the
    /// application itself makes this request.
    pub fn shutdown(&self, request: Terminate) -> Vec<Receipt<SessionEnd>> {
        self.close();
        self.sessions().filter_map(|row| self.terminate_unchecked(row.id, &request)).collect()
    }

    /// Requests the termination of a session without calling the policy. Returns `None` if the
    /// session has ended.
    pub(crate) fn terminate_unchecked(
        &self,
        id: SessionId,
        request: &Terminate,
    ) -> Option<Receipt<SessionEnd>> {
        let record = self.0.shared.sessions.get(id.get())?;
        let Terminate { mode, grace, requester, comment } = request.clone();
        let request = Request::new(requester, InterruptReason::AdministratorCommand);
        let request = Request { comment, ..request };
        match record.terminate(mode, request.clone(), None) {
            Ok(accepted) => {
                let grace = grace.filter(|_| mode != TerminateMode::Immediate);
                // If the timer cannot be started, the request is still accepted, without its grace.
                if let Some(grace) = grace
                    && let Ok(timer) = timer::ensure_running(&self.0.shared)
                {
                    record.escalate(timer, grace, request.clone());
                }
                let kind = InterruptKind::Terminate;
                self.emit_requested(&record, kind, Some(mode), &request, &accepted);
                Some(wake_and_receipt(&record, accepted))
            }
            // The session has ended, and is about to leave the registry.
            Err(_) => {
                let completion = record.ending(request)?;
                Some(Receipt::new(
                    record.clone(),
                    completion,
                    TargetSnapshot::new(record.snapshot(), None),
                ))
            }
        }
    }
}

#[cfg(safepoint_loom)]
impl SessionManager {
    /// Runs the timer once, as if this time had passed since the manager was created.
    pub fn expire_timeouts(&self, now: std::time::Duration) {
        self.0.shared.timers.timer.expire_once(&self.0.shared, crate::core::timer::nanos(now));
    }

    /// Stores that the session has the connection with this number.
    pub fn connection_watched(&self, session: SessionId, number: u64) {
        if let Some(record) = self.0.shared.sessions.get(session.get()) {
            record.connection_watched(&self.0.shared.timers.timer, number);
        }
    }

    /// Stores that the client has closed the connection with this number.
    pub fn connection_closed(&self, session: SessionId, number: u64) {
        if let Some(record) = self.0.shared.sessions.get(session.get()) {
            record.connection_closed(number);
        }
    }

    /// Returns the number of sessions that have an entry in the timer.
    #[must_use]
    pub fn timed(&self) -> usize {
        self.0.shared.timers.timer.len()
    }
}

/// An iterator over the sessions that the policy shows to a requester, as [`Sessions`] is over all.
#[derive(Debug)]
pub struct VisibleSessions<'a> {
    sessions: Sessions,
    manager: &'a SessionManager,
    requester: &'a Requester,
}

impl Iterator for VisibleSessions<'_> {
    type Item = SessionInfo;

    fn next(&mut self) -> Option<SessionInfo> {
        let VisibleSessions { sessions, manager, requester } = self;
        let row = sessions.find(|row| manager.is_visible_to(requester, row.id, &row.client))?;
        Some(manager.disclose(requester, row))
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("model", &self.0.shared.model)
            .field("sessions", &self.len())
            .finish_non_exhaustive()
    }
}

fn wake_and_receipt<T: Clone>(record: &Arc<Record>, accepted: Accepted<T>) -> Receipt<T> {
    wake_all(record.take_wakers());
    let target_state = TargetSnapshot::new(accepted.before, accepted.thread);
    Receipt::new(record.clone(), accepted.completion, target_state)
}
