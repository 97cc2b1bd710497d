//! Places in a pool, and code that gives its own away.

use crate::attached::Attached;
use crate::current::current;
use crate::sync::per_thread;
use crate::why::Stretch;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

/// One thread's place among those of a pool that may run sessions at a time.
pub(crate) trait Place {
    /// The thread blocks: another may run.
    fn leave(&self);
    /// It goes on.
    fn take(&self);
}

per_thread! {
    /// The pool in which this thread has a place.
    static PLACE: RefCell<Option<Arc<dyn Place>>> = RefCell::new(None);
}

#[cfg(all(target_os = "linux", not(safepoint_loom)))]
pub(crate) fn has_place(place: Arc<dyn Place>) {
    PLACE.with(|mine| *mine.borrow_mut() = Some(place));
}

/// [`Attached::blocking`] for code that was handed no session.
#[track_caller]
pub fn blocking<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<dyn Place>>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(place) = self.0.take() {
                place.take();
                let _ = PLACE.try_with(|mine| *mine.borrow_mut() = Some(place));
            }
        }
    }
    let (session, at) = (current(), Location::caller());
    let _within = session.as_ref().map(|record| record.within(Stretch::Wait, at));
    // Taken out meanwhile, so that `blocking` within `blocking` leaves no second place.
    // A thread that has dropped its thread-locals has none.
    let back = Back(PLACE.try_with(|mine| mine.borrow_mut().take()).ok().flatten());
    if let Some(place) = &back.0 {
        place.leave();
    }
    run()
}

impl Attached<'_> {
    /// Runs code that blocks outside of this library's sight, for as long as another session
    /// needs: a wait for a lock that a session holds, or for the client in the middle of a
    /// transaction. Meanwhile another worker of the pool has this one's place. On a thread that
    /// is no pool's worker it just runs the code.
    ///
    /// The thread id of the session stays what it is. To be woken by a kill the code has to wait
    /// interruptibly all the same, such as by [`wait`](Self::wait). Where it does not, that is
    /// what [`why_not_yet`](crate::Receipt::why_not_yet) says.
    #[track_caller]
    pub fn blocking<T>(&self, run: impl FnOnce() -> T) -> T {
        blocking(run)
    }
}
