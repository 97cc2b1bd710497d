//! The begin and the end of a statement, and the queue before it.

use crate::core::record::request::FinishedCancel;
use crate::core::record::{Cold, HAS_HELPERS, Record, SUSPENDED};
use crate::core::state::{BeginError, Snapshot, Transition};
use crate::types::id::StatementId;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crate::types::reason::InterruptReason;

impl Record {
    /// Ends a leaked statement.
    #[inline]
    pub(crate) fn end_leaked_statement(&self) -> FinishedCancel {
        #[cold]
        fn finish(record: &Record) -> FinishedCancel {
            if record.has(SUSPENDED) {
                record.end_suspension();
                record.end_wait();
            }
            record.finish()
        }
        if self.word.load().in_statement() { finish(self) } else { FinishedCancel::NOTHING }
    }

    pub(crate) fn queue(&self) -> Option<StatementId> {
        self.command_starts();
        let transition = self.transition(Snapshot::queue);
        self.watch(transition.after);
        transition.after.statement()
    }

    pub(crate) fn discard_reserved(&self) -> FinishedCancel {
        // Only the runner clears this bit while the session runs, so a load is sufficient.
        if !self.word.load().queued() {
            return FinishedCancel::NOTHING;
        }
        self.command_ends();
        let transition = self.transition(Snapshot::discard_reserved);
        self.watch(transition.after);
        self.cancel_finished(transition)
    }

    /// Begins a statement. The caller must have [ended](Self::end_leaked_statement) a leaked
    /// statement before. Calls `complete` if the command was cancelled in the queue, so that its
    /// statement ends at once.
    #[inline(always)]
    pub(crate) fn begin_at(
        &self,
        at: CallerLocation,
        complete: fn(FinishedCancel),
    ) -> Result<(), Interrupt> {
        self.command_starts();
        match self.try_transition(|word| word.begin(|| self.held())) {
            Ok(transition) => {
                self.watch(transition.after);
                if transition.before.probed() || transition.after.attention() {
                    return self.begun_with(transition, at, complete);
                }
                Ok(())
            }
            Err(reason) => Err(self.not_begun(reason, at)),
        }
    }

    /// Handles a set probe, or a command that was cancelled in the queue.
    #[cold]
    fn begun_with(
        &self,
        transition: Transition,
        at: CallerLocation,
        complete: fn(FinishedCancel),
    ) -> Result<(), Interrupt> {
        if transition.before.probed() {
            self.passed(at);
        }
        self.check_at(at).inspect_err(|_| complete(self.finish()))
    }

    #[cold]
    fn not_begun(&self, reason: BeginError, at: CallerLocation) -> Interrupt {
        if reason == BeginError::Exhausted {
            self.fail(InterruptReason::StatementsExhausted);
        }
        self.due(at).expect_err("a termination due between statements stays due")
    }

    #[inline(always)]
    pub(crate) fn finish(&self) -> FinishedCancel {
        self.command_ends();
        let transition = self.transition(Snapshot::finish);
        // Most sessions have no cold part, and so neither timeouts nor helpers.
        match self.cold.get() {
            Some(cold) => self.finished_with(cold, transition),
            None => self.cancel_finished(transition),
        }
    }

    #[inline(never)]
    fn finished_with(&self, cold: &Cold, transition: Transition) -> FinishedCancel {
        self.watch(transition.after);
        let finished = self.cancel_finished(transition);
        if self.has(HAS_HELPERS) {
            return self.close_helpers(cold, transition.before, finished);
        }
        finished
    }
}
