//! A session: owned and detached, or attached to the thread that runs it.

use crate::about::Description;
use crate::audit::{Event, Hooks};
use crate::current;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::{Author, Interrupt, Reason};
use crate::outcome::Ended;
use crate::places::Places;
use crate::record::{Over, Record};
use crate::registry::{Numbered, OpenError, Registry};
use crate::sync::panicking;
use crate::thread::{Kind, Slots, Thread, ThreadModel, ThreadRecord};
use crate::timer::Timers;
use crate::twin::Twin;
#[cfg(feature = "async")]
use crate::why::Place;
use crate::word::{Slot, Step};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

/// One client's logical connection, owned by whoever serves it, and on no thread.
///
/// It goes from thread to thread as any value does; [`attach`](Self::attach) runs it on one.
/// It ends when it is closed or dropped, so drop it last: after the client has been told and
/// its connection closed. Only then do the receipts of its killers say that it has ended.
pub struct Session {
    pub(crate) record: Arc<Record>,
    pub(crate) ties: Ties,
}

/// What a session needs beside its record.
pub(crate) struct Ties {
    /// From its first attachment on. The thread that runs it has this reference meanwhile, so that
    /// to attach and to detach counts none.
    spare: Option<Arc<Record>>,
    pub(crate) home: Way,
}

/// A reference to a manager's [`Home`] by one of several ways there. Each has a count of its own,
/// so that threads which open sessions by different ways do not share a cache line.
pub(crate) type Way = Arc<CachePadded<Arc<Home>>>;

/// What a session needs of its manager.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) model: ThreadModel,
    pub(crate) sessions: Registry<Record>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) timers: Timers,
    /// `None`: there is no limit.
    pub(crate) places: Option<Places>,
}

impl Home {
    pub(crate) fn register(&self, name: &str, runs: bool) -> Result<Thread, OpenError> {
        let record =
            ThreadRecord::new(Arc::from(name), self.slots.clone(), runs).ok_or(OpenError::Full)?;
        let record = self.threads.insert(0, Arc::new(record))?;
        Ok(Thread(Kind::Registered { record, threads: self.threads.clone() }))
    }
}

impl Session {
    pub(crate) fn new(record: Arc<Record>, home: Way) -> Session {
        Session { ties: Ties { spare: None, home }, record }
    }

    pub(crate) fn say_opened(&self) {
        let description = self.record.description();
        self.ties.home.hooks.emit(&Event::Opened { session: self.id(), description: &description });
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.record.id()
    }

    /// The thread that runs this session and no other, where each has its own: its number is
    /// the session's. `None` in a pool, whose threads are [registered].
    ///
    /// [registered]: crate::SessionManager::register_worker
    #[must_use]
    pub fn own_thread(&self) -> Option<Thread> {
        (self.ties.home.model == ThreadModel::PerSession).then(|| Thread(Kind::Own(self.id())))
    }

