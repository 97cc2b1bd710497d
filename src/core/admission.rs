//! A bound on sessions: how many there may be at once, and how many of these places are kept
//! for administrators.
//!
//! A session takes a place as it opens, when nobody knows its user yet, and is *admitted* once
//! the user is known. What is kept back is kept from those who are admitted: ordinary ones
//! get in only while as many places as are reserved, apart from their own, are in no admitted
//! session's hands. Newcomers don't count against anyone but other newcomers.

use crate::sync::{AtomicU64, Ordering};
use crate::types::error::OpenError;

/// The places of one manager.
#[derive(Debug)]
pub(crate) struct AdmissionLimit {
    max: u64,
    reserved: u64,
    /// How many are taken, and in the upper half how many of these by admitted sessions. Both
    /// in one word: each step sees, and leaves, a count that adds up.
    ///
    /// Orderings: giving back releases, taking and admission acquire, and read-modify-writes in
    /// between hand it on. So all that a session did up to its end, leaving the registry
    /// included, comes before whatever is done by the one that has its place.
    taken: AtomicU64,
}

/// One admitted session in [`AdmissionLimit::taken`].
const ADMITTED: u64 = 1 << 32;

fn taken(word: u64) -> u64 {
    word % ADMITTED
}

fn admitted(word: u64) -> u64 {
    word / ADMITTED
}

impl AdmissionLimit {
    pub(crate) fn new(max: usize, reserved: usize) -> AdmissionLimit {
        let number = |number: usize| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
        AdmissionLimit { max: number(max), reserved: number(reserved), taken: AtomicU64::new(0) }
    }

    /// For a newcomer.
    pub(crate) fn take(&self) -> Result<(), OpenError> {
        self.step(|word| (taken(word) < self.max).then(|| word + 1))
    }

    /// For one that has a place and is not admitted yet.
    pub(crate) fn admit(&self, admin: bool) -> Result<(), OpenError> {
        let open_to_it = if admin { self.max } else { self.max.saturating_sub(self.reserved) };
        self.step(|word| (admitted(word) < open_to_it).then(|| word + ADMITTED))
    }

    fn step(&self, next: impl Fn(u64) -> Option<u64>) -> Result<(), OpenError> {
        let stepped = self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, next);
        stepped.map(drop).map_err(|_| OpenError::Full)
    }

    /// For one that ends.
    pub(crate) fn give_back(&self, was_admitted: bool) {
        let given = if was_admitted { ADMITTED + 1 } else { 1 };
        self.taken.fetch_sub(given, Ordering::Release);
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn newcomers_count_against_each_other_only() {
        let places = AdmissionLimit::new(3, 1);
        for _ in 0..3 {
            places.take().unwrap();
        }
        assert_eq!(places.take(), Err(OpenError::Full));
        assert_eq!(places.admit(false), Ok(()));
        assert_eq!(places.admit(false), Ok(()));
        assert_eq!(places.admit(false), Err(OpenError::Full));
        assert_eq!(places.admit(true), Ok(()));
        places.give_back(true);
        assert_eq!(places.admit(false), Err(OpenError::Full), "two are admitted");
        places.give_back(true);
        assert_eq!(places.admit(false), Ok(()));
    }

    #[test]
    fn numbers_that_do_not_fit_are_as_large_as_fits() {
        let places = AdmissionLimit::new(usize::MAX, usize::MAX);
        places.take().unwrap();
        assert_eq!(places.admit(false), Err(OpenError::Full));
        assert_eq!(places.admit(true), Ok(()));
        places.give_back(true);
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_bound_that_does_not_fit_is_not_cut_off() {
        for more in [0, 1] {
            let places = AdmissionLimit::new((1 << 32) + more, (1 << 32) + more);
            for _ in 0..3 {
                places.take().unwrap();
                assert_eq!(places.admit(true), Ok(()));
                assert_eq!(places.admit(false), Err(OpenError::Full));
            }
        }
    }
}
