//! Why a session has not ended yet, and whether it runs without a safe point.
//!
//! A probe sets `PROBE` under the lock of `diagnostics`, and stores its time there. A safe point clears
//! the bit under the same lock, and stores its time and location. So a thread that finds the bit
//! set under the lock also finds the time of that probe. The begin and end of a wait, and leaving
//! the thread, clear the bit without the lock: the next probe finds it clear and starts again.

use crate::core::diagnostics::{DiagnosticsState, Section, SectionGuard};
use crate::core::metadata::Metadata;
use crate::core::record::request::Guarded;
use crate::core::record::{ADMIN, ROLLED_BACK, Record};
use crate::core::state::Snapshot;
use crate::sync::{Ordering, now};
use crate::types::client_info::ClientInfo;
use crate::types::id::StatementId;
use crate::types::interrupt::InterruptKind;
use crate::types::location::{CallSite, CallerLocation};
use crate::types::pending::{PendingInterrupt, PendingReason, ProbeResult};
use crate::types::request::TerminateMode;
use crate::types::time::Timestamp;
use std::time::{Duration, SystemTime};

impl Record {
    /// Sets a probe: the next safe point of the thread that runs the session stores its time and
    /// location.
    pub(crate) fn probe(&self) -> ProbeResult {
        // Most sessions are idle. Checked first, so that no diagnostics are created for them.
        let held = self.held();
        if self.snapshot().probe(held).is_err() {
            return ProbeResult::NotRunning;
        }
        self.cold().diagnostics.change(|diagnostics| {
            let Ok(transition) = self.try_transition(|word| word.probe(held)) else {
                return ProbeResult::NotRunning;
            };
            let last = diagnostics.last_safe_point();
            match diagnostics.asked {
                Some(asked) if transition.before.probed() => {
                    ProbeResult::Unanswered { elapsed: asked.elapsed(), last_safe_point: last }
                }
                _ => {
                    diagnostics.asked = Some(Timestamp::now());
                    ProbeResult::Requested { last_safe_point: last }
                }
            }
        })
    }

    /// Stores the time and location of a safe point that takes the cold path, if a probe is set.
    pub(super) fn answer_probe(&self, at: CallerLocation) {
        if self.word.load().probed() {
            self.note_passed(at, || {
                self.transition(Snapshot::passed);
            });
        }
    }

    /// Stores the time and location of a safe point whose transition has cleared the probe.
    #[cold]
    pub(super) fn passed(&self, at: CallerLocation) {
        self.note_passed(at, || {});
    }

    fn note_passed(&self, at: CallerLocation, clear: impl FnOnce()) {
        let asked = self.cold().diagnostics.change(|diagnostics| {
            clear();
            diagnostics.passed = Some((at, Timestamp::now()));
            diagnostics.asked
        });
        #[cfg(feature = "metrics")]
        if let Some(asked) = asked {
            crate::observe::metrics::gap(asked.elapsed());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = asked;
    }

    // Hold-offs. Their number changes under the lock of their list, so the two agree.

    /// Begins a hold-off, and returns the number that ends it.
    pub(crate) fn hold(&self, name: &'static str, at: CallerLocation) -> u64 {
        let call_site = CallSite { location: at, reached_at: SystemTime::now() };
        self.cold().diagnostics.change(|diagnostics| {
            self.hold.store(self.hold.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            diagnostics.enter(Section::HoldOff(name), call_site)
        })
    }

    /// Ends a hold-off. Returns whether it was the last one in force.
    pub(crate) fn release(&self, number: u64) -> bool {
        self.cold().diagnostics.change(|diagnostics| {
            let held = self.hold.load(Ordering::Relaxed);
            // Hold-offs of an earlier attachment have ended with it.
            if !diagnostics.leave(number) {
                return false;
            }
            // Release, pairs with the acquire in `held`.
            self.hold.store(held - 1, Ordering::Release);
            let last = held & !ROLLED_BACK == 1;
            if last {
                diagnostics.released = Some(now());
            }
            last
        })
    }

    /// Begins a rollback. If its guard is leaked, the next attachment ends the section.
    pub(crate) fn begin_rollback(&self, at: CallerLocation) -> SectionGuard<'_> {
        self.cold().diagnostics.change(|_| {
            self.hold.store(self.hold.load(Ordering::Relaxed) | ROLLED_BACK, Ordering::Relaxed);
        });
        self.within(Section::Rollback(None), at)
    }

    /// Ends the sections of earlier attachments, whose guards were leaked.
    #[cold]
    pub(super) fn drop_leaked_sections(&self) {
        self.cold().diagnostics.change(|diagnostics| {
            diagnostics.forget();
            self.hold.store(0, Ordering::Relaxed);
        });
    }

    pub(crate) fn within(&self, what: Section, at: CallerLocation) -> SectionGuard<'_> {
        self.cold().diagnostics.enter(what, at)
    }

    pub(crate) fn diagnostics(&self) -> Option<DiagnosticsState> {
        Some(self.cold.get()?.diagnostics.copy())
    }

    /// Returns why a cancel of this statement has not taken effect yet, or `None` if it has.
    pub(crate) fn why_not_cancelled(
        &self,
        statement: Option<StatementId>,
    ) -> Option<PendingReason> {
        if statement.is_none_or(|statement| self.snapshot().statement() == Some(statement)) {
            return self.why_not_yet(InterruptKind::Cancel);
        }
        self.active_helpers(statement)
    }

