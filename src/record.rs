//! What one session shares with its killers.
//!
//! Who may touch what:
//! 1. `word`: anyone, by the steps of `word.rs`. A killer takes its step while it holds `slow`.
//! 2. `thread`: written by the runner alone. `flags`: see there. `hold`: read by the runner, and by
//!    killers after their step; written under the lock of `rare.notes`, by the runner and by
//!    whoever drops the guard of a hold-off elsewhere. Relaxed: see `rouse`.
//! 3. `slow`: killers, and the runner and holder on their cold paths. It is held for a few
//!    instructions; nothing is woken, called or waited for under it.
//!    What is known `about` the session is there as well: the runner's for each described
//!    statement, and whoever's who looks.
//! 4. `rare.timing`: see `record/limits.rs`.
//! 5. `rare.values`: the runner, and whoever ends the session. None is made or dropped under its
//!    lock.
//! 6. `rare.notes`: the runner off its fast path, and whoever asks about that. See `record/why.rs`.
//!
//! A million idle sessions are to be a quarter of a gigabyte: what most of them never have is made
//! when it is first needed.

mod asleep;
mod limits;
mod seen;
mod told;
mod why;

use crate::about::{About, Description};
use crate::audit::{Event, Hooks};
use crate::bell;
use crate::id::{Parts, SessionId, StatementId, ThreadId};
use crate::interrupt::{Author, Interrupt, Reason};
use crate::places::Places;
use crate::registry::{Numbered, OpenError};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::values::{Taken, Value, Values};
use crate::why::{Notes, Place};
use crate::word::{NoBegin, Slot, Snapshot, Step, Word};
use limits::Timing;
use std::panic::Location;
use std::sync::{Arc, OnceLock};
use told::Slow;

pub(crate) use told::{Accepted, Over};
pub use why::Probe;

#[derive(Debug)]
pub(crate) struct Record {
    id: SessionId,
    word: Word,
    /// The thread it was last attached to, written before the step that attaches. Release,
    /// pairs with the acquire in `last_thread` and in `thread_in`.
    thread: AtomicU64,
    hold: AtomicU32,
    /// Written by the holder or the runner alone, one of whom there is at a time, and so without a
    /// read-modify-write. Relaxed: who else reads them, [`ADMIN`] and [`COMPLETED`], does so under
    /// `slow`, as they are written. From [`BELL_SHIFT`] on the bell of the thread it was last
    /// attached to, written before the step that attaches: whoever rings has acquired that step.
    flags: AtomicU32,
    slow: Mutex<Slow>,
    rare: OnceLock<Box<Rare>>,
    /// Who hears of what happens to it, if anyone does. Nobody is told under a lock.
    hooks: Option<Arc<Hooks>>,
}

/// The user is an administrator.
const ADMIN: u32 = 1;
/// The receipts are complete.
const COMPLETED: u32 = 2;
/// Its place is one of those whose user is known.
const ADMITTED: u32 = 4;
const BELL_SHIFT: u32 = 16;

/// What most sessions never have.
#[derive(Debug, Default)]
struct Rare {
    /// Since it first had a limit.
    timing: OnceLock<Timing>,
    values: Values,
    notes: Notes,
}

impl Numbered for Record {
    fn number(&self) -> u64 {
        self.id.get()
    }

    fn set_number(&mut self, parts: Parts) {
        self.id = SessionId::from_parts(parts);
    }
}

