//! What a record answers those who ask why its session has not ended, or whether it runs on
//! without a safe point.
//!
//! A watcher sets `PROBE` while it holds the lock of `notes`, and notes there when it did; a safe
//! point clears it under the same lock, and notes when and where. So who finds the bit set, under
//! the lock, finds the time of the very probe that waits. Going to sleep or off the thread, and
//! waking, clears it without the lock: the next probe then finds it clear, and begins anew.

use super::told::Slow;
use super::{ADMIN, Record};
use crate::about::{About, Description};
use crate::interrupt::{InterruptKind, When};
use crate::sync::{Ordering, now};
use crate::why::{Moment, Noted, PendingInterrupt, Place, Spot, Stretch, WhyNotYet, Within};
use crate::word::Snapshot;
use std::time::{Duration, SystemTime};

/// What a session that was probed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// No thread runs it, or it sleeps where an interrupt ends the sleep: it needs no safe point.
    NotRunning,
    /// It runs, and was asked by this very call; ask again.
    Asked {
        /// The last safe point that was noted.
        last: Option<Spot>,
    },
    /// It runs, was asked before, and has passed no safe point since.
    Unanswered {
        /// For so long.
        since: Duration,
        /// The last safe point that was noted.
        last: Option<Spot>,
    },
}

impl Record {
    /// Asks the next safe point to say when and where it is.
    pub(crate) fn probe(&self) -> Probe {
        // Most sessions are idle, and note nothing: not even this.
        let held = self.held();
        if self.look().probe(held).is_err() {
            return Probe::NotRunning;
        }
        self.rare().notes.change(|noted| {
            let Ok(step) = self.try_step(|word| word.probe(held)) else { return Probe::NotRunning };
            let last = noted.last_safe_point();
            match noted.asked {
                Some(asked) if step.before.probed() => {
                    Probe::Unanswered { since: asked.elapsed(), last }
                }
                _ => {
                    noted.asked = Some(Moment::now());
                    Probe::Asked { last }
                }
            }
        })
    }

    /// A safe point that takes the cold path.
    pub(super) fn answer_probe(&self, at: Place) {
        if self.word.load().probed() {
            self.note_passed(at, || {
                self.step(Snapshot::passed);
            });
        }
    }

    /// A step that is a safe point has cleared the probe.
    #[cold]
    pub(super) fn passed(&self, at: Place) {
        self.note_passed(at, || {});
    }