    fn active_helpers(&self, of: Option<StatementId>) -> Option<PendingReason> {
        let helpers = self.helpers(of);
        let first = helpers.first().copied()?;
        Some(PendingReason::ActiveHelpers { count: helpers.len(), first })
    }

    /// Returns why the request has not taken effect yet, or `None` if it has.
    pub(crate) fn why_not_yet(&self, kind: InterruptKind) -> Option<PendingReason> {
        if self.snapshot().ended()
            && let Some(reason) = self.active_helpers(None)
        {
            return Some(reason);
        }
        let (pending, asked, word) = {
            let guarded = self.guarded.lock();
            let (pending, asked) = guarded.pending_since(kind, self.word.load())?;
            // Requesters need the lock, so the request and the word agree.
            (pending, asked, self.word.load())
        };
        let diagnostics = self.diagnostics().unwrap_or_default();
        let unwinding =
            |call_site, progress| Some(PendingReason::RollingBack { call_site, progress });
        let rollback = diagnostics.rollback();
        if let Some(seen) = pending.observed_at {
            return unwinding(seen, rollback.and_then(|(_, progress)| progress));
        }
        if let (InterruptKind::Terminate, false, false, Some(when)) =
            (kind, word.ended(), word.terminate_due(), pending.mode)
        {
            return Some(PendingReason::Deferred { mode: when });
        }
        if let Some((call_site, progress)) = rollback {
            return unwinding(call_site, progress);
        }
        if word.queued() && (word.slot().is_none() || kind == InterruptKind::Cancel) {
            return Some(PendingReason::Queued);
        }
        if word.slot().is_none() && !word.suspended() {
            return Some(PendingReason::Detached);
        }
        if let Some(held) = diagnostics.hold_off() {
            return Some(PendingReason::HeldOff(held));
        }
        // A suspended task or statement with a due interrupt has been woken, and waits for a thread. In its grace a
        // task has been polled since, and waits for something else.
        if word.suspended()
            && !(word.killable() && kind == InterruptKind::Cancel)
            && !self.has_grace(word)
        {
            return Some(PendingReason::Queued);
        }
        let uninterruptible = !word.waiting() || (word.killable() && kind == InterruptKind::Cancel);
        if let Some(call_site) = diagnostics.wait().filter(|_| uninterruptible) {
            return Some(PendingReason::UninterruptibleWait(call_site));
        }
        let certain = matches!(pending.mode, None | Some(TerminateMode::Immediate));
        let mut due = if certain { asked.elapsed() } else { Duration::ZERO };
        // Safe points in a hold-off have reported nothing, so the time counts from its end.
        if let Some(released) = diagnostics.released {
            due = due.min(now().saturating_duration_since(released));
        }
        let probed = diagnostics.asked.filter(|_| word.probed()).map(Timestamp::elapsed);
        Some(PendingReason::NoSafePoint {
            elapsed: due.max(probed.unwrap_or_default()),
            last_safe_point: diagnostics.last_safe_point(),
        })
    }

    /// Stores that the task of the running statement has been notified, and has a grace.
    #[cfg(feature = "async")]
    pub(crate) fn grace_begins(&self) {
        let statement = self.snapshot().running_statement().id();
        self.cold().grace_of.store(statement.get(), Ordering::Relaxed);
    }

    fn has_grace(&self, word: Snapshot) -> bool {
        let Some(cold) = self.cold.get() else { return false };
        let grace_of = cold.grace_of.load(Ordering::Relaxed);
        word.statement().is_some_and(|statement| statement.get() == grace_of)
    }

    /// Returns the pending request.
    pub(crate) fn pending(&self) -> Option<PendingInterrupt> {
        self.guarded.lock().pending(self.snapshot())
    }

    /// Returns the text of a statement, or nothing if it had none or is not the last one with a text.
    #[cfg_attr(
        any(safepoint_loom, safepoint_shuttle),
        allow(dead_code, reason = "no model has a watchdog")
    )]
    pub(crate) fn text_of(&self, statement: StatementId) -> String {
        let guarded = self.guarded.lock();
        let activity =
            guarded.metadata.activity().filter(|activity| activity.of == Some(statement));
        activity.map(|activity| activity.text.clone()).unwrap_or_default()
    }

    /// Calls `look` with the state, the pending request and the metadata, as of one moment.
    /// Requests and changes of the metadata need the lock that is held here.
    pub(crate) fn at_one_moment<T>(
        &self,
        look: impl FnOnce(Snapshot, Option<PendingInterrupt>, ClientInfo, &Metadata) -> T,
    ) -> T {
        let guarded = self.guarded.lock();
        let word = self.snapshot();
        look(
            word,
            guarded.pending(word),
            guarded.metadata.description(self.has(ADMIN)),
            &guarded.metadata,
        )
    }
}

impl Guarded {
    /// Returns the pending request. If there are two, it is the termination.
    fn pending(&self, word: Snapshot) -> Option<PendingInterrupt> {
        let kind = match word.terminate_mode() {
            Some(_) => InterruptKind::Terminate,
            None if word.cancelled() => InterruptKind::Cancel,
            None => return None,
        };
        self.pending_since(kind, word).map(|(pending, _)| pending)
    }

    fn pending_since(
        &self,
        kind: InterruptKind,
        word: Snapshot,
    ) -> Option<(PendingInterrupt, Timestamp)> {
        Some(match kind {
            InterruptKind::Terminate => self.terminate.as_ref()?.row(word),
            InterruptKind::Cancel => self.cancel.as_ref()?.row(),
        })
    }
}
