//! The record of a session: the data that it shares with its requesters.
//!
//! Which threads may touch which field:
//!
//! - `word`: any thread, by the transitions of `core/state/`. A requester takes its transition while
//!   it holds `guarded`.
//! - `thread`, `flags`, `hold`, which are atomics: `thread` is written by the runner alone; for `flags` see the field.
//!   `hold` is read by the runner, by its helpers, and by requesters after their transition. It is written under the
//!   lock of `cold.diagnostics`, by the runner and by a thread that drops the guard of a hold-off elsewhere. For the
//!   runner and requesters its accesses could be relaxed: see `take_wakers_after_hold_off`. For helpers the end of a
//!   hold-off releases, and `held` acquires: a helper that reports an interrupt after a hold-off sees what was done in it.
//! - `guarded`: requesters, and the runner and owner on their cold paths. The lock is held for a few
//!   instructions. Under it no waker is woken, and no other thread is waited for. The only application code
//!   that runs under it is the `clone` of a waker. It also guards the metadata of the
//!   session, which the runner writes for each statement with a text.
//! - `cold.timing`: atomics, and the lock of `escalation`. See `core/record/timeouts/mod.rs`.
//! - `cold.values`: the runner, and the thread that ends the session. No value is created or dropped
//!   under its lock.
//! - `cold.diagnostics`: the runner off its fast path, and threads that ask for a diagnosis. See
//!   `core/record/diagnose.rs`.
//! - `cold.helpers`: the runner, its helpers, requesters, and the thread that ends the session. See
//!   `core/record/helpers/`.
//! - `cold.stops`: the runner, and requesters. See `core/record/stop.rs`.
//!
//! `ARCHITECTURE.md` has the order of all locks. While the lock of `guarded`, `cold.values`, `cold.diagnostics`,
//! `cold.stops` or `escalation` is held, no other lock is taken.
//!
//! A million idle sessions take a quarter of a gigabyte, without their strings. So a part that most sessions
//! never use is created when it is first needed.

pub(crate) mod check;
pub(crate) mod diagnose;
#[cfg_attr(
    any(safepoint_loom, safepoint_shuttle),
    allow(dead_code, reason = "no model has a watchdog")
)]
pub(crate) mod due;
pub(crate) mod helpers;
pub(crate) mod request;
mod statement;
pub(crate) mod stop;
mod suspension;
pub(crate) mod timeouts;
pub(crate) mod wait;
pub(crate) mod waits;

use crate::core::admission::AdmissionLimit;
use crate::core::attention;
use crate::core::diagnostics::Diagnostics;
use crate::core::locals::{DrainedValues, LocalValues, Value};
use crate::core::metadata::Metadata;
use crate::core::record::helpers::SessionHelpers;
use crate::core::record::request::{FinishedCancel, Guarded};
use crate::core::record::stop::Stops;
use crate::core::record::timeouts::TimeoutState;
use crate::core::registry::Keyed;
use crate::core::state::{Slot, Snapshot, State, Transition};
use crate::observe::event::Event;
use crate::observe::hooks::Hooks;
use crate::sync::{AtomicU32, AtomicU64, Mutex, OnceCell, Ordering};
use crate::types::client_info::ClientInfo;
use crate::types::error::OpenError;
use crate::types::id::{Parts, SessionId, ThreadId};
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crate::types::request::Requester;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(crate) struct Record {
    id: SessionId,
    word: State,
    /// The thread that the session was last attached to, written before the transition that
    /// attaches. Release, pairs with the acquire in `last_thread` and in `thread_in`.
    thread: AtomicU64,
    /// The number of hold-offs in force, and [`ROLLED_BACK`].
    hold: AtomicU32,
    /// Written by the owner or the runner alone, of whom there is one at a time, so without a
    /// read-modify-write. After the session's end the thread of its last helper writes it, which has
    /// acquired the end by `SessionHelpers::open`. Relaxed: other threads read [`ADMIN`] and [`COMPLETED`] under `guarded`,
    /// under which they are written. The bits from [`FLAG_SHIFT`] on are the attention flag of the
    /// thread that the session was last attached to. They are written before the transition that
    /// attaches, which a thread that raises the flag has acquired.
    flags: AtomicU32,
    guarded: Mutex<Guarded>,
    cold: OnceCell<Box<Cold>>,
    /// The receivers of the session's events, if there are any. No event is emitted under a lock.
    hooks: Option<Arc<Hooks>>,
}