    fn note_passed(&self, at: Place, clear: impl FnOnce()) {
        let asked = self.rare().notes.change(|noted| {
            clear();
            noted.passed = Some((at, Moment::now()));
            noted.asked
        });
        #[cfg(feature = "metrics")]
        if let Some(asked) = asked {
            crate::telemetry::gap(asked.elapsed());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = asked;
    }

    // Hold-offs. How many there are changes under the lock of their list, so both say the same.

    /// What it returns ends it.
    pub(crate) fn hold(&self, name: &'static str, at: Place) -> u64 {
        let spot = Spot { at, since: SystemTime::now() };
        self.rare().notes.change(|noted| {
            self.hold.store(self.hold.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            noted.enter(Stretch::HoldOff(name), spot)
        })
    }

    /// Whether this was the last hold-off in force.
    pub(crate) fn release(&self, number: u64) -> bool {
        self.rare().notes.change(|noted| {
            let held = self.hold.load(Ordering::Relaxed);
            // Those of an attachment that is over ended with it.
            if !noted.leave(number) {
                return false;
            }
            self.hold.store(held - 1, Ordering::Relaxed);
            if held == 1 {
                noted.released = Some(now());
            }
            held == 1
        })
    }

    /// The guards of all stretches were forgotten.
    #[cold]
    pub(super) fn forget_holds(&self) {
        self.rare().notes.change(|noted| {
            noted.forget();
            self.hold.store(0, Ordering::Relaxed);
        });
    }

    pub(crate) fn within(&self, what: Stretch, at: Place) -> Within<'_> {
        self.rare().notes.enter(what, at)
    }

    pub(crate) fn noted(&self) -> Option<Noted> {
        Some(self.rare.get()?.notes.copy())
    }

    /// Why what was asked for has not come about; `None` where it has.
    pub(crate) fn why_not_yet(&self, kind: InterruptKind) -> Option<WhyNotYet> {
        let (pending, asked, word) = {
            let slow = self.slow.lock();
            let (pending, asked) = slow.pending(kind, self.word.load())?;
            // The lock keeps the killers out, so both say the same.
            (pending, asked, self.word.load())
        };
        let noted = self.noted().unwrap_or_default();
        let unwinding = |spot, progress| Some(WhyNotYet::Unwinding { spot, progress });
        let rollback = noted.rollback();
        if let Some(seen) = pending.seen {
            return unwinding(seen, rollback.and_then(|(_, progress)| progress));
        }
        if let (InterruptKind::Terminate, false, false, Some(when)) =
            (kind, word.ended(), word.terminate_due(), pending.when)
        {
            return Some(WhyNotYet::NotDue { when });
        }
        if let Some((spot, progress)) = rollback {
            return unwinding(spot, progress);
        }
        if word.queued() && (word.slot().is_none() || kind == InterruptKind::Cancel) {
            return Some(WhyNotYet::Queued);
        }
        if word.slot().is_none() && !word.suspended() {
            return Some(WhyNotYet::Detached);
        }
        if let Some(held) = noted.hold_off() {
            return Some(WhyNotYet::HeldOff(held));
        }
        // It has been woken.
        if word.suspended() {
            return Some(WhyNotYet::Queued);
        }
        let uninterruptible = !word.asleep() || (word.deaf() && kind == InterruptKind::Cancel);
        if let Some(spot) = noted.wait().filter(|_| uninterruptible) {
            return Some(WhyNotYet::Waiting(spot));
        }
        let certain = matches!(pending.when, None | Some(When::Immediate));
        let mut due = if certain { asked.elapsed() } else { Duration::ZERO };
        // Those that were passed in a hold-off have reported nothing.
        if let Some(released) = noted.released {
            due = due.min(now().saturating_duration_since(released));
        }
        let probed = noted.asked.filter(|_| word.probed()).map(Moment::elapsed);
        Some(WhyNotYet::NoSafePoint {
            at_least: due.max(probed.unwrap_or_default()),
            last: noted.last_safe_point(),
        })
    }

    /// What it has been told and has not obeyed yet.
    pub(crate) fn pending(&self) -> Option<PendingInterrupt> {
        self.slow.lock().told(self.look())
    }

    /// What it does, what it has been told and has not obeyed yet, and what is known about it, as
    /// of one moment: whoever tells it, or changes what is known, does so under the lock that is held
    /// here.
    pub(crate) fn at_one_moment<T>(
        &self,
        look: impl FnOnce(Snapshot, Option<PendingInterrupt>, Description, &About) -> T,
    ) -> T {
        let slow = self.slow.lock();
        let word = self.look();
        look(word, slow.told(word), slow.about.description(self.has(ADMIN)), &slow.about)
    }
}

impl Slow {
    /// Of two, the termination.
    fn told(&self, word: Snapshot) -> Option<PendingInterrupt> {
        let kind = match word.terminate_asked() {
            Some(_) => InterruptKind::Terminate,
            None if word.cancelled() => InterruptKind::Cancel,
            None => return None,
        };
        self.pending(kind, word).map(|(pending, _)| pending)
    }

    fn pending(&self, kind: InterruptKind, word: Snapshot) -> Option<(PendingInterrupt, Moment)> {
        let (when, request, asked, seen) = match kind {
            InterruptKind::Terminate => {
                let told = self.terminate.as_deref()?;
                (word.terminate_asked(), &told.request, told.asked, told.seen_at)
            }
            InterruptKind::Cancel => {
                let told = self.cancel.as_deref()?;
                (None, &told.request, told.asked, told.seen_at)
            }
        };
        let seen = seen.map(|(at, moment)| Spot { at, since: moment.time });
        let request = request.clone();
        Some((PendingInterrupt { kind, when, request, since: asked.time, seen }, asked))
    }
}
