//! Stretches of code that say what they are: hold-offs, and rollbacks.

use crate::record::Record;
use crate::session::Attached;
use crate::why::{Progress, Stretch, Within};
use std::marker::PhantomData;
use std::panic::Location;

impl Attached<'_> {
    /// Until the guard is dropped, safe points report nothing and waits are not interrupted.
    /// What arrives meanwhile is reported at the first safe point after.
    ///
    /// Whoever asks why the session does not end is told the `name`, the caller's place in the
    /// source, and the time; within several hold-offs, of the outermost.
    #[must_use]
    #[track_caller]
    pub fn hold_off(&self, name: &'static str) -> HoldOff<'_> {
        let within = self.record.within(Stretch::HoldOff(name), Location::caller());
        self.record.hold();
        HoldOff { record: self.record, _within: within, not_send: PhantomData }
    }

    /// Runs code that rolls back, or cleans up in some other way before the statement or the
    /// session is over, and says so to whoever asks why that takes so long. It changes nothing
    /// about safe points and waits.
    #[track_caller]
    pub fn unwinding<T>(&self, run: impl FnOnce(&Unwinding<'_>) -> T) -> T {
        run(&Unwinding(self.record.within(Stretch::Rollback(None), Location::caller())))
    }
}

/// While it lives, safe points report nothing.
#[derive(Debug)]
pub struct HoldOff<'a> {
    record: &'a Record,
    _within: Within<'a>,
    not_send: PhantomData<*const ()>,
}

impl Drop for HoldOff<'_> {
    fn drop(&mut self) {
        self.record.release();
    }
}

/// A stretch of code that [rolls back](Attached::unwinding).
#[derive(Debug)]
pub struct Unwinding<'a>(Within<'a>);

impl Unwinding<'_> {
    /// Says how far it has come.
    pub fn progress(&self, progress: Progress) {
        self.0.progress(progress);
    }
}
