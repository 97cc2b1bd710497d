//! Timeouts that are set, changed and removed at any point, several at once and with graces, expire
//! as a plain model predicts.
//!
//! At the same time: nothing: one thread on a clock that the test sets.
//!
//! A number generates each sequence of steps, and a failure prints that number. loom only provides
//! the clock.

use crate::common::sequences;
use safepoint_under_loom::audit::Event;
use safepoint_under_loom::model::{now, set_clock};
use safepoint_under_loom::request::{InterruptKind, InterruptReason};
use safepoint_under_loom::session::Timeouts;
use safepoint_under_loom::{
    Attached, Cancel, ClientInfo, Requester, Session, SessionId, SessionManager, Statement,
    Terminate, TerminateMode, Thread, ThreadModel,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many sequences, and how many steps each has.
const SEQUENCES: u64 = 12_000;
const STEPS: u32 = 16;

/// One tick of the test's clock: nothing that the machine does takes as long.
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn random_sequences() {
    sequences("timeouts_in_combination::random_sequences", SEQUENCES, |number| {
        Run::new(number).run_all()
    });
}

/// What limits promise, said plainly. Times are in ticks.
#[derive(Debug, Default)]
struct Promised {
    now: u64,
    limits: Timeouts,
    /// Since when times are noted: since the first limit or grace.
    noted_since: Option<u64>,
    /// Since when the session has a command, queued or running.
    busy_since: Option<u64>,
    /// Since when the statement timeout counts for it.
    statement_since: u64,
    queued: bool,
    in_transaction: bool,
    /// When that changed last.
    transaction_since: u64,
    idle_since: u64,
    /// For what the present command was told to end.
    cancel: Option<(InterruptReason, Option<String>)>,
    /// The waits for locks that the statement is in, the outermost first, and since when; `None`
    /// for one that began without a limit.
    lock_waits: Vec<Option<u64>>,
    told: Option<(TerminateMode, InterruptReason, Option<String>)>,
    /// When a deferred termination becomes immediate, and by whom.
    grace: Option<(u64, String)>,
    hit: Vec<InterruptReason>,
}

#[derive(Clone, Copy, Debug)]
enum RunsOut {
    Limit(InterruptReason),
    Grace,
}

impl Promised {
    fn runs(&self) -> bool {
        self.busy_since.is_some() && !self.queued
    }

    fn is_limited_in_idleness(&self) -> bool {
        self.limits.idle().is_some() || self.limits.idle_in_transaction().is_some()
    }

    fn due(&self) -> bool {
        match self.told {
            None => false,
            Some((TerminateMode::Immediate, ..)) => true,
            Some((TerminateMode::AfterStatement, ..)) => !self.runs(),
            Some((TerminateMode::AfterTransaction, ..)) => !self.runs() && !self.in_transaction,
        }
    }

    /// What runs out first, if nothing changes.
    fn next(&self) -> Option<(u64, RunsOut)> {
        if matches!(self.told, Some((TerminateMode::Immediate, ..))) {
            return None;
        }
        let diagnostics = self.noted_since.unwrap_or(0);
        let mut all = Vec::new();
        let mut limit = |reason, since: u64, length: Option<Duration>| {
            let ticks = length.map(|length| length.as_secs() / HOUR.as_secs());
            // What began before times were noted counts from then. A wait for a lock says itself
            // when it began, and so may a statement.
            let exact = [InterruptReason::LockTimeout, InterruptReason::StatementTimeout];
            let since = if exact.contains(&reason) { since } else { since.max(diagnostics) };
            all.extend(ticks.map(|ticks| (since + ticks, RunsOut::Limit(reason))));
        };
        let limits = &self.limits;
        let (statement, transaction, lock_wait) =
            (limits.statement(), limits.transaction(), limits.lock());
        let (idle, idle_in_transaction) = (limits.idle(), limits.idle_in_transaction());
        match self.busy_since {
            Some(since) => {
                if self.cancel.is_none() {
                    if let Some(Some(since)) = self.lock_waits.last() {
                        limit(InterruptReason::LockTimeout, *since, lock_wait);
                    }
                    limit(InterruptReason::StatementTimeout, self.statement_since, statement);
                }
                if self.in_transaction {
                    limit(InterruptReason::TransactionTimeout, self.transaction_since, transaction);
                } else if self.runs() {
                    // A statement outside of transactions is one, from its own beginning or from
                    // the end of the last that it closed.
                    let since = since.max(self.transaction_since);
                    limit(InterruptReason::TransactionTimeout, since, transaction);
                }
            }
            None if self.in_transaction => {
                limit(InterruptReason::TransactionTimeout, self.transaction_since, transaction);
                limit(
                    InterruptReason::IdleInTransactionTimeout,
                    self.idle_since,
                    idle_in_transaction,
                );
            }
            None => limit(InterruptReason::IdleSessionTimeout, self.idle_since, idle),
        }
        if let (Some(_), Some((at, _))) = (&self.told, &self.grace) {
            all.push((*at, RunsOut::Grace));
        }
        // Of two at the same time, the one that was considered first.
        all.into_iter().min_by_key(|(at, _)| *at)
    }

    /// The timer looks.
    fn run_out(&mut self) {
        while let Some((at, what)) = self.next() {
            if at > self.now {
                return;
            }
            match what {
                RunsOut::Grace => {
                    let (_, by) = self.grace.take().unwrap();
                    self.told = Some((
                        TerminateMode::Immediate,
                        InterruptReason::AdministratorCommand,
                        Some(by),
                    ));
                }
                RunsOut::Limit(
                    reason @ (InterruptReason::LockTimeout | InterruptReason::StatementTimeout),
                ) => {
                    self.cancel = Some((reason, None));
                    self.hit.push(reason);
                }
                RunsOut::Limit(reason) => {
                    self.told = Some((TerminateMode::Immediate, reason, None));
                    self.hit.push(reason);
                }
            }
        }
    }

    fn set(&mut self, limits: Timeouts) {
        if limits == self.limits {
            return;
        }
        self.note();
        let was_limited = self.is_limited_in_idleness();
        self.limits = limits;
        if !was_limited && self.is_limited_in_idleness() && self.busy_since.is_none() {
            // Nobody has noted when this idleness began.
            self.idle_since = self.now;
        }
    }

    fn tell(&mut self, when: TerminateMode, grace: Option<u64>, by: &str) {
        let before = self.told.as_ref().map(|(when, ..)| *when);
        if before < Some(when) {
            self.told = Some((when, InterruptReason::AdministratorCommand, Some(by.into())));
        }
        if let Some(grace) = grace.filter(|_| when != TerminateMode::Immediate) {
            self.note();
            let at = self.now + grace;
            if self.grace.as_ref().is_none_or(|(other, _)| at < *other) {
                self.grace = Some((at, by.into()));
            }
        }
    }

    /// From now on times are noted.
    fn note(&mut self) {
        if self.noted_since.is_none() {
            self.noted_since = Some(self.now);
            self.statement_since = self.now;
        }
    }

    fn comes(&mut self, queued: bool) {
        if self.busy_since.is_none() {
            self.busy_since = Some(self.now);
            self.statement_since = self.now;
        }
        self.queued = queued;
    }

    fn goes(&mut self) {
        if self.busy_since.take().is_some() {
            self.idle_since = self.now;
        }
        self.queued = false;
        self.cancel = None;
    }

    fn transaction(&mut self, open: bool) {
        if self.in_transaction != open {
            self.in_transaction = open;
            self.transaction_since = self.now;
            if self.busy_since.is_none() {
                self.idle_since = self.now;
            }
        }
    }
}

/// One sequence, and what it has come to.
struct Run {
    seed: u64,
    left: u32,
    manager: SessionManager,
    id: Option<SessionId>,
    promised: Promised,
    hit: Arc<Mutex<Vec<InterruptReason>>>,
    /// The library's time when the clock is at 0.
    start: Instant,
    trace: Vec<String>,
    /// The first thing that was not as promised.
    wrong: Option<String>,
}

impl Run {
    fn new(number: u64) -> Run {
        set_clock(Duration::ZERO);
        let start = now();
        let hit = Arc::<Mutex<Vec<InterruptReason>>>::default();
        let audit = {
            let hit = hit.clone();
            move |event: &Event<'_>| {
                if let Event::TimeoutExpired { reason, .. } = event {
                    hit.lock().unwrap().push(*reason);
                }
            }
        };
        let model = [ThreadModel::PerSession, ThreadModel::Pool][number as usize % 2];
        Run {
            // Any numbers that differ.
            seed: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            left: STEPS,
            manager: SessionManager::builder(model).audit(audit).build(),
            id: None,
            promised: Promised::default(),
            hit,
            start,
            trace: Vec::new(),
            wrong: None,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 33) % below
    }

    fn run_all(mut self) -> Option<String> {
        let mut session = self.manager.open(ClientInfo::default()).unwrap();
        self.id = Some(session.id());
        let own_thread = session.own_thread();
        let thread = own_thread.unwrap_or_else(|| self.manager.register_worker("worker").unwrap());
        self.detached(&mut session, &thread);
        drop(session);
        self.is_to_be(self.manager.timed(), 0, "sessions that the timer is to look at");
        self.manager.expire_timeouts(HOUR * 1000);
        let hit = self.hit.lock().unwrap().clone();
        self.is_to_be(hit, self.promised.hit.clone(), "hit");
        self.wrong
    }

    fn is_to_be<T: std::fmt::Debug + PartialEq>(&mut self, found: T, promised: T, what: &str) {
        if found != promised && self.wrong.is_none() {
            self.wrong = Some(format!(
                "{what}: {found:?} instead of {promised:?}, after {:#?}\n{:#?}",
                self.trace, self.promised
            ));
        }
    }

    fn step(&mut self, what: String) {
        self.trace.push(format!("{}: {what}", self.promised.now));
    }

    /// Whether there is a next step.
    fn goes_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && !self.promised.due() && self.wrong.is_none()
    }

    /// Compares the session with what is promised. The timer looks before that, or is late.
    fn compare(&mut self, limits: Timeouts) {
        if self.random(3) > 0 {
            for _ in 0..3 {
                self.manager.expire_timeouts(HOUR * self.promised.now as u32);
            }
            self.promised.run_out();
        }
        self.is_to_be(limits, self.promised.limits, "limits");
        let hit = self.hit.lock().unwrap().clone();
        self.is_to_be(hit, self.promised.hit.clone(), "hit");
        let pending = self.manager.session_info(self.id.unwrap()).unwrap().pending;
        let pending = pending.map(|pending| {
            let (author, text) = (pending.request.requester(), pending.request.comment());
            // A limit has run out by itself.
            let alone = *author == Requester::system() && text.is_none();
            let by = (!alone).then(|| author.user().unwrap_or("nobody").to_string());
            (pending.kind, pending.mode, pending.request.reason(), by)
        });
        let Promised { told, cancel, .. } = &self.promised;
        let terminate = told
            .clone()
            .map(|(when, reason, by)| (InterruptKind::Terminate, Some(when), reason, by));
        let cancel =
            || cancel.clone().map(|(reason, by)| (InterruptKind::Cancel, None, reason, by));
        let promised = terminate.or_else(cancel);
        self.is_to_be(pending, promised, "told");
    }

    // Steps that can be taken in each state.

    /// One of `own` steps, or one that is the same everywhere, which it takes.
    fn pick(
        &mut self,
        own: u64,
        set: &dyn Fn(Timeouts),
        get: &dyn Fn() -> Timeouts,
    ) -> Option<u64> {
        match self.random(own + 6) {
            0 | 1 => {
                self.promised.now += 1 + self.random(2);
                self.step("time passes".into());
                set_clock(HOUR * self.promised.now as u32);
            }
            2 | 3 => {
                let limits = self.other_limits();
                self.step(format!("{limits:?}"));
                set(limits);
                self.promised.set(limits);
            }
            4 if self.random(2) == 0 => self.cancel(),
            4 | 5 => {
                if self.random(2) == 0 {
                    self.terminate();
                }
            }
            own => return Some(own - 6),
        }
        self.compare(get());
        None
    }

    fn other_limits(&mut self) -> Timeouts {
        let mut limits = self.promised.limits;
        for _ in 0..=self.random(2) {
            let length = match self.random(8) {
                0 | 1 => None,
                2 if self.random(4) == 0 => Some(0),
                length => Some(length),
            };
            let length = length.map(|hours| HOUR * hours as u32);
            match self.random(12) {
                0 | 1 => limits = limits.with_statement(length),
                2 | 3 => limits = limits.with_transaction(length),
                4 | 5 => limits = limits.with_lock(length),
                6 | 7 => limits = limits.with_idle(length),
                8 | 9 => limits = limits.with_idle_in_transaction(length),
                10 => limits = Timeouts::default(),
                // The same again.
                _ => {}
            }
        }
        limits
    }

    fn cancel(&mut self) {
        self.step("cancel".into());
        let author = Requester::new("root").with_admin(true);
        let named = self.manager.session_info(self.id.unwrap()).unwrap().statement_id;
        let cancel = named.map_or(Cancel::running(author.clone()), |statement| {
            Cancel::statement(statement, author)
        });
        let accepted = self.manager.cancel(self.id.unwrap(), cancel).is_ok();
        self.is_to_be(accepted, self.promised.busy_since.is_some(), "cancel accepted");
        if accepted {
            self.promised.cancel.get_or_insert((InterruptReason::UserRequest, Some("root".into())));
        }
    }

    /// Some grace, or none. It may run out together with one that runs already.
    fn grace(&mut self) -> Option<u64> {
        let running = self.promised.grace.as_ref().map(|(at, _)| *at);
        match self.random(8) {
            0 | 1 => None,
            2 => running.and_then(|at| at.checked_sub(self.promised.now)),
            _ => Some(self.random(8)),
        }
    }

    fn terminate(&mut self) {
        let when = [
            TerminateMode::AfterTransaction,
            TerminateMode::AfterStatement,
            TerminateMode::Immediate,
        ][self.random(8) as usize / 3];
        let by = format!("killer {}", self.left);
        let author = Requester::system().with_user(&*by);
        let mut request = Terminate::new(when, author);
        let grace = self.grace();
        if let Some(grace) = grace {
            request = request.grace(HOUR * grace as u32);
        }
        if self.random(4) == 0 {
            self.step(format!("shut down {when:?}, grace {grace:?}"));
            self.is_to_be(self.manager.shutdown(request.clone()).len(), 1, "told by a shutdown");
        } else {
            self.step(format!("terminate {when:?}, grace {grace:?}"));
            let accepted = self.manager.terminate(self.id.unwrap(), request).is_ok();
            self.is_to_be(accepted, true, "terminate accepted");
        }
        self.promised.tell(when, grace, &by);
    }

    fn detached(&mut self, session: &mut Session, thread: &Thread) {
        while self.goes_on() {
            let set = |limits| session.set_timeouts(limits).unwrap();
            match self.pick(3, &set, &|| session.timeouts()) {
                None => continue,
                Some(0) => {
                    self.step("queue".into());
                    session.reserve_statement().unwrap();
                    self.promised.comes(true);
                }
                Some(_) => {
                    self.step("attach".into());
                    let attached = session.attach(thread).unwrap();
                    self.attached(attached);
                }
            }
            self.compare(session.timeouts());
        }
        self.is_to_be(session.check().is_err(), self.promised.due(), "due");
    }

    fn attached(&mut self, mut attached: Attached<'_>) {
        while self.goes_on() {
            let set = |limits| attached.set_timeouts(limits).unwrap();
            match self.pick(8, &set, &|| attached.timeouts()) {
                None => continue,
                Some(0) => {
                    self.step("detach".into());
                    let _ = attached.detach();
                    return self.promised.goes();
                }
                Some(1) => {
                    self.step("detach queued".into());
                    let _ = attached.detach_to_queue();
                    return self.promised.comes(true);
                }
                Some(2) => {
                    self.step("void".into());
                    attached.discard_reserved();
                    self.promised.goes();
                }
                Some(3 | 4) => self.transaction(&attached),
                Some(_) => {
                    self.step("begin".into());
                    let begun = attached.begin();
                    self.promised.comes(false);
                    match begun {
                        Ok(statement) => {
                            self.running(&statement);
                            self.step("finish".into());
                            let _ = statement.finish();
                        }
                        Err(interrupt) => self.is_to_be(interrupt.is_terminate(), false, "ends"),
                    }
                    self.promised.goes();
                }
            }
            self.compare(attached.timeouts());
        }
        // As it is dropped.
        self.promised.goes();
    }

    fn transaction(&mut self, attached: &Attached<'_>) {
        let open = self.random(3) > 0;
        self.step(format!("transaction {open}"));
        attached.set_in_transaction(open);
        self.promised.transaction(open);
    }

    fn running(&mut self, statement: &Statement<'_>) {
        self.compare(statement.timeouts());
        while self.goes_on() {
            let set = |limits| statement.set_timeouts(limits).unwrap();
            match self.pick(8, &set, &|| statement.timeouts()) {
                None => continue,
                Some(0 | 1) => return,
                Some(2 | 3) => self.transaction(statement),
                Some(4) if self.random(2) == 0 => {
                    self.step("restart the timeout".into());
                    statement.restart_timeout();
                    self.promised.statement_since = self.promised.now;
                }
                Some(4) => {
                    let since = self.promised.now.saturating_sub(self.random(3));
                    self.step(format!("count the timeout from {since}"));
                    statement.count_timeout_from(self.start + HOUR * since as u32);
                    if self.promised.noted_since.is_some() {
                        let before = self.promised.statement_since;
                        self.promised.statement_since = before.min(since);
                    }
                }
                Some(_) => {
                    // It may have begun a while ago.
                    let since = self.promised.now.saturating_sub(self.random(3));
                    self.step(format!("wait for a lock since {since}"));
                    let limited = self.promised.limits.lock().is_some();
                    let outer = self.promised.lock_waits.clone();
                    // One without a limit leaves the outer one's.
                    let counts =
                        if limited { Some(since) } else { outer.last().copied().flatten() };
                    self.promised.lock_waits.push(counts);
                    let since = self.start + HOUR * since as u32;
                    statement.with_lock_timeout(since, || self.running(statement));
                    self.step("has the lock".into());
                    self.promised.lock_waits = outer;
                }
            }
            self.compare(statement.timeouts());
        }
    }
}
