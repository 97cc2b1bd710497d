//! The manager: opens sessions, finds them, and sends requests to them.

use crate::core::admission::AdmissionLimit;
use crate::core::record::Record;
use crate::core::record::request::Accepted;
use crate::core::registry::Registry;
use crate::core::shared::{Shared, SharedHandle};
use crate::core::state::Snapshot;
use crate::core::thread::ThreadRecord;
use crate::core::timer::TimerOwner;
use crate::manager::info::{SessionInfo, Sessions, ThreadInfo, threads};
use crate::manager::policy::{Policy, SameUserOrAdmin};
use crate::observe::event::{Audit, Event};
use crate::observe::hooks::Hooks;
use crate::session::current::wake_all;
use crate::session::receipt::Receipt;
use crate::session::session::Session;
use crate::session::thread::Thread;
use crate::session::timer;
use crate::sync::{near, session_shards};
use crate::types::client_info::ClientInfo;
use crate::types::error::{OpenError, RequestError};
use crate::types::id::{MAX_SERIAL, SessionId, THREAD_SHARD};
use crate::types::interrupt::InterruptKind;
use crate::types::model::ThreadModel;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::pending::{PendingReason, ProbeResult};
use crate::types::reason::InterruptReason;
use crate::types::request::{Cancel, Request, Requester, Target, Terminate, TerminateMode};
use crate::types::state::TargetSnapshot;
use crossbeam_utils::CachePadded;
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
    pub(crate) home: Arc<Shared>,
    ways: Box<[SharedHandle]>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) policy: Box<dyn Policy>,
}

/// A builder for a manager. See [`SessionManager::builder`].
///
/// # Examples
///
/// ```
/// use safepoint::{SessionManager, ThreadModel, policy::Roles};
///
/// let manager = SessionManager::builder(ThreadModel::PerSession)
///     .policy(Roles::new().signaller("monitor"))
///     .max_sessions(1_000)
///     .reserved_for_admins(10)
///     .build();
/// ```
pub struct SessionManagerBuilder {
    model: ThreadModel,
    policy: Box<dyn Policy>,
    audit: Option<Box<dyn Audit>>,
    max: Option<usize>,
    reserved: usize,
    first_serial: u64,
}

impl SessionManagerBuilder {
    /// Sets who may end which session or statement. The default is [`SameUserOrAdmin`].
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// Sets the audit, which receives the manager's events.
    #[must_use]
    pub fn audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// Limits the number of open sessions, those of administrators and newcomers included. Without
    /// this there is no limit.
    #[must_use]
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    /// Reserves this many of the [`max_sessions`](Self::max_sessions) for administrators: see
    /// [`Session::admit`](crate::Session::admit). If all are reserved, nobody else is admitted.
    #[must_use]
    pub fn reserved_for_admins(mut self, reserved: usize) -> Self {
        self.reserved = reserved;
        self
    }

    /// Sets the first serial of session ids, instead of a random one, for tests and transcripts
    /// that need the same ids each time. It is taken modulo 2<sup>37</sup>, and 0 counts as 1.
    ///
    /// Without this each manager starts at a random serial, so that an id from an old screen, or
    /// from another run of the server, names no session. If each of two runs opens a million
    /// sessions, the chance that they share an id is below one in 50,000. An id is no secret: ids
    /// are consecutive, so a user who knows one can guess others. Permissions are decided by the [policy](Self::policy) to say.
    #[must_use]
    pub fn first_serial(mut self, serial: u64) -> Self {
        self.first_serial = serial;
        self
    }

    /// Creates the manager.
    #[must_use]
    pub fn build(self) -> SessionManager {
        let SessionManagerBuilder { model, policy, audit, max, reserved, first_serial } = self;
        let first = (first_serial % FIRST_SERIALS).max(1);
        let threads = Arc::new(Registry::new(THREAD_SHARD, 1, first));
        let home = Shared::listed(Shared {
            model,
            sessions: Registry::new(0, session_shards(), first),
            hooks: Arc::new(Hooks(audit)),
            slots: Arc::default(),
            threads: threads.clone(),
            timers: TimerOwner::new(),
            places: max.map(|max| AdmissionLimit::new(max, reserved)),
        });
        let way = |_| Arc::new(CachePadded::new(home.clone()));
        let ways = (0..session_shards()).map(way).collect();
        SessionManager(Arc::new(Inner { home, ways, threads, policy }))
    }
}

impl fmt::Debug for SessionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("model", &self.model)
            .field("max_sessions", &self.max)
            .field("reserved_for_admins", &self.reserved)
            .finish_non_exhaustive()
    }
}

impl SessionManager {
    /// Creates a manager with the policy [`SameUserOrAdmin`] and no limit on its sessions.
    #[must_use]
    pub fn new(model: ThreadModel) -> SessionManager {
        SessionManager::builder(model).build()
    }

