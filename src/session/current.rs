//! The session that the calling thread runs, or helps with.

use crate::core::attention;
use crate::core::record::Record;
use crate::core::record::helpers::helper::Helper;
use crate::core::record::helpers::set::{HelperSet, Place};
use crate::core::record::request::FinishedCancel;
use crate::sync::catch::catch_panic;
use crate::sync::per_thread;
use crate::sync::wake_list::WakeList;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

/// Calls each waker. A panic in a waker stops neither the other wakers nor the caller. The wakers run
/// without a current session, because they do not belong to the session that this thread runs.
#[inline]
pub(crate) fn wake_all(wakers: WakeList) {
    #[cold]
    fn each(wakers: WakeList) {
        wakers.for_each(|waker| {
            let _ = catch_panic(|| without_session(|| waker.wake()));
        });
    }
    if !wakers.is_empty() {
        each(wakers);
    }
}

/// Wakes the threads that wait for the end of a cancelled statement. The caller must hold no lock.
#[inline(always)]
pub(crate) fn complete(over: FinishedCancel) {
    #[cold]
    fn wake_waiters(over: FinishedCancel) {
        wake_all(over.complete());
    }
    if !over.is_nothing() {
        wake_waiters(over);
    }
}

per_thread! {
    /// The session that the thread runs, or helps with.
    static CURRENT: RefCell<Option<Arc<Record>>> = RefCell::new(None);
}

per_thread! {
    static HELP: RefCell<Help> = RefCell::new(Help { helper: None, is_present: false, session: None });
}

/// The help of a thread. It is apart from the session, so that attaching and detaching do not pay for it.
struct Help {
    /// The helper that the thread is, or was last. If the thread enters the same set again, it finds the references
    /// here, so that the helpers of a statement count none, and move none.
    helper: Option<Helper>,
    /// Whether the thread is `helper`. Then `CURRENT` is its session.
    is_present: bool,
    /// The session of `helper`, while the thread is not that helper.
    session: Option<Arc<Record>>,
}

impl Help {
    fn present(&self) -> Option<&Helper> {
        self.helper.as_ref().filter(|_| self.is_present)
    }

    /// Replaces the present helper. Returns it, and what must be dropped while no thread-local is borrowed.
    fn replace(&mut self, helper: Option<Helper>) -> (Option<Helper>, Option<Help>) {
        if self.is_present {
            self.is_present = helper.is_some();
            return (std::mem::replace(&mut self.helper, helper), None);
        }
        let next =
            helper.map(|helper| Help { helper: Some(helper), is_present: true, session: None });
        (None, next.map(|next| std::mem::replace(self, next)))
    }

    /// Makes the thread a helper of the set that it has left last. `move_to` changes its slot. Returns the set's
    /// session, or `None` if the thread has left another set last.
    #[inline]
    fn enter_again(
        &mut self,
        set: &Arc<HelperSet>,
        turn: u16,
        move_to: impl FnOnce(&mut Place),
    ) -> Option<Arc<Record>> {
        let helper = self.helper.as_mut().filter(|helper| Arc::ptr_eq(&helper.set, set))?;
        let session = self.session.take()?;
        move_to(&mut helper.place);
        (helper.turn, self.is_present) = (turn, true);
        Some(session)
    }
}

/// The present work of a thread.
pub(crate) enum Current {
    /// It runs a session.
    Runs(Arc<Record>),
    /// It helps with a statement that another thread runs.
    Helps(Helper),
}

impl Current {
    fn is_here(&self) -> bool {
        match self {
            Current::Runs(record) => record.runs_here(),
            Current::Helps(helper) => helper.is_here(),
        }
    }
}

/// The work of a thread before it began to help.
#[derive(Default)]
pub(crate) struct Outer {
    session: Option<Arc<Record>>,
    helper: Option<Helper>,
}

impl Outer {
    /// Returns whether the thread still does this. A leaked guard leaves a session behind that another
    /// thread may run by now.
    fn is_here(&self) -> bool {
        match (&self.helper, &self.session) {
            (Some(helper), _) => helper.is_here(),
            (None, Some(record)) => record.runs_here(),
            (None, None) => true,
        }
    }

