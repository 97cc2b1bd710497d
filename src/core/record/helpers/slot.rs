//! The slot of a helper: one atomic state, and the parts that are rarely needed.
//!
//! | bits | name | set by | meaning |
//! |---|---|---|---|
//! | 0 | `ACTIVE` | helper | a helper has the slot |
//! | 1 | `CLOSED` | closer | the statement has ended: no helper takes the slot, and the helper that leaves it subtracts one |
//! | 2 | `RAISED` | requester, closer | the helper must look at the word; also set in a free slot |
//! | 3 | `PROBE` | probe | the next safe point stores its time and location |
//! | 4 | `ASLEEP` | helper | a waker is in `cold`, and the helper may be blocked |
//! | 5 | `HELD` | helper | a hold-off of the helper is in force |
//! | 6 | `WATCHED` | runner | the helper that leaves wakes the runner, which waits for its helpers |
//! | 7 | `KILLABLE` | helper | no cancel ends the wait of `ASLEEP` |
//! | 8–23 | `NAME` | helper | the index of the helper's name in its set |
//! | 24 | `HAS_STOPS` | helper | stop functions are in `cold` |
//! | 32–47 | `FLAG` | helper | the attention flag of the thread that the helper is on; 0 if it is on none |
//! | 48–63 | `TURN` | helper | counts the helpers that have had the slot |
//!
//! Each change is one read-modify-write, `AcqRel`. Its acquire half pairs with the release half of the change that
//! wrote the value it read. So of two changes one is first, and the second sees every write before the first. The
//! load of a safe point is relaxed: it only decides whether to take the cold path. The load in `active_in` is relaxed
//! too: its own thread has written what it asks for. All other loads acquire.
//!
//! `PROBE` is set under the lock of `cold`, and the time of the probe is stored under the same lock. So a probe that
//! finds the bit set also finds the time of the probe that has set it. A safe point, the end of a wait and the begin of
//! a poll clear the bit without the lock, as do taking and leaving the slot. The next probe finds it clear and starts
//! again.

use crate::core::attention;
use crate::core::record::stop::{self, Stop, Stops};
use crate::sync::wake_list::WakeList;
use crate::sync::{AtomicU64, Mutex, Ordering, now};
use crate::types::hold_off::ActiveHoldOff;
use crate::types::location::CallerLocation;
use crate::types::time::Timestamp;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Instant, SystemTime};

const ACTIVE: u64 = 1;
const CLOSED: u64 = 1 << 1;
const RAISED: u64 = 1 << 2;
const PROBE: u64 = 1 << 3;
const ASLEEP: u64 = 1 << 4;
const HELD: u64 = 1 << 5;
const WATCHED: u64 = 1 << 6;
const KILLABLE: u64 = 1 << 7;
const HAS_STOPS: u64 = 1 << 24;
const NAME_SHIFT: u32 = 8;
const NAME: u64 = 0xffff << NAME_SHIFT;
const FLAG_SHIFT: u32 = 32;
const FLAG: u64 = 0xffff << FLAG_SHIFT;
const TURN_SHIFT: u32 = 48;
const TURN: u64 = 0xffff << TURN_SHIFT;

/// The value of a slot's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotState(u64);

impl SlotState {
    fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    pub(crate) fn active(self) -> bool {
        self.has(ACTIVE)
    }
    pub(crate) fn closed(self) -> bool {
        self.has(CLOSED)
    }
    pub(crate) fn probed(self) -> bool {
        self.has(PROBE)
    }
    pub(crate) fn asleep(self) -> bool {
        self.has(ASLEEP)
    }
    /// Returns whether the helper is on a thread and does not wait, so that it must pass safe points.
    pub(crate) fn works(self) -> bool {
        self.active() && self.flag().is_some() && !self.asleep()
    }
    pub(crate) fn held(self) -> bool {
        self.has(HELD)
    }
    pub(crate) fn has_stops(self) -> bool {
        self.has(HAS_STOPS)
    }
    /// Returns whether a helper that leaves has no more to do.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        !self.has(CLOSED | WATCHED)
    }
    pub(crate) fn watched(self) -> bool {
        self.has(WATCHED)
    }

    pub(crate) fn name(self) -> u16 {
        (self.0 >> NAME_SHIFT) as u16
    }

    /// Returns the attention flag of the helper's thread, or `None` if the helper is on no thread.
    pub(crate) fn flag(self) -> Option<u16> {
        Some((self.0 >> FLAG_SHIFT) as u16).filter(|flag| *flag != 0)
    }

    pub(crate) fn turn(self) -> u16 {
        (self.0 >> TURN_SHIFT) as u16
    }
}

