//! Bells: what an ambient safe point looks at.
//!
//! A safe point in code that was handed a session looks at the session's word. One that was
//! handed none would have to find the session first, and to keep it from going away. So each
//! thread that runs sessions has a bell, which is always at the same place. It is a hint, and the
//! word decides.
//!
//! Who rings: whoever takes a step after which a session that a thread runs has something to
//! report, be it killer, watcher or runner, rings that thread's bell after the step. Which bell
//! that is the session's record says, written before the step that attaches.
//!
//! Who silences: the thread whose bell it is, and then it looks at the word, by a step that
//! changes nothing. Why no ring is lost: the killer's step and this one are ordered. If the
//! killer's is first, it is seen. If it is second, it has acquired what came before the other, the
//! silence among it, so its ring is later and stays. That is why the bell itself can be relaxed.
//!
//! A ring may come late, to a thread that runs another session by then, or none: it looks once
//! for nothing.

use crate::sync::{AtomicU32, BELLS as COUNT, Ordering, per_thread, shared, zeroes};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};

/// Of threads that have run no session; nobody rings it.
const NONE: u16 = 0;
/// Of threads for which there was no other. It is never silent, so they always look at the word.
const COMMON: u16 = 1;

// Not one to a cache line, as they are hardly ever written.
shared! { static BELLS: [AtomicU32; COUNT] = zeroes!(COUNT); }
// No thread of a model's takes a turn while it is held.
shared! { static FREE: Mutex<Free> = Mutex::new(Free { next: COMMON + 1, returned: Vec::new() }); }

struct Free {
    next: u16,
    returned: Vec<u16>,
}

impl Free {
    fn take(&mut self) -> Option<u16> {
        self.returned.pop().or_else(|| {
            let fresh = self.next;
            // The last number is left over, so that this one can be counted up.
            let there = usize::from(fresh) + 1 < COUNT;
            self.next += u16::from(there);
            there.then_some(fresh)
        })
    }
}

per_thread! {
    static MINE: Cell<u16> = Cell::new(NONE);
}
per_thread! {
    static KEPT: RefCell<Option<Kept>> = RefCell::new(None);
}

/// The thread gives its bell back as it ends.
struct Kept(u16);

impl Drop for Kept {
    fn drop(&mut self) {
        // A session that the thread still runs, in what it drops next, rings for all by now.
        let _ = MINE.try_with(|mine| mine.set(COMMON));
        // What is shared in a model is gone before its last thread-locals.
        if cfg!(not(any(safepoint_loom, safepoint_shuttle))) {
            ring(COMMON);
            FREE.lock().returned.push(self.0);
        }
    }
}

/// Whether the calling thread's bell has been rung.
#[inline]
pub(crate) fn rung() -> bool {
    let mine = MINE.with(Cell::get);
    BELLS[usize::from(mine)].load(Ordering::Relaxed) != 0
}

/// The calling thread's bell.
#[inline]
pub(crate) fn mine() -> u16 {
    match MINE.with(Cell::get) {
        NONE => take(),
        mine => mine,
    }
}

#[cold]
fn take() -> u16 {
    let keep = |kept: &RefCell<Option<Kept>>| {
        let number = FREE.lock().take()?;
        *kept.borrow_mut() = Some(Kept(number));
        Some(number)
    };
    // A thread that has dropped its thread-locals could not give it back.
    let number = KEPT.try_with(keep).ok().flatten().unwrap_or(COMMON);
    // Before whoever has it looks.
    ring(COMMON);
    MINE.with(|mine| mine.set(number));
    number
}

pub(crate) fn ring(number: u16) {
    BELLS[usize::from(number)].store(1, Ordering::Relaxed);
}

pub(crate) fn ring_mine() {
    match MINE.with(Cell::get) {
        NONE => {}
        mine => ring(mine),
    }
}

/// To be followed by a step of the word.
pub(crate) fn silence_mine() {
    let mine = MINE.with(Cell::get);
    if mine != COMMON {
        BELLS[usize::from(mine)].store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_out_and_are_given_out_again() {
        let mut free = Free { next: COMMON + 1, returned: Vec::new() };
        let all: Vec<_> = std::iter::from_fn(|| free.take()).collect();
        assert_eq!(all.len(), COUNT - 3, "but for nobody's, the common one, and one left over");
        assert!(all.iter().all(|number| *number > COMMON));
        free.returned.push(7);
        assert_eq!((free.take(), free.take()), (Some(7), None));
    }

    #[test]
    fn a_thread_gives_its_bell_back() {
        let first = std::thread::spawn(mine).join().unwrap();
        // Other tests take some meanwhile.
        let again = (0..1000).any(|_| std::thread::spawn(mine).join().unwrap() == first);
        assert!(again);
    }

    #[test]
    fn the_common_bell_is_never_silent() {
        std::thread::spawn(|| {
            MINE.set(COMMON);
            ring(COMMON);
            silence_mine();
            assert!(rung());
        })
        .join()
        .unwrap();
        assert!(!rung(), "nobody's is");
        ring_mine();
        assert!(!rung());
    }
}