    /// Replaces what the thread does, and returns it. A thread whose thread-locals are already
    /// destroyed does nothing.
    fn replace(self) -> Outer {
        let Outer { session, helper } = self;
        let session = CURRENT.try_with(|current| current.replace(session)).ok().flatten();
        let helper = HELP.try_with(|help| help.borrow_mut().replace(helper));
        let (helper, left) = helper.unwrap_or_default();
        // Dropped with no thread-local borrowed.
        drop(left);
        Outer { session, helper }
    }
}

/// Makes `record` the thread's session, and returns `false` if the thread already runs one. It
/// takes the `spare` reference, and [`leave`] returns it. A leaked attachment (`mem::forget`) never
/// returns its reference, so `enter` ends it if its session has moved to another thread.
#[inline]
pub(crate) fn enter(record: &Arc<Record>, spare: &mut Option<Arc<Record>>) -> bool {
    enter_free(record, spare) || end_leaked_attachment() && enter_free(record, spare)
}

#[inline]
fn enter_free(record: &Arc<Record>, spare: &mut Option<Arc<Record>>) -> bool {
    let entered = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        let free = current.is_none();
        if free {
            *current = spare.take().or_else(|| Some(record.clone()));
        }
        free
    });
    // If the thread-local is already destroyed, the thread runs no session.
    entered.unwrap_or(false)
}

#[cold]
fn end_leaked_attachment() -> bool {
    let present = Outer::default().replace();
    if present.is_here() {
        drop(present.replace());
        return false;
    }
    true
}

/// Removes `record` as the thread's session, and returns the reference. Another session may be
/// current if this one was hidden.
#[inline]
pub(crate) fn leave(record: &Record) -> Option<Arc<Record>> {
    let left = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        current.take_if(|current| std::ptr::eq(&raw const **current, record))
    });
    // If the thread-local is already destroyed, the reference was dropped with it.
    left.ok().flatten()
}

/// Returns whether the thread runs the statement of this set, or helps with it.
#[inline]
pub(crate) fn works_for(set: &Arc<HelperSet>) -> bool {
    !is_free() && works_for_one(set)
}

fn works_for_one(set: &Arc<HelperSet>) -> bool {
    let helps = HELP.try_with(|help| {
        let helps = |helper: &Helper| Arc::ptr_eq(&helper.set, set) && helper.is_here();
        help.borrow().present().map(helps)
    });
    let runs = |mine: &Arc<Record>| Arc::ptr_eq(mine, set.record()) && mine.runs_here();
    match helps {
        Ok(Some(helps)) => helps,
        _ => CURRENT.try_with(|mine| mine.borrow().as_ref().is_some_and(runs)).unwrap_or(false),
    }
}

/// Makes the thread a helper, and returns its work before, if there was any. A thread whose
/// thread-locals are already destroyed has no current helper.
pub(crate) fn begin_help(set: &Arc<HelperSet>, place: &Place, turn: u16) -> Option<Outer> {
    if is_free() && begin_again(set, turn, |old| *old = place.clone()) {
        return None;
    }
    let helper = Some(Helper { set: set.clone(), place: place.clone(), turn });
    let outer = Outer { session: Some(set.record().clone()), helper }.replace();
    Some(outer).filter(|outer| outer.session.is_some())
}

/// Makes a thread that works for no session the helper in the slot with this index.
#[inline]
pub(crate) fn begin_only_help(set: &Arc<HelperSet>, index: u16, turn: u16) {
    if !begin_again(set, turn, |place| place.change(index)) {
        begin_first(set, index, turn);
    }
}

#[cold]
fn begin_first(set: &Arc<HelperSet>, index: u16, turn: u16) {
    drop(begin_help(set, &Place::fixed(index), turn));
}

/// Returns `false` if the thread has left another set last.
#[inline]
fn begin_again(set: &Arc<HelperSet>, turn: u16, move_to: impl FnOnce(&mut Place)) -> bool {
    let begun = HELP.try_with(|help| {
        let session = help.borrow_mut().enter_again(set, turn, move_to)?;
        CURRENT.try_with(|current| *current.borrow_mut() = Some(session)).ok()
    });
    matches!(begun, Ok(Some(())))
}

/// Restores the work before, if this helper is the current one. Keeps its references for the next
/// time.
pub(crate) fn end_help(set: &Arc<HelperSet>, place: &Place, turn: u16, outer: Option<Outer>) {
    let ended = end_only_help(set, place, turn);
    if let Some(outer) = outer {
        restore(outer, ended);
    }
}

