//! The attention flag of a thread, which the ambient safe point reads.
//!
//! A safe point in code that was handed a session reads the word of that session. Code that was handed no
//! session would first have to find one, and keep it alive. So each thread that runs sessions has a flag
//! at a fixed address. The flag is a hint; the word decides.
//!
//! The names of steps belong to this file. The requester, and any other thread that takes a transition after which a running session has something
//! to report:
//!
//! - `K1` takes the transition;
//! - `K2` raises the flag of the session's thread. The record names that flag; it was stored before the
//!   transition that attached the session.
//!
//! The ambient safe point, if its flag is raised:
//!
//! - `A1` clears the flag;
//! - `A2` takes a transition that changes nothing;
//! - `A3` checks the result of `A2`.
//!
//! No raised flag is lost: `K1` and `A2` are read-modify-writes of one word, so one is first. If `K1` is
//! first, `A3` sees it. If `A2` is first, `K1` acquires `A1`, so `K2` comes after `A1` and the flag stays
//! raised. For this reason the accesses to the flag itself are relaxed.
//!
//! A flag may be raised late, when its thread runs another session or none. Then `A3` finds nothing to
//! report.

use crate::sync::{AtomicU32, FLAGS as COUNT, Ordering, per_thread, shared, zeroes};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};

/// The flag of threads that have run no session; it is never raised.
const NONE: u16 = 0;

/// The flag of threads for which no other was left. It is always raised, so these threads always load the word.
const SHARED: u16 = 1;

// Several flags share a cache line, since they are rarely written.
shared! { static RAISED: [AtomicU32; COUNT] = zeroes!(COUNT); }

// No thread of a model is switched while this lock is held.
shared! { static FREE: Mutex<Free> = Mutex::new(Free { next: SHARED + 1, returned: Vec::new() }); }

struct Free {
    next: u16,
    returned: Vec<u16>,
}

impl Free {
    fn take(&mut self) -> Option<u16> {
        self.returned.pop().or_else(|| {
            let fresh = self.next;
            // The last number is never used, so that `next` does not overflow.
            let there = usize::from(fresh) + 1 < COUNT;
            self.next += u16::from(there);
            there.then_some(fresh)
        })
    }
}

per_thread! {
    static OWN: Cell<u16> = Cell::new(NONE);
}

per_thread! {
    static KEPT: RefCell<Option<Kept>> = RefCell::new(None);
}

/// Returns the flag of a thread when the thread ends.
struct Kept(u16);

impl Drop for Kept {
    fn drop(&mut self) {
        // A session that the thread still runs while it drops its thread-locals raises the shared flag.
        let _ = OWN.try_with(|own| own.set(SHARED));
        // In a model, statics are dropped before the last thread-locals.
        if cfg!(not(any(safepoint_loom, safepoint_shuttle))) {
            raise(SHARED);
            FREE.lock().returned.push(self.0);
        }
    }
}

/// Returns whether the calling thread's flag is raised.
#[inline]
pub(crate) fn is_raised() -> bool {
    let own = OWN.with(Cell::get);
    RAISED[usize::from(own)].load(Ordering::Relaxed) != 0
}

/// Returns the index of the calling thread's flag.
#[inline]
pub(crate) fn own() -> u16 {
    match OWN.with(Cell::get) {
        NONE => take(),
        own => own,
    }
}

#[cold]
fn take() -> u16 {
    let keep = |kept: &RefCell<Option<Kept>>| {
        let number = FREE.lock().take()?;
        *kept.borrow_mut() = Some(Kept(number));
        Some(number)
    };
    // A thread whose thread-locals are destroyed could not return a flag, so it uses the shared
    // one.
    let number = KEPT.try_with(keep).ok().flatten().unwrap_or(SHARED);
    // The shared flag is raised before the thread reads it.
    raise(SHARED);
    OWN.with(|own| own.set(number));
    number
}

pub(crate) fn raise(number: u16) {
    RAISED[usize::from(number)].store(1, Ordering::Relaxed);
}

pub(crate) fn raise_own() {
    match OWN.with(Cell::get) {
        NONE => {}
        own => raise(own),
    }
}

/// Clears the calling thread's flag. The caller must take a transition of the word next.
pub(crate) fn clear_own() {
    let own = OWN.with(Cell::get);
    if own != SHARED {
        RAISED[usize::from(own)].store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn flags_run_out_and_are_reused() {
        let mut free = Free { next: SHARED + 1, returned: Vec::new() };
        let all: Vec<_> = std::iter::from_fn(|| free.take()).collect();
        assert_eq!(all.len(), COUNT - 3, "except `NONE`, `SHARED` and the last number");
        assert!(all.iter().all(|number| *number > SHARED));
        free.returned.push(7);
        assert_eq!((free.take(), free.take()), (Some(7), None));
    }

    #[test]
    fn a_thread_returns_its_flag() {
        let first = std::thread::spawn(own).join().unwrap();
        // Other tests take flags at the same time.
        let again = (0..1000).any(|_| std::thread::spawn(own).join().unwrap() == first);
        assert!(again);
    }

    #[test]
    fn the_shared_flag_stays_raised() {
        std::thread::spawn(|| {
            OWN.set(SHARED);
            raise(SHARED);
            clear_own();
            assert!(is_raised());
        })
        .join()
        .unwrap();
        assert!(!is_raised(), "`NONE` is never raised");
        raise_own();
        assert!(!is_raised());
    }
}
