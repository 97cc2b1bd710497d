//! Keys for wire cancel requests: random, and compared in constant time.

use safepoint::SessionId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use subtle::ConstantTimeEq;

/// Bytes in the key of a client that speaks protocol 3.0, which has room for no more.
pub(crate) const SHORT_KEY: usize = 4;
/// Bytes in the key of a client that speaks protocol 3.2.
pub(crate) const LONG_KEY: usize = 32;

#[derive(Default)]
pub(crate) struct CancelKeys(Mutex<Table>);

#[derive(Default)]
struct Table {
    last_pid: i32,
    by_pid: HashMap<i32, (Vec<u8>, SessionId)>,
}

/// What a client is given at the start. It is void when this is dropped.
pub(crate) struct CancelKey {
    pub(crate) pid: i32,
    pub(crate) key: Vec<u8>,
}

impl CancelKeys {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The process id is the table's own: a session's number does not fit the message.
    pub(crate) fn give(
        &self,
        session: SessionId,
        length: usize,
    ) -> Result<CancelKey, getrandom::Error> {
        let mut key = vec![0; length];
        getrandom::fill(&mut key)?;
        let mut table = self.lock();
        let pid = loop {
            table.last_pid = table.last_pid.checked_add(1).unwrap_or(1);
            if !table.by_pid.contains_key(&table.last_pid) {
                break table.last_pid;
            }
        };
        table.by_pid.insert(pid, (key.clone(), session));
        Ok(CancelKey { pid, key })
    }

    pub(crate) fn find(&self, pid: i32, key: &[u8]) -> Option<SessionId> {
        let table = self.lock();
        let (expected, session) = table.by_pid.get(&pid)?;
        bool::from(expected.as_slice().ct_eq(key)).then_some(*session)
    }

    pub(crate) fn forget(&self, key: &CancelKey) {
        self.lock().by_pid.remove(&key.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_finds_its_session() {
        let keys = CancelKeys::default();
        let session = SessionId::try_from(7).unwrap();
        let other = SessionId::try_from(8).unwrap();
        let given = keys.give(session, SHORT_KEY).unwrap();
        let second = keys.give(other, LONG_KEY).unwrap();
        assert_ne!(given.pid, second.pid);
        assert_eq!(keys.find(given.pid, &given.key), Some(session));
        assert_eq!(keys.find(second.pid, &second.key), Some(other));
        assert_eq!(keys.find(second.pid, &given.key), None);
        assert_eq!(keys.find(given.pid, &given.key[..3]), None);
        assert_eq!(keys.find(given.pid, &[]), None);
        keys.forget(&given);
        assert_eq!(keys.find(given.pid, &given.key), None);
    }
}
