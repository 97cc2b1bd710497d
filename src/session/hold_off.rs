//! Sections with a name: hold-offs and rollbacks.

use crate::core::diagnostics::SectionGuard;
use crate::core::record::Record;
use crate::core::record::helpers::helper::Helper;
use crate::session::attached::Attached;
use crate::session::current::{Current, current, wake_all};
use crate::sync::wake_list::WakeList;
use crate::types::location::CallerLocation;
use crate::types::pending::Progress;
use std::panic::Location;
use std::sync::Arc;

impl Attached<'_> {
    /// Begins a section in which safe points report nothing and waits are not interrupted. It lasts
    /// until the guard is dropped. The first safe point after it reports an interrupt that fell due
    /// in it.
    ///
    /// `pending_reason` returns the `name`, the caller's location and the time. Of nested hold-offs
    /// it returns the outermost.
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

    /// Marks a section that rolls back, or cleans up in another way, before the statement or the
    /// session ends. It lasts until the guard is dropped. If the guard is leaked, the next attachment
    /// ends the section.
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

/// Begins a hold-off of the session that is attached to the calling thread, as
/// [`Attached::hold_off`] does. Has no effect if no session is attached.
///
/// In a task the guard may be kept across an `await`. The hold-off ends when the guard is dropped,
/// or at the latest when the session is attached for its next statement. If the guard is dropped on
/// another thread and an interrupt is due, the session is woken.
#[track_caller]
pub fn hold_off(name: &'static str) -> HoldOff<'static> {
    let held = match current() {
        Some(Current::Runs(record)) => Held::Anywhere(record),
        Some(Current::Helps(helper)) => Held::ByHelper(helper),
        None => Held::Nowhere,
    };
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
    ByHelper(Helper),
    Nowhere,
}

impl<'a> HoldOff<'a> {
    fn new(held: Held<'a>, name: &'static str, at: CallerLocation) -> HoldOff<'a> {
        let number = match &held {
            Held::Here(record) => record.hold(name, at),
            Held::Anywhere(record) => record.hold(name, at),
            Held::ByHelper(helper) => helper.hold(name, at),
            Held::Nowhere => 0,
        };
        HoldOff { held, number }
    }

    /// Begins a hold-off of this helper alone.
    pub(crate) fn of_helper(
        helper: Helper,
        name: &'static str,
        at: CallerLocation,
    ) -> HoldOff<'static> {
        HoldOff::new(Held::ByHelper(helper), name, at)
    }
}

impl Held<'_> {
    /// Ends the hold-off. Returns the wakers to wake.
    fn release(&self, number: u64) -> WakeList {
        let record = match self {
            Held::Here(record) => *record,
            Held::Anywhere(record) => record,
            Held::ByHelper(helper) => return helper.release(number),
            Held::Nowhere => return WakeList::EMPTY,
        };
        if record.release(number) { record.take_wakers_after_hold_off() } else { WakeList::EMPTY }
    }
}

impl Drop for HoldOff<'_> {
    fn drop(&mut self) {
        wake_all(self.held.release(self.number));
    }
}

/// A section that [rolls back](Attached::begin_rollback). It ends when the guard is dropped.
#[must_use = "dropping a `RollbackGuard` ends the section"]
#[derive(Debug)]
pub struct RollbackGuard<'a>(SectionGuard<'a>);

impl RollbackGuard<'_> {
    /// Reports the progress of the rollback.
    pub fn report(&self, progress: Progress) {
        self.0.progress(progress);
    }
}
