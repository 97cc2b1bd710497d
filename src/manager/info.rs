//! Rows of sessions and threads, for an activity view such as `pg_stat_activity`.

use crate::core::diagnostics::DiagnosticsState;
use crate::core::record::Record;
use crate::core::registry::{Cursor, Registry};
use crate::core::shared::Shared;
use crate::core::state::Snapshot;
use crate::core::thread::ThreadRecord;
use crate::types::client_info::ClientInfo;
use crate::types::hold_off::ActiveHoldOff;
use crate::types::id::{SessionId, StatementId, ThreadId};
use crate::types::location::CallSite;
use crate::types::model::ThreadModel;
use crate::types::pending::PendingInterrupt;
use crate::types::request::TerminateMode;
use crate::types::state::SessionState;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The row of a session: its state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SessionInfo {
    /// The session's id.
    pub id: SessionId,
    /// The session's own thread, or the thread that it is attached to. `None` while no thread runs
    /// it.
    pub thread_id: Option<ThreadId>,
    /// The information about the client.
    pub client: ClientInfo,
    /// The state of the session.
    pub state: SessionState,
    /// Whether the session was in a wait that an interrupt ends, in a statement or for its next
    /// command. During a hold-off the interrupt ends it later.
    pub waiting: bool,
    /// The statement that ran or was queued, if any.
    pub statement_id: Option<StatementId>,
    /// The mode of the pending termination, if any.
    pub pending_mode: Option<TerminateMode>,
    /// The pending request. If both a termination and a cancel are pending, the termination.
    pub pending: Option<PendingInterrupt>,
    /// The outermost hold-off that is in force, if any.
    pub hold_off: Option<ActiveHoldOff>,
    /// The outermost present wait that not every interrupt ends: code that
    /// [blocks](crate::Attached::block_in_place), a wait by
    /// [`WaitMode::Killable`](crate::session::WaitMode::Killable), or a wait for a receipt.
    pub uninterruptible_wait: Option<CallSite>,
    /// The last safe point that was stored: see [`ProbeResult`](crate::diagnose::ProbeResult).
    pub last_safe_point: Option<CallSite>,
    /// The time at which the session was opened. It may be a few milliseconds too early.
    pub opened_at: SystemTime,
    /// The time at which the open transaction began. `None` if none is open.
    pub transaction_started_at: Option<SystemTime>,
    /// The time at which the statement of `statement_text` began. `None` if there is no such
    /// statement.
    pub statement_started_at: Option<SystemTime>,
    /// The time at which a statement with a [text](crate::Statement::with_text) last began or
    /// ended. If there was none, the time at which the session was opened.
    pub changed_at: SystemTime,
    /// The number of [helpers](crate::session::StatementHandle) of the session's statements. It may be
    /// above zero after the session has ended: the row stays until the last helper has left.
    pub helper_count: usize,
    /// The text of the running statement, or of the last statement with a text. Empty if the
    /// running statement has none.
    pub statement_text: String,
    /// Whether the row has all its values. `false` if the policy does not disclose the activity of the
    /// session to the requester. Then the address in `client` and the text are empty, `helper_count` is 0,
    /// and the fields with an `Option` from `pending_mode` to `statement_started_at` are `None`. A view should not show
    /// `state`, `waiting`, `opened_at` and `changed_at` either.
    pub is_disclosed: bool,
    /// The snapshot from which the other fields were read.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) word: Snapshot,
}

/// The row of a registered thread: its state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ThreadInfo {
    /// The thread's id.
    pub id: ThreadId,
    /// The thread's name.
    pub name: Arc<str>,
    /// The time at which the thread was registered.
    pub registered_at: SystemTime,
    /// Whether sessions can be attached to the thread.
    pub is_worker: bool,
    /// The session that is attached to the thread, if any.
    pub session_id: Option<SessionId>,
}

