//! The interface of the library's waits to the runner of a session and to a helper.

use crate::core::diagnostics::{Section, SectionGuard};
use crate::core::record::Record;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::task::Waker;

/// The runner of a session, or a helper, in a wait.
pub(crate) trait Waits {
    /// Checks for a due interrupt.
    fn check_at(&self, at: CallerLocation) -> Result<(), Interrupt>;

    /// Begins a wait that `waker` ends. After an error the caller must not block.
    fn begin_wait(
        &self,
        waker: &Waker,
        killable: bool,
        at: CallerLocation,
    ) -> Result<(), Interrupt>;

    /// Ends a wait.
    fn end_wait(&self);

    /// Records a wait that a cancel does not end, for diagnosis.
    fn within_killable_wait(&self, at: CallerLocation) -> Option<SectionGuard<'_>>;
}

impl Waits for Record {
    fn check_at(&self, at: CallerLocation) -> Result<(), Interrupt> {
        Record::check_at(self, at)
    }

    fn begin_wait(
        &self,
        waker: &Waker,
        killable: bool,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        Record::begin_wait(self, waker, killable, at)
    }

    fn end_wait(&self) {
        Record::end_wait(self);
    }

    fn within_killable_wait(&self, at: CallerLocation) -> Option<SectionGuard<'_>> {
        // Between statements there is no cancel.
        self.snapshot().in_statement().then(|| self.within(Section::Wait, at))
    }
}
