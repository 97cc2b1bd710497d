//! Keys for wire cancel requests: random, and compared in constant time. A right key always works,
//! whatever its address has sent before. Wrong keys are counted, and those that come too often are
//! not logged one by one.

use safepoint::SessionId;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// The length of the key of a client with protocol 3.0, which allows no longer one.
pub(crate) const SHORT_KEY: usize = 4;
/// The length of the key of a client with protocol 3.2.
pub(crate) const LONG_KEY: usize = 32;

#[derive(Default)]
pub(crate) struct CancelKeys(Mutex<Table>);

/// The number of wrong keys of an address that are logged within [`WINDOW`], which begins with the
/// first of them. The others are counted only, so that nobody fills the log.
const LOGGED: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// The number of addresses with a separate count. If more addresses send wrong keys at once, the
/// others share one count.
const MAX_SUSPECTS: usize = 1024;

/// The number of keys of ended sessions that are known.
const MAX_GONE: usize = 4096;

#[derive(Default)]
struct Table {
    by_pid: HashMap<i32, (Vec<u8>, SessionId)>,
    suspects: HashMap<IpAddr, Suspect>,
    /// The number of wrong keys since the start.
    wrong: u64,
    /// The number of them that were not logged.
    unlogged: u64,
    /// Keys of sessions that have ended, by process id. A client that sends one does not guess.
    gone: HashMap<i32, Vec<u8>>,
    /// The process ids of `gone`, in the order in which the sessions ended.
    gone_pids: VecDeque<i32>,
}

/// The count of wrong keys from one address.
struct Suspect {
    since: Instant,
    wrong: u32,
}

/// The outcome of a cancel request. The sender is not informed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The key of a session that has ended.
    Ended,
    Session(SessionId),
    /// The numbers of wrong keys and of those that were not logged since the start, and whether this
    /// is the last of this address that is logged in its window.
    WrongKey {
        wrong: u64,
        unlogged: u64,
        last: bool,
    },
    /// A wrong key that is not logged.
    Unlogged,
}

/// The process id and key that a client receives at the start, which [`CancelKeys::forget`]
/// invalidates.
pub(crate) struct CancelKey {
    pub(crate) pid: i32,
    pub(crate) key: Vec<u8>,
}

impl CancelKeys {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Creates a key for the process id of a session, whose own id does not fit the message.
    pub(crate) fn give(
        &self,
        pid: i32,
        session: SessionId,
        length: usize,
    ) -> Result<CancelKey, getrandom::Error> {
        let mut key = vec![0; length];
        getrandom::fill(&mut key)?;
        let mut table = self.lock();
        table.by_pid.insert(pid, (key.clone(), session));
        Ok(CancelKey { pid, key })
    }

    /// Returns the outcome of a request from the address `from` at `now`.
    pub(crate) fn find(&self, from: IpAddr, pid: i32, key: &[u8], now: Instant) -> Found {
        let is_right = |expected: &[u8]| bool::from(expected.ct_eq(key));
        let mut table = self.lock();
        // The right key comes first: it works, no matter what others of the same address send.
        match table.by_pid.get(&pid) {
            Some((expected, session)) if is_right(expected) => Found::Session(*session),
            _ if table.gone.get(&pid).is_some_and(|expected| is_right(expected)) => Found::Ended,
            _ => table.count_wrong(neighbourhood(from), now),
        }
    }

    pub(crate) fn forget(&self, given: &CancelKey) {
        let mut table = self.lock();
        let Some((key, _)) = table.by_pid.remove(&given.pid) else { return };
        if table.gone_pids.len() >= MAX_GONE
            && let Some(first) = table.gone_pids.pop_front()
        {
            table.gone.remove(&first);
        }
        // A process id that comes again has its entry already.
        if table.gone.insert(given.pid, key).is_none() {
            table.gone_pids.push_back(given.pid);
        }
    }
}

impl Table {
    fn count_wrong(&mut self, from: IpAddr, now: Instant) -> Found {
        self.wrong += 1;
        let is_over = |suspect: &Suspect| now.saturating_duration_since(suspect.since) >= WINDOW;
        if self.suspects.len() >= MAX_SUSPECTS {
            self.suspects.retain(|_, suspect| !is_over(suspect));
        }
        let crowded = self.suspects.len() >= MAX_SUSPECTS && !self.suspects.contains_key(&from);
        let from = if crowded { Ipv6Addr::UNSPECIFIED.into() } else { from };
        let suspect = self.suspects.entry(from).or_insert(Suspect { since: now, wrong: 0 });
        if is_over(suspect) {
            *suspect = Suspect { since: now, wrong: 0 };
        }
        if suspect.wrong >= LOGGED {
            self.unlogged += 1;
            return Found::Unlogged;
        }
        suspect.wrong += 1;
        let last = suspect.wrong == LOGGED;
        Found::WrongKey { wrong: self.wrong, unlogged: self.unlogged, last }
    }
}