fn name_bits(name: u16) -> u64 {
    u64::from(name) << NAME_SHIFT
}

fn flag_bits(flag: u16) -> u64 {
    u64::from(flag) << FLAG_SHIFT
}

#[derive(Debug)]
pub(crate) struct HelperSlot {
    state: AtomicU64,
    pub(crate) cold: Mutex<ColdSlot>,
}

/// The parts of a slot that most helpers never need. Under the lock the `clone` of a waker is the only
/// application code.
#[derive(Debug, Default)]
pub(crate) struct ColdSlot {
    waker: Option<Waker>,
    /// The stop functions of the helper's work.
    stops: Stops,
    /// The time of the probe, if the state has `PROBE`.
    asked: Option<Instant>,
    /// The last safe point that answered a probe, and in which turn.
    pub(crate) passed: Option<(u16, CallerLocation, Timestamp)>,
    /// The hold-offs in force, each with the turn of its helper and its number.
    pub(crate) hold_offs: Vec<(u16, u64, ActiveHoldOff)>,
    pub(crate) last_hold_off: u64,
    /// When a row first showed the helper of this turn.
    pub(crate) first_seen: Option<(u16, SystemTime)>,
}

impl HelperSlot {
    /// Creates a free slot.
    pub(crate) fn free() -> HelperSlot {
        HelperSlot { state: AtomicU64::new(0), cold: Mutex::new(ColdSlot::default()) }
    }

    /// Creates a slot that a helper on this thread has, or on no thread if `flag` is 0.
    pub(crate) fn taken(flag: u16, name: u16, since: SystemTime) -> HelperSlot {
        let cold = ColdSlot { first_seen: Some((0, since)), ..ColdSlot::default() };
        let state = AtomicU64::new(ACTIVE | flag_bits(flag) | name_bits(name));
        HelperSlot { state, cold: Mutex::new(cold) }
    }

    /// Takes the slot for a helper on this thread, and returns the turn. The error is the state of a
    /// slot that is taken or closed.
    #[inline]
    pub(crate) fn take(&self, flag: u16, name: u16) -> Result<u16, SlotState> {
        let mut seen = self.state.load(Ordering::Acquire);
        loop {
            if seen & (ACTIVE | CLOSED) != 0 {
                return Err(SlotState(seen));
            }
            let turn = (seen & TURN).wrapping_add(1 << TURN_SHIFT);
            let taken = ACTIVE | flag_bits(flag) | name_bits(name) | turn;
            match self.state.compare_exchange_weak(seen, taken, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(SlotState(taken).turn()),
                Err(now) => seen = now,
            }
        }
    }

    /// Frees the slot. Returns the state before.
    #[inline]
    pub(crate) fn leave(&self) -> SlotState {
        SlotState(self.state.fetch_and(CLOSED | TURN, Ordering::AcqRel))
    }

    pub(crate) fn load(&self) -> SlotState {
        SlotState(self.state.load(Ordering::Acquire))
    }

    /// Returns whether a helper on this thread has the slot in this turn.
    pub(crate) fn active_in(&self, turn: u16, flag: u16) -> bool {
        let now = SlotState(self.state.load(Ordering::Relaxed));
        now.active() && now.turn() == turn && now.flag() == Some(flag)
    }