    /// Runs the session on the calling thread, which `thread` stands for, until the guard is
    /// detached or dropped.
    ///
    /// # Errors
    /// [`AttachError`] where the thread may not run it.
    #[inline]
    pub fn attach<'s>(&'s mut self, thread: &'s Thread) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        self.record.attach(slot, thread.id());
        Ok(self.on(shared))
    }

    /// The same in the middle of what a task runs.
    #[cfg(feature = "async")]
    pub(crate) fn go_on<'s>(&'s mut self, thread: &'s Thread) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        self.record.go_on(slot, thread.id());
        Ok(self.on(shared))
    }

    #[inline]
    fn on<'s>(&'s mut self, shared: Option<&'s ThreadRecord>) -> Attached<'s> {
        let Session { record, ties } = self;
        Attached { record, ties, shared, panicking: panicking(), not_send: PhantomData }
    }

    fn enter<'t>(
        &mut self,
        thread: &'t Thread,
    ) -> Result<(Slot, Option<&'t ThreadRecord>), AttachError> {
        let (slot, shared) = match &thread.0 {
            Kind::Own(id) if *id == self.id() => (Slot::OWN, None),
            Kind::Registered { record, .. }
                if self.ties.home.model == ThreadModel::Pool
                    && record.is_of(&self.ties.home.slots) =>
            {
                (record.slot().ok_or(AttachError::BackgroundThread)?, Some(&**record))
            }
            _ => return Err(AttachError::OtherSessionsThread),
        };
        if !current::enter(&self.record, &mut self.ties.spare) {
            return Err(AttachError::ThreadIsBusy);
        }
        if let Some(shared) = shared {
            shared.set_session(Some(self.id()));
        }
        Ok((slot, shared))
    }

    /// Gives a number to the command that waits to be begun, so that it can be cancelled
    /// while it waits for a thread: it is the next one that [`Attached::begin`] begins. Going
    /// idle without having begun it makes it void.
    ///
    /// While a statement runs this is its number. `None` once the numbers are used up.
    pub fn queue(&self) -> Option<StatementId> {
        self.record.queue()
    }

    /// Leaves what is to be woken when a termination falls due while no thread runs the
    /// session. It is called on the killer's thread, with no lock of this library held, and
    /// is the way to end an idle session at once; see the pool for an example.
    ///
    /// Leave it before the session is first detached, or ask [`due`](Self::due) afterwards.
    pub fn set_detached_waker(&self, waker: Option<Waker>) {
        self.record.set_detached_waker(waker);
    }

    /// Whether it must end now.
    ///
    /// # Errors
    /// The [`Interrupt`] to tell the client of.
    #[track_caller]
    pub fn due(&self) -> Result<(), Interrupt> {
        self.record.due(Location::caller())
    }

    /// As [`due`](Self::due), for whoever holds a lock of this library.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn due_unsaid(&self) -> Result<(), Interrupt> {
        self.record.due_unsaid()
    }

    /// Looks at or changes what is known of it.
    pub fn describe<T>(&self, change: impl FnOnce(&mut Description) -> T) -> T {
        self.record.describe(change)
    }

    /// Ends it. Dropping it does the same.
    pub fn close(self) -> Ended {
        self.end()
    }

    fn end(&self) -> Ended {
        let step = self.record.end();
        if !Twin::LocalsDroppedAfterReceipts.is_on() {
            self.drop_values();
        }
        self.ties.home.sessions.remove(self.record.number());
        // Whoever learns from a receipt that it has ended finds its place free.
        if let Some(places) = &self.ties.home.places {
            self.record.give_place_back(places);
        }
        let ended = self.record.completed(step);
        if Twin::LocalsDroppedAfterReceipts.is_on() {
            self.drop_values();
        }
        ended
    }

    /// Whoever learns from a receipt that it has ended finds its session-local values gone.
    /// Their destructors may be run by a killer, who has a session of its own.
    fn drop_values(&self) {
        if let Some(values) = self.record.take_values() {
            current::hidden(|| values.drop_all());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.record.look().ended() {
            self.end();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("word", &self.record.look())
            .finish()
    }
}

/// Why a session can't be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// The calling thread runs another session.
    ThreadIsBusy,
    /// The thread was registered as one that never runs sessions.
    BackgroundThread,
    /// The thread belongs to another session or manager, or the manager was made for the other
    /// model.
    OtherSessionsThread,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttachError::ThreadIsBusy => "this thread runs another session",
            AttachError::BackgroundThread => "a background thread can't run sessions",
            AttachError::OtherSessionsThread => {
                "a session runs on its own thread, or in a pool on a registered worker"
            }
        })
    }
}

impl std::error::Error for AttachError {}

/// A session on the thread that runs it.
///
/// If a panic unwinds through it, the session can't go on: it is told to end with an internal
/// error, whoever attaches it next.
pub struct Attached<'s> {
    pub(crate) record: &'s Record,
    pub(crate) ties: &'s mut Ties,
    /// `None`: its own.
    shared: Option<&'s ThreadRecord>,
    panicking: bool,
    not_send: PhantomData<*const ()>,
}