impl SessionInfo {
    pub(crate) fn of(record: &Record, own_threads: bool) -> SessionInfo {
        let before = record.last_thread();
        let diagnostics = record.diagnostics();
        let mut row = record.at_one_moment(|word, interrupt, description, metadata| {
            // The text of the last statement must not be shown for a statement that has just begun.
            let fits = |of| !word.in_statement() || of == word.statement();
            let opened = metadata.opened.time().unwrap_or(UNIX_EPOCH);
            let activity = metadata.activity();
            let described = activity.filter(|activity| fits(activity.of));
            let transaction = activity.and_then(|activity| activity.transaction.time());
            SessionInfo {
                id: record.id(),
                thread_id: None,
                client: description,
                state: SessionState::of(word),
                waiting: word.waiting(),
                statement_id: word.statement(),
                pending_mode: word.terminate_mode(),
                pending: interrupt,
                hold_off: None,
                uninterruptible_wait: None,
                helper_count: 0,
                last_safe_point: None,
                opened_at: opened,
                transaction_started_at: transaction.filter(|_| word.in_transaction()),
                statement_started_at: described.and_then(|activity| activity.statement.time()),
                changed_at: activity.and_then(|activity| activity.changed.time()).unwrap_or(opened),
                statement_text: described.map(|activity| activity.text.clone()).unwrap_or_default(),
                is_disclosed: true,
                word,
            }
        });
        let word = row.word;
        row.thread_id = match own_threads {
            true => Some(record.id().own_thread()),
            false => record.thread_in(word, before),
        };
        let attached = diagnostics.as_ref().filter(|_| word.slot().is_some() || word.suspended());
        row.hold_off = attached.and_then(DiagnosticsState::hold_off);
        row.uninterruptible_wait = attached.and_then(DiagnosticsState::wait);
        row.helper_count = record.helper_count();
        row.last_safe_point = diagnostics.as_ref().and_then(DiagnosticsState::last_safe_point);
        row
    }

    /// Removes what a requester may not know.
    pub(crate) fn undisclosed(self) -> SessionInfo {
        SessionInfo {
            client: self.client.with_address(""),
            pending_mode: None,
            pending: None,
            hold_off: None,
            uninterruptible_wait: None,
            helper_count: 0,
            last_safe_point: None,
            transaction_started_at: None,
            statement_started_at: None,
            statement_text: String::new(),
            is_disclosed: false,
            ..self
        }
    }
}

impl ThreadInfo {
    fn of(record: &ThreadRecord) -> ThreadInfo {
        ThreadInfo {
            id: record.id(),
            name: record.name.clone(),
            registered_at: record.since,
            is_worker: record.slot().is_some(),
            session_id: record.session(),
        }
    }
}

/// An iterator over all sessions. It reads a short batch at a time, and blocks no other thread.
///
/// Each row is a snapshot of some moment of the iteration. A session that is open during the whole
/// iteration is returned exactly once. A session that opens or ends during it may be returned.
#[derive(Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
    cursor: Cursor,
    batch: Vec<Arc<Record>>,
}

impl Sessions {
    pub(crate) fn new(shared: Arc<Shared>) -> Sessions {
        Sessions { shared, cursor: Cursor::default(), batch: Vec::new() }
    }
}

impl Iterator for Sessions {
    type Item = SessionInfo;

    fn next(&mut self) -> Option<SessionInfo> {
        let own_threads = self.shared.model == ThreadModel::PerSession;
        loop {
            if let Some(record) = self.batch.pop() {
                return Some(SessionInfo::of(&record, own_threads));
            }
            if !self.shared.sessions.next_batch(&mut self.cursor, &mut self.batch) {
                return None;
            }
            self.batch.reverse();
        }
    }
}

pub(crate) fn threads(registry: &Registry<ThreadRecord>) -> Vec<ThreadInfo> {
    let (mut cursor, mut batch) = (Cursor::default(), Vec::new());
    while registry.next_batch(&mut cursor, &mut batch) {}
    batch.iter().map(|record| ThreadInfo::of(record)).collect()
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::SessionManager;
    use std::panic::Location;

    #[test]
    fn an_undisclosed_row_says_nothing_of_the_work() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let session = manager.open(ClientInfo::default()).unwrap();
        let (location, reached_at) = (Location::caller(), SystemTime::now());
        let at = Some(CallSite { location, reached_at });
        let row = SessionInfo {
            uninterruptible_wait: at,
            last_safe_point: at,
            helper_count: 3,
            ..manager.session_info(session.id()).unwrap()
        };
        let row = row.undisclosed();
        assert_eq!(
            (row.uninterruptible_wait, row.last_safe_point, row.helper_count),
            (None, None, 0)
        );
    }
}
