//! A session on the thread that runs it: its statements, and the way off the thread.

use crate::about::Description;
use crate::current;
use crate::home::Ties;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::{Author, Interrupt, Reason};
use crate::record::{Over, Record};
use crate::registry::OpenError;
use crate::sync::panicking;
use crate::thread::ThreadRecord;
#[cfg(feature = "async")]
use crate::why::Place;
use crate::word::Step;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
#[cfg(feature = "async")]
use std::task::Waker;

/// A session on the thread that runs it.
///
/// If a panic unwinds through it, the session can't go on: it is told to end with an internal
/// error, whoever attaches it next. What attaches a session in a destructor, while its thread
/// unwinds already, has to see to that itself: one panic can't be told from another there.
pub struct Attached<'s> {
    pub(crate) record: &'s Record,
    pub(crate) ties: &'s mut Ties,
    /// `None`: its own.
    shared: Option<&'s ThreadRecord>,
    /// Which session its thread ran before, and is to run again: one that is hidden, or 0.
    outer: u64,
    panicking: bool,
    not_send: PhantomData<*const ()>,
}

impl<'s> Attached<'s> {
    #[inline]
    pub(crate) fn new(
        record: &'s Record,
        ties: &'s mut Ties,
        shared: Option<&'s ThreadRecord>,
    ) -> Attached<'s> {
        let outer = shared.map_or(0, |shared| shared.run(record.id().get()));
        Attached { record, ties, shared, outer, panicking: panicking(), not_send: PhantomData }
    }

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

    /// As [`Session::admit`](crate::Session::admit).
    ///
    /// # Errors
    /// As there.
    pub fn admit(&self) -> Result<(), OpenError> {
        self.ties.admit(self.record)
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
    /// the statement does not begin, and a command that was cancelled while it was
    /// [queued](crate::Session::queue), or whose time ran out there, is over at once.
    ///
    /// # Errors
    /// The [`Interrupt`] that is due; after a cancel the session goes on.
    #[inline]
    #[track_caller]
    pub fn begin(&mut self) -> Result<Statement<'_>, Interrupt> {
        self.record.begin()?;
        Ok(Statement { attached: self, described: false })
    }

    /// Says that what waited for this thread was no command after all: the number that
    /// [`Session::queue`](crate::Session::queue) gave it is void. Say so before the client is told that it may send
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
    /// A command that had its number from [`Session::queue`](crate::Session::queue) keeps it.
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
        if let Some(spare) = current::leave(self.record) {
            self.ties.spare = Some(spare);
        }
        if let Some(shared) = self.shared {
            shared.run(self.outer);
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
        if panicking() && !self.panicking {
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
    /// The [`Interrupt`] that was waiting for this end: the session ends now. What the statement
    /// did is done, so its answer goes out before the client is told that.
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