impl<'s> Attached<'s> {
    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.record.id()
    }

    /// The id of the thread it is attached to.
    #[must_use]
    pub fn thread(&self) -> ThreadId {
        self.shared.map_or_else(|| self.id().own_thread(), ThreadRecord::id)
    }

    /// The session as the author of a request.
    #[must_use]
    pub fn author(&self) -> Author {
        self.record.author()
    }

    /// Looks at or changes what is known of the session.
    pub fn describe<T>(&self, change: impl FnOnce(&mut Description) -> T) -> T {
        self.record.describe(change)
    }

    /// Asks for admission, where the manager keeps places for administrators. A newcomer's
    /// user is not known when it opens; describe the session and call this once it is. An
    /// ordinary user is admitted while as many places as are reserved, apart from the user's
    /// own, are not held by admitted sessions; an administrator always is. Newcomers that
    /// are not admitted keep nobody out but other newcomers, so give them a limited time.
    ///
    /// Only the first admission counts, whatever the description becomes later. Without a
    /// limit everyone is admitted.
    ///
    /// # Errors
    /// [`OpenError::Full`] where only reserved places are left. The session still has the place
    /// that it opened with: tell the client, and close it.
    pub fn admit(&self) -> Result<(), OpenError> {
        self.ties.home.places.as_ref().map_or(Ok(()), |places| self.record.admit(places))
    }

    /// A safe point: one load, one mask and one branch while nothing is due.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due and not held off. Return it outwards.
    #[inline]
    #[track_caller]
    pub fn check(&self) -> Result<(), Interrupt> {
        self.record.check()
    }

    /// Begins the session's next statement. This is a safe point: where a termination is due,
    /// the statement does not begin.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due.
    #[inline]
    #[track_caller]
    pub fn begin(&mut self) -> Result<Statement<'_>, Interrupt> {
        self.record.begin()?;
        Ok(Statement { attached: self, described: false })
    }

    /// Says that what waited for this thread was no command after all: the number that
    /// [`Session::queue`] gave it is void. Say so before the client is told that it may send
    /// its next command, or a cancel that was meant for the last one may hit that.
    pub fn void_queued(&self) {
        self.record.void_queued();
    }

    /// Says whether a transaction is open now.
    pub fn set_transaction(&self, open: bool) {
        self.record.transaction_changes(open);
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.record.look().in_transaction()
    }

    /// Takes the session off this thread; it has nothing to run.
    ///
    /// # Errors
    /// The [`Interrupt`] that ends it. It is off the thread all the same, and it is the
    /// caller, not the killer, who ends it now.
    #[inline]
    #[track_caller]
    pub fn detach(self) -> Result<(), Interrupt> {
        left(self.leave(false))
    }

    /// Takes the session off this thread; the command that it has to run waits for another.
    /// A command that had its number from [`Session::queue`] keeps it.
    ///
    /// # Errors
    /// As [`detach`](Self::detach).
    #[track_caller]
    pub fn detach_queued(self) -> Result<(), Interrupt> {
        left(self.leave(true))
    }

    /// For whoever holds a lock in which receipts may not be completed, and so
    /// [asks](Left::ask) first.
    #[inline]
    #[track_caller]
    pub(crate) fn leave(mut self, to_queue: bool) -> Left<'s> {
        let step = self.step_down(to_queue);
        let record = self.record;
        std::mem::forget(self);
        Left { record, step }
    }

    fn step_down(&mut self, to_queue: bool) -> Step {
        self.leave_thread();
        self.record.detach(to_queue)
    }

    #[inline]
    fn leave_thread(&mut self) {
        if let Some(spare) = current::leave() {
            self.ties.spare = Some(spare);
        }
        if let Some(shared) = self.shared {
            shared.set_session(None);
        }
    }

    /// Takes the session off this thread in the middle of what a task runs. See
    /// [`Record::suspend`].
    #[cfg(feature = "async")]
    pub(crate) fn suspend(mut self, waker: &Waker, at: Place) -> bool {
        self.leave_thread();
        let due = self.record.suspend(waker, at);
        std::mem::forget(self);
        due
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let panics = panicking() && !self.panicking;
        if panics && !Twin::PanicForgotten.is_on() {
            self.record.fail(Reason::InternalError);
        }
        // The holder learns of what is due from `Session::due`, or when it attaches again.
        let step = self.step_down(false);
        self.record.statement_left(step).complete();
    }
}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("id", &self.id()).field("thread", &self.thread()).finish()
    }
}

/// A session that has left its thread.
pub(crate) struct Left<'s> {
    record: &'s Record,
    step: Step,
}

impl Left<'_> {
    /// What is due then, and whose receipts are to be completed once no lock is held.
    #[cold]
    #[track_caller]
    pub(crate) fn ask(self) -> (Result<(), Interrupt>, Over) {
        let Left { record, step } = self;
        let over = record.statement_left(step);
        (if step.after.due() { record.due_unsaid() } else { Ok(()) }, over)
    }
}

#[inline]
#[track_caller]
fn left(left: Left<'_>) -> Result<(), Interrupt> {
    if left.step.is_quiet() {
        return Ok(());
    }
    let (due, over) = left.ask();
    over.complete();
    due
}

/// A statement that runs. It ends when it is finished or dropped.
#[derive(Debug)]
pub struct Statement<'a> {
    attached: &'a Attached<'a>,
    described: bool,
}

impl Statement<'_> {
    /// Its number: what a cancel names.
    #[must_use]
    pub fn statement(&self) -> StatementId {
        self.attached.record.look().last_statement()
    }

    /// Keeps its text for those who look, the first
    /// [`STATEMENT_TEXT_BYTES`](crate::STATEMENT_TEXT_BYTES) of it, and the time.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        let id = self.statement();
        self.attached.record.about(|about| about.statement_begins(id, text));
        self.described = true;
        self
    }

    /// Ends it. A cancel that has not been seen by now is void.
    ///
    /// # Errors
    /// The [`Interrupt`] that was waiting for this end: the session ends now.
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
            self.attached.record.about(|about| about.statement_ends());
        }
        self.attached.record.finish();
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
        // Nobody looks here: what is due has not been seen by this.
        self.leave();
    }
}
