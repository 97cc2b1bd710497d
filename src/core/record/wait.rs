//! How a session begins to wait, and how it is woken.
//!
//! The names of steps belong to this file. `session/wait/` and `session/task.rs` refer to them.
//!
//! The runner:
//!
//! - `W1` stores its waker under the record's lock;
//! - `W2` takes the transition to `WAITING`;
//! - `W3` checks the result of `W2`;
//! - `W4` blocks; a task returns `Pending` instead.
//!
//! The requester:
//!
//! - `K1` takes the transition to pending;
//! - `K2` loads the word again, later;
//! - `K3` takes the waker under the record's lock, and wakes it after the lock is released.
//!
//! The thread that ends a hold-off:
//!
//! - `H1` takes a transition that changes nothing, and then takes the waker and wakes it as `K3` does.
//!
//! No waiter is missed: `W2` and `K1` are read-modify-writes of one word, so one is first. If `K1` is first,
//! `W3` sees it and the runner does not block. If `W2` is first, `K2` sees `WAITING`, and `W1` happens before
//! `W2`, so `K3` finds the waker. In a hold-off both leave the waiter alone, and the thread that ends the
//! hold-off wakes it (`take_wakers_after_hold_off`).
//!
//! No waiter is woken from a later wait: `K3` decides whether to wake, and takes the waker, under the lock,
//! by the word as it is then. So it takes the waker of a wait in which an interrupt is due.

use crate::core::record::Record;
use crate::core::state::{Snapshot, Transition};
use crate::sync::wake_list::WakeList;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::task::Waker;

impl Record {
    /// Takes the steps `W1` to `W3` for a runner that `waker` wakes. If it returns an error, the
    /// runner must not block.
    pub(crate) fn begin_wait(
        &self,
        waker: &Waker,
        killable: bool,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        let transition = self.transition_to_wait(waker, |word| word.begin_wait(killable));
        self.recheck_wait(transition, killable, at)
    }

    /// Takes the steps `W1` to `W3` for a task or a suspended statement that `waker` wakes, off its thread.
    /// Returns `true` if an interrupt is due, so that the task must be polled at once, or the statement resumed.
    pub(crate) fn suspend(&self, waker: &Waker, at: CallerLocation) -> bool {
        let killable = self.has_killable_suspension();
        let transition = self.transition_to_wait(waker, |word| word.suspend(killable));
        if transition.before.probed() {
            self.passed(at);
        }
        transition.after.due() && !self.held()
    }

    fn transition_to_wait(
        &self,
        waker: &Waker,
        transition: impl Fn(Snapshot) -> Snapshot,
    ) -> Transition {
        self.leave_waker(waker);
        self.transition(transition)
    }

    fn leave_waker(&self, waker: &Waker) {
        let spent = {
            let mut guarded = self.guarded.lock();
            match &mut guarded.wait_waker {
                Some(same) if same.will_wake(waker) => None,
                Some(other) => Some(std::mem::replace(&mut **other, waker.clone())),
                none => {
                    *none = Some(Box::new(waker.clone()));
                    None
                }
            }
        };
        drop(spent);
    }

    /// Takes `W3`, since a request that was accepted before `W2` has woken no thread.
    fn recheck_wait(
        &self,
        transition: Transition,
        killable: bool,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        if transition.before.probed() {
            self.passed(at);
        }
        if !transition.after.due() || self.held() {
            return Ok(());
        }
        self.end_wait();
        // A cancel does not end a killable wait; the next safe point reports it.
        if killable && !self.snapshot().terminate_due() { Ok(()) } else { self.check_at(at) }
    }

    /// Ends a wait.
    pub(crate) fn end_wait(&self) {
        self.transition(Snapshot::end_wait);
    }

    pub(crate) fn set_detached_waker(&self, waker: Option<Waker>) {
        let spent = std::mem::replace(&mut self.guarded.lock().detached_waker, waker);
        drop(spent);
    }

    // Wakers.

    /// Returns the wakers to wake after a requester's transition: if an interrupt is due, and the
    /// session waits or no thread runs it. Raises the helpers of the statement, and returns the wakers of
    /// helpers that sleep.
    ///
    /// A requester calls this late, after its audit. The session may be in another wait or in a
    /// hold-off then, so the word is checked again. A requester whose request changed nothing calls
    /// it too, since an earlier requester may be delayed before this call.
    pub(crate) fn take_wakers(&self) -> WakeList {
        let word = self.snapshot();
        let mut wakers = self.helper_wakers(word);
        self.stops_to_call(word, &mut wakers);
        // Most targets run, and need no wake.
        if word.needs_wake() {
            let waker = self.guarded.lock().waker_once(self.word.load(), self.held());
            wakers.append(waker.into());
        }
        wakers
    }

    /// Returns the wakers to wake after the end of a hold-off, which another thread may have ended.
    /// The runner may wait in the hold-off, with a due interrupt that has woken no thread.
    ///
    /// This takes `H1`, a transition that changes nothing. `H1` and `W2` have an order. If `H1` is
    /// first, `W3` sees that the hold-off has ended; otherwise this sees `WAITING`. `H1` and `K1`
    /// have an order too. If `H1` is first, `K2` sees that the hold-off has ended; otherwise this
    /// sees the interrupt.
    ///
    /// All helpers are raised, also helpers that do not sleep. A helper that has entered in the hold-off
    /// has found an interrupt and reported nothing.
    pub(crate) fn take_wakers_after_hold_off(&self) -> WakeList {
        self.transition(|word| word);
        let word = self.snapshot();
        let mut wakers = self.helper_wakers(word);
        self.stops_to_call(word, &mut wakers);
        if word.waiting() && word.due() {
            let waker = self.guarded.lock().waker_of(self.word.load(), self.held());
            wakers.append(waker.into());
        }
        wakers
    }
}
