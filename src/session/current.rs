//! The session that the calling thread runs.

use crate::core::attention;
use crate::core::record::Record;
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
            let _ = catch_panic(|| without_current(|| waker.wake()));
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
    static CURRENT: RefCell<Option<Arc<Record>>> = RefCell::new(None);
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
    let elsewhere = |current: &mut Arc<Record>| !current.runs_here();
    let left = CURRENT.try_with(|current| current.borrow_mut().take_if(elsewhere));
    left.ok().flatten().is_some()
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

#[inline]
#[track_caller]
pub(crate) fn check() -> Result<(), Interrupt> {
    if attention::is_raised() { check_cold(Location::caller()) } else { Ok(()) }
}

#[cold]
fn check_cold(at: CallerLocation) -> Result<(), Interrupt> {
    match current() {
        Some(record) => record.check_flagged(at),
        None => {
            attention::clear_own();
            Ok(())
        }
    }
}

/// Returns the thread's session. Returns `None` if the thread-local is already destroyed, or if the
/// attachment was leaked and its session has moved to another thread.
pub(crate) fn current() -> Option<Arc<Record>> {
    let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
    current.filter(|record| record.runs_here())
}

/// Hides the thread's session while other sessions' code runs on it.
pub(crate) fn without_current<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<Record>>);
    impl Drop for Back {
        fn drop(&mut self) {
            // A session that has left this thread is not restored.
            let session = self.0.take().filter(|session| session.runs_here());
            // If the thread-local is already destroyed, there was no session to hide.
            let left = CURRENT.try_with(|current| {
                let mut current = current.borrow_mut();
                if current.is_some() { session } else { std::mem::replace(&mut *current, session) }
            });
            drop(left);
            // A request may have raised the flag while the session was hidden, so check again.
            attention::raise_own();
        }
    }
    let session = CURRENT.try_with(|current| current.borrow_mut().take());
    let _back = Back(session.ok().flatten());
    run()
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
