//! The timeouts of a session and the times from which they count, and which of them expires next.

use crate::core::state::Snapshot;
use crate::core::timer::{NEVER, Timer};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::types::request::{Request, TerminateMode};
use std::sync::Arc;

/// Stores a session's timeouts. Times are in nanoseconds of the timer's clock, lengths are in
/// nanoseconds, and [`NEVER`] means none.
///
/// An access is relaxed unless its field names a partner. A value that is too old or too new is read
/// again, under the timer's lock or in the transition that it leads to.
#[derive(Debug)]
pub(crate) struct TimeoutState {
    pub(super) timer: Arc<Timer>,
    /// The timeouts, written by the runner or owner under `guarded`. The writer takes the timer's lock
    /// next, and the timer reads them under that lock.
    pub(super) statement: AtomicU64,
    pub(super) transaction: AtomicU64,
    pub(super) lock_wait: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) idle_in_transaction: AtomicU64,
    pub(super) client_disconnect: AtomicU64,
    /// When the present period began; released by the transition that follows.
    pub(super) since: AtomicU64,
    /// From when the timeout of the present statement counts: from `since`, or from another time that
    /// was set under `guarded`.
    pub(super) statement_since: AtomicU64,
    /// When a transaction last began or ended. Written under `guarded`.
    pub(super) transaction_since: AtomicU64,
    /// When the present wait for a lock began. Written under `guarded`.
    pub(super) lock_wait_since: AtomicU64,
    /// The number of the watched connection, or 0. Written under `guarded`.
    #[cfg_attr(
        any(safepoint_shuttle, not(target_os = "linux")),
        allow(dead_code, reason = "no connection is watched")
    )]
    pub(super) connection: AtomicU64,
    /// When the client closed the watched connection. Written under `guarded`.
    pub(super) disconnected_at: AtomicU64,
    /// When a deferred termination becomes immediate. Written under `escalation`.
    pub(super) grace: AtomicU64,
    pub(super) escalation: Mutex<Option<Request>>,
    /// When a task that must stop is dropped. Written by the runner, and by the timer by a compare-exchange.
    pub(super) stop_by: AtomicU64,
    /// When the timer will wake for this session. Written under the timer's lock.
    pub(super) armed: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeoutKind {
    LockWait,
    Statement,
    Transaction,
    Idle,
    IdleInTransaction,
    ClientDisconnect,
    Grace,
    StopBy,
}

/// The next timeout to expire, its time, and the time when its period began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: u64,
    pub(super) limit: TimeoutKind,
    pub(super) since: u64,
}

impl TimeoutState {
    pub(super) fn new(timer: Arc<Timer>) -> TimeoutState {
        let now = timer.now();
        let none = || AtomicU64::new(NEVER);
        TimeoutState {
            timer,
            statement: none(),
            transaction: none(),
            lock_wait: none(),
            idle: none(),
            idle_in_transaction: none(),
            client_disconnect: none(),
            // The start of a period that has already begun is unknown, so it counts from here.
            since: AtomicU64::new(now),
            statement_since: AtomicU64::new(now),
            transaction_since: AtomicU64::new(now),
            lock_wait_since: none(),
            connection: AtomicU64::new(0),
            disconnected_at: none(),
            grace: none(),
            escalation: Mutex::new(None),
            stop_by: none(),
            armed: none(),
        }
    }

    pub(super) fn store_now(&self) {
        self.since.store(self.timer.now(), Ordering::Relaxed);
    }

    pub(super) fn stamp_statement(&self) {
        let now = self.timer.now();
        self.since.store(now, Ordering::Relaxed);
        self.statement_since.store(now, Ordering::Relaxed);
    }

    pub(super) fn limits_idleness(&self) -> bool {
        self.idle.load(Ordering::Relaxed) != NEVER
            || self.idle_in_transaction.load(Ordering::Relaxed) != NEVER
    }

    /// Returns when the transaction began. A statement outside a transaction counts as one, from its
    /// start, or from the end of the last transaction that it closed.
    fn transaction_began(&self, word: Snapshot) -> u64 {
        let changed = self.transaction_since.load(Ordering::Relaxed);
        if word.in_transaction() {
            changed
        } else {
            changed.max(self.since.load(Ordering::Relaxed))
        }
    }

    /// Returns the timeout that expires first if nothing changes.
    pub(super) fn next(&self, word: Snapshot) -> Option<Deadline> {
        if word.ended() {
            return None;
        }
        let pending = word.terminate_mode();
        let runs = word.in_statement();
        let mut first = Deadline { at: NEVER, limit: TimeoutKind::StopBy, since: NEVER };
        if runs {
            let at = self.stop_by.load(Ordering::Relaxed);
            first = Deadline { at, ..first };
        }
        if pending == Some(TerminateMode::Immediate) {
            return (first.at != NEVER).then_some(first);
        }
        let mut consider = |limit, since: u64, length: &AtomicU64| {
            let at = since.saturating_add(length.load(Ordering::Relaxed));
            if at < first.at {
                first = Deadline { at, limit, since };
            }
        };
        let open = word.in_transaction();
        let since = self.since.load(Ordering::Relaxed);
        let busy = runs || word.queued();
        if busy && !word.cancelled() {
            consider(
                TimeoutKind::LockWait,
                self.lock_wait_since.load(Ordering::Relaxed),
                &self.lock_wait,
            );
            consider(
                TimeoutKind::Statement,
                self.statement_since.load(Ordering::Relaxed),
                &self.statement,
            );
        }
        // A statement that began later has the whole time.
        let gone = self.disconnected_at.load(Ordering::Relaxed).max(since);
        if busy {
            consider(TimeoutKind::ClientDisconnect, gone, &self.client_disconnect);
        }
        if open || runs {
            consider(TimeoutKind::Transaction, self.transaction_began(word), &self.transaction);
        }
        if !busy && open {
            consider(TimeoutKind::IdleInTransaction, since, &self.idle_in_transaction);
        } else if !busy {
            consider(TimeoutKind::Idle, since, &self.idle);
        }
        if pending.is_some() {
            let at = self.grace.load(Ordering::Relaxed);
            if at < first.at {
                first = Deadline { at, limit: TimeoutKind::Grace, since: at };
            }
        }
        (first.at != NEVER).then_some(first)
    }
}
