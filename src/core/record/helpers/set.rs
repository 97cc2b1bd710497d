//! The helpers of one statement: their slots, how they enter and leave, and how they are raised.

mod end;

use crate::core::attention;
use crate::core::record::Record;
use crate::core::record::check::statement_ended;
use crate::core::record::helpers::SessionHelpers;
use crate::core::record::helpers::listeners::Listeners;
use crate::core::record::helpers::slot::{HelperSlot, SlotState};
use crate::core::record::request::FinishedCancel;
use crate::core::state::{RunningStatement, Snapshot};
use crate::sync::wake_list::WakeList;
use crate::sync::{AtomicU64, Mutex, OnceCell, helper_slots};
use crate::types::id::StatementId;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crossbeam_utils::CachePadded;
use slab::Slab;
use std::fmt;
use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::Poll;
use std::task::Waker;
use std::time::SystemTime;

/// The helpers of one statement, and what they share.
pub(crate) struct HelperSet {
    pub(super) record: Arc<Record>,
    session: Arc<SessionHelpers>,
    pub(super) statement: RunningStatement,
    /// Wakes wakers, with no lock held, for a safe point of the core.
    pub(super) wake: fn(WakeList),
    pub(super) names: Mutex<Vec<(&'static str, CallerLocation)>>,
    /// The slots for threads. Created under the lock of `more`, by the first thread that enters.
    slots: OnceCell<Box<[CachePadded<HelperSlot>]>>,
    more: Mutex<MoreSlots>,
    /// [`OPEN`] until the statement ends; then the number of helpers that have not left, and some.
    remaining: AtomicU64,
    on_last_helper: Mutex<Option<FinishedCancel>>,
    /// The waker of the runner that waits until there is no helper.
    waiter: Mutex<Option<Waker>>,
}

/// In `remaining`: the statement has not ended.
const OPEN: u64 = u64::MAX;

#[derive(Default)]
struct MoreSlots {
    closed: bool,
    slots: Slab<Arc<ExtraSlot>>,
    listeners: Listeners,
}

/// The slot of a helper in its set.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The index of a slot at a fixed address, unless there is another one.
    index: u16,
    extra: Option<Arc<ExtraSlot>>,
}

/// A helper that has entered.
pub(crate) struct Entered<'a> {
    /// The slot, if it is at a fixed address.
    pub(crate) fixed: Option<&'a HelperSlot>,
    pub(crate) place: Place,
    pub(crate) turn: u16,
}

/// A slot in `more`.
#[derive(Debug)]
pub(crate) struct ExtraSlot {
    slot: HelperSlot,
    /// The key in `more`. `None` if the statement had ended: then the helper is not counted.
    key: Option<usize>,
}

/// All slots of a set at one moment.
pub(super) struct AllSlots<'a> {
    fixed: &'a [CachePadded<HelperSlot>],
    extra: Vec<Arc<ExtraSlot>>,
}

impl AllSlots<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &HelperSlot> {
        self.fixed.iter().map(|slot| &**slot).chain(self.extra.iter().map(|extra| &extra.slot))
    }

    fn len(&self) -> usize {
        self.fixed.len() + self.extra.len()
    }
}

impl HelperSet {
    pub(super) fn new(
        record: Arc<Record>,
        session: Arc<SessionHelpers>,
        statement: RunningStatement,
        wake: fn(WakeList),
    ) -> HelperSet {
        HelperSet {
            record,
            session,
            statement,
            wake,
            names: Mutex::new(Vec::new()),
            slots: OnceCell::new(),
            more: Mutex::new(MoreSlots::default()),
            remaining: AtomicU64::new(OPEN),
            on_last_helper: Mutex::new(None),
            waiter: Mutex::new(None),
        }
    }

    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(crate) fn statement_id(&self) -> StatementId {
        self.statement.id()
    }

    /// Returns the index of a name. A name of the same location is stored once. If there are too many
    /// names, the helper gets the first one.
    pub(crate) fn name(&self, name: &'static str, at: CallerLocation) -> u16 {
        let mut names = self.names.lock();
        let known = names.iter().position(|known| known.0 == name && known.1 == at);
        let index = known.or_else(|| {
            names.push((name, at));
            Some(names.len() - 1)
        });
        index.and_then(|index| u16::try_from(index).ok()).unwrap_or(0)
    }

    // Safe points.

    /// Returns whether the statement runs, and nothing asks its helpers to stop.
    #[inline(always)]
    pub(crate) fn may_continue(&self) -> bool {
        self.record.word.may_continue(self.statement)
    }

    /// Checks for a due interrupt, for a handle.
    #[inline(always)]
    pub(crate) fn check(&self, at: CallerLocation) -> Result<(), Interrupt> {
        if self.may_continue() { Ok(()) } else { self.check_cold(at) }
    }

