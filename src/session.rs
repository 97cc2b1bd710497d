//! A session as its holder has it: owned, and on no thread.

use crate::about::Description;
use crate::attached::Attached;
use crate::audit::Event;
use crate::bell;
use crate::current;
use crate::home::{Ties, Way};
use crate::id::{SessionId, StatementId};
use crate::interrupt::{Author, Interrupt};
use crate::outcome::Ended;
use crate::record::Record;
use crate::registry::{Numbered, OpenError};
use crate::thread::{Kind, Thread, ThreadModel, ThreadRecord};
use crate::word::Slot;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

/// One client's logical connection, owned by whoever serves it, and on no thread.
///
/// It goes from thread to thread as any value does; [`attach`](Self::attach) runs it on one.
/// It ends when it is closed or dropped, so drop it last: after the client has been told and
/// its connection closed. Only then do the receipts of its killers say that it has ended.
///
/// Only who has it in hand speaks for it, so it can be sent to another thread, and not shared with
/// it.
pub struct Session {
    pub(crate) record: Arc<Record>,
    pub(crate) ties: Ties,
    not_sync: PhantomData<Cell<()>>,
}

impl Session {
    pub(crate) fn new(record: Arc<Record>, home: Way) -> Session {
        Session { ties: Ties { spare: None, home }, record, not_sync: PhantomData }
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
        (self.ties.home.model == ThreadModel::PerSession)
            .then(|| Thread::new(Kind::Own(self.id(), self.ties.home.slots.clone())))
    }

    /// Runs the session on the calling thread, which `thread` stands for, until the guard is
    /// detached or dropped.
    ///
    /// # Errors
    /// [`AttachError`] where the thread may not run it.
    #[inline(always)]
    pub fn attach<'s>(&'s mut self, thread: &'s Thread) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        self.record.attach(slot, thread.id(), bell::mine());
        Ok(Attached::new(&self.record, &mut self.ties, shared))
    }

    /// The same in the middle of what a task runs.
    #[cfg(feature = "async")]
    pub(crate) fn go_on<'s>(&'s mut self, thread: &'s Thread) -> Result<Attached<'s>, AttachError> {
        let (slot, shared) = self.enter(thread)?;
        self.record.go_on(slot, thread.id(), bell::mine());
        Ok(Attached::new(&self.record, &mut self.ties, shared))
    }

    fn enter<'t>(
        &mut self,
        thread: &'t Thread,
    ) -> Result<(Slot, Option<&'t ThreadRecord>), AttachError> {
        let (slot, shared) = match &thread.0 {
            Kind::Own(id, slots)
                if *id == self.id() && Arc::ptr_eq(slots, &self.ties.home.slots) =>
            {
                (Slot::OWN, None)
            }
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
        Ok((slot, shared))
    }

    /// Gives a number to the command that waits to be begun, so that it can be cancelled
    /// while it waits for a thread: it is the next one that [`Attached::begin`] begins. Going
    /// idle without having begun it makes it void.
    ///
    /// While a statement runs this is its number. `None` once the numbers are used up.
    pub fn queue(&self) -> Option<StatementId> {
        self.record.leave_forgotten();
        self.record.queue()
    }

    /// Leaves what is to be woken when a termination falls due while no thread runs the
    /// session. It is called on the killer's thread, with no lock of this library held, and
    /// is the way to end an idle session at once: `examples/your_own_pool.rs` does so.
    ///
    /// Leave it before the session is first detached, or ask [`due`](Self::due) afterwards.
    pub fn set_detached_waker(&self, waker: Option<Waker>) {
        self.record.leave_forgotten();
        self.record.set_detached_waker(waker);
    }

    /// Whether it must end now.
    ///
    /// # Errors
    /// The [`Interrupt`] to tell the client of.
    #[track_caller]
    pub fn due(&self) -> Result<(), Interrupt> {
        self.record.leave_forgotten();
        self.record.due(Location::caller())
    }

    /// As [`due`](Self::due), for whoever holds a lock of this library.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn due_unsaid(&self) -> Result<(), Interrupt> {
        self.record.due_unsaid()
    }

    /// The session as the author of a request, such as of a cancel that its client sends while no
    /// thread runs the session.
    #[must_use]
    pub fn author(&self) -> Author {
        self.record.author()
    }

    /// Looks at or changes what is known of it. `change` has a copy, which is kept as it returns:
    /// a `describe` within it is undone.
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
    pub fn admit(&mut self) -> Result<(), OpenError> {
        self.ties.admit(&self.record)
    }

    /// Ends it. Dropping it does the same.
    pub fn close(self) -> Ended {
        self.end()
    }

    fn end(&self) -> Ended {
        let step = self.record.end();
        self.drop_values();
        self.ties.home.sessions.remove(self.record.number());
        // Whoever learns from a receipt that it has ended finds its place free.
        if let Some(places) = &self.ties.home.places {
            self.record.give_place_back(places);
        }
        self.record.completed(step)
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
