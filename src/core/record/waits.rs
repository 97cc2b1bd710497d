//! The interface of the library's waits to the runner of a session and to a helper.

use crate::core::diagnostics::{Section, SectionGuard};
use crate::core::record::Record;
use crate::core::record::stop::Stop;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::sync::Arc;
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

    /// Begins work that an interrupt stops by `stop`. After an error the work must not begin.
    fn begin_work(&self, stop: &Arc<Stop>, at: CallerLocation) -> Result<(), Interrupt>;

    /// Ends the work. From now on `stop` is not called, and no call of it is running.
    fn end_work(&self, stop: &Arc<Stop>);
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

    fn begin_work(&self, stop: &Arc<Stop>, at: CallerLocation) -> Result<(), Interrupt> {
        Record::begin_work(self, stop, at)
    }

    fn end_work(&self, stop: &Arc<Stop>) {
        Record::end_work(self, stop);
    }
}

/// A thread that works for no session. No interrupt ends its waits.
pub(crate) struct NoSession;

impl Waits for NoSession {
    fn check_at(&self, _at: CallerLocation) -> Result<(), Interrupt> {
        Ok(())
    }

    fn begin_wait(
        &self,
        _waker: &Waker,
        _killable: bool,
        _at: CallerLocation,
    ) -> Result<(), Interrupt> {
        Ok(())
    }

    fn end_wait(&self) {}

    fn within_killable_wait(&self, _at: CallerLocation) -> Option<SectionGuard<'_>> {
        None
    }

    fn begin_work(&self, _stop: &Arc<Stop>, _at: CallerLocation) -> Result<(), Interrupt> {
        Ok(())
    }

    fn end_work(&self, _stop: &Arc<Stop>) {}
}
