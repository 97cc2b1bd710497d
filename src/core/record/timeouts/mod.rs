//! The timeouts of a session, and the transitions that enforce them.
//!
//! A *period* is a statement, from the time it is queued, or the idleness after it. The timeouts of
//! transactions and of lock waits count from other times, but follow the same steps. The timer has at most one entry for a session, with the time in `armed`. A
//! thread that begins a period checks whether that entry is soon enough, which it mostly is. If an
//! entry is too soon, the timer computes the next time and waits again.
//!
//! The names of steps belong to this file. The runner, when a period begins:
//!
//! - `R1` stores the time in `since`;
//! - `R2` takes its transition, which releases `R1`;
//! - `R3` reads `armed`, and arms the timer if the entry is too late or missing.
//!
//! The timer, when it removes an entry:
//!
//! - `T1` stores `NEVER` in `armed`;
//! - `T2` takes a transition that changes nothing;
//! - `T3` computes the next time from the result of `T2`, and arms itself for it.
//!
//! No timeout is lost: `R2` and `T2` are read-modify-writes of one word, so one is first. If `R2` is
//! first, `T3` sees it, and `R1`. If `T2` is first, `R3` sees `T1` and arms the timer.
//!
//! No timeout reaches the wrong period. The timer takes a requester's transition under `guarded`.
//! In that transition it checks again that the same timeout has still expired. A statement has an
//! id, and the idleness after it has the same id. The timeouts, and the times at which transactions
//! and lock waits began, are also written under `guarded`, so the timer reads the values that the
//! runner wrote last. The same holds for a change of the time from which a statement's timeout counts, and for the
//! time at which the client closed its connection. The thread that stores that time takes `T1` to `T3` next. So
//! `T3` sees a statement that begins at that time, or the runner sees the time in `R3`.
//!
//! The *grace* of a task that must stop is no timeout: no request follows. The timer only wakes the task, which then
//! finds that the time has come. The timer:
//!
//! - `G1` reads the clock, by which the grace is over;
//! - `G2` takes a transition that changes nothing;
//! - `G3` takes the waker, if the task waits and no hold-off is in force.
//!
//! The task takes `W1` and `W2` of `wait.rs`, and then reads the clock. No task sleeps on: if `G2` comes before `W2`,
//! the task finds that the grace is over. If `W2` is first, `G2` sees `WAITING`, and `W1` came before. In a hold-off
//! both leave the task alone, and the thread that ends the hold-off wakes it.

mod state;

use crate::core::record::Record;
use crate::core::record::request::Accepted;
use crate::core::record::timeouts::state::{Deadline, TimeoutKind};
use crate::core::state::{Snapshot, TransitionError};
use crate::core::timer::{NEVER, Timer, nanos};
use crate::observe::event::Event;
use crate::sync::wake_list::WakeList;
use crate::sync::{AtomicU64, Ordering};
use crate::types::reason::InterruptReason;
use crate::types::request::{Request, Requester, TerminateMode};
use crate::types::time::Timestamp;
use crate::types::timeouts::Timeouts;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use crate::core::record::timeouts::state::TimeoutState;

fn timeout_request(reason: InterruptReason) -> Request {
    Request::new(Requester::system(), reason)
}

impl Record {
    fn timed(&self, timer: &Arc<Timer>) -> &TimeoutState {
        self.cold().timing.get_or_init(|| TimeoutState::new(timer.clone()))
    }

    /// Returns the timeouts, or `None` for most sessions, which have none.
    #[inline]
    fn timing(&self) -> Option<&TimeoutState> {
        self.cold.get()?.timing.get()
    }

    pub(crate) fn limits(&self) -> Timeouts {
        let Some(timing) = self.timing() else { return Timeouts::default() };
        let length = |length: &AtomicU64| match length.load(Ordering::Relaxed) {
            NEVER => None,
            length => Some(Duration::from_nanos(length)),
        };
        Timeouts {
            statement: length(&timing.statement),
            transaction: length(&timing.transaction),
            lock: length(&timing.lock_wait),
            idle: length(&timing.idle),
            idle_in_transaction: length(&timing.idle_in_transaction),
            client_disconnect: length(&timing.client_disconnect),
        }
    }

    /// Sets the timeouts. Only the owner or the runner calls this.
    pub(crate) fn set_limits(&self, timer: &Arc<Timer>, limits: Timeouts) {
        let timing = self.timed(timer);
        let was_limited = timing.limits_idleness();
        {
            let _guarded = self.guarded.lock();
            for (cell, limit) in [
                (&timing.statement, limits.statement),
                (&timing.transaction, limits.transaction),
                (&timing.lock_wait, limits.lock),
                (&timing.idle, limits.idle),
                (&timing.idle_in_transaction, limits.idle_in_transaction),
                (&timing.client_disconnect, limits.client_disconnect),
            ] {
                cell.store(limit.map_or(NEVER, nanos), Ordering::Relaxed);
            }
            let word = self.snapshot();
            // The start of the present idleness was not stored.
            if !was_limited && !word.in_statement() && !word.queued() {
                timing.store_now();
            }
        }
        self.arm(timing);
    }

