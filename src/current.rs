//! Which session the calling thread runs.

use crate::bell;
use crate::home::{Running, Ties, Way};
use crate::interrupt::Interrupt;
use crate::record::Record;
use crate::sync::per_thread;
use crate::why::Place;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

per_thread! {
    static CURRENT: RefCell<Option<Running>> = RefCell::new(None);
}

/// Refused where the thread runs a session already. It takes the `spare` references, which `leave`
/// gives back; an attachment that was forgotten has never given them back, and its session may be
/// elsewhere by now.
#[inline]
pub(crate) fn enter(record: &Arc<Record>, ties: &mut Ties) -> bool {
    enter_free(record, ties) || leave_forgotten() && enter_free(record, ties)
}

#[inline]
fn enter_free(record: &Arc<Record>, ties: &mut Ties) -> bool {
    let entered = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        let free = current.is_none();
        if free {
            *current = ties.spare.take().or_else(|| Some(first(record, ties)));
        }
        free
    });
    // A thread that has dropped its thread-locals runs none any more.
    entered.unwrap_or(false)
}

#[cold]
fn first(record: &Arc<Record>, ties: &Ties) -> Running {
    Running { record: record.clone(), home: ties.home.clone() }
}

#[cold]
fn leave_forgotten() -> bool {
    let elsewhere = |current: &mut Running| !current.record.runs_here();
    let left = CURRENT.try_with(|current| current.borrow_mut().take_if(elsewhere));
    left.ok().flatten().is_some()
}

/// Another session than this may be current by then, where this one was hidden.
#[inline]
pub(crate) fn leave(record: &Record) -> Option<Running> {
    let left = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        current.take_if(|current| std::ptr::eq(&raw const *current.record, record))
    });
    // A thread that has dropped its thread-locals has given it back with them.
    left.ok().flatten()
}

#[inline]
#[track_caller]
pub(crate) fn check() -> Result<(), Interrupt> {
    if bell::rung() { look(Location::caller()) } else { Ok(()) }
}

#[cold]
fn look(at: Place) -> Result<(), Interrupt> {
    match current() {
        Some(record) => record.check_rung(at),
        None => {
            bell::silence_mine();
            Ok(())
        }
    }
}

/// A thread that ends, and has dropped its thread-locals, runs none; nor does one whose attachment
/// was forgotten, once its session is elsewhere.
pub(crate) fn current() -> Option<Arc<Record>> {
    look_at(|current| current.record.clone()).filter(|record| record.runs_here())
}

/// The same, with its manager's home.
pub(crate) fn running() -> Option<(Arc<Record>, Way)> {
    let running = look_at(|current| (current.record.clone(), current.home.clone()));
    running.filter(|(record, _)| record.runs_here())
}

fn look_at<T>(look: impl FnOnce(&Running) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow().as_ref().map(look)).ok().flatten()
}

/// Hides the thread's session while other sessions' code runs on it.
pub(crate) fn hidden<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Running>);
    impl Drop for Back {
        fn drop(&mut self) {
            // One that has left its thread meanwhile, or has made room for another, stays away.
            let session = self.0.take().filter(|session| session.record.runs_here());
            // A thread that has dropped its thread-locals had no session to hide.
            let left = CURRENT.try_with(|current| {
                let mut current = current.borrow_mut();
                if current.is_some() { session } else { std::mem::replace(&mut *current, session) }
            });
            // The last to refer to a manager drops what is the embedder's.
            drop(left);
            // What rang for it meanwhile was not looked at.
            bell::ring_mine();
        }
    }
    let session = CURRENT.try_with(|current| current.borrow_mut().take());
    let _back = Back(session.ok().flatten());
    run()
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{Description, SessionManager, ThreadModel};

    #[test]
    fn a_late_ring_is_looked_at_once() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(Description::default()).unwrap();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        bell::ring_mine();
        assert!(bell::rung());
        assert_eq!(check(), Ok(()));
        assert!(!bell::rung(), "with a session");
        drop(attached);
        bell::ring_mine();
        assert_eq!(check(), Ok(()));
        assert!(!bell::rung(), "with none");
    }
}
