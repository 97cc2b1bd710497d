//! What a session's record knows of its limits, and the steps that enforce them.
//!
//! A *period* is what a limit is about: a statement, from its queueing on, or the idleness
//! after it. When it begins its time is noted in `since`, before the step that begins it, so
//! whoever sees the step sees a time that is not older. The timer has at most one entry for a
//! session, for `armed`. Whoever begins a period looks whether that is soon enough, and it
//! mostly is; where it is too soon, the timer looks at what there is by then, and goes to
//! sleep again.
//!
//! Why no limit is forgotten: the timer says that it looks no more, in `armed`, and then looks
//! at the word by a read-modify-write that changes nothing. The runner takes its step, and then
//! looks at `armed`. The two steps are ordered. If the runner's is first, the timer sees it. If
//! the timer's is first, the runner sees what was written to `armed` before it.
//!
//! Why none hits what it was not meant for: the timer takes a killer's step, and asks once more
//! as it takes it, under `slow`, whether the same limit has still run out. A statement has its
//! number, and so has the idleness after it. Limits, and when transactions, lock waits and the
//! idleness around a transaction's ends began, are written under `slow` too: so they are as the
//! runner has left them, and what is over, or has no limit any more, is not hit.

use super::{Accepted, Record};
use crate::audit::Event;
use crate::interrupt::{Author, Reason, Request, When};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::timeout::Limits;
use crate::timer::{NEVER, Timer, nanos};
use crate::why::Moment;
use crate::word::{Snapshot, Void};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Times are those of the timer's clock, and lengths are in nanoseconds; [`NEVER`] is none.
///
/// What names no other partner is relaxed: a number that is read too old, or too new, is
/// looked at again, under the timer's lock or by the step that it leads to.
#[derive(Debug)]
pub(crate) struct Timing {
    timer: Arc<Timer>,
    /// The limits, written by the runner or holder, under `slow`. Whoever changes them takes the
    /// timer's lock next, and the timer looks under it.
    statement: AtomicU64,
    transaction: AtomicU64,
    lock_wait: AtomicU64,
    idle: AtomicU64,
    idle_in_transaction: AtomicU64,
    /// When the present period began; released by the step that follows.
    since: AtomicU64,
    /// When a transaction last began or ended. Written under `slow`.
    transaction_since: AtomicU64,
    /// When the present wait for a lock began. Written under `slow`.
    lock_wait_since: AtomicU64,
    /// When a deferred termination becomes immediate. Written under `escalation`.
    grace: AtomicU64,
    escalation: Mutex<Option<Request>>,
    /// When the timer will look. Written under the timer's lock.
    armed: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    LockWait,
    Statement,
    Transaction,
    Idle,
    IdleInTransaction,
    Grace,
}

/// What runs out next, when, and since when it had run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    at: u64,
    limit: Limit,
    since: u64,
}

impl Timing {
    fn new(timer: Arc<Timer>) -> Timing {
        let now = timer.now();
        let none = || AtomicU64::new(NEVER);
        Timing {
            timer,
            statement: none(),
            transaction: none(),
            lock_wait: none(),
            idle: none(),
            idle_in_transaction: none(),
            // What has begun before counts from here.
            since: AtomicU64::new(now),
            transaction_since: AtomicU64::new(now),
            lock_wait_since: none(),
            grace: none(),
            escalation: Mutex::new(None),
            armed: none(),
        }
    }

    fn stamp(&self) {
        self.since.store(self.timer.now(), Ordering::Relaxed);
    }

    fn limits_idleness(&self) -> bool {
        self.idle.load(Ordering::Relaxed) != NEVER
            || self.idle_in_transaction.load(Ordering::Relaxed) != NEVER
    }

    /// A statement outside of transactions is one, from its own beginning or from the end of
    /// the last that it closed.
    fn transaction_began(&self, word: Snapshot) -> u64 {
        let changed = self.transaction_since.load(Ordering::Relaxed);
        if word.in_transaction() {
            changed
        } else {
            changed.max(self.since.load(Ordering::Relaxed))
        }
    }

