//! Asking for an end: targets, policy, refusals, and receipts.

use crate::current::current;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::{InterruptKind, When};
use crate::outcome::{Ended, StatementOver, Ticket};
use crate::record::Record;
use crate::sync::now;
use crate::wait;
use crate::why::{Stretch, WhyNotYet};
use crate::word::Snapshot;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Which session is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Target {
    /// This session, wherever it is.
    Session(SessionId),
    /// The session that is attached to this thread now. It is hit only if it still is when
    /// the request arrives.
    AttachedTo(ThreadId),
    /// This session, only if it is attached to this thread when the request arrives.
    Pair(ThreadId, SessionId),
}

impl From<SessionId> for Target {
    fn from(id: SessionId) -> Target {
        Target::Session(id)
    }
}

/// Why a request was refused. Nothing has been done to any session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Refused {
    /// No session has this id: it has ended, or never was.
    NoSuchSession(SessionId),
    /// The session ended a moment ago.
    AlreadyEnded(SessionId),
    /// No thread has this id.
    NoSuchThread(ThreadId),
    /// The thread is there and runs no session now.
    NothingAttached(ThreadId),
    /// The thread is one of the server's own, which never run sessions; its name.
    BackgroundThread(ThreadId, Arc<str>),
    /// The thread and the session don't belong together.
    NotAttached(ThreadId, SessionId),
    /// The policy does not let the author do this to that session.
    NotPermitted(SessionId),
    /// No statement runs in the session, and none was named.
    NothingRuns(SessionId),
    /// The statement that was named is over.
    Stale(SessionId, StatementId),
    /// The statement that was named has not begun, and is not queued either.
    NoSuchStatement(SessionId, StatementId),
    /// The system gives no thread for the timer that a grace needs.
    NoTimer(SessionId),
}

impl Refused {
    /// The SQLSTATE of the refusal.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Refused::NoSuchSession(_)
            | Refused::AlreadyEnded(_)
            | Refused::NoSuchThread(_)
            | Refused::NothingAttached(_)
            | Refused::NoSuchStatement(..) => "42704",
            Refused::BackgroundThread(..) => "42809",
            Refused::NotAttached(..) => "22023",
            Refused::NotPermitted(_) => "42501",
            Refused::NothingRuns(_) | Refused::Stale(..) => "55000",
            Refused::NoTimer(_) => "53000",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoSuchSession(id) => write!(f, "no such session: {id}"),
            Refused::AlreadyEnded(id) => write!(f, "session {id} has already ended"),
            Refused::NoSuchThread(id) => write!(f, "no such thread: {id}"),
            Refused::NothingAttached(id) => write!(f, "thread {id} runs no session now"),
            Refused::BackgroundThread(id, name) => {
                write!(f, "thread {id} ({name}) is a background thread, not a session")
            }
            Refused::NotAttached(thread, session) => {
                write!(f, "thread {thread} and session {session} don't belong together")
            }
            Refused::NotPermitted(id) => {
                write!(f, "permission denied to end session {id} or its statement")
            }
            Refused::NothingRuns(id) => write!(f, "session {id} runs no statement"),
            Refused::Stale(id, statement) => {
                write!(f, "statement {statement} of session {id} is over")
            }
            Refused::NoSuchStatement(id, statement) => {
                write!(f, "session {id} has no statement {statement} yet")
            }
            Refused::NoTimer(id) => {
                write!(f, "session {id} can't be given a grace: there is no thread for the timer")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// What a session was doing when a request found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Doing {
    /// It has nothing to run: no thread runs it, or its thread waits, in no statement.
    Idle,
    /// The same, with a transaction open.
    IdleInTransaction,
    /// A command of its waits for a thread.
    Queued,
    /// A thread has it, between statements.
    BetweenStatements,
    /// A statement runs.
    Running,
    /// A statement sleeps in one of this library's waits.
    Waiting,
}

/// Where a request found its target, at the instant at which it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Found {
    /// What it was doing.
    pub doing: Doing,
    /// The thread it was attached to, if any; unknown where it has left it already.
    pub thread: Option<ThreadId>,
    /// The statement that ran or was queued, if any.
    pub statement: Option<StatementId>,
    /// Whether a transaction was open.
    pub in_transaction: bool,
    /// What the session had been told before: a request that is not stronger adds nothing.
    pub already: Option<When>,
}