/// Returns one address for an IPv6 network of 64 bits, since one client may have all its addresses.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64 | 1).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn session(number: u64) -> SessionId {
        SessionId::try_from(number).unwrap()
    }

    #[test]
    fn only_the_whole_key_finds_its_session() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let given = keys.give(101, session(7), SHORT_KEY).unwrap();
        let second = keys.give(102, session(8), LONG_KEY).unwrap();
        assert_ne!(given.pid, second.pid);
        assert_eq!((given.key.len(), second.key.len()), (4, 32));
        let find = |pid, key: &[u8]| match keys.find(HERE, pid, key, now) {
            Found::Session(session) => Some(session),
            Found::WrongKey { .. } | Found::Ended | Found::Unlogged => None,
        };
        assert_eq!(find(given.pid, &given.key), Some(session(7)));
        assert_eq!(find(second.pid, &second.key), Some(session(8)));
        assert_eq!(find(second.pid, &given.key), None);
        assert_eq!(find(given.pid, &given.key[..3]), None);
        assert_eq!(find(given.pid, &[]), None);
        keys.forget(&given);
        assert_eq!(find(given.pid, &given.key), None);
    }

    /// A client may cancel what has ended as often as it likes, and is not taken for a guesser.
    #[test]
    fn a_key_of_an_ended_session_is_no_guess() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let ended = keys.give(201, session(8), SHORT_KEY).unwrap();
        keys.forget(&ended);
        for _ in 0..=LOGGED {
            assert_eq!(keys.find(HERE, ended.pid, &ended.key, now), Found::Ended);
        }
        assert!(keys.lock().suspects.is_empty());
        assert!(matches!(keys.find(HERE, ended.pid, b"gue", now), Found::WrongKey { .. }));
        for pid in (1000..).take(MAX_GONE) {
            let given = keys.give(pid, session(9), SHORT_KEY).unwrap();
            keys.forget(&given);
            assert_eq!(keys.find(HERE, given.pid, &given.key, now), Found::Ended);
        }
        let table = keys.lock();
        assert_eq!((table.gone.len(), table.gone_pids.len()), (MAX_GONE, MAX_GONE));
        drop(table);
        assert!(matches!(keys.find(HERE, ended.pid, &ended.key, now), Found::WrongKey { .. }));
    }

    /// A process id is given out again after the last one, and its older key is forgotten.
    #[test]
    fn a_process_id_that_comes_again_has_its_last_key() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let first = keys.give(202, session(7), SHORT_KEY).unwrap();
        keys.forget(&first);
        let second = keys.give(first.pid, session(8), LONG_KEY).unwrap();
        assert_eq!(second.pid, first.pid);
        assert_eq!(keys.find(HERE, first.pid, &first.key, now), Found::Ended);
        assert_eq!(keys.find(HERE, first.pid, &second.key, now), Found::Session(session(8)));
        keys.forget(&second);
        assert_eq!(keys.find(HERE, first.pid, &second.key, now), Found::Ended);
        assert_eq!(keys.lock().gone_pids.len(), 1);
    }

    #[test]
    fn a_right_key_works_after_any_number_of_wrong_ones() {
        let (keys, start) = (CancelKeys::default(), Instant::now());
        let given = keys.give(204, session(7), LONG_KEY).unwrap();
        let right = Found::Session(session(7));
        for guess in 1..=LOGGED {
            let found = keys.find(HERE, given.pid, b"guess", start);
            let (wrong, last) = (u64::from(guess), guess == LOGGED);
            assert_eq!(found, Found::WrongKey { wrong, unlogged: 0, last });
            assert_eq!(keys.find(HERE, given.pid, &given.key, start), right);
        }
        let late = start + WINDOW - Duration::from_millis(1);
        for _ in 0..3 {
            assert_eq!(keys.find(HERE, given.pid, b"guess", late), Found::Unlogged);
            assert_eq!(keys.find(HERE, given.pid, &given.key, late), right);
        }
        // Those of other addresses are logged, and later those of this one.
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let wrong = u64::from(LOGGED) + 4;
        let found = keys.find(elsewhere, given.pid, b"guess", late);
        assert_eq!(found, Found::WrongKey { wrong, unlogged: 3, last: false });
        let found = keys.find(HERE, given.pid, b"guess", start + WINDOW);
        assert_eq!(found, Found::WrongKey { wrong: wrong + 1, unlogged: 3, last: false });
    }

    #[test]
    fn addresses_of_one_network_share_a_count() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let given = keys.give(107, session(7), SHORT_KEY).unwrap();
        let from = |number: u32, host: u128| {
            IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(number) << 64) | host))
        };
        // All addresses of one network share a count.
        for host in 0..u128::from(LOGGED) {
            keys.find(from(0, host), given.pid, b"guess", now);
        }
        assert_eq!(keys.find(from(0, 99), given.pid, b"guess", now), Found::Unlogged);
        // The number of counts is limited, and further addresses share one count.
        let most = MAX_SUSPECTS as u32 + LOGGED;
        for number in 1..=most {
            keys.find(from(number, 1), given.pid, b"guess", now);
        }
        assert!(keys.lock().suspects.len() <= MAX_SUSPECTS + 1);
        assert_eq!(keys.find(from(most + 1, 1), given.pid, b"guess", now), Found::Unlogged);
        let right = Found::Session(session(7));
        assert_eq!(keys.find(from(0, 1), given.pid, &given.key, now), right);
    }
}
