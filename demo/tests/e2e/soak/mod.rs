//! The soak over sockets: hundreds of connections to the example server, killed and cancelled
//! at random moments by SQL and by wire requests, with the same books as `soak.rs`, kept from
//! the outside.
//!
//! The amount of work is fixed, not the time. `SOAK_ROUNDS=N` repeats it N times with new
//! seeds; the seed of a round is printed, and `SOAK_SEED=N` starts with that one.

mod server;
mod wire;

use self::server::Server;
use self::wire::{Answer, Key, LIMIT, Wire};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 300;
const DRIVERS: usize = 6;
/// Statements that a driver has under way at a time.
const AT_ONCE: usize = 5;
const TURNS: usize = 160;
const STATEMENTS: usize = DRIVERS * TURNS * AT_ONCE;
const KILLERS: usize = 2;
const KILLS: usize = 60;
const CANCELLERS: usize = 2;
const CANCELS: usize = 400;

const PAUSE: Duration = Duration::from_millis(1);

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

/// A connection as those see it who kill and cancel.
struct Victim {
    session: String,
    key: Key,
    now: Mutex<Now>,
}

/// A statement begins, and a cancel is sent and dealt with, under the lock: so each cancel is
/// meant for one statement, or for none.
#[derive(Default)]
struct Now {
    under_way: bool,
    cancelled: bool,
}

struct Soak {
    server: SocketAddr,
    pool: bool,
    victims: Vec<Victim>,
    /// How many statements have been sent, which paces the others.
    turns: AtomicUsize,
    accepted: Mutex<HashSet<String>>,
    /// Those that had ended before a kill of them came.
    refused: Mutex<HashSet<String>>,
    inserted: AtomicUsize,
    maybe_inserted: AtomicUsize,
    cancelled: AtomicUsize,
}

