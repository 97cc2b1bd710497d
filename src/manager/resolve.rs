//! Resolves the target of a request to a record, and calls the policy.

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

/// A target that exists, and that the requester may end.
pub(crate) struct ResolvedTarget {
    target: Target,
    pub(crate) record: Arc<Record>,
    expected: Placement,
    requester_disclosed: bool,
}

/// Where the session must be attached for the request to be accepted. `On` keeps the thread's
/// record, and so its slot, until the transition is taken (rule 4 of `core/state/mod.rs`).
enum Placement {
    Anywhere,
    On(Arc<ThreadRecord>),
    Own,
}

impl ResolvedTarget {
    /// Returns the slot that the transition requires, if it requires one.
    pub(crate) fn required_slot(&self) -> Result<Option<Slot>, TransitionError> {
        match &self.expected {
            Placement::Anywhere => Ok(None),
            Placement::Own => Ok(Some(Slot::OWN)),
            // A leaked attachment stays in the state word, and its thread's slot may belong to
            // another thread now.
            Placement::On(thread) if !self.record.was_last_on(thread.id()) => {
                Err(TransitionError::NotThere)
            }
            Placement::On(thread) => Ok(thread.slot()),
        }
    }

    pub(crate) fn request(
        &self,
        requester: Requester,
        reason: InterruptReason,
        comment: Option<Arc<str>>,
    ) -> Request {
        let requester_disclosed = self.requester_disclosed;
        Request { requester_disclosed, comment, ..Request::new(requester, reason) }
    }

    pub(crate) fn rejection(
        &self,
        error: TransitionError,
        named: Option<StatementId>,
    ) -> RequestError {
        let id = self.record.id();
        match (error, self.target) {
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
    pub(crate) fn resolve_target(
        &self,
        target: Target,
        kind: InterruptKind,
        requester: &Requester,
    ) -> Result<ResolvedTarget, RequestError> {
        self.find(target, requester)
            .map_err(|error| self.emit_rejected(kind, target, requester, error))
    }

    /// Finds the target and calls the policy.
    fn find(&self, target: Target, requester: &Requester) -> Result<ResolvedTarget, RequestError> {
        let get = |id: SessionId| self.0.shared.sessions.get(id.get());
        let find = |id: SessionId| get(id).ok_or(RequestError::NoSuchSession(id));
        let (record, expected, if_hidden) = match target {
            Target::Session(id) => {
                (find(id)?, Placement::Anywhere, RequestError::NoSuchSession(id))
            }
            Target::Pair(thread, id) => {
                let expected = self.thread(thread, requester)?;
                let record = find(id)?;
                if matches!(expected, Placement::On(_)) || thread == id.own_thread() {
                    (record, expected, RequestError::NoSuchSession(id))
                } else if self.is_record_visible_to(requester, &record) {
                    return Err(RequestError::NotAttached { thread, session: id });
                } else {
                    return Err(RequestError::NoSuchSession(id));
                }
            }
            Target::AttachedTo(thread) => {
                let expected = self.thread(thread, requester)?;
                let id = match &expected {
                    Placement::On(record) => record.session(),
                    _ => Some(thread.own_session()),
                };
                // If the session is not in the registry, it has ended and left its thread.
                let record = id.and_then(get).ok_or(RequestError::ThreadIdle(thread))?;
                (record, expected, RequestError::ThreadIdle(thread))
            }
        };
        let client = record.description();
        let own = requester.session == Some(record.id());
        if own || self.0.policy.permits(requester, &client) {
            let requester_disclosed = own || self.0.policy.discloses_requester(requester, &client);
            Ok(ResolvedTarget { target, record, expected, requester_disclosed })
        } else if self.0.policy.is_visible(requester, &client) {
            Err(RequestError::PermissionDenied(record.id()))
        } else {
            Err(if_hidden)
        }
    }

    fn is_record_visible_to(&self, requester: &Requester, record: &Record) -> bool {
        let client = record.description();
        self.is_visible_to(requester, record.id(), &client)
    }

    pub(crate) fn is_visible_to(
        &self,
        requester: &Requester,
        id: SessionId,
        client: &ClientInfo,
    ) -> bool {
        requester.session == Some(id)
            || self.0.policy.permits(requester, client)
            || self.0.policy.is_visible(requester, client)
    }

    /// Returns the row as `requester` may see it.
    pub(crate) fn disclose(&self, requester: &Requester, row: SessionInfo) -> SessionInfo {
        let own = requester.session == Some(row.id);
        if own || self.0.policy.discloses_activity(requester, &row.client) {
            row
        } else {
            row.undisclosed()
        }
    }

    pub(crate) fn may_end(&self, requester: &Requester, row: &SessionInfo) -> bool {
        requester.session == Some(row.id) || self.0.policy.permits(requester, &row.client)
    }

    /// Finds a thread that sessions can be attached to.
    fn thread(&self, id: ThreadId, requester: &Requester) -> Result<Placement, RequestError> {
        match self.0.threads.get(id.get()) {
            Some(record) if record.slot().is_some() => Ok(Placement::On(record)),
            Some(record) => {
                Err(RequestError::BackgroundThread { thread: id, name: record.name.clone() })
            }
            None => {
                let own = self.0.shared.model == ThreadModel::PerSession;
                let record = self.0.shared.sessions.get(id.get()).filter(|_| own);
                let visible =
                    record.is_some_and(|record| self.is_record_visible_to(requester, &record));
                visible.then_some(Placement::Own).ok_or(RequestError::NoSuchThread(id))
            }
        }
    }

    /// Returns whether `thread` is, or was, the id of a thread that could run this session.
    pub(crate) fn could_run(&self, thread: ThreadId, session: SessionId) -> bool {
        match self.0.shared.model {
            ThreadModel::PerSession => session.own_thread() == thread,
            ThreadModel::Pool => match self.0.threads.get(thread.get()) {
                Some(record) => record.slot().is_some(),
                None => self.0.threads.was_given_out(thread.get()),
            },
        }
    }
}
