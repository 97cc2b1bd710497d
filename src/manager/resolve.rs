//! From what a request names to the record that it hits, if its author may.

use crate::core::record::Record;
use crate::core::state::{Slot, TransitionError};
use crate::core::thread::ThreadRecord;
use crate::manager::info::SessionInfo;
use crate::manager::manager::SessionManager;
use crate::types::client_info::ClientInfo;
use crate::types::error::RequestError;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::interrupt::InterruptKind;
use crate::types::model::ThreadModel;
use crate::types::reason::InterruptReason;
use crate::types::request::{Request, Requester, Target};
use std::sync::Arc;

/// A target that was found and may be hit.
pub(crate) struct ResolvedTarget {
    target: Target,
    pub(crate) record: Arc<Record>,
    expected: Placement,
    names_author: bool,
}

/// Where a target has to be for the request to count. It keeps the thread's record, and by
/// that its place (rule 4 of `core/state.rs`), until the step has been taken.
enum Placement {
    Anywhere,
    On(Arc<ThreadRecord>),
    Own,
}

impl ResolvedTarget {
    /// The place to which the step is tied, if it is to any.
    pub(crate) fn only(&self) -> Result<Option<Slot>, TransitionError> {
        match &self.expected {
            Placement::Anywhere => Ok(None),
            Placement::Own => Ok(Some(Slot::OWN)),
            // An attachment that was forgotten stays in the word, and its thread's place may be
            // another's by now.
            Placement::On(thread) if !self.record.was_last_on(thread.id()) => {
                Err(TransitionError::NotThere)
            }
            Placement::On(thread) => Ok(thread.slot()),
        }
    }

    pub(crate) fn request(
        &self,
        author: Requester,
        reason: InterruptReason,
        text: Option<Arc<str>>,
    ) -> Request {
        let (requester_disclosed, comment) = (self.names_author, text);
        Request { requester_disclosed, comment, ..Request::new(author, reason) }
    }

    pub(crate) fn refusal(
        &self,
        void: TransitionError,
        named: Option<StatementId>,
    ) -> RequestError {
        let id = self.record.id();
        match (void, self.target) {
            (TransitionError::NotThere, Target::Pair(thread, _)) => {
                RequestError::NotAttached { thread, session: id }
            }
            (TransitionError::NotThere | TransitionError::Ended, Target::AttachedTo(thread)) => {
                RequestError::ThreadIdle(thread)
            }
            (TransitionError::NotThere | TransitionError::Ended, _) => {
                RequestError::AlreadyEnded(id)
            }
            (TransitionError::Stale, _) => match named {
                Some(statement) => RequestError::StatementEnded { session: id, statement },
                None => RequestError::SessionChanged(id),
            },
            (TransitionError::NotYet, _) => match named {
                Some(statement) => RequestError::NoSuchStatement { session: id, statement },
                None => RequestError::NoActiveStatement(id),
            },
            (TransitionError::NothingRuns, _) => RequestError::NoActiveStatement(id),
        }
    }
}

impl SessionManager {
    pub(crate) fn aim(
        &self,
        target: Target,
        kind: InterruptKind,
        author: &Requester,
    ) -> Result<ResolvedTarget, RequestError> {
        self.find(target, author)
            .map_err(|refused| self.emit_rejected(kind, target, author, refused))
    }

    /// Finds the target and asks the policy.
    fn find(&self, target: Target, author: &Requester) -> Result<ResolvedTarget, RequestError> {
        let get = |id: SessionId| self.0.home.sessions.get(id.get());
        let find = |id: SessionId| get(id).ok_or(RequestError::NoSuchSession(id));
        let (record, expected, without_current) = match target {
            Target::Session(id) => {
                (find(id)?, Placement::Anywhere, RequestError::NoSuchSession(id))
            }
            Target::Pair(thread, id) => {
                let expected = self.thread(thread, author)?;
                let record = find(id)?;
                if matches!(expected, Placement::On(_)) || thread == id.own_thread() {
                    (record, expected, RequestError::NoSuchSession(id))
                } else if self.is_shown(author, &record) {
                    return Err(RequestError::NotAttached { thread, session: id });
                } else {
                    return Err(RequestError::NoSuchSession(id));
                }
            }
            Target::AttachedTo(thread) => {
                let expected = self.thread(thread, author)?;
                let id = match &expected {
                    Placement::On(record) => record.session(),
                    _ => Some(thread.own_session()),
                };
                // One that has gone by now has left its thread.
                let record = id.and_then(get).ok_or(RequestError::ThreadIdle(thread))?;
                (record, expected, RequestError::ThreadIdle(thread))
            }
        };
        let description = record.description();
        let own = author.session == Some(record.id());
        if own || self.0.policy.permits(author, &description) {
            let names_author = own || self.0.policy.discloses_requester(author, &description);
            Ok(ResolvedTarget { target, record, expected, names_author })
        } else if self.0.policy.is_visible(author, &description) {
            Err(RequestError::PermissionDenied(record.id()))
        } else {
            Err(without_current)
        }
    }

    fn is_shown(&self, author: &Requester, record: &Record) -> bool {
        let description = record.description();
        self.shows(author, record.id(), &description)
    }

    pub(crate) fn shows(
        &self,
        author: &Requester,
        id: SessionId,
        description: &ClientInfo,
    ) -> bool {
        author.session == Some(id)
            || self.0.policy.permits(author, description)
            || self.0.policy.is_visible(author, description)
    }

    pub(crate) fn may_end(&self, author: &Requester, row: &SessionInfo) -> bool {
        author.session == Some(row.id) || self.0.policy.permits(author, &row.client)
    }

    /// A thread that sessions can be attached to.
    fn thread(&self, id: ThreadId, author: &Requester) -> Result<Placement, RequestError> {
        match self.0.threads.get(id.get()) {
            Some(record) if record.slot().is_some() => Ok(Placement::On(record)),
            Some(record) => {
                Err(RequestError::BackgroundThread { thread: id, name: record.name.clone() })
            }
            None => {
                let own = self.0.home.model == ThreadModel::PerSession;
                let record = self.0.home.sessions.get(id.get()).filter(|_| own);
                let shown = record.is_some_and(|record| self.is_shown(author, &record));
                shown.then_some(Placement::Own).ok_or(RequestError::NoSuchThread(id))
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
}