    /// Returns a builder, for a manager with another policy or with a limit on its sessions.
    #[must_use]
    pub fn builder(model: ThreadModel) -> SessionManagerBuilder {
        let policy = Box::new(SameUserOrAdmin);
        let first_serial = any_serial();
        SessionManagerBuilder { model, policy, audit: None, max: None, reserved: 0, first_serial }
    }

    /// Returns the thread model that the manager was created with.
    #[must_use]
    pub fn model(&self) -> ThreadModel {
        self.0.home.model
    }

    /// Opens a session. It belongs to the caller, detached.
    ///
    /// # Errors
    /// [`OpenError`] once the manager is closed, full, or has used up its numbers.
    pub fn open(&self, description: ClientInfo) -> Result<Session, OpenError> {
        let home = &self.0.home;
        home.places.as_ref().map_or(Ok(()), AdmissionLimit::take)?;
        let record =
            Arc::new(Record::new(description, home.hooks.hear().then(|| home.hooks.clone())));
        let near = near();
        let record = home.sessions.insert(near, record).inspect_err(|_| {
            if let Some(places) = &home.places {
                places.give_back(false);
            }
        })?;
        let session = Session::new(record, self.0.ways[near % self.0.ways.len()].clone());
        if home.hooks.hear() {
            session.emit_opened();
        }
        Ok(session)
    }

    /// Registers the thread of a pool that will run sessions.
    ///
    /// # Errors
    /// [`OpenError`] if all ids are used, or 65,534 such threads are registered. A closed manager
    /// opens no sessions, but registers threads.
    pub fn register_worker(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.home.register(name, true)
    }

    /// Registers a thread that never runs sessions, so that it can be seen.
    ///
    /// # Errors
    /// As [`register_worker`](Self::register_worker).
    pub fn register_background(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.home.register(name, false)
    }