    // Called by the runner and the owner.

    /// Stores the start of a statement, before the transition that queues or begins it. A queued
    /// statement keeps the time from when it was queued.
    #[inline]
    pub(super) fn command_starts(&self) {
        if let Some(timing) = self.timing()
            && !self.snapshot().queued()
            && !self.snapshot().in_statement()
        {
            timing.stamp_statement();
        }
    }

    /// Lets the timeout of the running statement count from now.
    pub(crate) fn restart_timeout(&self) {
        if let Some(timing) = self.timing() {
            self.change_start(timing, |_| timing.timer.now());
        }
    }

    /// Lets the timeout of the running statement count from `started`, unless it counts from an
    /// earlier time.
    pub(crate) fn count_timeout_from(&self, started: Instant) {
        if let Some(timing) = self.timing() {
            let started = timing.timer.at(started);
            self.change_start(timing, |since| since.min(started));
        }
    }

    fn change_start(&self, timing: &TimeoutState, change: impl FnOnce(u64) -> u64) {
        {
            let _guarded = self.guarded.lock();
            let since = timing.statement_since.load(Ordering::Relaxed);
            timing.statement_since.store(change(since), Ordering::Relaxed);
        }
        self.watch(self.snapshot());
    }

    /// Stores the start of idleness, before the transition that ends a statement or drops a queued
    /// command.
    #[inline]
    pub(super) fn command_ends(&self) {
        if let Some(timing) = self.timing()
            && timing.limits_idleness()
        {
            timing.store_now();
        }
    }

    /// Arms the timer after a transition, if its entry is too late.
    #[inline]
    pub(super) fn watch(&self, word: Snapshot) {
        if let Some(timing) = self.timing() {
            let next = timing.next(word);
            if next.is_some_and(|next| next.at < timing.armed.load(Ordering::Relaxed)) {
                self.arm(timing);
            }
        }
    }

    pub(super) fn transaction_step(&self, open: bool) {
        let transition = |word: Snapshot| word.set_transaction(open);
        let Some(timing) = self.timing() else {
            self.transition(transition);
            return;
        };
        let transition = {
            let _guarded = self.guarded.lock();
            timing.transaction_since.store(timing.timer.now(), Ordering::Relaxed);
            let word = self.snapshot();
            if !word.in_statement() && !word.queued() {
                timing.store_now();
            }
            self.transition(transition)
        };
        self.watch(transition.after);
    }

    /// Starts a wait for a lock. Returns the argument for [`lock_wait_ends`](Self::lock_wait_ends), or
    /// `None` without a lock timeout.
    pub(crate) fn lock_wait_begins(&self, since: Instant) -> Option<u64> {
        let timing = self.timing()?;
        if timing.lock_wait.load(Ordering::Relaxed) == NEVER {
            return None;
        }
        let outer = self.swap_lock_wait(timing, timing.timer.at(since));
        self.watch(self.snapshot());
        Some(outer)
    }

    pub(crate) fn lock_wait_ends(&self, outer: u64) {
        if let Some(timing) = self.timing() {
            self.swap_lock_wait(timing, outer);
            self.watch(self.snapshot());
        }
    }

    fn swap_lock_wait(&self, timing: &TimeoutState, since: u64) -> u64 {
        let _guarded = self.guarded.lock();
        timing.lock_wait_since.swap(since, Ordering::Relaxed)
    }

    // The client's connection.

