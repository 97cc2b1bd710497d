//! How a session goes to sleep, and how it is woken.
//!
//! Why no sleeper sleeps on: the runner leaves its waker in `slow`, then steps to `ASLEEP` and
//! looks at what that step returned. A killer steps to "pending" and looks at what *its* step
//! returned. The two steps are ordered. If the killer's is first, the sleeper sees it and does
//! not sleep. If the sleeper's is first, the killer sees `ASLEEP`, and the waker before it. A
//! sleeper that is held off is left alone by both, and roused by whoever ends the hold-off.
//!
//! Why no wake goes astray: a killer decides to wake, and takes the waker, under `slow`, from
//! the word as it is then. What it holds is the waker of a sleep in which an interrupt was due.

use super::Record;
use crate::contain::wake;
use crate::interrupt::Interrupt;
use crate::why::Place;
use crate::word::{Snapshot, Step};
use std::task::Waker;

impl Record {
    /// Announces that the runner is about to sleep, and that `waker` will wake it. The error
    /// says that it must not.
    pub(crate) fn fall_asleep(
        &self,
        waker: &Waker,
        deaf: bool,
        at: Place,
    ) -> Result<(), Interrupt> {
        let step = self.step_to_sleep(waker, |word| word.sleep(deaf));
        self.fell_asleep(step, deaf, at)
    }

    /// The task that runs it waits, off the thread, and `waker` has it polled again. `true` says
    /// that an interrupt is due, so that it must be polled at once.
    #[cfg(feature = "async")]
    pub(crate) fn suspend(&self, waker: &Waker, at: Place) -> bool {
        let step = self.step_to_sleep(waker, Snapshot::suspend);
        if step.before.probed() {
            self.passed(at);
        }
        step.after.due() && !self.held()
    }

    fn step_to_sleep(&self, waker: &Waker, step: impl Fn(Snapshot) -> Snapshot) -> Step {
        self.leave_waker(waker);
        self.step(step)
    }

    fn leave_waker(&self, waker: &Waker) {
        let spent = {
            let mut slow = self.slow.lock();
            match &mut slow.sleep_waker {
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

    /// The look once more: a kill that came before the step has woken nobody.
    fn fell_asleep(&self, step: Step, deaf: bool, at: Place) -> Result<(), Interrupt> {
        if step.before.probed() {
            self.passed(at);
        }
        if !step.after.due() || self.held() {
            return Ok(());
        }
        self.wake_up();
        // A cancel that may not end a deaf wait is left, unseen, to the next safe point.
        if deaf && !self.look().terminate_due() { Ok(()) } else { self.check_at(at) }
    }

    /// Awake again.
    pub(crate) fn wake_up(&self) {
        self.step(Snapshot::wake);
    }

    pub(crate) fn set_detached_waker(&self, waker: Option<Waker>) {
        let spent = std::mem::replace(&mut self.slow.lock().detached_waker, waker);
        drop(spent);
    }

    // Who wakes it.

    /// After a killer's step, and with no lock held: wakes the session where an interrupt is due
    /// and it waits, or nobody runs it.
    ///
    /// A waker is the embedder's code. A killer asks whom to wake late, as its audit comes first:
    /// so as not to wake the session from its next wait, or in a hold-off that it has come to.
    /// One that adds nothing asks too: whoever came before it may be held up there.
    pub(crate) fn wake_if_due(&self) {
        // Most targets run.
        if !self.look().wants_waking() {
            return;
        }
        let waker = self.slow.lock().waker_once(self.word.load(), self.held());
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// A hold-off is over, perhaps by what was not the runner's doing: who runs the session may
    /// sleep in it, with an interrupt due that has woken nobody. The step that changes nothing
    /// puts this before or after the step by which it went to sleep: it saw that the hold-off is
    /// over, or it is seen to sleep. And before or after the killer's, who saw that the hold-off
    /// is over, and woke it, or whose interrupt is seen.
    pub(crate) fn rouse(&self) {
        self.step(|word| word);
        let word = self.look();
        if word.asleep() && word.due() {
            let waker = self.slow.lock().waker_of(self.word.load(), self.held());
            if let Some(waker) = waker {
                wake(waker);
            }
        }
    }
}
