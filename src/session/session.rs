//! A session that is attached to no thread, as its owner has it.

use crate::core::attention;
use crate::core::record::Record;
use crate::core::registry::Keyed as _;
use crate::core::shared::SharedHandle;
use crate::core::state::{Slot, Transition};
use crate::core::thread::ThreadRecord;
use crate::observe::event::Event;
use crate::session::attached::Attached;
use crate::session::current::{self, complete};
use crate::session::owner::OwnerState;
use crate::session::thread::{Kind, Thread};
use crate::types::client_info::ClientInfo;
use crate::types::error::{AttachError, OpenError};
use crate::types::id::{SessionId, StatementId};
use crate::types::interrupt::Interrupt;
use crate::types::model::ThreadModel;
use crate::types::outcome::SessionEnd;
use crate::types::request::Requester;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

/// One client's logical connection, while it is attached to no thread.
///
/// A `Session` is `Send`, so that it can move between threads; [`attach`](Self::attach) runs it on
/// the calling thread. Closing or dropping it ends the session and completes its receipts. Close
/// the client's connection first, so that a completed receipt implies a closed connection.
///
/// A `Session` is not `Sync`: only its owner acts for it.
///
/// # Examples
///
/// ```
/// use safepoint::{ClientInfo, SessionManager, ThreadModel};
///
/// let manager = SessionManager::new(ThreadModel::PerSession);
/// let session = manager.open(ClientInfo::default())?;
/// let worker = std::thread::spawn(move || session.check());
/// assert_eq!(worker.join().unwrap(), Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a `Session` ends it"]
pub struct Session {
    pub(crate) record: Arc<Record>,
    pub(crate) owner: OwnerState,
    not_sync: PhantomData<Cell<()>>,
}

impl Session {
    pub(crate) fn new(record: Arc<Record>, shared: SharedHandle) -> Session {
        Session { owner: OwnerState { spare: None, shared }, record, not_sync: PhantomData }
    }

    pub(crate) fn emit_opened(&self) {
        let description = self.record.description();
        self.owner
            .shared
            .hooks
            .emit(&Event::SessionOpened { session: self.id(), client: &description });
    }

