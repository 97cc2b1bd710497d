//! The limit on sessions: how many slots there are, and how many are reserved for administrators.
//!
//! A session acquires a slot when it opens and its user is not yet known, and is *admitted* when
//! the user is known. An ordinary user is admitted while fewer sessions are admitted than there are
//! unreserved slots. A session that is not admitted yet keeps out only other such sessions.

use crate::sync::{AtomicU64, Ordering};
use crate::types::error::OpenError;

/// The slots of one manager.
#[derive(Debug)]
pub(crate) struct AdmissionLimit {
    max: u64,
    reserved: u64,
    /// The number of slots in use, and in the upper half the number of admitted sessions. Both are
    /// in one word, so that each step sees and leaves consistent counts.
    ///
    /// Orderings: a release of a slot is a release, an acquire or admission an acquire, and
    /// read-modify-writes between them continue the release sequence. So everything that a session
    /// did until its end, leaving the registry included, happens before everything that the next
    /// session in its slot does.
    taken: AtomicU64,
}

/// The value of one admitted session in [`AdmissionLimit::taken`].
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

    /// Acquires a slot for a session whose user is not known.
    pub(crate) fn acquire(&self) -> Result<(), OpenError> {
        self.step(|word| (taken(word) < self.max).then(|| word + 1))
    }

    /// Admits a session that has a slot.
    pub(crate) fn admit(&self, admin: bool) -> Result<(), OpenError> {
        let open_to_it = if admin { self.max } else { self.max.saturating_sub(self.reserved) };
        self.step(|word| (admitted(word) < open_to_it).then(|| word + ADMITTED))
    }

    fn step(&self, next: impl Fn(u64) -> Option<u64>) -> Result<(), OpenError> {
        let stepped = self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, next);
        stepped.map(drop).map_err(|_| OpenError::Full)
    }

    /// Releases the slot of a session that ends.
    pub(crate) fn release(&self, was_admitted: bool) {
        let given = if was_admitted { ADMITTED + 1 } else { 1 };
        self.taken.fetch_sub(given, Ordering::Release);
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn sessions_not_admitted_limit_only_each_other() {
        let limit = AdmissionLimit::new(3, 1);
        for _ in 0..3 {
            limit.acquire().unwrap();
        }
        assert_eq!(limit.acquire(), Err(OpenError::Full));
        assert_eq!(limit.admit(false), Ok(()));
        assert_eq!(limit.admit(false), Ok(()));
        assert_eq!(limit.admit(false), Err(OpenError::Full));
        assert_eq!(limit.admit(true), Ok(()));
        limit.release(true);
        assert_eq!(limit.admit(false), Err(OpenError::Full), "two are admitted");
        limit.release(true);
        assert_eq!(limit.admit(false), Ok(()));
    }

    #[test]
    fn limits_that_do_not_fit_are_clamped() {
        let limit = AdmissionLimit::new(usize::MAX, usize::MAX);
        limit.acquire().unwrap();
        assert_eq!(limit.admit(false), Err(OpenError::Full));
        assert_eq!(limit.admit(true), Ok(()));
        limit.release(true);
        assert_eq!(limit.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn large_limits_are_not_truncated() {
        for more in [0, 1] {
            let limit = AdmissionLimit::new((1 << 32) + more, (1 << 32) + more);
            for _ in 0..3 {
                limit.acquire().unwrap();
                assert_eq!(limit.admit(true), Ok(()));
                assert_eq!(limit.admit(false), Err(OpenError::Full));
            }
        }
    }
}
