//! A session on the thread that runs it: safe points, statements, detaching.

use crate::core::record::Record;
use crate::core::record::request::FinishedCancel;
use crate::core::state::Transition;
use crate::core::thread::ThreadRecord;
use crate::session::current::{self, complete};
use crate::session::owner::OwnerState;
use crate::sync::panicking;
use crate::types::client_info::ClientInfo;
use crate::types::error::OpenError;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crate::types::reason::InterruptReason;
use crate::types::request::Requester;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::task::Waker;

/// A session on the thread that runs it.
///
/// If a panic unwinds through it, the session cannot continue: an internal error is pending for its
/// next safe point. Code that attaches a session in a destructor during unwinding must handle a
/// panic itself, because there the two panics cannot be distinguished.
#[must_use = "dropping an `Attached` detaches the session"]
pub struct Attached<'s> {
    pub(crate) record: &'s Record,
    pub(crate) owner: &'s mut OwnerState,
    /// `None` if the thread is the session's own.
    shared: Option<&'s ThreadRecord>,
    /// The id of the session that the thread ran before and will run again, or 0.
    outer: u64,
    panicking: bool,
    not_send: PhantomData<*const ()>,
}

impl<'s> Attached<'s> {
    #[inline]
    pub(crate) fn new(
        record: &'s Record,
        owner: &'s mut OwnerState,
        shared: Option<&'s ThreadRecord>,
    ) -> Attached<'s> {
        let outer = shared.map_or(0, |shared| shared.run(record.id().get()));
        Attached { record, owner, shared, outer, panicking: panicking(), not_send: PhantomData }
    }

    /// Returns the session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.record.id()
    }

    /// Returns the id of the thread that the session is attached to.
    #[must_use]
    pub fn thread_id(&self) -> ThreadId {
        self.shared.map_or_else(|| self.id().own_thread(), ThreadRecord::id)
    }

    /// Returns the session as a requester.
    #[must_use]
    pub fn requester(&self) -> Requester {
        self.record.as_requester()
    }

    /// Returns a copy of the client information.
    #[must_use]
    pub fn client_info(&self) -> ClientInfo {
        self.record.description()
    }

    /// Changes the client information, as
    /// [`Session::update_client_info`](crate::Session::update_client_info) does.
    pub fn update_client_info(&self, change: impl FnOnce(ClientInfo) -> ClientInfo) {
        self.record.describe(change);
    }

    /// Requests admission, as [`Session::admit`](crate::Session::admit) does.
    ///
    /// # Errors
    /// Returns [`OpenError::Full`] if only reserved slots are left.
    pub fn admit(&self) -> Result<(), OpenError> {
        self.owner.admit(self.record)
    }

    /// Checks for a due interrupt. Costs one load, one mask and one branch if none is due.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off. Propagate it to the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// fn scan(session: &Attached<'_>, rows: &[u64]) -> Result<u64, safepoint::Interrupt> {
    ///     let mut sum = 0;
    ///     for row in rows {
    ///         session.check()?;
    ///         sum += row;
    ///     }
    ///     Ok(sum)
    /// }
    /// assert_eq!(scan(&attached, &[1, 2, 3])?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn check(&self) -> Result<(), Interrupt> {
        self.record.check()
    }

    /// Begins the session's next statement. This is a safe point: if a termination is due, the
    /// statement does not begin. A command that was cancelled while it was
    /// [queued](crate::Session::reserve_statement), or whose timeout expired there, ends at once.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due. After a cancel the session continues.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let statement = attached.begin()?.with_text("select 1");
    /// statement.check()?;
    /// statement.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn begin(&mut self) -> Result<Statement<'_>, Interrupt> {
        begin_at(self.record, Location::caller())?;
        Ok(Statement { attached: self, described: false })
    }

    /// Discards the id that [`Session::reserve_statement`](crate::Session::reserve_statement) has
    /// reserved, if no command has arrived after all. Call this before the client learns that it
    /// may send its next command. Otherwise a cancel of the last command could reach the next one.
    pub fn discard_reserved(&self) {
        complete(self.record.discard_reserved());
    }

    /// Sets whether a transaction is open.
    pub fn set_in_transaction(&self, open: bool) {
        self.record.transaction_changes(open);
    }

    /// Returns whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.record.snapshot().in_transaction()
    }

    /// Detaches the session from this thread. The session is then idle.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that ends the session. The session is detached in any case, and
    /// the caller must end it.
    #[inline]
    #[track_caller]
    pub fn detach(self) -> Result<(), Interrupt> {
        left(self.leave(false))
    }

    /// Detaches the session from this thread. Its command waits for another thread, and keeps the
    /// id that [`Session::reserve_statement`](crate::Session::reserve_statement) has reserved.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that ends the session. The session is detached in any case, and
    /// the caller must end it.
    #[track_caller]
    pub fn detach_to_queue(self) -> Result<(), Interrupt> {
        left(self.leave(true))
    }

    /// Detaches the session. This is for callers with a lock under which no receipt may complete:
    /// they call [`Detached::into_due`], and complete the receipts after the lock is released.
    #[inline]
    #[track_caller]
    pub(crate) fn leave(mut self, to_queue: bool) -> Detached<'s> {
        let transition = self.step_down(to_queue);
        let record = self.record;
        std::mem::forget(self);
        Detached { record, transition }
    }

    fn step_down(&mut self, to_queue: bool) -> Transition {
        self.leave_thread();
        complete(self.record.end_leaked_statement());
        self.record.detach(to_queue)
    }

    #[inline]
    fn leave_thread(&mut self) {
        if let Some(spare) = current::leave(self.record) {
            self.owner.spare = Some(spare);
        }
        if let Some(shared) = self.shared {
            shared.run(self.outer);
        }
    }

    /// Detaches the session in the middle of a statement. See [`Record::suspend`].
    pub(crate) fn suspend(mut self, waker: &Waker, at: CallerLocation) -> bool {
        self.leave_thread();
        let due = self.record.suspend(waker, at);
        std::mem::forget(self);
        due
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if panicking() && !self.panicking {
            self.record.fail(InterruptReason::InternalError);
        }
        // `Session::check`, or the next attachment, reports an interrupt that is due.
        let transition = self.step_down(false);
        complete(self.record.cancel_finished(transition));
    }
}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached")
            .field("id", &self.id())
            .field("thread", &self.thread_id())
            .finish()
    }
}