    /// Returns whether nothing asks the helper to look at the word, for a safe point.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (RAISED | PROBE) == 0
    }

    /// Asks the helper to look at the word. Returns the state before.
    pub(crate) fn raise(&self) -> SlotState {
        SlotState(self.state.fetch_or(RAISED, Ordering::AcqRel))
    }

    /// Closes the slot, and asks its helper to look at the word. Returns the state before.
    pub(crate) fn close(&self) -> SlotState {
        SlotState(self.state.fetch_or(CLOSED | RAISED, Ordering::AcqRel))
    }

    /// Clears `RAISED` and `PROBE`: the caller looks at the word next. Returns the state before.
    pub(crate) fn noticed(&self) -> SlotState {
        SlotState(self.state.fetch_and(!(RAISED | PROBE), Ordering::AcqRel))
    }

    /// Sets a probe if the helper must pass safe points. If it has not answered an earlier probe, returns the
    /// time of that probe, and the state.
    pub(crate) fn probe(&self) -> Option<(Instant, SlotState)> {
        if !self.load().works() {
            return None;
        }
        let mut cold = self.cold.lock();
        let before = SlotState(self.state.fetch_or(PROBE, Ordering::AcqRel));
        if let Some(flag) = before.flag() {
            attention::raise(flag);
        }
        if before.probed() && before.works() {
            return cold.asked.map(|asked| (asked, before));
        }
        cold.asked = Some(now());
        None
    }

    /// Asks the helper to wake the runner when it leaves. Returns the state before.
    pub(crate) fn watch(&self) -> SlotState {
        SlotState(self.state.fetch_or(WATCHED, Ordering::AcqRel))
    }

    pub(crate) fn hold(&self) {
        self.state.fetch_or(HELD, Ordering::AcqRel);
    }

    pub(crate) fn release(&self) {
        self.state.fetch_and(!HELD, Ordering::AcqRel);
    }

    // Waits.

    pub(crate) fn leave_waker(&self, waker: &Waker) {
        let spent = {
            let mut cold = self.cold.lock();
            match &mut cold.waker {
                Some(same) if same.will_wake(waker) => None,
                other => other.replace(waker.clone()),
            }
        };
        drop(spent);
    }

    /// Drops the waker of a task that is not polled again.
    pub(crate) fn take_waker(&self) -> Option<Waker> {
        self.cold.lock().waker.take()
    }

    /// Sets `ASLEEP`: the helper may block from now on. Returns the state after it.
    pub(crate) fn fall_asleep(&self, killable: bool) -> SlotState {
        let sleeps = if killable { ASLEEP | KILLABLE } else { ASLEEP };
        SlotState(self.state.fetch_or(sleeps, Ordering::AcqRel) | sleeps)
    }

    /// Ends a wait. The time in it is no time without a safe point.
    pub(crate) fn wake_up(&self) {
        self.state.fetch_and(!(ASLEEP | KILLABLE | PROBE), Ordering::AcqRel);
    }

    /// Takes the wakers of a helper that sleeps or has stop functions, unless its own hold-off is in force.
    /// `termination`: the session ends, or the statement has ended.
    pub(crate) fn wakers(&self, termination: bool, wakers: &mut WakeList) {
        let cold = self.cold.lock();
        let now = self.load();
        if now.held() {
            return;
        }
        if now.asleep() && (termination || !now.has(KILLABLE)) {
            wakers.append(cold.waker.clone().into());
        }
        stop::to_call(&cold.stops, termination, wakers);
    }

    // Work with a stop function.

    /// Stores a stop function. Returns the state after it.
    pub(crate) fn add_stop(&self, stop: &Arc<Stop>) -> SlotState {
        self.cold.lock().stops.push(stop.clone());
        SlotState(self.state.fetch_or(HAS_STOPS, Ordering::AcqRel) | HAS_STOPS)
    }

    pub(crate) fn remove_stop(&self, stop: &Arc<Stop>) {
        {
            let mut cold = self.cold.lock();
            stop::remove(&mut cold.stops, stop);
            if cold.stops.is_empty() {
                self.state.fetch_and(!HAS_STOPS, Ordering::AcqRel);
            }
        }
        stop.disarm();
    }

    // Polls of a task. `FLAG` and `ASLEEP` are the task's own, so one change moves both.

    /// Begins a poll. The time before it is no time without a safe point.
    pub(crate) fn begin_poll(&self, flag: u16, asleep: bool) {
        let change = flag_bits(flag) | if asleep { ASLEEP } else { 0 };
        let begin = |state: u64| Some((state ^ change) & !PROBE);
        let begun = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin);
        debug_assert!(begun.is_ok(), "`begin` never refuses");
    }

    /// Returns the state after it.
    #[cfg(feature = "async")]
    pub(crate) fn end_poll(&self, flag: u16) -> SlotState {
        let change = flag_bits(flag) | ASLEEP;
        SlotState(self.state.fetch_xor(change, Ordering::AcqRel) ^ change)
    }
}

