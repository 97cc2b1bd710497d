//! Which session the calling thread runs.

use crate::core::attention;
use crate::core::record::Record;
use crate::core::record::request::FinishedCancel;
use crate::sync::catch::catch_panic;
use crate::sync::per_thread;
use crate::sync::wake_list::WakeList;
use crate::types::interrupt::Interrupt;
use crate::types::location::Place;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

/// Wakes each. One that panics keeps nobody from what is to be done after that, and none has to do
/// with the session that the calling thread runs.
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

/// Tells those who wait for the end of a statement that was cancelled. No lock may be held.
#[inline(always)]
pub(crate) fn complete(over: FinishedCancel) {
    #[cold]
    fn tell(over: FinishedCancel) {
        wake_all(over.complete());
    }
    if !over.is_nothing() {
        tell(over);
    }
}

per_thread! {
    static CURRENT: RefCell<Option<Arc<Record>>> = RefCell::new(None);
}

/// Refused where the thread runs a session already. It takes the `spare` reference, which `leave`
/// gives back; an attachment that was forgotten has never given it back, and its session may be
/// elsewhere by now.
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
    // A thread that has dropped its thread-locals runs none any more.
    entered.unwrap_or(false)
}

#[cold]
fn end_leaked_attachment() -> bool {
    let elsewhere = |current: &mut Arc<Record>| !current.runs_here();
    let left = CURRENT.try_with(|current| current.borrow_mut().take_if(elsewhere));
    left.ok().flatten().is_some()
}

/// Another session than this may be current by then, where this one was hidden.
#[inline]
pub(crate) fn leave(record: &Record) -> Option<Arc<Record>> {
    let left = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        current.take_if(|current| std::ptr::eq(&raw const **current, record))
    });
    // A thread that has dropped its thread-locals has given it back with them.
    left.ok().flatten()
}

#[inline]
#[track_caller]
pub(crate) fn check() -> Result<(), Interrupt> {
    if attention::is_raised() { look(Location::caller()) } else { Ok(()) }
}

#[cold]
fn look(at: Place) -> Result<(), Interrupt> {
    match current() {
        Some(record) => record.check_flagged(at),
        None => {
            attention::clear_own();
            Ok(())
        }
    }
}

/// A thread that ends, and has dropped its thread-locals, runs none; nor does one whose attachment
/// was forgotten, once its session is elsewhere.
pub(crate) fn current() -> Option<Arc<Record>> {
    let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
    current.filter(|record| record.runs_here())
}

/// Hides the thread's session while other sessions' code runs on it.
pub(crate) fn without_current<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<Record>>);
    impl Drop for Back {
        fn drop(&mut self) {
            // One that has left its thread meanwhile, or has made room for another, stays away.
            let session = self.0.take().filter(|session| session.runs_here());
            // A thread that has dropped its thread-locals had no session to hide.
            let left = CURRENT.try_with(|current| {
                let mut current = current.borrow_mut();
                if current.is_some() { session } else { std::mem::replace(&mut *current, session) }
            });
            drop(left);
            // What rang for it meanwhile was not looked at.
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
    fn a_late_ring_is_looked_at_once() {
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