    /// Stores that the connection with this number is the session's from now on, and open. Returns the
    /// number of the connection before, or 0.
    #[cfg_attr(
        any(safepoint_shuttle, not(target_os = "linux")),
        allow(dead_code, reason = "no connection is watched")
    )]
    pub(crate) fn connection_watched(&self, timer: &Arc<Timer>, number: u64) -> u64 {
        let timing = self.timed(timer);
        let before = {
            let _guarded = self.guarded.lock();
            timing.disconnected_at.store(NEVER, Ordering::Relaxed);
            timing.connection.swap(number, Ordering::Relaxed)
        };
        self.arm(timing);
        before
    }

    /// Stores that the client has closed the connection with this number, unless the session has another
    /// connection by now.
    #[cfg_attr(
        any(safepoint_shuttle, not(target_os = "linux")),
        allow(dead_code, reason = "no connection is watched")
    )]
    pub(crate) fn connection_closed(&self, number: u64) {
        let Some(timing) = self.timing() else { return };
        {
            let _guarded = self.guarded.lock();
            if timing.connection.load(Ordering::Relaxed) != number {
                return;
            }
            timing.disconnected_at.store(timing.timer.now(), Ordering::Relaxed);
        }
        self.arm(timing);
    }

    // Called by requesters.

    /// Makes a deferred termination immediate after `grace`. The earliest such time counts.
    pub(crate) fn escalate(&self, timer: &Arc<Timer>, grace: Duration, by: Request) {
        let timing = self.timed(timer);
        let at = timer.now().saturating_add(nanos(grace));
        {
            let mut escalation = timing.escalation.lock();
            if at < timing.grace.load(Ordering::Relaxed) {
                timing.grace.store(at, Ordering::Relaxed);
                *escalation = Some(by);
            }
        }
        self.arm(timing);
    }

    // The grace of a task that must stop: `session/grace.rs`.

    /// Lets the timer wake the running task after `grace`, and returns the time. The entry may outlive the
    /// statement: then the timer wakes once more than needed.
    #[cfg(feature = "async")]
    pub(crate) fn stop_after(&self, timer: &Arc<Timer>, grace: Duration) -> u64 {
        let timing = self.timed(timer);
        let at = timer.now().saturating_add(nanos(grace));
        timing.stop_by.store(at, Ordering::Relaxed);
        self.arm(timing);
        at
    }

    /// Takes the steps `G2` and `G3`. Returns the waker of the task that is dropped now.
    fn grace_is_over(&self, timing: &TimeoutState, at: u64) -> WakeList {
        // The next statement may have a grace by now.
        let _ = timing.stop_by.compare_exchange(at, NEVER, Ordering::Relaxed, Ordering::Relaxed);
        self.transition(|word| word);
        self.guarded.lock().waker_of(self.word.load(), self.held()).into()
    }

    // Called by the timer.

    /// Arms the timer for the next timeout.
    #[cold]
    fn arm(&self, timing: &TimeoutState) {
        timing.timer.arm(self.id.get(), &timing.armed, || {
            // A session that ends later disarms the timer after this, under the lock that is held
            // here.
            let word = self.transition(|word| word).after;
            timing.next(word).map(|next| next.at)
        });
    }

    /// Removes the timer's entry, after the transition that ends the session.
    #[inline]
    pub(super) fn disarm(&self) {
        if let Some(timing) = self.timing() {
            timing.timer.disarm(self.id.get(), &timing.armed);
        }
    }

    /// Enforces a timeout that has expired by `now`, if there is one. Arms the timer for the next one,
    /// and returns the wakers to call.
    pub(crate) fn expire_timeouts(&self, now: u64) -> WakeList {
        let Some(timing) = self.timing() else { return WakeList::EMPTY };
        let word = self.snapshot();
        let wakers = match timing.next(word).filter(|due| due.at <= now) {
            Some(due) => self.enforce(timing, due, word),
            None => WakeList::EMPTY,
        };
        self.arm(timing);
        wakers
    }

    /// Reports an enforced timeout. If the transition was rejected, the period has already ended.
    fn hit<T>(
        &self,
        reason: InterruptReason,
        accepted: Result<Accepted<T>, TransitionError>,
    ) -> WakeList {
        if accepted.is_err() {
            return WakeList::EMPTY;
        }
        self.emit(&Event::TimeoutExpired { session: self.id, reason });
        self.take_wakers()
    }

    fn enforce(&self, timing: &TimeoutState, due: Deadline, seen: Snapshot) -> WakeList {
        let named = seen.statement();
        let still_due = |now: Snapshot| {
            if timing.next(now) != Some(due) { Err(TransitionError::Stale) } else { Ok(()) }
        };
        let cancel = |reason| {
            let transition = |now: Snapshot| still_due(now).and_then(|()| now.cancel(named, None));
            self.hit(reason, self.cancel_by(timeout_request(reason), transition))
        };
        let end = |reason, same: &dyn Fn(Snapshot) -> bool| {
            let transition = |now: Snapshot| match same(now) {
                true => still_due(now).and_then(|()| now.terminate(TerminateMode::Immediate, None)),
                false => Err(TransitionError::Stale),
            };
            let request = timeout_request(reason);
            let asked = request.asked();
            self.hit(reason, self.terminate_by(request, asked, transition))
        };
        let same_idleness = |now: Snapshot| {
            now.statement().is_none()
                && now.last_statement() == seen.last_statement()
                && now.in_transaction() == seen.in_transaction()
        };
        match due.limit {
            TimeoutKind::Statement => cancel(InterruptReason::StatementTimeout),
            TimeoutKind::LockWait => cancel(InterruptReason::LockTimeout),
            TimeoutKind::Transaction => end(InterruptReason::TransactionTimeout, &|now| {
                let own = || now.in_statement() && now.statement() == seen.statement();
                now.in_transaction() == seen.in_transaction() && (now.in_transaction() || own())
            }),
            TimeoutKind::Idle => end(InterruptReason::IdleSessionTimeout, &same_idleness),
            TimeoutKind::IdleInTransaction => {
                end(InterruptReason::IdleInTransactionTimeout, &same_idleness)
            }
            TimeoutKind::ClientDisconnect => end(InterruptReason::ClientDisconnected, &|_| true),
            TimeoutKind::StopBy => self.grace_is_over(timing, due.at),
            TimeoutKind::Grace => {
                let by = {
                    let mut escalation = timing.escalation.lock();
                    timing.grace.store(NEVER, Ordering::Relaxed);
                    escalation.take()
                };
                let transition = |now: Snapshot| now.terminate(TerminateMode::Immediate, None);
                // Rejected if the session has ended already.
                match by.map(|request| self.terminate_by(request, Timestamp::now(), transition)) {
                    Some(Ok(_)) => self.take_wakers(),
                    Some(Err(_)) | None => WakeList::EMPTY,
                }
            }
        }
    }
}