    /// Requests the termination of a session, on behalf of the requester.
    ///
    /// If no thread runs the session, the waker of its owner has run when this returns. A request
    /// that is no stronger than the pending one changes nothing and wakes no thread twice.
    ///
    /// # Errors
    /// [`RequestError`] names the reason; then nothing has been done.
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
        self.terminate_as_seen(target.into(), request, None)
    }

    /// The same, only if the session still does what it did as `seen` was taken.
    pub(crate) fn terminate_as_seen(
        &self,
        target: Target,
        request: Terminate,
        seen: Option<Snapshot>,
    ) -> Result<Receipt<SessionEnd>, RequestError> {
        let Terminate { mode: when, grace, requester: author, comment: text } = request;
        let kind = InterruptKind::Terminate;
        let aim = self.aim(target, kind, &author)?;
        let request = aim.request(author, InterruptReason::AdministratorCommand, text);
        let grace = grace.filter(|_| when != TerminateMode::Immediate);
        let timer = || match timer::running(&self.0.home) {
            Ok(timer) => Ok(timer),
            Err(_) => {
                let refused = RequestError::TimerUnavailable(aim.record.id());
                Err(self.emit_rejected(kind, target, &request.requester, refused))
            }
        };
        let timer = grace.map(|grace| Ok((grace, timer()?))).transpose()?;
        let step = |only| aim.record.terminate_as_seen(when, request.clone(), only, seen);
        match aim.only().and_then(step) {
            Ok(accepted) => {
                if let Some((grace, timer)) = timer {
                    aim.record.escalate(timer, grace, request.clone());
                }
                self.emit_requested(&aim.record, kind, Some(when), &request, &accepted);
                Ok(wake_and_receipt(&aim.record, accepted))
            }
            Err(void) => {
                Err(self.emit_rejected(kind, target, &request.requester, aim.refusal(void, None)))
            }
        }
    }

    /// Requests the cancel of one statement. The session and its other statements continue.
    ///
    /// # Errors
    /// [`RequestError`] names the reason; then nothing has been done.
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
        let Cancel { statement, or_queued, requester: author, comment: text } = request;
        let aim = self.aim(target, kind, &author)?;
        let request = aim.request(author, InterruptReason::UserRequest, text);
        let step = |only| aim.record.cancel(statement, or_queued, request.clone(), only);
        match aim.only().and_then(step) {
            Ok(accepted) => {
                self.emit_requested(&aim.record, kind, None, &request, &accepted);
                Ok(wake_and_receipt(&aim.record, accepted))
            }
            Err(void) => {
                let refused = aim.refusal(void, statement);
                Err(self.emit_rejected(kind, target, &request.requester, refused))
            }
        }
    }

    fn emit_requested<T>(
        &self,
        record: &Record,
        kind: InterruptKind,
        when: Option<TerminateMode>,
        request: &Request,
        accepted: &Accepted<T>,
    ) {
        let found = TargetSnapshot::new(accepted.before, accepted.thread);
        let session = record.id();
        self.0.home.hooks.emit(&Event::InterruptRequested {
            session,
            kind,
            mode: when,
            request,
            target_state: found,
        });
    }

    pub(crate) fn emit_rejected(
        &self,
        kind: InterruptKind,
        target: Target,
        author: &Requester,
        refused: RequestError,
    ) -> RequestError {
        self.0.home.hooks.emit(&Event::RequestRejected {
            target,
            kind,
            requester: author,
            error: &refused,
        });
        refused
    }

    /// Sets a probe: the next safe point of a running session stores its time and location. Returns
    /// whether the last probe is still unanswered, or `None` if the session has ended. The stored
    /// location is in the [`SessionInfo::last_safe_point`] of a later row. A `Watchdog` probes all
    /// sessions.
    #[must_use]
    pub fn probe(&self, id: SessionId) -> Option<ProbeResult> {
        Some(self.0.home.sessions.get(id.get())?.probe())
    }

    /// Returns why a session, or its statement, has not ended yet, as [`Receipt::pending_reason`]
    /// does. If both were requested to end, it answers for the termination. Returns `None` if no
    /// request is pending, or the session has ended.
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
        let record = self.0.home.sessions.get(id.get())?;
        record.why_not_yet(record.pending()?.kind)
    }

    /// Returns the row of one session, or `None` if there is no such session.
    #[must_use]
    pub fn session_info(&self, id: SessionId) -> Option<SessionInfo> {
        let record = self.0.home.sessions.get(id.get())?;
        Some(SessionInfo::of(&record, self.0.home.model == ThreadModel::PerSession))
    }

    /// Returns all open sessions. A session that was requested to end is included until it has
    /// ended.
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
        Sessions::new(self.0.home.clone())
    }

    /// Returns the open sessions that the policy shows to `author`.
    pub fn sessions_visible_to(&self, author: &Requester) -> impl Iterator<Item = SessionInfo> {
        self.sessions().filter(|row| self.shows(author, row.id, &row.client))
    }

    /// Returns all registered threads.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadInfo> {
        threads(&self.0.threads)
    }

    /// Returns the number of open sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.home.sessions.len()
    }

    /// Returns whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops opening sessions. All open sessions are in [`sessions`](Self::sessions) when
    /// this returns.
    pub fn close(&self) {
        self.0.home.sessions.close();
    }

    /// Closes the manager, requests the termination of every session, and returns the receipts.
    /// When all of them are complete, the manager is empty. The policy is not called, since the
    /// application itself makes this request.
    pub fn shutdown(&self, request: Terminate) -> Vec<Receipt<SessionEnd>> {
        self.close();
        self.sessions().filter_map(|row| self.tell(row.id, &request)).collect()
    }

    /// Requests the termination of a session without calling the policy. Returns `None` if it has
    /// ended.
    pub(crate) fn tell(&self, id: SessionId, request: &Terminate) -> Option<Receipt<SessionEnd>> {
        let record = self.0.home.sessions.get(id.get())?;
        let Terminate { mode: when, grace, requester: author, comment: text } = request.clone();
        let request = Request::new(author, InterruptReason::AdministratorCommand);
        let request = Request { comment: text, ..request };
        match record.terminate(when, request.clone(), None) {
            Ok(accepted) => {
                let grace = grace.filter(|_| when != TerminateMode::Immediate);
                // Without a timer the request is accepted, and the grace never ends.
                if let Some(grace) = grace
                    && let Ok(timer) = timer::running(&self.0.home)
                {
                    record.escalate(timer, grace, request.clone());
                }
                let kind = InterruptKind::Terminate;
                self.emit_requested(&record, kind, Some(when), &request, &accepted);
                Some(wake_and_receipt(&record, accepted))
            }
            // It is about to leave the registry.
            Err(_) => {
                let ticket = record.ending(request)?;
                Some(Receipt::new(record.clone(), ticket, TargetSnapshot::new(record.look(), None)))
            }
        }
    }
}

#[cfg(safepoint_loom)]
impl SessionManager {
    /// Runs the timer once, as if this time had passed since the manager was created.
    pub fn expire_timeouts(&self, now: std::time::Duration) {
        self.0.home.timers.timer.look(&self.0.home, crate::core::timer::nanos(now));
    }

    /// Returns the number of sessions that the timer has an entry for.
    #[must_use]
    pub fn timed(&self) -> usize {
        self.0.home.timers.timer.len()
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("model", &self.0.home.model)
            .field("sessions", &self.len())
            .finish_non_exhaustive()
    }
}

fn wake_and_receipt<T: Clone>(record: &Arc<Record>, accepted: Accepted<T>) -> Receipt<T> {
    wake_all(record.take_wakers());
    let found = TargetSnapshot::new(accepted.before, accepted.thread);
    Receipt::new(record.clone(), accepted.ticket, found)
}

/// Half of all serials, so that as many follow after the largest first one.
const FIRST_SERIALS: u64 = MAX_SERIAL / 2 + 1;

/// A serial that no other manager is likely to start with.
fn any_serial() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // A model must be the same each time.
    if cfg!(any(safepoint_loom, safepoint_shuttle)) { 1 } else { RandomState::new().hash_one(0) }
}
