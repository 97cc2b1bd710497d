//! Keys for wire cancel requests: random, compared in constant time, and protected against
//! guessing.

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

/// The number of wrong keys that an address may send within [`WINDOW`], which begins with the first
/// of them. After that its requests are dropped until the window is over, which limits the guesses
/// per second. No thread waits, and an honest client of that address can try again.
const GUESSES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// The number of addresses with a separate count. If more addresses guess at once, the others share
/// one count.
const MAX_SUSPECTS: usize = 1024;

/// The number of keys of ended sessions that are known.
const MAX_GONE: usize = 4096;

#[derive(Default)]
struct Table {
    last_pid: i32,
    by_pid: HashMap<i32, (Vec<u8>, SessionId)>,
    suspects: HashMap<IpAddr, Suspect>,
    /// The number of wrong keys since the start.
    wrong: u64,
    dropped: u64,
    /// Keys of sessions that have ended, the last of them: a client that sends one does not guess.
    gone: VecDeque<(i32, Vec<u8>)>,
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
    /// The numbers of wrong keys and of dropped requests since the start, and whether this was the
    /// last guess of this address in its window.
    WrongKey {
        wrong: u64,
        dropped: u64,
        last: bool,
    },
    /// The key was not compared.
    Dropped,
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

    /// Creates a key. The process id is a number of this table, since a session's id does not fit
    /// the message.
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

    /// Returns the outcome of a request from the address `from` at `now`.
    pub(crate) fn find(&self, from: IpAddr, pid: i32, key: &[u8], now: Instant) -> Found {
        let from = neighbourhood(from);
        let mut table = self.lock();
        let table = &mut *table;
        let is_over = |suspect: &Suspect| now.saturating_duration_since(suspect.since) >= WINDOW;
        if table.suspects.len() >= MAX_SUSPECTS {
            table.suspects.retain(|_, suspect| !is_over(suspect));
        }
        let crowded = table.suspects.len() >= MAX_SUSPECTS && !table.suspects.contains_key(&from);
        let from = if crowded { Ipv6Addr::UNSPECIFIED.into() } else { from };
        let known = table.suspects.get(&from).filter(|suspect| !is_over(suspect));
        if known.is_some_and(|suspect| suspect.wrong >= GUESSES) {
            table.dropped += 1;
            return Found::Dropped;
        }
        match table.by_pid.get(&pid) {
            Some((expected, session)) if expected.as_slice().ct_eq(key).into() => {
                Found::Session(*session)
            }
            _ if table
                .gone
                .iter()
                .any(|(gone, k)| *gone == pid && k.as_slice().ct_eq(key).into()) =>
            {
                Found::Ended
            }
            _ => {
                table.wrong += 1;
                let suspect =
                    table.suspects.entry(from).or_insert(Suspect { since: now, wrong: 0 });
                if is_over(suspect) {
                    *suspect = Suspect { since: now, wrong: 0 };
                }
                suspect.wrong += 1;
                let last = suspect.wrong == GUESSES;
                Found::WrongKey { wrong: table.wrong, dropped: table.dropped, last }
            }
        }
    }

    pub(crate) fn forget(&self, given: &CancelKey) {
        let mut table = self.lock();
        if let Some((key, _)) = table.by_pid.remove(&given.pid) {
            if table.gone.len() >= MAX_GONE {
                table.gone.pop_front();
            }
            table.gone.push_back((given.pid, key));
        }
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
        let given = keys.give(session(7), SHORT_KEY).unwrap();
        let second = keys.give(session(8), LONG_KEY).unwrap();
        assert_ne!(given.pid, second.pid);
        assert_eq!((given.key.len(), second.key.len()), (4, 32));
        let find = |pid, key: &[u8]| match keys.find(HERE, pid, key, now) {
            Found::Session(session) => Some(session),
            Found::WrongKey { .. } | Found::Ended => None,
            Found::Dropped => panic!("that was not too often"),
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
        let living = keys.give(session(7), SHORT_KEY).unwrap();
        let ended = keys.give(session(8), SHORT_KEY).unwrap();
        keys.forget(&ended);
        for _ in 0..=GUESSES {
            assert_eq!(keys.find(HERE, ended.pid, &ended.key, now), Found::Ended);
        }
        assert_eq!(keys.find(HERE, living.pid, &living.key, now), Found::Session(session(7)));
        assert!(matches!(keys.find(HERE, ended.pid, b"gue", now), Found::WrongKey { .. }));
        for _ in 0..MAX_GONE {
            let given = keys.give(session(9), SHORT_KEY).unwrap();
            keys.forget(&given);
        }
        assert_eq!(keys.lock().gone.len(), MAX_GONE);
    }

    #[test]
    fn guesses_are_counted_and_limited() {
        let (keys, start) = (CancelKeys::default(), Instant::now());
        let given = keys.give(session(7), LONG_KEY).unwrap();
        for guess in 1..=GUESSES {
            let found = keys.find(HERE, given.pid, b"guess", start);
            let (wrong, last) = (u64::from(guess), guess == GUESSES);
            assert_eq!(found, Found::WrongKey { wrong, dropped: 0, last });
        }
        // The right key is dropped too, so a guesser does not learn it.
        let late = start + WINDOW - Duration::from_millis(1);
        assert_eq!(keys.find(HERE, given.pid, &given.key, late), Found::Dropped);
        assert_eq!(keys.find(HERE, given.pid, b"guess", late), Found::Dropped);
        // Other addresses are not affected.
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let right = Found::Session(session(7));
        assert_eq!(keys.find(elsewhere, given.pid, &given.key, late), right);
        // The guesser is served again later.
        let later = start + WINDOW;
        assert_eq!(keys.find(HERE, given.pid, &given.key, later), right);
        let found = keys.find(HERE, given.pid, b"guess", later);
        let wrong = u64::from(GUESSES) + 1;
        assert_eq!(found, Found::WrongKey { wrong, dropped: 2, last: false });
    }

    #[test]
    fn addresses_of_one_network_share_a_count() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let given = keys.give(session(7), SHORT_KEY).unwrap();
        let from = |number: u32, host: u128| {
            IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(number) << 64) | host))
        };
        // All addresses of one network share a count.
        for host in 0..u128::from(GUESSES) {
            keys.find(from(0, host), given.pid, b"guess", now);
        }
        assert_eq!(keys.find(from(0, 99), given.pid, b"guess", now), Found::Dropped);
        // The number of counts is limited, and further addresses share one count.
        let most = MAX_SUSPECTS as u32 + GUESSES;
        for number in 1..=most {
            keys.find(from(number, 1), given.pid, b"guess", now);
        }
        assert!(keys.lock().suspects.len() <= MAX_SUSPECTS + 1);
        assert_eq!(keys.find(from(most + 1, 1), given.pid, b"guess", now), Found::Dropped);
        let right = Found::Session(session(7));
        assert_eq!(keys.find(HERE, given.pid, &given.key, now + WINDOW), right);
    }
}