    /// Returns the session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.record.id()
    }

    /// Returns the thread that runs this session and no other, if each session has its own. The two
    /// ids are equal. Returns `None` in a pool, whose threads are [registered].
    ///
    /// [registered]: crate::SessionManager::register_worker
    #[must_use]
    pub fn own_thread(&self) -> Option<Thread> {
        (self.owner.shared.model == ThreadModel::PerSession)
            .then(|| Thread::new(Kind::Own(self.id(), self.owner.shared.slots.clone())))
    }

    /// Attaches the session to the calling thread, which `thread` represents, until the guard is
    /// detached or dropped.
    ///
    /// # Errors
    /// Returns [`AttachError`] if the thread may not run the session.
    ///
    /// # Examples
    ///
    /// ```
    /// use safepoint::{ClientInfo, SessionManager, ThreadModel};
    ///
    /// let manager = SessionManager::new(ThreadModel::Pool);
    /// let worker = manager.register_worker("worker 1")?;
    /// let mut session = manager.open(ClientInfo::default())?;
    /// let mut attached = session.attach(&worker)?;
    /// attached.begin()?.finish()?;
    /// attached.detach()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn attach<'s>(&'s mut self, thread: &'s Thread) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        complete(self.record.attach(slot, thread.id(), attention::own()));
        Ok(Attached::new(&self.record, &mut self.owner, shared))
    }

    /// Attaches the session as `attach` does, but in the middle of a task's statement.
    #[cfg(feature = "async")]
    pub(crate) fn resume<'s>(
        &'s mut self,
        thread: &'s Thread,
    ) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        self.record.resume(slot, thread.id(), attention::own());
        Ok(Attached::new(&self.record, &mut self.owner, shared))
    }

    fn enter<'t>(
        &mut self,
        thread: &'t Thread,
    ) -> Result<(Slot, Option<&'t ThreadRecord>), AttachError> {
        let (slot, shared) = match &thread.0 {
            Kind::Own(id, slots)
                if *id == self.id() && Arc::ptr_eq(slots, &self.owner.shared.slots) =>
            {
                (Slot::OWN, None)
            }
            Kind::Registered { record, .. }
                if self.owner.shared.model == ThreadModel::Pool
                    && record.is_of(&self.owner.shared.slots) =>
            {
                (record.slot().ok_or(AttachError::BackgroundThread)?, Some(&**record))
            }
            _ => return Err(AttachError::WrongThread),
        };
        if !current::enter(&self.record, &mut self.owner.spare) {
            return Err(AttachError::ThreadBusy);
        }
        Ok((slot, shared))
    }

    /// Reserves a statement id for a command that waits for a thread, so that the command can be
    /// cancelled while it waits. The id is used by the next [`Attached::begin`] call. If the
    /// session goes idle first, the id is discarded.
    ///
    /// Returns the id of the running statement if there is one, or `None` if all ids are used.
    ///
    /// # Examples
    ///
    /// ```
    /// use safepoint::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel};
    ///
    /// let manager = SessionManager::new(ThreadModel::Pool);
    /// let session = manager.open(ClientInfo::default())?;
    /// let queued = session.reserve_statement().expect("ids are left");
    /// manager.cancel(session.id(), Cancel::statement(queued, Requester::system()))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve_statement(&self) -> Option<StatementId> {
        complete(self.record.end_leaked_attachment());
        self.record.queue()
    }

    /// Sets the waker for a termination that falls due while no thread runs the session. It is
    /// woken on the requester's thread, with no lock of this library held. An owner uses it to end
    /// an idle session at once, as in `examples/your_own_pool.rs`.
    ///
    /// Set it before the session is first detached, or call [`check`](Self::check) after it.
    pub fn set_detached_waker(&self, waker: Option<Waker>) {
        complete(self.record.end_leaked_attachment());
        self.record.set_detached_waker(waker);
    }

    /// Checks whether the session must end now.
    ///
    /// # Side effects
    /// A termination that it returns counts as observed. An attachment or statement whose guard has
    /// leaked ends. A [suspended](crate::Statement::suspend) statement continues.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that ends the session.
    #[track_caller]
    pub fn check(&self) -> Result<(), Interrupt> {
        complete(self.record.end_leaked_attachment());
        self.record.due_termination(Location::caller())
    }

    /// Checks as [`check`](Self::check) does, for a caller that holds a lock: it emits no event.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn check_unreported(&self) -> Result<(), Interrupt> {
        self.record.check_termination_unreported()
    }

    /// Returns whether the session has a suspended statement.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn has_suspended(&self) -> bool {
        self.record.has_any_suspended()
    }

    /// Returns whether a suspended statement must be resumed, because an interrupt is due.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn must_resume(&self) -> bool {
        let word = self.record.snapshot();
        word.suspended() && word.due()
    }

    /// Returns the session as a requester, for example of a cancel that its client sends while no
    /// thread runs the session.
    #[must_use]
    pub fn requester(&self) -> Requester {
        self.record.as_requester()
    }

    /// Returns a copy of the client information.
    #[must_use]
    pub fn client_info(&self) -> ClientInfo {
        self.record.description()
    }

    /// Changes the client information. `change` gets a copy, and its result is stored. An update
    /// made within `change` is overwritten.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// let manager = SessionManager::new(ThreadModel::PerSession);
    /// let session = manager.open(ClientInfo::default())?;
    /// session.update_client_info(|client| client.with_user("ann").with_admin(true));
    /// assert_eq!(session.client_info().user(), "ann");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update_client_info(&self, change: impl FnOnce(ClientInfo) -> ClientInfo) {
        self.record.describe(change);
    }

    /// Requests admission, if the manager reserves slots for administrators. The user is not known
    /// when the session opens, so update the client information first. An administrator is always
    /// admitted. An ordinary user is admitted while fewer sessions are admitted than there are
    /// unreserved slots. A session that is not admitted takes a slot too, so give its client a
    /// limited time to authenticate.
    ///
    /// Only the first admission counts, even if the client's information changes later. Without a
    /// limit every session is admitted.
    ///
    /// # Errors
    /// Returns [`OpenError::Full`] if only reserved slots are left. The session keeps the slot that
    /// it opened with: notify the client, and close the session.
    pub fn admit(&self) -> Result<(), OpenError> {
        self.owner.admit(&self.record)
    }

    /// Ends the session, and returns how it ended. Dropping the session ends it too.
    pub fn close(self) -> SessionEnd {
        self.end()
    }

    fn end(&self) -> SessionEnd {
        let transition = self.record.end();
        self.drop_values();
        if self.record.has_had_helpers() {
            return self.end_after_helpers(transition);
        }
        leave_registry(&self.record, &self.owner.shared);
        let (ended, wakers) = self.record.completed(transition);
        current::wake_all(wakers);
        ended
    }

    /// Ends a session that may have helpers. The last of them removes the session from the registry
    /// and completes the receipts.
    #[cold]
    fn end_after_helpers(&self, transition: Transition) -> SessionEnd {
        let (finished, ended) = self.record.decide_end(transition);
        complete(finished);
        let (record, shared, end) = (self.record.clone(), self.owner.shared.clone(), ended.clone());
        let ending = move || {
            leave_registry(&record, &shared);
            record.completed_after_helpers(&end)
        };
        current::wake_all(self.record.end_after_helpers(Box::new(ending)));
        ended
    }

    /// Drops the session-local values, before the receipts complete. This thread may belong to a
    /// requester that runs another session, so the current session is hidden.
    fn drop_values(&self) {
        if let Some(values) = self.record.take_values() {
            current::without_session(|| values.drop_all());
        }
    }
}

fn leave_registry(record: &Record, shared: &SharedHandle) {
    shared.sessions.remove(record.number());
    // The admission slot is released before the receipts complete.
    if let Some(admission) = &shared.admission {
        record.release_admission(admission);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.record.snapshot().ended() {
            self.end();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("word", &self.record.snapshot())
            .finish()
    }
}
