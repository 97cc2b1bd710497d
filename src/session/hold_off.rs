//! Sections with a name: hold-offs and rollbacks.

use crate::core::diagnostics::SectionGuard;
use crate::core::record::Record;
use crate::session::attached::Attached;
use crate::session::current::{current, wake_all};
use crate::types::location::Place;
use crate::types::pending::Progress;
use std::panic::Location;
use std::sync::Arc;

impl Attached<'_> {
    /// Begins a section in which safe points report nothing and waits are not interrupted, until
    /// the guard is dropped. The first safe point after it reports an interrupt that fell due in
    /// it.
    ///
    /// `pending_reason` returns the `name`, the caller's location, and the time; of nested
    /// hold-offs, those of the outermost.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let held = attached.hold_off("write the log");
    /// attached.check()?; // reports nothing
    /// drop(held);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn hold_off(&self, name: &'static str) -> HoldOff<'_> {
        HoldOff::new(Held::Here(self.record), name, Location::caller())
    }

    /// Marks a section that rolls back, or cleans up in some other way before the statement or the
    /// session is over, until the guard is dropped. If the guard is leaked, the next attachment ends
    /// the section.
    ///
    /// [`Receipt::pending_reason`](crate::Receipt::pending_reason) reports it. Safe points and waits
    /// are not affected.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// use safepoint::diagnose::Progress;
    ///
    /// let rollback = attached.begin_rollback();
    /// rollback.report(Progress::new(3).of(10));
    /// drop(rollback);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn begin_rollback(&self) -> RollbackGuard<'_> {
        RollbackGuard(self.record.begin_rollback(Location::caller()))
    }
}

/// Begins a hold-off as [`Attached::hold_off`] does, for code that was handed no session: of the
/// session that is attached to the calling thread. On a thread that runs none it holds nothing off.
///
/// In a task the guard may be kept across an `await`. The hold-off ends with its guard, and at the
/// latest when its session is attached anew. If the guard is dropped on another thread and an
/// interrupt is due, the session is woken.
#[track_caller]
pub fn hold_off(name: &'static str) -> HoldOff<'static> {
    let held = current().map_or(Held::Nowhere, Held::Anywhere);
    HoldOff::new(held, name, Location::caller())
}

/// A section in which safe points report nothing. It ends when the guard is dropped.
#[must_use = "dropping a `HoldOff` ends the section"]
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
            wake_all(record.take_wakers_after_hold_off());
        }
    }
}

/// A section that [rolls back](Attached::begin_rollback). It ends when the guard is dropped.
#[must_use = "dropping a `RollbackGuard` ends the section"]
#[derive(Debug)]
pub struct RollbackGuard<'a>(SectionGuard<'a>);

impl RollbackGuard<'_> {
    /// Reports how far the rollback has come.
    pub fn report(&self, progress: Progress) {
        self.0.progress(progress);
    }
}