/// The user is an administrator.
const ADMIN: u32 = 1;

/// The receipts are complete.
const COMPLETED: u32 = 2;

/// The session is admitted.
const ADMITTED: u32 = 4;

/// The running statement has a helper set.
const HAS_HELPERS: u32 = 8;

/// The runner works in code with a stop function.
const HAS_STOPS: u32 = 16;

/// The statement is suspended: its session may leave the thread and be attached again, and the statement
/// continues when it is resumed.
const SUSPENDED: u32 = 32;

/// A cancel does not end the suspension.
const KILLABLE_SUSPENSION: u32 = 64;

const FLAG_SHIFT: u32 = 16;

/// In `hold`: a rollback has begun since the session was attached.
const ROLLED_BACK: u32 = 1 << 31;

/// The parts that most sessions never need.
#[derive(Debug, Default)]
struct Cold {
    /// Created when the session first has a timeout.
    timing: OnceLock<TimeoutState>,
    values: LocalValues,
    diagnostics: Diagnostics,
    /// Created when a statement of the session first has a handle.
    helpers: OnceCell<Arc<SessionHelpers>>,
    stops: Mutex<Stops>,
    /// The number of the statement whose task was last notified of an interrupt, and has a grace. For
    /// diagnosis, so its accesses are relaxed.
    grace_of: AtomicU64,
}

impl Keyed for Record {
    fn number(&self) -> u64 {
        self.id.get()
    }

    fn set_number(&mut self, parts: Parts) {
        self.id = SessionId::from_parts(parts);
    }
}