    /// What runs out first, if nothing changes.
    fn next(&self, word: Snapshot) -> Option<Due> {
        let told = word.terminate_asked();
        if word.ended() || told == Some(When::Immediate) {
            return None;
        }
        let mut first = Due { at: NEVER, limit: Limit::Statement, since: NEVER };
        let mut consider = |limit, since: u64, length: &AtomicU64| {
            let at = since.saturating_add(length.load(Ordering::Relaxed));
            if at < first.at {
                first = Due { at, limit, since };
            }
        };
        let (runs, open) = (word.in_statement(), word.in_transaction());
        let since = self.since.load(Ordering::Relaxed);
        let busy = runs || word.queued();
        if busy && !word.cancelled() {
            consider(
                Limit::LockWait,
                self.lock_wait_since.load(Ordering::Relaxed),
                &self.lock_wait,
            );
            consider(Limit::Statement, since, &self.statement);
        }
        if open || runs {
            consider(Limit::Transaction, self.transaction_began(word), &self.transaction);
        }
        if !busy && open {
            consider(Limit::IdleInTransaction, since, &self.idle_in_transaction);
        } else if !busy {
            consider(Limit::Idle, since, &self.idle);
        }
        if told.is_some() {
            let at = self.grace.load(Ordering::Relaxed);
            if at < first.at {
                first = Due { at, limit: Limit::Grace, since: at };
            }
        }
        (first.at != NEVER).then_some(first)
    }
}

fn ran_out(reason: Reason) -> Request {
    Request::new(Author::system(), reason, None)
}

impl Record {
    fn timed(&self, timer: &Arc<Timer>) -> &Timing {
        self.rare().timing.get_or_init(|| Timing::new(timer.clone()))
    }

    /// Most sessions have none.
    #[inline]
    fn timing(&self) -> Option<&Timing> {
        self.rare.get()?.timing.get()
    }

    pub(crate) fn limits(&self) -> Limits {
        let Some(timing) = self.timing() else { return Limits::default() };
        let length = |length: &AtomicU64| match length.load(Ordering::Relaxed) {
            NEVER => None,
            length => Some(Duration::from_nanos(length)),
        };
        Limits {
            statement: length(&timing.statement),
            transaction: length(&timing.transaction),
            lock_wait: length(&timing.lock_wait),
            idle: length(&timing.idle),
            idle_in_transaction: length(&timing.idle_in_transaction),
        }
    }

    /// Only the holder or the runner does this.
    pub(crate) fn set_limits(&self, timer: &Arc<Timer>, limits: Limits) {
        let timing = self.timed(timer);
        let was_limited = timing.limits_idleness();
        {
            let _slow = self.slow.lock();
            for (place, limit) in [
                (&timing.statement, limits.statement),
                (&timing.transaction, limits.transaction),
                (&timing.lock_wait, limits.lock_wait),
                (&timing.idle, limits.idle),
                (&timing.idle_in_transaction, limits.idle_in_transaction),
            ] {
                place.store(limit.map_or(NEVER, nanos), Ordering::Relaxed);
            }
            let word = self.look();
            // Nobody has noted when this idleness began.
            if !was_limited && !word.in_statement() && !word.queued() {
                timing.stamp();
            }
        }
        self.arm(timing);
    }

    // What the runner and the holder say of the periods.

    /// Before the step that queues or begins a command. One that was queued has had its time.
    #[inline]
    pub(super) fn command_comes(&self) {
        if let Some(timing) = self.timing()
            && !self.look().queued()
            && !self.look().in_statement()
        {
            timing.stamp();
        }
    }

    /// Before the step that ends a statement, or makes a queued command void.
    #[inline]
    pub(super) fn command_goes(&self) {
        if let Some(timing) = self.timing()
            && timing.limits_idleness()
        {
            timing.stamp();
        }
    }