    /// Checks if the statement must stop or has ended.
    #[cold]
    fn check_cold(&self, at: CallerLocation) -> Result<(), Interrupt> {
        let word = self.record.snapshot();
        if self.runs_in(word) && self.record.held() { Ok(()) } else { self.report(at) }
    }

    pub(super) fn runs_in(&self, word: Snapshot) -> bool {
        word.runs_statement(self.statement)
    }

    /// Returns whether a hold-off is in force, of the runner or of the helper with this slot.
    pub(super) fn is_held(&self, word: Snapshot, slot: Option<SlotState>) -> bool {
        slot.is_some_and(SlotState::held) || self.runs_in(word) && self.record.held()
    }

    /// Returns what a safe point of a helper reports. Requests change under the record's lock, so the
    /// number of the statement is compared under that lock.
    #[cold]
    pub(super) fn report(&self, at: CallerLocation) -> Result<(), Interrupt> {
        self.record.due_for_helper(self.statement, at)
    }

    // Entering.

    /// Takes the steps `E1` and `E2` for the calling thread, whose attention flag is `flag`.
    pub(crate) fn enter(
        &self,
        flag: u16,
        name: u16,
        at: CallerLocation,
    ) -> Result<Entered<'_>, Interrupt> {
        let entered = self.take_slot(flag, name)?;
        let word = self.record.snapshot();
        if word.may_continue(self.statement) {
            return Ok(entered);
        }
        self.entered_late(word, entered, at)
    }

    #[cold]
    fn entered_late<'a>(
        &'a self,
        word: Snapshot,
        entered: Entered<'a>,
        at: CallerLocation,
    ) -> Result<Entered<'a>, Interrupt> {
        let due = if self.is_held(word, None) { Ok(()) } else { self.report(at) };
        match due {
            Ok(()) => Ok(entered),
            Err(interrupt) => {
                (self.wake)(self.leave(&entered.place));
                Err(interrupt)
            }
        }
    }

    /// Takes the steps `E1` and `E2` with the slot at which this thread begins its search, and returns the slot,
    /// its index and the turn. Returns `None` if the slot is not free, or if the statement must stop. Each thread
    /// begins at its own slot, so threads seldom meet at one.
    #[inline(always)]
    pub(crate) fn enter_first_slot(&self, flag: u16, name: u16) -> Option<(&HelperSlot, u16, u16)> {
        let slots = self.slots.get()?;
        // Their number is a power of two.
        let index = flag & (slots.len() as u16).wrapping_sub(1);
        let slot = slots.get(usize::from(index))?;
        let turn = slot.take(flag, name).ok()?;
        if self.record.snapshot().may_continue(self.statement) {
            return Some((slot, index, turn));
        }
        (self.wake)(self.leave_fixed(slot));
        None
    }

    fn take_slot(&self, flag: u16, name: u16) -> Result<Entered<'_>, Interrupt> {
        let slots = match self.slots.get() {
            Some(slots) => slots,
            None => self.create_slots()?,
        };
        for step in 0..slots.len() {
            let index = (usize::from(flag) + step) & (slots.len() - 1);
            match slots[index].take(flag, name) {
                Ok(turn) => {
                    let place = Place::fixed(index as u16);
                    return Ok(Entered { fixed: Some(&slots[index]), place, turn });
                }
                Err(state) if state.closed() => return Err(statement_ended()),
                Err(_) => {}
            }
        }
        let extra = self.add(flag, name).ok_or_else(statement_ended)?;
        Ok(Entered { fixed: None, place: Place::extra(extra), turn: 0 })
    }

    #[cold]
    fn create_slots(&self) -> Result<&[CachePadded<HelperSlot>], Interrupt> {
        let fresh = || (0..helper_slots()).map(|_| CachePadded::new(HelperSlot::free())).collect();
        let more = self.more.lock();
        if more.closed {
            return Err(statement_ended());
        }
        Ok(self.slots.get_or_init(fresh))
    }

    /// Adds a helper that is a task or a job, or a thread that found no slot. Returns `None` if the
    /// statement has ended.
    pub(crate) fn add(&self, flag: u16, name: u16) -> Option<Arc<ExtraSlot>> {
        let since = SystemTime::now();
        let mut more = self.more.lock();
        if more.closed {
            return None;
        }
        let entry = more.slots.vacant_entry();
        let slot = HelperSlot::taken(flag, name, since);
        let extra = Arc::new(ExtraSlot { slot, key: Some(entry.key()) });
        entry.insert(extra.clone());
        Some(extra)
    }

    /// Creates the slot of a helper that is not counted, since its statement has ended.
    pub(crate) fn uncounted(&self, name: u16) -> Arc<ExtraSlot> {
        let slot = HelperSlot::taken(0, name, SystemTime::now());
        Arc::new(ExtraSlot { slot, key: None })
    }

    #[inline]
    pub(crate) fn slot<'a>(&'a self, place: &'a Place) -> &'a HelperSlot {
        match &place.extra {
            None => &self.slots.get().expect("a helper has one of them")[usize::from(place.index)],
            Some(extra) => &extra.slot,
        }
    }

    // Leaving.

    /// Takes the steps `L2` and `L3`. Returns the wakers to wake, with no lock held.
    pub(crate) fn leave(&self, place: &Place) -> WakeList {
        let slot = self.slot(place);
        let before = slot.leave();
        let counted = match &place.extra {
            None => true,
            Some(extra) => self.remove(extra, before),
        };
        if before.is_plain() { WakeList::EMPTY } else { self.left_observed(before, counted) }
    }

    /// Leaves as `leave` does, from a slot at a fixed address.
    #[inline(always)]
    pub(crate) fn leave_fixed(&self, slot: &HelperSlot) -> WakeList {
        let before = slot.leave();
        if before.is_plain() { WakeList::EMPTY } else { self.left_observed(before, true) }
    }

    /// Removes a slot of `more`. Returns whether its helper is counted.
    fn remove(&self, extra: &ExtraSlot, before: SlotState) -> bool {
        let Some(key) = extra.key else { return false };
        if !before.closed() {
            // A closer may have found it free by now: it has a copy of the slots that it counts.
            let removed = self.more.lock().slots.try_remove(key);
            drop(removed);
        }
        true
    }

    // Requesters.

    fn all(&self, more: &MoreSlots) -> AllSlots<'_> {
        let extra = more.slots.iter().map(|(_, extra)| extra.clone()).collect();
        AllSlots { fixed: self.slots.get().map_or(&[], |slots| slots), extra }
    }

    /// Returns the number of slots that are not at a fixed address.
    #[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
    pub(super) fn extra_slots(&self) -> usize {
        self.more.lock().slots.len()
    }

    pub(super) fn all_now(&self) -> AllSlots<'_> {
        self.all(&self.more.lock())
    }

    /// Takes the steps `K2` to `K4`, except that the caller wakes the wakers.
    pub(super) fn raise(&self, wakers: &mut WakeList) {
        for slot in self.all_now().iter() {
            let before = slot.raise();
            self.notify(slot, before, false, wakers);
        }
        if !self.record.held() {
            self.more.lock().listeners.take(wakers);
        }
    }

    /// Raises the flag of a helper on a thread, and takes the waker of a helper that sleeps. `ended`: the
    /// statement has ended, so that no hold-off of the runner is in force.
    pub(super) fn notify(
        &self,
        slot: &HelperSlot,
        before: SlotState,
        ended: bool,
        wakers: &mut WakeList,
    ) {
        if !before.active() {
            return;
        }
        if let Some(flag) = before.flag() {
            attention::raise(flag);
        }
        if (before.asleep() || before.has_stops()) && (ended || !self.record.held()) {
            slot.wakers(ended || self.record.snapshot().terminate_due(), wakers);
        }
    }

    // Listeners.

    /// Takes the steps `I1` and `I2`. `key` is where the set has the waker, from the first call on.
    #[cfg(feature = "async")]
    pub(crate) fn poll_interrupted(
        &self,
        key: &mut Option<usize>,
        waker: &Waker,
        at: CallerLocation,
    ) -> Poll<Interrupt> {
        self.listen(key, waker);
        self.check(at).map_or_else(Poll::Ready, |()| Poll::Pending)
    }

    #[cfg(feature = "async")]
    fn listen(&self, key: &mut Option<usize>, waker: &Waker) {
        // Cloned and dropped with no lock held.
        let waker = waker.clone();
        let spent = self.more.lock().listeners.store(key, waker);
        drop(spent);
    }

    #[cfg(feature = "async")]
    pub(crate) fn stop_listening(&self, key: usize) {
        let spent = self.more.lock().listeners.remove(key);
        drop(spent);
    }
}

impl fmt::Debug for HelperSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperSet")
            .field("session", &self.record.id())
            .field("statement", &self.statement.id())
            .finish_non_exhaustive()
    }
}

impl Place {
    #[inline]
    pub(crate) fn fixed(index: u16) -> Place {
        Place { index, extra: None }
    }

    #[inline]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// Changes to the slot with this index.
    #[inline]
    pub(crate) fn change(&mut self, index: u16) {
        self.index = index;
        if self.extra.is_some() {
            self.extra = None;
        }
    }

    pub(super) fn extra(slot: Arc<ExtraSlot>) -> Place {
        Place { index: 0, extra: Some(slot) }
    }

    #[inline]
    pub(super) fn is(&self, other: &Place) -> bool {
        match (&self.extra, &other.extra) {
            (None, None) => self.index == other.index,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