impl Record {
    #[inline(always)]
    pub(crate) fn new(description: ClientInfo, hooks: Option<Arc<Hooks>>) -> Record {
        let flags = if description.admin { ADMIN } else { 0 };
        Record {
            id: SessionId::PLACEHOLDER,
            word: State::new(),
            thread: AtomicU64::new(0),
            hold: AtomicU32::new(0),
            flags: AtomicU32::new(flags),
            guarded: Mutex::new(Guarded::new(Metadata::new(description))),
            cold: OnceCell::new(),
            hooks,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.word.load()
    }

    /// Returns the id of the thread that the session was last attached to, for `thread_in`.
    pub(crate) fn last_thread(&self) -> u64 {
        self.thread.load(Ordering::Acquire)
    }

    /// Returns the thread in a snapshot of this record, or `None` if the session has left it.
    /// `before` is the last thread from before the snapshot. The slot of that thread may belong to
    /// another thread now, to which the session is attached; but an id is never used twice.
    ///
    /// The first load may read the value that a later attachment wrote. Then, by the acquire, the
    /// load of the word sees the detach before that attachment. If the session is back on the first
    /// thread, the load of the word acquires that attachment too, so the second load of `thread` is
    /// no older.
    pub(crate) fn thread_in(&self, seen: Snapshot, before: u64) -> Option<ThreadId> {
        let slot = seen.slot()?;
        if slot == Slot::OWN {
            return Some(self.id.own_thread());
        }
        let thread = self.thread.load(Ordering::Acquire);
        let still =
            self.snapshot().slot() == Some(slot) && self.thread.load(Ordering::Relaxed) == thread;
        ThreadId::from_raw(thread).filter(|_| still && thread == before)
    }

    /// Returns the snapshot and the thread in it.
    pub(crate) fn snapshot_with_thread(&self) -> (Snapshot, Option<ThreadId>) {
        let before = self.last_thread();
        let word = self.snapshot();
        (word, self.thread_in(word, before))
    }

    /// Returns whether the session is attached to the calling thread.
    pub(crate) fn runs_here(&self) -> bool {
        // The word is loaded first: a thread that has attached the session elsewhere has written
        // its flag before that transition.
        let attached = self.snapshot().slot().is_some();
        let flag = self.flags.load(Ordering::Relaxed) >> FLAG_SHIFT;
        attached && flag == u32::from(attention::own())
    }

    /// Returns whether the session is, or was last, attached to that thread. Relaxed: the caller
    /// holds the thread's record, so its slot cannot be reused, and the transition that follows
    /// checks the slot. This load only rules out an earlier thread with the same slot.
    pub(crate) fn was_last_on(&self, thread: ThreadId) -> bool {
        self.thread.load(Ordering::Relaxed) == thread.get()
    }

    pub(crate) fn as_requester(&self) -> Requester {
        let ClientInfo { user, admin, address: client, .. } = self.description();
        let address = Some(client).filter(|client| !client.is_empty());
        Requester { session: Some(self.id), user: Some(user), admin, address }
    }

    /// Changes the client information. Only the owner or the runner calls this, so no change is
    /// lost between the read and the write. `change` runs with no lock held.
    pub(crate) fn describe(&self, change: impl FnOnce(ClientInfo) -> ClientInfo) {
        let mut description = change(self.description());
        // The previous values are dropped after the lock is released.
        self.metadata(|metadata| {
            metadata.describe(&mut description);
            self.set(ADMIN, description.admin);
        });
    }

    pub(crate) fn description(&self) -> ClientInfo {
        self.metadata(|metadata| metadata.description(self.has(ADMIN)))
    }

    pub(crate) fn metadata<T>(&self, look: impl FnOnce(&mut Metadata) -> T) -> T {
        look(&mut self.guarded.lock().metadata)
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

    fn cold(&self) -> &Cold {
        self.cold.get_or_init(Box::default)
    }

    // Admission. Only the owner calls these.

    pub(crate) fn admit(&self, admission: &AdmissionLimit) -> Result<(), OpenError> {
        if !self.has(ADMITTED) {
            admission.admit(self.metadata(|_| self.has(ADMIN)))?;
            self.set(ADMITTED, true);
        }
        Ok(())
    }

    /// Releases the admission slot. Called once, when the session ends.
    pub(crate) fn release_admission(&self, admission: &AdmissionLimit) {
        admission.release(self.has(ADMITTED));
    }

    // Session-local values.

    pub(crate) fn value(&self, number: usize) -> Option<Value> {
        self.cold.get()?.values.get(number)
    }

    pub(crate) fn insert_value_if_open(&self, number: usize, first: &Value) -> Option<Value> {
        let ended = || self.transition(|word| word).after.ended();
        self.cold().values.keep(number, first, ended)
    }

    pub(crate) fn take_values(&self) -> Option<DrainedValues> {
        Some(self.cold.get()?.values.take())
    }

    // Transitions of the word that do not detach the session. Each may raise the attention flag.

    #[inline]
    fn transition(&self, next: impl Fn(Snapshot) -> Snapshot) -> Transition {
        let transition = self.word.transition(next);
        if transition.after.attention() {
            self.raise_flag(transition.after);
        }
        transition
    }

    #[inline]
    fn try_transition<E>(
        &self,
        next: impl Fn(Snapshot) -> Result<Snapshot, E>,
    ) -> Result<Transition, E> {
        let transition = self.word.try_transition(next)?;
        if transition.after.attention() {
            self.raise_flag(transition.after);
        }
        Ok(transition)
    }

    /// Raises the attention flag of the thread that runs the session, if one does.
    #[cold]
    fn raise_flag(&self, word: Snapshot) {
        if word.slot().is_some() {
            attention::raise((self.flags.load(Ordering::Relaxed) >> FLAG_SHIFT) as u16);
        }
    }

    // Safe points.

    /// Checks for a due interrupt, for an ambient safe point whose flag is raised.
    #[cold]
    pub(crate) fn check_flagged(&self, at: CallerLocation) -> Result<(), Interrupt> {
        attention::clear_own();
        let now = self.word.transition(|word| word).after;
        if !now.attention() {
            return Ok(());
        }
        attention::raise_own();
        self.report(at)
    }

    #[inline]
    #[track_caller]
    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        self.check_at(Location::caller())
    }

    #[inline]
    pub(crate) fn check_at(&self, at: CallerLocation) -> Result<(), Interrupt> {
        if self.word.attention() { self.report(at) } else { Ok(()) }
    }

    /// Cold: runs once per interrupt or probe.
    #[cold]
    fn report(&self, at: CallerLocation) -> Result<(), Interrupt> {
        self.answer_probe(at);
        if self.held() {
            return Ok(());
        }
        self.due(at).inspect_err(|_| self.wake_helpers())
    }

    /// Returns whether a hold-off is in force. Acquire, pairs with the release in `release`.
    pub(crate) fn held(&self) -> bool {
        self.hold.load(Ordering::Acquire) & !ROLLED_BACK > 0
    }

    // Transitions of the runner and the owner.

    #[inline]
    pub(crate) fn attach(&self, slot: Slot, thread: ThreadId, flag: u16) -> FinishedCancel {
        if self.hold.load(Ordering::Relaxed) > 0 && !self.has(SUSPENDED) {
            self.drop_leaked_sections();
        }
        let before = self.resume(slot, thread, flag).before;
        if before.runs() && !self.is_suspended(before) {
            return self.end_leaked_statement();
        }
        FinishedCancel::NOTHING
    }

    /// Attaches a session that may be in a statement.
    #[inline]
    pub(crate) fn resume(&self, slot: Slot, thread: ThreadId, flag: u16) -> Transition {
        self.thread.store(thread.get(), Ordering::Release);
        let flags = self.flags.load(Ordering::Relaxed) & ((1 << FLAG_SHIFT) - 1);
        self.flags.store(flags | u32::from(flag) << FLAG_SHIFT, Ordering::Relaxed);
        self.transition(|word| word.attach(slot))
    }

    /// Detaches the session. The caller must check the returned transition for a due interrupt and
    /// a finished cancel, and must have [ended](Self::end_leaked_statement) a leaked statement
    /// before.
    #[inline]
    pub(crate) fn detach(&self, to_queue: bool) -> Transition {
        let transition = if to_queue {
            self.command_starts();
            self.word.transition(Snapshot::detach_to_queue)
        } else {
            // A discarded command was queued until now, so idleness begins here.
            if self.word.load().queued() {
                self.command_ends();
            }
            self.word.transition(Snapshot::detach)
        };
        self.watch(transition.after);
        transition
    }

    pub(crate) fn transaction_changes(&self, open: bool) {
        // Only the runner writes this bit, so a load is sufficient.
        if self.word.load().in_transaction() != open {
            self.transaction_step(open);
            self.metadata(|metadata| metadata.transaction_changes(open));
        }
    }

    /// Ends a leaked attachment or task, for the owner of the session.
    pub(crate) fn end_leaked_attachment(&self) -> FinishedCancel {
        #[cold]
        fn leave(record: &Record) -> FinishedCancel {
            let over = record.end_leaked_statement();
            let transition = record.detach(false);
            // A session that was in a statement has no queued command, so the second transition
            // ends no cancel.
            if over.is_nothing() { record.cancel_finished(transition) } else { over }
        }
        let word = self.snapshot();
        if word.runs() && !self.is_suspended(word) { leave(self) } else { FinishedCancel::NOTHING }
    }
}