impl Found {
    pub(crate) fn new(before: Snapshot, thread: Option<ThreadId>) -> Found {
        Found {
            doing: Doing::of(before),
            thread,
            statement: before.statement(),
            in_transaction: before.in_transaction(),
            already: before.terminate_asked(),
        }
    }
}

impl Doing {
    pub(crate) fn of(word: Snapshot) -> Doing {
        if word.in_statement() {
            if word.asleep() { Doing::Waiting } else { Doing::Running }
        } else if word.slot().is_none() && word.queued() {
            Doing::Queued
        } else if word.in_transaction() {
            Doing::IdleInTransaction
        } else if word.slot().is_some() && !word.asleep() {
            Doing::BetweenStatements
        } else {
            Doing::Idle
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Idle => "idle",
            Doing::IdleInTransaction => "idle in transaction",
            Doing::Queued => "queued",
            Doing::BetweenStatements => "between statements",
            Doing::Running => "running",
            Doing::Waiting => "waiting",
        })
    }
}

/// What the author of an accepted request gets: where the target was, and a handle on its end.
///
/// It is a future as well: inside a session wait for it with [`Attached::block_on`], so that
/// whoever waits can be killed too.
///
/// [`Attached::block_on`]: crate::Attached::block_on
pub struct Receipt<T> {
    record: Arc<Record>,
    ticket: Arc<Ticket<T>>,
    found: Found,
    /// Where it has left its waker.
    place: Option<usize>,
}

impl<T: Clone> Receipt<T> {
    pub(crate) fn new(record: Arc<Record>, ticket: Arc<Ticket<T>>, found: Found) -> Receipt<T> {
        Receipt { record, ticket, found, place: None }
    }

    /// The session that was told.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.record.id()
    }

    /// Where the request found it.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// The outcome, if it is there.
    #[must_use]
    pub fn poll(&self) -> Option<T> {
        self.ticket.get()
    }

    fn why(&self, kind: InterruptKind) -> Option<WhyNotYet> {
        if self.poll().is_some() { None } else { self.record.why_not_yet(kind) }
    }

    /// Waits for the outcome, without polling, for at most `limit`. `None` says that the limit
    /// ran out; the request stands all the same.
    ///
    /// The wait can't be interrupted. Inside a session use [`Attached::block_on`].
    ///
    /// [`Attached::block_on`]: crate::Attached::block_on
    #[must_use]
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Option<T> {
        let (session, at) = (current(), Location::caller());
        let _within = session.as_ref().map(|record| record.within(Stretch::Wait, at));
        // A limit too long for the clock is no limit.
        wait::block_on_deaf(self, now().checked_add(limit))
    }
}

impl Receipt<Ended> {
    /// Why the session has not ended yet, as far as can be seen now; `None` once it has.
    ///
    /// It asks nobody and waits for nothing. What it says may be out of date by the time that
    /// it is read.
    #[must_use]
    pub fn why_not_yet(&self) -> Option<WhyNotYet> {
        self.why(InterruptKind::Terminate)
    }
}

impl Receipt<StatementOver> {
    /// Why the statement is not over yet, as far as can be seen now; `None` once it is.
    #[must_use]
    pub fn why_not_yet(&self) -> Option<WhyNotYet> {
        self.why(InterruptKind::Cancel)
    }
}

impl<T: Clone> Future for Receipt<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Receipt { ticket, place, .. } = &mut *self;
        ticket.poll(place, context.waker())
    }
}

impl<T> Drop for Receipt<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.ticket.leave(place);
        }
    }
}

impl<T> fmt::Debug for Receipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("session", &self.record.id())
            .field("found", &self.found)
            .finish()
    }
}
