//! Keys for wire cancel requests: random, compared in constant time, and not for guessing.

use safepoint::SessionId;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Bytes in the key of a client that speaks protocol 3.0, which has room for no more.
pub(crate) const SHORT_KEY: usize = 4;
/// Bytes in the key of a client that speaks protocol 3.2.
pub(crate) const LONG_KEY: usize = 32;

#[derive(Default)]
pub(crate) struct CancelKeys(Mutex<Table>);

/// How many wrong keys an address may send within [`WINDOW`]. After that its requests are not
/// looked at until the window is over, which begins with the first of them: so many guesses per
/// second at most. It costs no thread a wait, and an honest client of that address can try again.
const GUESSES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// How many addresses are kept apart. Should more than these guess at once, the others share one
/// count.
const MAX_SUSPECTS: usize = 1024;

#[derive(Default)]
struct Table {
    last_pid: i32,
    by_pid: HashMap<i32, (Vec<u8>, SessionId)>,
    suspects: HashMap<IpAddr, Suspect>,
    /// Since the start.
    wrong: u64,
    dropped: u64,
}

/// Where wrong keys came from.
struct Suspect {
    since: Instant,
    wrong: u32,
}

/// What became of a cancel request. Whoever sent it is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Session(SessionId),
    /// How many there have been since the start, and whether this one was the last guess that
    /// this address has for now.
    WrongKey {
        wrong: u64,
        dropped: u64,
        last: bool,
    },
    /// Not looked at.
    Dropped,
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

    /// What a request `from` there means at `now`.
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

    pub(crate) fn forget(&self, key: &CancelKey) {
        self.lock().by_pid.remove(&key.pid);
    }
}

/// One client has all the addresses of an IPv6 network of 64 bits.
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
            Found::WrongKey { .. } => None,
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

    #[test]
    fn whoever_guesses_is_counted_and_slowed_down() {
        let (keys, start) = (CancelKeys::default(), Instant::now());
        let given = keys.give(session(7), LONG_KEY).unwrap();
        for guess in 1..=GUESSES {
            let found = keys.find(HERE, given.pid, b"guess", start);
            let (wrong, last) = (u64::from(guess), guess == GUESSES);
            assert_eq!(found, Found::WrongKey { wrong, dropped: 0, last });
        }
        // The right key too: a guesser does not learn that it was.
        let late = start + WINDOW - Duration::from_millis(1);
        assert_eq!(keys.find(HERE, given.pid, &given.key, late), Found::Dropped);
        assert_eq!(keys.find(HERE, given.pid, b"guess", late), Found::Dropped);
        // Others are not hindered.
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let right = Found::Session(session(7));
        assert_eq!(keys.find(elsewhere, given.pid, &given.key, late), right);
        // Nor is the guesser, later.
        let later = start + WINDOW;
        assert_eq!(keys.find(HERE, given.pid, &given.key, later), right);
        let found = keys.find(HERE, given.pid, b"guess", later);
        let wrong = u64::from(GUESSES) + 1;
        assert_eq!(found, Found::WrongKey { wrong, dropped: 2, last: false });
    }

    #[test]
    fn many_addresses_are_no_way_around_that() {
        let (keys, now) = (CancelKeys::default(), Instant::now());
        let given = keys.give(session(7), SHORT_KEY).unwrap();
        let from = |number: u32, host: u128| {
            IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(number) << 64) | host))
        };
        // One network is one guesser.
        for host in 0..u128::from(GUESSES) {
            keys.find(from(0, host), given.pid, b"guess", now);
        }
        assert_eq!(keys.find(from(0, 99), given.pid, b"guess", now), Found::Dropped);
        // What is kept of them is bounded, and those beyond that share their guesses.
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