// Each part of the state has its own bits.
const _: () = {
    let flags = ACTIVE | CLOSED | RAISED | PROBE | ASLEEP | HELD | WATCHED | KILLABLE;
    assert!(
        flags & NAME == 0 && HAS_STOPS & (NAME | FLAG) == 0 && NAME & FLAG == 0 && FLAG & TURN == 0
    );
};

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_and_freed() {
        let slot = HelperSlot::free();
        let first = slot.take(7, 3).unwrap();
        let taken = slot.take(8, 3).unwrap_err();
        assert!(taken.active() && !taken.closed());
        assert_eq!((taken.flag(), taken.name(), taken.turn()), (Some(7), 3, first));
        let of =
            [(first, 7), (first + 1, 7), (first, 8)].map(|(turn, flag)| slot.active_in(turn, flag));
        assert_eq!(of, [true, false, false]);
        assert!(slot.leave().is_plain());
        assert!(!slot.active_in(first, 7));
        assert_ne!(slot.take(7, 3), Ok(first));
        assert!(!slot.close().closed());
        assert!(!slot.leave().is_plain());
        assert!(slot.take(7, 3).unwrap_err().closed());
    }

    #[test]
    fn what_asks_a_helper_to_look() {
        let slot = HelperSlot::free();
        slot.take(0, 0).unwrap();
        assert!(slot.is_quiet());
        let asks: [fn(&HelperSlot) -> SlotState; 2] = [HelperSlot::raise, HelperSlot::close];
        for ask in asks {
            ask(&slot);
            assert!(!slot.is_quiet());
            slot.noticed();
            assert!(slot.is_quiet());
        }
    }

    #[test]
    fn what_a_new_helper_has() {
        let since = SystemTime::now();
        let slot = HelperSlot::taken(5, 2, since);
        let state = slot.load();
        assert_eq!((state.flag(), state.name()), (Some(5), 2));
        assert!(state.active() && state.is_plain() && !state.has_stops() && !state.watched());
        assert_eq!(slot.cold.lock().first_seen, Some((0, since)));
        assert!(!slot.watch().watched());
        assert!(slot.leave().watched());
    }

    #[test]
    fn the_state_after_a_change() {
        let slot = HelperSlot::taken(0, 0, SystemTime::now());
        assert!(slot.fall_asleep(false).asleep());
        slot.wake_up();
        assert!(!slot.load().asleep());
        let stop = Stop::new(false, || ());
        assert!(slot.add_stop(&stop).has_stops());
        slot.remove_stop(&stop);
        assert!(!slot.load().has_stops());
    }

    #[cfg(feature = "async")]
    #[test]
    fn a_poll_begins_and_ends() {
        let slot = HelperSlot::taken(0, 0, SystemTime::now());
        slot.begin_poll(5, false);
        assert_eq!(slot.load().flag(), Some(5));
        let state = slot.end_poll(5);
        assert!(state.active() && state.asleep() && state.flag().is_none());
        assert_eq!(slot.load().flag(), None);
    }

    #[test]
    fn the_last_waker_is_kept() {
        let [first, last] = [(); 2].map(|()| crate::session::waker_fn(|| ()));
        let slot = HelperSlot::free();
        slot.leave_waker(&first);
        slot.leave_waker(&last);
        assert!(slot.take_waker().unwrap().will_wake(&last));
    }
}
