//! From what a request names to the record that it hits, if its author may.

use crate::about::Description;
use crate::activity::SessionRow;
use crate::id::{SessionId, StatementId, ThreadId};
use crate::interrupt::{Author, InterruptKind, Reason, Request};
use crate::kill::{Refused, Target};
use crate::manager::SessionManager;
use crate::record::Record;
use crate::thread::{ThreadModel, ThreadRecord};
use crate::word::{Slot, Void};
use std::sync::Arc;

/// A target that was found and may be hit.
pub(crate) struct Aim {
    target: Target,
    pub(crate) record: Arc<Record>,
    expected: Expected,
    names_author: bool,
}

/// Where a target has to be for the request to count. It keeps the thread's record, and by
/// that its place (rule 4 of `word.rs`), until the step has been taken.
enum Expected {
    Anywhere,
    On(Arc<ThreadRecord>),
    Own,
}

impl Aim {
    /// The place to which the step is tied, if it is to any.
    pub(crate) fn only(&self) -> Result<Option<Slot>, Void> {
        match &self.expected {
            Expected::Anywhere => Ok(None),
            Expected::Own => Ok(Some(Slot::OWN)),
            // An attachment that was forgotten stays in the word, and its thread's place may be
            // another's by now.
            Expected::On(thread) if !self.record.was_last_on(thread.id()) => Err(Void::NotThere),
            Expected::On(thread) => Ok(thread.slot()),
        }
    }

    pub(crate) fn request(
        &self,
        author: Author,
        reason: Reason,
        text: Option<Arc<str>>,
    ) -> Request {
        Request { names_author: self.names_author, ..Request::new(author, reason, text) }
    }

    pub(crate) fn refusal(&self, void: Void, named: Option<StatementId>) -> Refused {
        let id = self.record.id();
        let named = named.unwrap_or(StatementId(0));
        match (void, self.target) {
            (Void::NotThere, Target::Pair(thread, _)) => Refused::NotAttached(thread, id),
            (Void::NotThere | Void::Ended, Target::AttachedTo(thread)) => {
                Refused::NothingAttached(thread)
            }
            (Void::NotThere | Void::Ended, _) => Refused::AlreadyEnded(id),
            (Void::Stale, _) => Refused::Stale(id, named),
            (Void::NotYet, _) => Refused::NoSuchStatement(id, named),
            (Void::NothingRuns, _) => Refused::NothingRuns(id),
        }
    }
}

impl SessionManager {
    pub(crate) fn aim(
        &self,
        target: Target,
        kind: InterruptKind,
        author: &Author,
    ) -> Result<Aim, Refused> {
        self.find(target, author).map_err(|refused| self.say_refused(kind, target, author, refused))
    }

    /// Finds the target and asks the policy.
    fn find(&self, target: Target, author: &Author) -> Result<Aim, Refused> {
        let get = |id: SessionId| self.0.home.sessions.get(id.get());
        let find = |id: SessionId| get(id).ok_or(Refused::NoSuchSession(id));
        let (record, expected, hidden) = match target {
            Target::Session(id) => (find(id)?, Expected::Anywhere, Refused::NoSuchSession(id)),
            Target::Pair(thread, id) => {
                let expected = self.thread(thread, author)?;
                let record = find(id)?;
                if matches!(expected, Expected::On(_)) || thread == id.own_thread() {
                    (record, expected, Refused::NoSuchSession(id))
                } else if self.is_shown(author, &record) {
                    return Err(Refused::NotAttached(thread, id));
                } else {
                    return Err(Refused::NoSuchSession(id));
                }
            }
            Target::AttachedTo(thread) => {
                let expected = self.thread(thread, author)?;
                let id = match &expected {
                    Expected::On(record) => record.session(),
                    _ => Some(thread.own_session()),
                };
                // One that has gone by now has left its thread.
                let record = id.and_then(get).ok_or(Refused::NothingAttached(thread))?;
                (record, expected, Refused::NothingAttached(thread))
            }
        };
        let description = record.description();
        let own = author.session == Some(record.id());
        if own || self.0.policy.permits(author, &description) {
            let names_author = own || self.0.policy.names_author(author, &description);
            Ok(Aim { target, record, expected, names_author })
        } else if self.0.policy.shows(author, &description) {
            Err(Refused::NotPermitted(record.id()))
        } else {
            Err(hidden)
        }
    }

    fn is_shown(&self, author: &Author, record: &Record) -> bool {
        let description = record.description();
        self.shows(author, record.id(), &description)
    }

    pub(crate) fn shows(&self, author: &Author, id: SessionId, description: &Description) -> bool {
        author.session == Some(id)
            || self.0.policy.permits(author, description)
            || self.0.policy.shows(author, description)
    }

    pub(crate) fn may_end(&self, author: &Author, row: &SessionRow) -> bool {
        author.session == Some(row.session) || self.0.policy.permits(author, &row.description)
    }

    /// A thread that sessions can be attached to.
    fn thread(&self, id: ThreadId, author: &Author) -> Result<Expected, Refused> {
        match self.0.threads.get(id.get()) {
            Some(record) if record.slot().is_some() => Ok(Expected::On(record)),
            Some(record) => Err(Refused::BackgroundThread(id, record.name.clone())),
            None => {
                let own = self.0.home.model == ThreadModel::PerSession;
                let record = self.0.home.sessions.get(id.get()).filter(|_| own);
                let shown = record.is_some_and(|record| self.is_shown(author, &record));
                shown.then_some(Expected::Own).ok_or(Refused::NoSuchThread(id))
            }
        }
    }

    /// Whether this is, or was, the number of a thread that could run this session.
    pub(crate) fn could_run(&self, thread: ThreadId, session: SessionId) -> bool {
        match self.0.home.model {
            ThreadModel::PerSession => session.own_thread() == thread,
            ThreadModel::Pool => match self.0.threads.get(thread.get()) {
                Some(record) => record.slot().is_some(),
                None => self.0.threads.was_given_out(thread.get()),
            },
        }
    }

    /// The session that is attached to a thread of a pool, as far as can be seen.
    pub(crate) fn attached_to(&self, thread: ThreadId) -> Option<SessionId> {
        self.0.threads.get(thread.get())?.session()
    }
}
