//! Stretches of code that say what they are: hold-offs, and rollbacks.

use crate::attached::Attached;
use crate::current::current;
use crate::record::Record;
use crate::why::{Place, Progress, Stretch, Within};
use std::panic::Location;
use std::sync::Arc;

impl Attached<'_> {
    /// Until the guard is dropped, safe points report nothing and waits are not interrupted.
    /// What arrives meanwhile is reported at the first safe point after.
    ///
    /// Whoever asks why the session does not end is told the `name`, the caller's place in the
    /// source, and the time; within several hold-offs, of the outermost.
    #[must_use]
    #[track_caller]
    pub fn hold_off(&self, name: &'static str) -> HoldOff<'_> {
        HoldOff::new(Held::Here(self.record), name, Location::caller())
    }

    /// Runs code that rolls back, or cleans up in some other way before the statement or the
    /// session is over, and says so to whoever asks why that takes so long. It changes nothing
    /// about safe points and waits.
    #[track_caller]
    pub fn unwinding<T>(&self, run: impl FnOnce(&Unwinding<'_>) -> T) -> T {
        run(&Unwinding(self.record.within(Stretch::Rollback(None), Location::caller())))
    }
}

/// [`Attached::hold_off`] for code that was handed no session: a hold-off of the session that is
/// attached to the calling thread. Where none is, it holds nothing off.
///
/// In a task it may be kept across an `await`. It ends with its guard, and at the latest as its
/// session is attached anew. Where the guard is dropped on another thread, and something is due by then,
/// that wakes the session if it sleeps.
#[must_use]
#[track_caller]
pub fn hold_off(name: &'static str) -> HoldOff<'static> {
    let held = current().map_or(Held::Nowhere, Held::Anywhere);
    HoldOff::new(held, name, Location::caller())
}

/// While it lives, safe points report nothing.
#[derive(Debug)]
pub struct HoldOff<'a> {
    held: Held<'a>,
    number: u64,
}

#[derive(Debug)]
enum Held<'a> {
    Here(&'a Record),
    Anywhere(Arc<Record>),
    Nowhere,
}

impl<'a> HoldOff<'a> {
    fn new(held: Held<'a>, name: &'static str, at: Place) -> HoldOff<'a> {
        let number = held.record().map_or(0, |record| record.hold(name, at));
        HoldOff { held, number }
    }
}

impl Held<'_> {
    fn record(&self) -> Option<&Record> {
        match self {
            Held::Here(record) => Some(record),
            Held::Anywhere(record) => Some(record),
            Held::Nowhere => None,
        }
    }
}

impl Drop for HoldOff<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.held.record()
            && record.release(self.number)
        {
            record.rouse();
        }
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
