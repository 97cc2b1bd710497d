//! What can be seen of sessions and threads: rows for `pg_stat_activity` and its like.

use crate::about::Description;
use crate::home::Home;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::When;
use crate::kill::Doing;
use crate::record::Record;
use crate::registry::{Cursor, Registry};
use crate::thread::{ThreadModel, ThreadRecord};
use crate::why::{HeldOff, Noted, PendingInterrupt, Spot};
use crate::word::Snapshot;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A session as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SessionRow {
    /// Its id.
    pub session: SessionId,
    /// The thread it belongs to or is attached to; `None` while no thread runs it.
    pub thread: Option<ThreadId>,
    /// Whose it is.
    pub description: Description,
    /// What it was doing.
    pub doing: Doing,
    /// Whether it was waiting in a statement or for its next command, where an interrupt wakes it
    /// unless a hold-off is in force.
    pub waiting: bool,
    /// The statement that ran or was queued.
    pub statement: Option<StatementId>,
    /// The termination it has been told of.
    pub told: Option<When>,
    /// What it has been told and has not obeyed yet; of two, the termination.
    pub interrupt: Option<PendingInterrupt>,
    /// The outermost hold-off that is in force.
    pub hold_off: Option<HeldOff>,
    /// The outermost wait that is going on and that not every interrupt ends: code that
    /// [blocks](crate::Attached::blocking), a wait by
    /// [`EndedBy::TerminateOnly`](crate::EndedBy::TerminateOnly), a wait for a receipt.
    pub wait: Option<Spot>,
    /// The last safe point that was noted: see [`Probe`](crate::Probe).
    pub safe_point: Option<Spot>,
    /// When it was opened, to some milliseconds: it may be that much earlier.
    pub opened: SystemTime,
    /// When the open transaction began.
    pub transaction_start: Option<SystemTime>,
    /// When the statement that runs, or the last that had a text, began.
    pub statement_start: Option<SystemTime>,
    /// When a statement with a [text](crate::Statement::with_text) last began or ended.
    pub changed: SystemTime,
    /// The text of the statement that runs, or of the last that had one. Empty while the one that
    /// runs has none.
    pub text: String,
    /// What the rest was read from.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) word: Snapshot,
}

/// A registered thread as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ThreadRow {
    /// Its id.
    pub thread: ThreadId,
    /// Its name.
    pub name: Arc<str>,
    /// When it was registered.
    pub since: SystemTime,
    /// Whether sessions can be attached to it.
    pub runs_sessions: bool,
    /// The session it ran.
    pub session: Option<SessionId>,
}

impl SessionRow {
    pub(crate) fn of(record: &Record, own_threads: bool) -> SessionRow {
        let before = record.last_thread();
        let noted = record.noted();
        let mut row = record.at_one_moment(|word, interrupt, description, about| {
            // A statement that has just begun must not be taken for the one before it.
            let fits = |of| !word.in_statement() || of == word.statement();
            let opened = about.opened.time().unwrap_or(UNIX_EPOCH);
            let activity = about.activity();
            let described = activity.filter(|activity| fits(activity.of));
            let transaction = activity.and_then(|activity| activity.transaction.time());
            SessionRow {
                session: record.id(),
                thread: None,
                description,
                doing: Doing::of(word),
                waiting: word.asleep(),
                statement: word.statement(),
                told: word.terminate_asked(),
                interrupt,
                hold_off: None,
                wait: None,
                safe_point: None,
                opened,
                transaction_start: transaction.filter(|_| word.in_transaction()),
                statement_start: described.and_then(|activity| activity.statement.time()),
                changed: activity.and_then(|activity| activity.changed.time()).unwrap_or(opened),
                text: described.map(|activity| activity.text.clone()).unwrap_or_default(),
                word,
            }
        });
        let word = row.word;
        row.thread = match own_threads {
            true => Some(record.id().own_thread()),
            false => record.thread_in(word, before),
        };
        let attached = noted.as_ref().filter(|_| word.slot().is_some() || word.suspended());
        row.hold_off = attached.and_then(Noted::hold_off);
        row.wait = attached.and_then(Noted::wait);
        row.safe_point = noted.as_ref().and_then(Noted::last_safe_point);
        row
    }
}

impl ThreadRow {
    fn of(record: &ThreadRecord) -> ThreadRow {
        ThreadRow {
            thread: record.id(),
            name: record.name.clone(),
            since: record.since,
            runs_sessions: record.slot().is_some(),
            session: record.session(),
        }
    }
}

/// Walks over all sessions, a short batch at a time, and stops nobody.
///
/// Each row is true at some moment of the walk; a session that is open all the while is in it
/// exactly once, one that opens or ends meanwhile may be.
#[derive(Debug)]
pub struct Sessions {
    home: Arc<Home>,
    cursor: Cursor,
    batch: Vec<Arc<Record>>,
}

impl Sessions {
    pub(crate) fn new(home: Arc<Home>) -> Sessions {
        Sessions { home, cursor: Cursor::default(), batch: Vec::new() }
    }
}

impl Iterator for Sessions {
    type Item = SessionRow;

    fn next(&mut self) -> Option<SessionRow> {
        let own_threads = self.home.model == ThreadModel::PerSession;
        loop {
            if let Some(record) = self.batch.pop() {
                return Some(SessionRow::of(&record, own_threads));
            }
            if !self.home.sessions.next_batch(&mut self.cursor, &mut self.batch) {
                return None;
            }
            self.batch.reverse();
        }
    }
}

pub(crate) fn threads(registry: &Registry<ThreadRecord>) -> Vec<ThreadRow> {
    let (mut cursor, mut batch) = (Cursor::default(), Vec::new());
    while registry.next_batch(&mut cursor, &mut batch) {}
    batch.iter().map(|record| ThreadRow::of(record)).collect()
}