/// What a statement is to answer, unless it is cancelled or its session killed.
#[derive(Debug)]
enum Expected {
    Value(String),
    Tag(&'static str),
    State(&'static str),
}

struct Driven {
    at: usize,
    wire: Wire,
    status: u8,
    told: bool,
}

impl Driven {
    fn pick(&self, random: &mut Random) -> (String, Expected) {
        let tag = |text: &str, tag| (text.to_string(), Expected::Tag(tag));
        let n = random.next(5000);
        match (random.next(10), self.status) {
            (_, b'E') => tag("rollback", "ROLLBACK"),
            (0, b'I') => tag("begin", "BEGIN"),
            (0..=2, b'T') => tag("commit", "COMMIT"),
            (1, _) => (format!("insert into soak values ({n})"), Expected::Tag("INSERT 0 1")),
            (2, _) => ("select * from nowhere".into(), Expected::State("42P01")),
            (3 | 4, _) => {
                let text = format!("select pg_sleep(0.00{})", n % 10);
                (text, Expected::Value(String::new()))
            }
            (5..=7, _) => {
                let text = format!(
                    "with recursive c(x) as (values (1) union all select x + 1 from c \
                     where x <= {n}) select sum(x) from c"
                );
                (text, Expected::Value(((n + 1) * (n + 2) / 2).to_string()))
            }
            _ => (format!("select {n} + 1"), Expected::Value((n + 1).to_string())),
        }
    }

    /// It has to have been told so.
    fn ended(&mut self, answer: &Answer) {
        let [error] = answer.errors.as_slice() else { panic!("it ended with {answer:?}") };
        assert_eq!((&*error.severity, &*error.sqlstate), ("FATAL", "57P01"), "{error:?}");
        assert_eq!(error.message, "terminating connection due to administrator command");
        self.told = true;
    }
}

impl Soak {
    fn drive(&self, mut driven: Vec<Driven>, mut random: Random) -> Vec<Driven> {
        for _ in 0..TURNS {
            let mut under_way = Vec::new();
            for _ in 0..AT_ONCE {
                self.turns.fetch_add(1, Ordering::Relaxed);
                let at = random.next(driven.len());
                if driven[at].told || under_way.iter().any(|(other, _)| *other == at) {
                    continue;
                }
                let (text, expected) = driven[at].pick(&mut random);
                self.begin(&mut driven[at], &text);
                under_way.push((at, expected));
            }
            for (at, expected) in under_way {
                self.finish(&mut driven[at], &expected);
            }
        }
        driven
    }

    fn begin(&self, driven: &mut Driven, text: &str) {
        let mut now = self.victims[driven.at].now.lock().unwrap();
        *now = Now { under_way: true, cancelled: false };
        // Where it fails the connection has ended, and what it was told is there to be read.
        let _ = driven.wire.send(text);
    }

    fn finish(&self, driven: &mut Driven, expected: &Expected) {
        let answer = driven.wire.answer().expect("an answer in time");
        let victim = &self.victims[driven.at];
        let now = std::mem::take(&mut *victim.now.lock().unwrap());
        let inserts = matches!(expected, Expected::Tag("INSERT 0 1"));
        let Some(status) = answer.ready else {
            self.maybe_inserted.fetch_add(inserts.into(), Ordering::Relaxed);
            return driven.ended(&answer);
        };
        driven.status = status;
        if answer.state() == Some("57014") {
            assert!(now.cancelled, "nobody cancelled {expected:?} of session {}", victim.session);
            assert_eq!(answer.errors[0].message, "canceling statement due to user request");
            self.cancelled.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let right = match expected {
            Expected::Value(value) => answer.cell() == Some(value),
            Expected::Tag(tag) => answer.errors.is_empty() && answer.tags == [*tag],
            Expected::State(state) => answer.state() == Some(state) && answer.errors.len() == 1,
        };
        assert!(right, "expected {expected:?}, got {answer:?}");
        self.inserted.fetch_add(inserts.into(), Ordering::Relaxed);
    }

    /// Spreads `of` requests evenly over the statements.
    fn pace(&self, request: usize, of: usize) {
        let start = Instant::now();
        while self.turns.load(Ordering::Relaxed) < STATEMENTS * request / of {
            assert!(start.elapsed() < LIMIT, "the drivers are stuck, or gone");
            std::thread::sleep(PAUSE);
        }
    }

    fn kill(&self, mut admin: Wire, mut random: Random) -> Wire {
        for request in 0..KILLS {
            self.pace(request, KILLS);
            let mut pick = || self.victims[random.next(self.victims.len())].session.as_str();
            let (one, two) = (pick(), pick());
            let thread = if self.pool { "0" } else { one };
            let named = format!("session '{thread}, {one}'");
            match random.next(4) {
                0 => self.alter_system(&mut admin, &format!("kill {named}"), one),
                1 => self.alter_system(&mut admin, &format!("kill {named} immediate"), one),
                2 => {
                    let text = format!("disconnect {named} post_transaction");
                    self.alter_system(&mut admin, &text, one);
                }
                _ => self.terminate_listed(&mut admin, &[one, two]),
            }
        }
        admin
    }

    fn alter_system(&self, admin: &mut Wire, what: &str, session: &str) {
        let answer = admin.query(&format!("alter system {what}")).expect("an answer in time");
        if answer.cell() == Some("t") {
            self.accepted.lock().unwrap().insert(session.to_string());
        } else {
            assert_eq!(answer.state(), Some("42704"), "{answer:?}");
            self.refused.lock().unwrap().insert(session.to_string());
        }
    }

    fn terminate_listed(&self, admin: &mut Wire, sessions: &[&str]) {
        let query = format!(
            "select sessionid, pg_terminate_session(pid, sessionid) from pg_stat_activity \
             where sessionid in ({})",
            sessions.join(", ")
        );
        let answer = admin.query(&query).expect("an answer in time");
        assert!(answer.errors.is_empty(), "{answer:?}");
        for row in &answer.rows {
            if let [Some(session), Some(accepted)] = row.as_slice()
                && matches!(accepted.as_str(), "t" | "1")
            {
                self.accepted.lock().unwrap().insert(session.clone());
            }
        }
    }

    fn cancel(&self, mut admin: Wire, mut random: Random) -> Wire {
        for request in 0..CANCELS {
            self.pace(request, CANCELS);
            let mut victim = &self.victims[random.next(self.victims.len())];
            for _ in 0..50 {
                // Rather one that has something to cancel.
                if victim.now.lock().unwrap().under_way {
                    break;
                }
                victim = &self.victims[random.next(self.victims.len())];
            }
            let mut key = victim.key;
            let mut now = victim.now.lock().unwrap();
            match random.next(4) {
                0 => {
                    key.secret[random.next(4)] ^= 1 << random.next(8);
                    wire::cancel(self.server, key).expect("a cancel connection");
                }
                1 => {
                    now.cancelled = true;
                    let thread = if self.pool { "0" } else { &victim.session };
                    let session = &victim.session;
                    let query = format!("select pg_cancel_session({thread}, {session})");
                    let answer = admin.query(&query).expect("an answer in time");
                    assert!(matches!(answer.cell(), Some("t" | "f")), "{answer:?}");
                }
                _ => {
                    now.cancelled = true;
                    wire::cancel(self.server, key).expect("a cancel connection");
                }
            }
        }
        admin
    }
}

fn round(pool: bool, seed: u64) {
    let start = Instant::now();
    let server = Server::start(pool);
    let address = server.address;
    let mut observer = Wire::open(address, "omm").expect("a connection");
    let made = observer.query("create table soak (n integer)").expect("an answer in time");
    assert_eq!(made.tags, ["CREATE TABLE"]);

    let mut driven: Vec<Vec<Driven>> = (0..DRIVERS).map(|_| Vec::new()).collect();
    let mut victims = Vec::new();
    for at in 0..CONNECTIONS {
        let mut wire = Wire::open(address, "victim").expect("a connection");
        let session = wire.value("select pg_current_sessid()");
        victims.push(Victim { session, key: wire.key, now: Mutex::default() });
        driven[at % DRIVERS].push(Driven { at, wire, status: b'I', told: false });
    }
    let soak = Soak {
        server: address,
        pool,
        victims,
        turns: AtomicUsize::new(0),
        accepted: Mutex::default(),
        refused: Mutex::default(),
        inserted: AtomicUsize::new(0),
        maybe_inserted: AtomicUsize::new(0),
        cancelled: AtomicUsize::new(0),
    };
    let mut seeds = seed;
    let mut random = || {
        seeds = seeds.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Random(seeds | 1)
    };
    let admin = || Wire::open(address, "omm").expect("a connection");
    let (driven, admins) = std::thread::scope(|scope| {
        let soak = &soak;
        let mut drivers = Vec::new();
        for driven in driven {
            let random = random();
            drivers.push(scope.spawn(move || soak.drive(driven, random)));
        }
        let mut others = Vec::new();
        for _ in 0..KILLERS {
            let (admin, random) = (admin(), random());
            others.push(scope.spawn(move || soak.kill(admin, random)));
        }
        for _ in 0..CANCELLERS {
            let (admin, random) = (admin(), random());
            others.push(scope.spawn(move || soak.cancel(admin, random)));
        }
        let driven: Vec<_> = drivers.into_iter().flat_map(|d| d.join().unwrap()).collect();
        let admins: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        (driven, admins)
    });

    let accepted = soak.accepted.lock().unwrap().clone();
    let refused = soak.refused.lock().unwrap();
    assert!(refused.is_subset(&accepted), "refused, though nobody has killed them");
    let mut survivors = Vec::new();
    for mut driven in driven {
        let killed = accepted.contains(&soak.victims[driven.at].session);
        if !driven.told && driven.status != b'I' {
            // Some are told at the end of their transaction.
            soak.begin(&mut driven, "rollback");
            soak.finish(&mut driven, &Expected::Tag("ROLLBACK"));
        }
        if killed && !driven.told {
            let answer = driven.wire.answer().expect("a kill that is not lost");
            assert_eq!(answer.ready, None);
            driven.ended(&answer);
        }
        assert_eq!(driven.told, killed, "session {}", soak.victims[driven.at].session);
        if !killed {
            assert_eq!(driven.wire.value("select 6 * 7"), "42");
            survivors.push(driven.wire);
        }
    }
    assert!(!accepted.is_empty() && !survivors.is_empty());

    let rows: usize = observer.value("select count(*) from soak").parse().unwrap();
    let inserted = soak.inserted.load(Ordering::Relaxed);
    let maybe = soak.maybe_inserted.load(Ordering::Relaxed);
    assert!((inserted..=inserted + maybe).contains(&rows), "{inserted}, {maybe}, {rows}");

    let sessions = "select count(*) from pg_stat_activity where client_addr is not null";
    let open = survivors.len() + admins.len() + 1;
    settles(&mut observer, sessions, &open.to_string());
    let left = survivors.len();
    survivors.into_iter().chain(admins).for_each(Wire::leave);
    settles(&mut observer, sessions, "1");
    let own = "select count(*) from pg_stat_activity \
               where client_addr is not null and sessionid = pg_current_sessid()";
    settles(&mut observer, own, "1");

    let status = server.stop();
    assert!(status.success(), "{status}");
    let last = observer.answer().expect("last words");
    assert_eq!((last.ready, last.state()), (None, Some("57P01")), "{last:?}");
    println!(
        "seed {seed}, pool {pool}: {} sessions killed, {left} left alone; {} of {} cancels hit; \
         {rows} rows; {:.1} s",
        accepted.len(),
        soak.cancelled.load(Ordering::Relaxed),
        CANCELLERS * CANCELS,
        start.elapsed().as_secs_f64(),
    );
}

/// Connections are closed a moment after their clients have left.
fn settles(observer: &mut Wire, query: &str, expected: &str) {
    let start = Instant::now();
    loop {
        let found = observer.value(query);
        if found == expected {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{query}: {found}, expected {expected}");
        std::thread::sleep(PAUSE);
    }
}

fn rounds(pool: bool) {
    let number = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    let seed = number("SOAK_SEED", 1);
    for at in 0..number("SOAK_ROUNDS", 1) {
        round(pool, seed + at);
    }
}

#[test]
fn the_books_balance_with_a_pool() {
    rounds(true);
}

#[test]
fn the_books_balance_with_a_thread_per_session() {
    rounds(false);
}