    /// After a step: sees to it that the timer looks in time.
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
        let step = |word: Snapshot| word.set_transaction(open);
        let Some(timing) = self.timing() else {
            self.step(step);
            return;
        };
        let step = {
            let _slow = self.slow.lock();
            timing.transaction_since.store(timing.timer.now(), Ordering::Relaxed);
            let word = self.look();
            if !word.in_statement() && !word.queued() {
                timing.stamp();
            }
            self.step(step)
        };
        self.watch(step.after);
    }

    /// A wait for a lock begins. `None` where it has no limit; else what to end it with.
    pub(crate) fn lock_wait_begins(&self, since: Instant) -> Option<u64> {
        let timing = self.timing()?;
        if timing.lock_wait.load(Ordering::Relaxed) == NEVER {
            return None;
        }
        let outer = self.swap_lock_wait(timing, timing.timer.at(since));
        self.watch(self.look());
        Some(outer)
    }

    pub(crate) fn lock_wait_ends(&self, outer: u64) {
        if let Some(timing) = self.timing() {
            self.swap_lock_wait(timing, outer);
            self.watch(self.look());
        }
    }

    fn swap_lock_wait(&self, timing: &Timing, since: u64) -> u64 {
        let _slow = self.slow.lock();
        timing.lock_wait_since.swap(since, Ordering::Relaxed)
    }

    // The killer's part.

    /// A deferred termination becomes immediate after the grace. The first to do so counts.
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

    // The timer's part.

    /// Has the timer look when the next limit runs out.
    #[cold]
    fn arm(&self, timing: &Timing) {
        timing.timer.arm(self.id.get(), &timing.armed, || {
            // One that ends later is disarmed after that, under the lock that is held here.
            let word = self.step(|word| word).after;
            timing.next(word).map(|next| next.at)
        });
    }

    /// After the step that ends the session.
    pub(super) fn disarm(&self) {
        if let Some(timing) = self.timing() {
            timing.timer.disarm(self.id.get(), &timing.armed);
        }
    }

    /// Enforces the limit that has run out by `now`, if one has, and arms the next. It may wake
    /// the embedder's wakers, so no lock may be held.
    pub(crate) fn limits_run_out(&self, now: u64) {
        let Some(timing) = self.timing() else { return };
        let word = self.look();
        if let Some(due) = timing.next(word).filter(|due| due.at <= now) {
            self.enforce(timing, due, word);
        }
        self.arm(timing);
    }

    /// A limit has ended what it names. A refusal says that this is over by now.
    fn hit<T>(&self, reason: Reason, accepted: Result<Accepted<T>, Void>) {
        if accepted.is_ok() {
            self.emit(&Event::LimitHit { session: self.id, reason });
            self.wake_if_due();
        }
    }

    fn enforce(&self, timing: &Timing, due: Due, seen: Snapshot) {
        let named = seen.statement();
        let still_due = |now: Snapshot| {
            if timing.next(now) != Some(due) { Err(Void::Stale) } else { Ok(()) }
        };
        let cancel = |reason| {
            let step = |now: Snapshot| still_due(now).and_then(|()| now.cancel(named, None));
            self.hit(reason, self.cancel_by(ran_out(reason), step));
        };
        let end = |reason, same: &dyn Fn(Snapshot) -> bool| {
            let step = |now: Snapshot| match same(now) {
                true => still_due(now).and_then(|()| now.terminate(When::Immediate, None)),
                false => Err(Void::Stale),
            };
            let request = ran_out(reason);
            let asked = request.asked();
            self.hit(reason, self.terminate_by(request, asked, step));
        };
        let same_idleness = |now: Snapshot| {
            now.statement().is_none()
                && now.last_statement() == seen.last_statement()
                && now.in_transaction() == seen.in_transaction()
        };
        match due.limit {
            Limit::Statement => cancel(Reason::StatementTimeout),
            Limit::LockWait => cancel(Reason::LockTimeout),
            Limit::Transaction => end(Reason::TransactionTimeout, &|now| {
                let own = || now.in_statement() && now.statement() == seen.statement();
                now.in_transaction() == seen.in_transaction() && (now.in_transaction() || own())
            }),
            Limit::Idle => end(Reason::IdleSessionTimeout, &same_idleness),
            Limit::IdleInTransaction => end(Reason::IdleInTransactionTimeout, &same_idleness),
            Limit::Grace => {
                let by = {
                    let mut escalation = timing.escalation.lock();
                    timing.grace.store(NEVER, Ordering::Relaxed);
                    escalation.take()
                };
                if let Some(request) = by {
                    let step = |now: Snapshot| now.terminate(When::Immediate, None);
                    // Refused where it has ended by now.
                    if self.terminate_by(request, Moment::now(), step).is_ok() {
                        self.wake_if_due();
                    }
                }
            }
        }
    }
}
