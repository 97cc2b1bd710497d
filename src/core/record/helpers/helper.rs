//! One helper: its safe points, its hold-offs and its waits; and helpers that are tasks.

use crate::core::attention;
use crate::core::diagnostics::SectionGuard;
use crate::core::record::helpers::set::{HelperSet, Place};
use crate::core::record::helpers::slot::HelperSlot;
use crate::core::record::stop::Stop;
use crate::core::record::waits::Waits;
use crate::sync::wake_list::WakeList;
use crate::types::hold_off::ActiveHoldOff;
use crate::types::interrupt::Interrupt;
use crate::types::location::{CallSite, CallerLocation};
use crate::types::time::Timestamp;
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

/// A helper: its set and its slot.
#[derive(Clone, Debug)]
pub(crate) struct Helper {
    pub(crate) set: Arc<HelperSet>,
    pub(crate) place: Place,
    pub(crate) turn: u16,
}

impl Helper {
    /// Returns whether this is the helper of that set, with that slot and turn.
    #[inline]
    pub(crate) fn is(&self, set: &Arc<HelperSet>, place: &Place, turn: u16) -> bool {
        Arc::ptr_eq(&self.set, set) && self.turn == turn && self.place.is(place)
    }

    pub(crate) fn slot(&self) -> &HelperSlot {
        self.set.slot(&self.place)
    }

    /// Returns whether this helper is on the calling thread.
    pub(crate) fn is_here(&self) -> bool {
        self.slot().active_in(self.turn, attention::own())
    }

    /// Checks for a due interrupt, for an ambient safe point whose flag is raised.
    #[cold]
    pub(crate) fn check_flagged(&self, at: CallerLocation) -> Result<(), Interrupt> {
        attention::clear_own();
        self.check_raised(at)
    }

    /// Checks for a due interrupt, for a safe point whose slot is raised.
    #[cold]
    pub(crate) fn check_raised(&self, at: CallerLocation) -> Result<(), Interrupt> {
        let before = self.slot().noticed();
        if before.probed() {
            let mut cold = self.slot().cold.lock();
            cold.passed = Some((before.turn(), at, Timestamp::now()));
        }
        self.look(at)
    }

    /// Loads the word. If the statement must stop, the next safe point checks again.
    fn look(&self, at: CallerLocation) -> Result<(), Interrupt> {
        let HelperSet { record, statement, .. } = &*self.set;
        let word = record.snapshot();
        if word.may_continue(*statement) {
            return Ok(());
        }
        let state = self.slot().raise();
        attention::raise_own();
        if self.set.is_held(word, Some(state)) { Ok(()) } else { self.set.report(at) }
    }

    // Hold-offs of this helper.

    pub(crate) fn hold(&self, name: &'static str, at: CallerLocation) -> u64 {
        let call_site = CallSite { location: at, reached_at: SystemTime::now() };
        let mut cold = self.slot().cold.lock();
        // Hold-offs of earlier helpers have ended with them.
        cold.hold_offs.retain(|(of, ..)| *of == self.turn);
        cold.last_hold_off += 1;
        let number = cold.last_hold_off;
        cold.hold_offs.push((self.turn, number, ActiveHoldOff { name, call_site }));
        self.slot().hold();
        number
    }

    /// Ends a hold-off. Returns the wakers to wake if it was the last one and the helper must stop.
    pub(crate) fn release(&self, number: u64) -> WakeList {
        {
            let mut cold = self.slot().cold.lock();
            cold.hold_offs.retain(|(_, other, _)| *other != number);
            // The next helper of the slot takes this lock before it sets `HELD`.
            let has_left = self.slot().load().turn() != self.turn;
            if has_left || cold.hold_offs.iter().any(|(of, ..)| *of == self.turn) {
                return WakeList::EMPTY;
            }
            self.slot().release();
        }
        let mut wakers = WakeList::EMPTY;
        let word = self.set.record.snapshot();
        if !word.may_continue(self.set.statement) {
            let before = self.slot().raise();
            self.set.notify(self.slot(), before, !self.set.runs_in(word), &mut wakers);
        }
        wakers
    }
}

