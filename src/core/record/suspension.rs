//! Suspended statements, whose session may leave its thread and continue on another one.

use crate::core::record::request::FinishedCancel;
use crate::core::record::{KILLABLE_SUSPENSION, Record, SUSPENDED};
use crate::core::state::{Snapshot, Transition};
use crate::types::id::StatementId;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;

impl Record {
    /// Returns whether the statement is suspended, and no thread runs the session.
    pub(super) fn is_suspended(&self, word: Snapshot) -> bool {
        word.suspended() && self.has(SUSPENDED)
    }

    /// Suspends the running statement. Until the next of these transitions the session may leave its thread.
    pub(crate) fn suspend_statement(&self, killable: bool) {
        self.set(SUSPENDED, true);
        self.set(KILLABLE_SUSPENSION, killable);
    }

    /// Clears the flags of a suspended statement.
    pub(super) fn end_suspension(&self) {
        self.set(SUSPENDED | KILLABLE_SUSPENSION, false);
    }

    /// Returns whether the session has a suspended statement whose suspension no cancel ends.
    pub(crate) fn has_killable_suspension(&self) -> bool {
        self.has(KILLABLE_SUSPENSION)
    }

    /// Returns whether this statement is suspended.
    pub(crate) fn has_suspended(&self, statement: StatementId) -> bool {
        self.has(SUSPENDED) && self.snapshot().statement() == Some(statement)
    }

    /// Returns whether the session has a suspended statement.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn has_any_suspended(&self) -> bool {
        self.has(SUSPENDED)
    }

    /// Continues the suspended statement. This is a safe point, and ends the statement if an interrupt is due.
    pub(crate) fn resume_statement(
        &self,
        at: CallerLocation,
        complete: fn(FinishedCancel),
    ) -> Result<(), Interrupt> {
        let killable = self.has(KILLABLE_SUSPENSION);
        self.end_suspension();
        if killable {
            // As after a killable wait, the next safe point reports a cancel.
            self.end_wait();
            if !self.snapshot().terminate_due() {
                return Ok(());
            }
        }
        self.check_at(at).inspect_err(|_| complete(self.finish()))
    }

    /// Ends the suspended statement of a session that has left its thread. The caller must check the
    /// returned transition, as after [`detach`](Self::detach).
    pub(crate) fn end_suspended(&self, complete: fn(FinishedCancel)) -> Transition {
        self.end_suspension();
        complete(self.finish());
        self.detach(false)
    }
}