/// Ends the help of a thread that had no other work before, if this helper is the current one. Returns whether it
/// was.
#[inline]
pub(crate) fn end_only_help(set: &Arc<HelperSet>, place: &Place, turn: u16) -> bool {
    let left = HELP.try_with(|help| {
        let Help { helper, is_present, session } = &mut *help.borrow_mut();
        let helper = helper.as_mut().filter(|helper| *is_present && helper.is(set, place, turn))?;
        *is_present = false;
        // `place` refers to the slot too, so none is dropped here.
        helper.place.change(0);
        *session = CURRENT.try_with(|current| current.take()).ok().flatten();
        Some(())
    });
    matches!(left, Ok(Some(())))
}

/// Continues the earlier work of the thread.
#[cold]
fn restore(outer: Outer, is_free: bool) {
    if is_free {
        drop(outer.replace());
    }
    end_leaked_attachment();
    // A request may have raised the flag during the help, so check again.
    attention::raise_own();
}

#[inline]
#[track_caller]
pub(crate) fn check() -> Result<(), Interrupt> {
    if attention::is_raised() { check_cold(Location::caller()) } else { Ok(()) }
}

/// Checks for a due interrupt, for a safe point of a thread whose flag is raised.
#[cold]
pub(crate) fn check_cold(at: CallerLocation) -> Result<(), Interrupt> {
    match current() {
        Some(Current::Runs(record)) => record.check_flagged(at),
        Some(Current::Helps(helper)) => helper.check_flagged(at),
        None => {
            attention::clear_own();
            Ok(())
        }
    }
}

/// Returns what the thread does. Returns `None` if the thread-local is already destroyed, or if the
/// guard was leaked and its session has moved to another thread.
pub(crate) fn current() -> Option<Current> {
    let session = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()?;
    match HELP.try_with(|help| help.borrow().present().cloned()).ok().flatten() {
        Some(helper) => Some(Current::Helps(helper)).filter(Current::is_here),
        None => Some(Current::Runs(session)).filter(Current::is_here),
    }
}

/// Returns the session that the thread runs, or helps with.
pub(crate) fn session() -> Option<Arc<Record>> {
    current().map(|current| match current {
        Current::Runs(record) => record,
        Current::Helps(helper) => helper.set.record().clone(),
    })
}

/// Returns the session that the thread runs.
pub(crate) fn runs() -> Option<Arc<Record>> {
    match current() {
        Some(Current::Runs(record)) => Some(record),
        Some(Current::Helps(_)) | None => None,
    }
}

/// Runs `work` while the calling thread works for no session, and so for no statement. Use it around
/// calls in which a pool may run jobs of other sessions on this thread, such as rayon's `join`, `scope`
/// and `install`. In `work` the functions of this module, and [`check`](crate::check), find no session.
///
/// # Examples
///
/// ```
/// use safepoint::current;
///
/// assert_eq!(current::without_session(current::session_id), None);
/// ```
pub fn without_session<T>(work: impl FnOnce() -> T) -> T {
    struct Back(Outer);
    impl Drop for Back {
        fn drop(&mut self) {
            // A session that has left this thread is not restored.
            let outer = std::mem::take(&mut self.0);
            if outer.is_here() && is_free() {
                // If the thread-local is already destroyed, there was no session to hide.
                drop(outer.replace());
            }
            // A request may have raised the flag while the session was hidden, so check again.
            attention::raise_own();
        }
    }
    let _back = Back(Outer::default().replace());
    work()
}

/// Returns whether the thread works for no session.
#[inline]
pub(crate) fn is_free() -> bool {
    CURRENT.try_with(|current| current.borrow().is_none()).unwrap_or(false)
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{ClientInfo, SessionManager, ThreadModel};

    #[test]
    fn a_late_flag_is_checked_once() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        attention::raise_own();
        assert!(attention::is_raised());
        assert_eq!(check(), Ok(()));
        assert!(!attention::is_raised(), "with a session");
        drop(attached);
        attention::raise_own();
        assert_eq!(check(), Ok(()));
        assert!(!attention::is_raised(), "with none");
    }
}