/// A helper's wait: the steps of `wait.rs`, with its slot instead of the word.
impl Waits for Helper {
    fn check_at(&self, at: CallerLocation) -> Result<(), Interrupt> {
        self.look(at)
    }

    fn begin_wait(
        &self,
        waker: &Waker,
        killable: bool,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        let slot = self.slot();
        slot.leave_waker(waker);
        let state = slot.fall_asleep(killable);
        let word = self.set.record.snapshot();
        if word.may_continue(self.set.statement) || self.set.is_held(word, Some(state)) {
            return Ok(());
        }
        // A cancel does not end a killable wait.
        if killable && self.set.runs_in(word) && !word.terminate_due() {
            return Ok(());
        }
        slot.wake_up();
        self.look(at)
    }

    fn end_wait(&self) {
        self.slot().wake_up();
    }

    fn within_killable_wait(&self, _at: CallerLocation) -> Option<SectionGuard<'_>> {
        None
    }

    fn begin_work(&self, stop: &Arc<Stop>, at: CallerLocation) -> Result<(), Interrupt> {
        let state = self.slot().add_stop(stop);
        let word = self.set.record.snapshot();
        let may_continue =
            word.may_continue(self.set.statement) || self.set.is_held(word, Some(state));
        // A cancel does not stop this work.
        let termination = !self.set.runs_in(word) || word.terminate_due();
        if may_continue || !stop.is_called_for(termination) {
            return Ok(());
        }
        self.look(at).inspect_err(|_| self.end_work(stop))
    }

    fn end_work(&self, stop: &Arc<Stop>) {
        self.slot().remove_stop(stop);
    }
}

/// A task or a job of a helper set. Its slot is on no thread until it runs.
pub(crate) struct Task {
    helper: Helper,
    /// Whether its last poll has set `ASLEEP`.
    asleep: bool,
}

impl Task {
    pub(crate) fn new(set: &Arc<HelperSet>, name: u16) -> Task {
        let extra = set.add(0, name).unwrap_or_else(|| set.uncounted(name));
        let helper = Helper { set: set.clone(), place: Place::extra(extra), turn: 0 };
        Task { helper, asleep: false }
    }

    pub(crate) fn helper(&self) -> &Helper {
        &self.helper
    }

    /// Begins a poll on the calling thread. The caller makes the helper the thread's current one next,
    /// and then calls [`look`](Self::look).
    pub(crate) fn begin_poll(&mut self) {
        self.helper.slot().begin_poll(attention::own(), std::mem::take(&mut self.asleep));
    }

    /// Checks for a due interrupt of a task that is being polled.
    pub(crate) fn look(&self, at: CallerLocation) -> Result<(), Interrupt> {
        self.helper.look(at)
    }

    /// Lets the safe points of this task or job look at the word if its statement must stop or has ended.
    pub(crate) fn raise_if_due(&self) {
        let HelperSet { record, statement, .. } = &*self.helper.set;
        if !record.snapshot().may_continue(*statement) {
            self.helper.slot().raise();
            attention::raise_own();
        }
    }

    /// Ends a poll that was not the last one. Returns whether the task must be polled again at once.
    #[cfg(feature = "async")]
    pub(crate) fn end_poll(&mut self, waker: &Waker) -> bool {
        let Helper { set, .. } = &self.helper;
        let slot = self.helper.slot();
        slot.leave_waker(waker);
        let state = slot.end_poll(attention::own());
        self.asleep = true;
        let word = set.record.snapshot();
        !word.may_continue(set.statement) && !set.is_held(word, Some(state))
    }

    /// Leaves, after the future or the job was dropped. Returns the wakers to wake.
    pub(crate) fn leave(&self) -> (WakeList, Option<Waker>) {
        let waker = self.helper.slot().take_waker();
        (self.helper.set.leave(&self.helper.place), waker)
    }
}