impl Record {
    #[inline(always)]
    pub(crate) fn new(description: Description, hooks: Option<Arc<Hooks>>) -> Record {
        let flags = if description.admin { ADMIN } else { 0 };
        Record {
            id: SessionId::PLACEHOLDER,
            word: Word::new(),
            thread: AtomicU64::new(0),
            hold: AtomicU32::new(0),
            flags: AtomicU32::new(flags),
            slow: Mutex::new(Slow::new(About::new(description))),
            rare: OnceLock::new(),
            hooks,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn look(&self) -> Snapshot {
        self.word.load()
    }

    /// The number of the thread that it was attached to last, for `thread_in`.
    pub(crate) fn last_thread(&self) -> u64 {
        self.thread.load(Ordering::Acquire)
    }

    /// The thread in a snapshot of this record; `None` also where the session has left it.
    /// `before` is its last thread from before the snapshot was taken: the thread's place may be
    /// another's by now, and the session with that, but a number is given out once.
    ///
    /// Whoever reads here what a later attach wrote also sees, by the acquire, the detach
    /// before that, unless the session is back on the first thread: then what is read the
    /// second time is no older than that.
    pub(crate) fn thread_in(&self, seen: Snapshot, before: u64) -> Option<ThreadId> {
        let slot = seen.slot()?;
        if slot == Slot::OWN {
            return Some(self.id.own_thread());
        }
        let thread = self.thread.load(Ordering::Acquire);
        let still =
            self.look().slot() == Some(slot) && self.thread.load(Ordering::Relaxed) == thread;
        ThreadId::from_raw(thread).filter(|_| still && thread == before)
    }

    /// What it does, and its thread.
    pub(crate) fn look_with_thread(&self) -> (Snapshot, Option<ThreadId>) {
        let before = self.last_thread();
        let word = self.look();
        (word, self.thread_in(word, before))
    }

    /// Whether it is attached to the calling thread.
    pub(crate) fn runs_here(&self) -> bool {
        // The word is looked at first: whoever has attached it elsewhere has written the bell
        // before that.
        let attached = self.look().slot().is_some();
        let bell = self.flags.load(Ordering::Relaxed) >> BELL_SHIFT;
        attached && bell == u32::from(bell::mine())
    }

    /// Whether it was last attached to that thread, or is so now. Relaxed: it only tells that thread
    /// from one that had the same place before. Whoever asks keeps the thread's place, and the step
    /// that follows looks whether the session is in that; if so, no thread has come between.
    pub(crate) fn was_last_on(&self, thread: ThreadId) -> bool {
        self.thread.load(Ordering::Relaxed) == thread.get()
    }

    pub(crate) fn author(&self) -> Author {
        let Description { user, admin, client, .. } = self.description();
        let address = Some(client).filter(|client| !client.is_empty());
        Author { session: Some(self.id), user: Some(user), admin, address }
    }

    /// Changes the description. Only the holder or the runner does, so nothing is lost
    /// between the look and the change, and `change` runs with no lock held.
    pub(crate) fn describe<T>(&self, change: impl FnOnce(&mut Description) -> T) -> T {
        let mut description = self.description();
        let result = change(&mut description);
        // What it was before is dropped with no lock held.
        self.about(|about| {
            about.describe(&mut description);
            self.set(ADMIN, description.admin);
        });
        result
    }

    pub(crate) fn description(&self) -> Description {
        self.about(|about| about.description(self.has(ADMIN)))
    }

    pub(crate) fn about<T>(&self, look: impl FnOnce(&mut About) -> T) -> T {
        look(&mut self.slow.lock().about)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u32, on: bool) {
        let flags = self.flags.load(Ordering::Relaxed);
        let flags = if on { flags | flag } else { flags & !flag };
        self.flags.store(flags, Ordering::Relaxed);
    }

    fn emit(&self, event: &Event<'_>) {
        if let Some(hooks) = &self.hooks {
            hooks.emit(event);
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    // Its place with the manager. Only the holder asks.

    pub(crate) fn admit(&self, places: &Places) -> Result<(), OpenError> {
        if !self.has(ADMITTED) {
            places.admit(self.about(|_| self.has(ADMIN)))?;
            self.set(ADMITTED, true);
        }
        Ok(())
    }

    /// As it ends, once.
    pub(crate) fn give_place_back(&self, places: &Places) {
        places.give_back(self.has(ADMITTED));
    }

    // Its session-local values.

    pub(crate) fn value(&self, number: usize) -> Option<Value> {
        self.rare.get()?.values.get(number)
    }

    pub(crate) fn keep_value(&self, number: usize, first: &Value) -> Option<Value> {
        let ended = || self.step(|word| word).after.ended();
        self.rare().values.keep(number, first, ended)
    }

    pub(crate) fn take_values(&self) -> Option<Taken> {
        Some(self.rare.get()?.values.take())
    }

    // Steps of the word, but for those that take it off its thread.

    #[inline]
    fn step(&self, next: impl Fn(Snapshot) -> Snapshot) -> Step {
        let step = self.word.step(next);
        if step.after.attention() {
            self.ring(step.after);
        }
        step
    }

    #[inline]
    fn try_step<E>(&self, next: impl Fn(Snapshot) -> Result<Snapshot, E>) -> Result<Step, E> {
        let step = self.word.try_step(next)?;
        if step.after.attention() {
            self.ring(step.after);
        }
        Ok(step)
    }

    /// The thread that runs it, if one does, is to look at this.
    #[cold]
    fn ring(&self, word: Snapshot) {
        if word.slot().is_some() {
            bell::ring((self.flags.load(Ordering::Relaxed) >> BELL_SHIFT) as u16);
        }
    }

    // Safe points.

    /// For a safe point that found its bell rung.
    #[cold]
    pub(crate) fn check_rung(&self, at: Place) -> Result<(), Interrupt> {
        bell::silence_mine();
        let now = self.word.step(|word| word).after;
        if !now.attention() {
            return Ok(());
        }
        bell::ring_mine();
        self.report(at)
    }

    #[inline]
    #[track_caller]
    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        self.check_at(Location::caller())
    }

    #[inline]
    pub(crate) fn check_at(&self, at: Place) -> Result<(), Interrupt> {
        if self.word.attention() { self.report(at) } else { Ok(()) }
    }

    /// Cold: for each interrupt and each probe.
    #[cold]
    fn report(&self, at: Place) -> Result<(), Interrupt> {
        self.answer_probe(at);
        if self.held() { Ok(()) } else { self.due(at) }
    }

    pub(crate) fn held(&self) -> bool {
        self.hold.load(Ordering::Relaxed) > 0
    }

    // The runner's and the holder's steps.

    #[inline]
    pub(crate) fn attach(&self, slot: Slot, thread: ThreadId, bell: u16) {
        if self.hold.load(Ordering::Relaxed) > 0 {
            self.forget_holds();
        }
        if self.go_on(slot, thread, bell).before.runs() {
            self.finish_forgotten();
        }
    }

    /// Attaches a session that may be in the middle of what it runs.
    #[inline]
    pub(crate) fn go_on(&self, slot: Slot, thread: ThreadId, bell: u16) -> Step {
        self.thread.store(thread.get(), Ordering::Release);
        let flags = self.flags.load(Ordering::Relaxed) & ((1 << BELL_SHIFT) - 1);
        self.flags.store(flags | u32::from(bell) << BELL_SHIFT, Ordering::Relaxed);
        self.step(|word| word.attach(slot))
    }

    /// What is due then, and what is over, is to be asked of the step.
    #[inline]
    pub(crate) fn detach(&self, to_queue: bool) -> Step {
        self.finish_forgotten();
        let step = if to_queue {
            self.command_comes();
            self.word.step(Snapshot::detach_queued)
        } else {
            // A command that is void was one all the same, and idleness begins here.
            if self.word.load().queued() {
                self.command_goes();
            }
            self.word.step(Snapshot::detach)
        };
        self.watch(step.after);
        step
    }

    /// Ends a statement whose guard was forgotten.
    #[inline]
    pub(crate) fn finish_forgotten(&self) {
        #[cold]
        fn finish(record: &Record) {
            record.finish();
        }
        if self.word.load().in_statement() {
            finish(self);
        }
    }

    pub(crate) fn queue(&self) -> Option<StatementId> {
        self.command_comes();
        let step = self.step(Snapshot::queue);
        self.watch(step.after);
        step.after.statement()
    }

    pub(crate) fn void_queued(&self) {
        // The runner alone clears this bit while it runs, so a look is enough to know it.
        if self.word.load().queued() {
            self.command_goes();
            let step = self.step(Snapshot::void_queued);
            self.watch(step.after);
            self.statement_left(step).complete();
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn begin(&self) -> Result<(), Interrupt> {
        self.begin_at(Location::caller())
    }

    pub(crate) fn begin_at(&self, at: Place) -> Result<(), Interrupt> {
        self.finish_forgotten();
        self.command_comes();
        match self.try_step(|word| word.begin(|| self.held())) {
            Ok(step) => {
                self.watch(step.after);
                if step.before.probed() || step.after.attention() {
                    return self.begun_with(step, at);
                }
                Ok(())
            }
            Err(reason) => Err(self.not_begun(reason, at)),
        }
    }

    /// Someone waits for a safe point to answer, or the command was cancelled while it was queued.
    #[cold]
    fn begun_with(&self, step: Step, at: Place) -> Result<(), Interrupt> {
        if step.before.probed() {
            self.passed(at);
        }
        self.check_at(at).inspect_err(|_| self.finish())
    }

    #[cold]
    fn not_begun(&self, reason: NoBegin, at: Place) -> Interrupt {
        if reason == NoBegin::Exhausted {
            self.fail(Reason::StatementsExhausted);
        }
        self.due(at).expect_err("a termination due between statements stays due")
    }

    pub(crate) fn finish(&self) {
        self.command_goes();
        let step = self.step(Snapshot::finish);
        self.watch(step.after);
        self.statement_left(step).complete();
    }

    pub(crate) fn transaction_changes(&self, open: bool) {
        // The runner alone writes this bit, so a look is enough to know it.
        if self.word.load().in_transaction() != open {
            self.transaction_step(open);
            self.about(|about| about.transaction_changes(open));
        }
    }

    /// For the holder, who has the session in hand: what attached it, or ran it as a task, and was
    /// forgotten, is over.
    pub(crate) fn leave_forgotten(&self) {
        #[cold]
        fn leave(record: &Record) {
            let step = record.detach(false);
            record.statement_left(step).complete();
        }
        if self.look().runs() {
            leave(self);
        }
    }
}
