//! Which session the calling thread runs.

use crate::interrupt::Interrupt;
use crate::record::Record;
use crate::sync::per_thread;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

per_thread! {
    static CURRENT: RefCell<Option<Arc<Record>>> = RefCell::new(None);
}

/// Refused where the thread runs a session already. It takes the `spare` reference, which `leave`
/// gives back; an attachment that was forgotten has never given it back.
#[inline]
pub(crate) fn enter(record: &Arc<Record>, spare: &mut Option<Arc<Record>>) -> bool {
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

#[inline]
pub(crate) fn leave() -> Option<Arc<Record>> {
    CURRENT.with(|current| current.borrow_mut().take())
}

#[inline]
#[track_caller]
pub(crate) fn check() -> Result<(), Interrupt> {
    // A closure does not know its caller's caller.
    let at = Location::caller();
    let calls = CURRENT.with(|current| match &*current.borrow() {
        Some(record) if record.attention() => Some(record.clone()),
        _ => None,
    });
    match calls {
        // Whoever hears that an interrupt was seen may look at this thread's session.
        Some(record) => record.check_at(at),
        None => Ok(()),
    }
}

/// A thread that ends, and has dropped its thread-locals, runs none.
pub(crate) fn current() -> Option<Arc<Record>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Hides the thread's session while other sessions' code runs on it.
pub(crate) fn hidden<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<Record>>);
    impl Drop for Back {
        fn drop(&mut self) {
            // A thread that has dropped its thread-locals had no session to hide.
            let _ = CURRENT.try_with(|current| *current.borrow_mut() = self.0.take());
        }
    }
    let session = CURRENT.try_with(|current| current.borrow_mut().take());
    let _back = Back(session.ok().flatten());
    run()
}