/// A session that has left its thread.
pub(crate) struct Detached<'s> {
    record: &'s Record,
    transition: Transition,
}

impl Detached<'_> {
    /// Returns the due interrupt, and the receipts to complete after the lock is released.
    #[cold]
    #[track_caller]
    pub(crate) fn into_due(self) -> (Result<(), Interrupt>, FinishedCancel) {
        let Detached { record, transition } = self;
        let over = record.cancel_finished(transition);
        (if transition.after.due() { record.check_due_unreported() } else { Ok(()) }, over)
    }
}

#[inline]
#[track_caller]
fn left(left: Detached<'_>) -> Result<(), Interrupt> {
    if left.transition.is_quiet() {
        return Ok(());
    }
    let (due, over) = left.into_due();
    complete(over);
    due
}

/// Ends a statement whose guard was leaked, and begins the next one.
pub(crate) fn begin_at(record: &Record, at: CallerLocation) -> Result<(), Interrupt> {
    complete(record.end_leaked_statement());
    record.begin_at(at, complete)
}

/// A statement that runs. It ends when it is finished or dropped.
///
/// # Examples
///
/// ```
/// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
/// # let manager = SessionManager::new(ThreadModel::PerSession);
/// # let mut session = manager.open(ClientInfo::default())?;
/// # let thread = session.own_thread().expect("each session has its own");
/// # let mut attached = session.attach(&thread)?;
/// let statement = attached.begin()?;
/// println!("statement {} of session {}", statement.statement_id(), statement.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a `Statement` ends it"]
#[derive(Debug)]
pub struct Statement<'a> {
    pub(crate) attached: &'a Attached<'a>,
    pub(crate) described: bool,
}

impl Statement<'_> {
    /// Returns the statement's id, which a cancel may name.
    #[must_use]
    pub fn statement_id(&self) -> StatementId {
        StatementId::of(self.attached.record.snapshot().last_statement())
    }

    /// Stores the current time and the first
    /// [`STATEMENT_TEXT_BYTES`](crate::view::STATEMENT_TEXT_BYTES) of the statement's text, for the
    /// activity view.
    pub fn with_text(mut self, text: &str) -> Self {
        let id = self.statement_id();
        self.attached.record.metadata(|metadata| metadata.statement_begins(id, text));
        self.described = true;
        self
    }

    /// Ends the statement. A cancel that was not observed has no effect. Does not wait for helpers.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] of a termination that is due now, for example because it was
    /// deferred to the end of the statement. The statement is complete, so send its result before
    /// the error.
    #[inline]
    #[track_caller]
    pub fn finish(self) -> Result<(), Interrupt> {
        let record = self.attached.record;
        self.leave();
        std::mem::forget(self);
        record.check()
    }

    fn leave(&self) {
        if self.described {
            self.attached.record.metadata(|metadata| metadata.statement_ends());
        }
        complete(self.attached.record.finish());
    }
}

impl<'a> Deref for Statement<'a> {
    type Target = Attached<'a>;

    fn deref(&self) -> &Attached<'a> {
        self.attached
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // Dropping is not a safe point, so a due interrupt stays unobserved.
        self.leave();
    }
}
