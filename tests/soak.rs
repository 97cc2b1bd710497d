//! A soak: hundreds of sessions over a few workers, killed and cancelled at random moments by
//! several threads, with books that must balance in the end.
//!
//! The amount of work is fixed, not the time. `SOAK_ROUNDS=N` repeats it N times with new
//! seeds; the seed of a round is printed, and `SOAK_SEED=N` starts with that one.

#![cfg(unix)]

use safepoint::id::StatementId;
use safepoint::manager::DrainOptions;
use safepoint::pool::{Action, CloseReason, Connection, PoolBuilder, Priority};
use safepoint::request::{EndReason, SessionEnd, StatementEnd};
use safepoint::{
    Attached, Cancel, ClientInfo, Interrupt, Receipt, Requester, Session, SessionId,
    SessionManager, Statement, Terminate, TerminateMode, ThreadModel,
};
use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

const SESSIONS: usize = 300;
const COMMANDS: usize = 150;
const WORKERS: usize = 4;
const DRIVERS: usize = 4;
const KILLERS: usize = 3;
const REQUESTS: usize = 4000;

/// How long anything may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// The request of the shutdown at the end.
const SHUTDOWN: &str = "shutdown";

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

/// The counters of the server's side.
#[derive(Default)]
struct Books {
    /// The interrupt of each session that was requested to end.
    interrupts: Mutex<HashMap<SessionId, Interrupt>>,
    ended: AtomicUsize,
    panicked: AtomicUsize,
    cancelled: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    /// The statements of all sessions that run or ran last, for cancels to aim at.
    last: Mutex<HashMap<SessionId, u64>>,
}

impl Books {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

struct Busy {
    socket: UnixStream,
    id: SessionId,
    books: Arc<Books>,
    _alive: Arc<()>,
}

impl AsFd for Busy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Busy {
    fn command(&mut self, session: &mut Attached<'_>, command: u8) -> Result<(), Interrupt> {
        let held = session.hold_off("a test");
        session.check().expect("a hold-off holds");
        drop(held);
        let statement = match session.begin() {
            Err(interrupt) if !interrupt.is_terminate() => {
                self.judge_in_queue(&interrupt);
                self.books.cancelled.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            begun => begun?.with_text("soak"),
        };
        self.books.last.lock().unwrap().insert(self.id, statement.statement_id().get());
        let result = self.run(&statement, command);
        if let Err(interrupt) = &result {
            self.judge(&statement, interrupt);
            if !interrupt.is_terminate() {
                self.books.cancelled.fetch_add(1, Ordering::Relaxed);
                return statement.finish();
            }
        }
        result?;
        statement.finish()
    }

    fn run(&self, statement: &Statement<'_>, command: u8) -> Result<(), Interrupt> {
        match command % 8 {
            0..=3 => (0..2000).try_for_each(|_| statement.check()),
            4 => statement.sleep(Duration::from_micros(300)),
            5 => {
                statement.set_in_transaction(!statement.in_transaction());
                statement.check()
            }
            6 => {
                let _held = statement.hold_off("a test");
                let slept = statement.sleep(Duration::from_micros(200));
                slept.expect("a hold-off holds in a wait");
                Ok(())
            }
            _ if command == 255 => panic!("soak: a panic on purpose"),
            _ => safepoint::check(),
        }
    }

    /// A command that was cancelled while it was queued has a number that none has begun with.
    fn judge_in_queue(&self, interrupt: &Interrupt) {
        let meant = interrupt.request().comment().unwrap_or("nobody");
        let number = meant.strip_prefix(&format!("{}/", self.id));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        let last = self.books.last.lock().unwrap().get(&self.id).copied();
        if number <= last {
            self.books
                .wrong(format!("{} after {last:?} was hit by a request for {meant}", self.id));
        }
    }

    /// Every request carries in its text whom it was meant for.
    fn judge(&self, statement: &Statement<'_>, interrupt: &Interrupt) {
        let meant = interrupt.request().comment().unwrap_or("nobody");
        let expected = if interrupt.is_terminate() {
            format!("{}", self.id)
        } else {
            format!("{}/{}", self.id, statement.statement_id())
        };
        if meant != expected {
            self.books.wrong(format!("{expected} was hit by a request for {meant}"));
        }
    }
}

impl Connection for Busy {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        for _ in 0..4 {
            let mut command = [0];
            match self.socket.read(&mut command) {
                Ok(0) => return Ok(Action::Close),
                Ok(_) => self.command(session, command[0])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Action::WaitReadable);
                }
                Err(_) => return Ok(Action::Close),
            }
            if self.socket.write_all(b".").is_err() {
                return Ok(Action::Close);
            }
        }
        Ok(Action::Yield)
    }

    fn on_close(&mut self, session: &Session, why: CloseReason) {
        assert_eq!(session.id(), self.id);
        self.books.ended.fetch_add(1, Ordering::Relaxed);
        match why {
            CloseReason::Interrupted(interrupt) => {
                let _ = self.socket.write_all(b"K");
                let meant = interrupt.request().comment().unwrap_or("nobody").to_string();
                if meant == SHUTDOWN {
                    // Its client has left, and that was not noticed yet.
                    return;
                }
                if meant != self.id.to_string() {
                    self.books.wrong(format!("{} was ended by a request for {meant}", self.id));
                }
                let before = self.books.interrupts.lock().unwrap().insert(self.id, interrupt);
                if before.is_some() {
                    self.books.wrong(format!("{} was told twice", self.id));
                }
            }
            CloseReason::Panicked => {
                self.books.panicked.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn priority(&self) -> Priority {
        if self.id.get().is_multiple_of(16) { Priority::High } else { Priority::Normal }
    }
}

struct Requests {
    kills: Vec<Receipt<SessionEnd>>,
    cancels: Vec<Receipt<StatementEnd>>,
}

fn kill_at_random(
    manager: &SessionManager,
    ids: &[SessionId],
    books: &Books,
    mut random: Random,
) -> Requests {
    let mut requests = Requests { kills: Vec::new(), cancels: Vec::new() };
    for _ in 0..REQUESTS {
        let id = ids[random.next(ids.len())];
        if random.next(40) == 0 {
            let when = match random.next(3) {
                0 => TerminateMode::Immediate,
                1 => TerminateMode::AfterStatement,
                _ => TerminateMode::AfterTransaction,
            };
            let request = Terminate::new(when, Requester::system()).comment(id.to_string());
            requests.kills.extend(manager.terminate(id, request));
        } else {
            // The running statement, or a statement that has ended or is yet to come.
            let running = manager.session_info(id).and_then(|row| row.statement_id);
            let statement = match running.filter(|_| random.next(3) > 0) {
                Some(running) => running,
                None => {
                    let last = books.last.lock().unwrap().get(&id).copied().unwrap_or(1);
                    StatementId::try_from(last + random.next(3) as u64).unwrap()
                }
            };
            let cancel = Cancel::statement(statement, Requester::system());
            let cancel = cancel.comment(format!("{id}/{statement}"));
            requests.cancels.extend(manager.cancel(id, cancel));
        }
        if random.next(8) == 0 {
            let listed = manager.sessions().count();
            assert!(listed <= SESSIONS);
        }
    }
    requests
}

/// Sends commands until the connection ends. Returns whether the client was notified of a kill.
fn drive(
    mut clients: Vec<(SessionId, UnixStream)>,
    mut random: Random,
) -> HashMap<SessionId, bool> {
    let mut interrupts = HashMap::new();
    let mut left: HashMap<SessionId, usize> =
        clients.iter().map(|(id, _)| (*id, COMMANDS)).collect();
    while !clients.is_empty() {
        let at = random.next(clients.len());
        let (id, socket) = &mut clients[at];
        let command = match random.next(600) {
            0 => 255,
            n => (n % 250) as u8,
        };
        let mut answer = [0];
        let over = match socket.write_all(&[command]).and_then(|()| socket.read(&mut answer)) {
            Ok(0) => Some(false),
            Ok(_) if answer == *b"K" => Some(true),
            Ok(_) => {
                let left = left.get_mut(id).expect("a client of this driver");
                *left -= 1;
                (*left == 0).then_some(false)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("session {id} waited too long for its answer");
            }
            // The server closed the connection during the write; its last message may still be
            // readable.
            Err(_) => Some(matches!(socket.read(&mut answer), Ok(1)) && answer == *b"K"),
        };
        if let Some(was_told) = over {
            interrupts.insert(*id, was_told);
            clients.swap_remove(at);
        }
    }
    interrupts
}

/// The waiter for a receipt is woken, and does not poll.
fn outcome<T: Clone>(receipt: &mut Receipt<T>) -> T {
    let began = Instant::now();
    let outcome = receipt.wait_timeout(LIMIT).expect("every receipt completes");
    assert!(began.elapsed() < LIMIT, "nobody woke who waits for the end of {}", receipt.session());
    outcome
}

fn round(seed: u64) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let books = Arc::new(Books::default());
    let alive = Arc::new(());
    let pool = PoolBuilder::new(WORKERS).start(manager.clone()).unwrap();
    let mut ids = Vec::new();
    let mut drivers: Vec<Vec<_>> = (0..DRIVERS).map(|_| Vec::new()).collect();
    for at in 0..SESSIONS {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(LIMIT)).unwrap();
        let session = manager.open(ClientInfo::default()).unwrap();
        let id = session.id();
        ids.push(id);
        let (books, alive) = (books.clone(), alive.clone());
        pool.serve(session, Busy { socket: ours, id, books, _alive: alive }).unwrap();
        drivers[at % DRIVERS].push((id, theirs));
    }
    let seeds = AtomicU64::new(seed);
    let random = || Random(seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1);
    let (interrupts, kills, cancels) = std::thread::scope(|scope| {
        let drivers: Vec<_> = drivers
            .into_iter()
            .map(|clients| {
                let random = random();
                scope.spawn(move || drive(clients, random))
            })
            .collect();
        let requesters: Vec<_> = (0..KILLERS)
            .map(|_| {
                let random = random();
                scope.spawn(|| kill_at_random(&manager, &ids, &books, random))
            })
            .collect();
        let (mut kills, mut cancels) = (Vec::new(), Vec::new());
        for requests in requesters.into_iter().map(|requester| requester.join().unwrap()) {
            kills.extend(requests.kills);
            cancels.extend(requests.cancels);
        }
        let interrupts: HashMap<_, _> =
            drivers.into_iter().flat_map(|d| d.join().unwrap()).collect();
        (interrupts, kills, cancels)
    });

    let aimed_at: HashSet<_> = kills.iter().map(Receipt::session).collect();
    for id in books.interrupts.lock().unwrap().keys() {
        assert!(aimed_at.contains(id), "told, though no kill of it was accepted");
    }
    let (mut accepted, mut killed) = (0, 0);
    for mut receipt in kills {
        accepted += 1;
        let ended = outcome(&mut receipt);
        if let EndReason::Terminated(request) = ended.reason {
            killed += 1;
            let id = receipt.session();
            assert_eq!(request.comment(), Some(&*id.to_string()));
            assert!(books.interrupts.lock().unwrap().contains_key(&id), "killed, and not told");
        }
    }
    let mut voids = 0;
    for mut receipt in cancels {
        let over = outcome(&mut receipt);
        voids += usize::from(!over.cancelled);
    }
    let shutdown = Terminate::new(TerminateMode::Immediate, Requester::system()).comment(SHUTDOWN);
    assert_eq!(pool.shutdown(DrainOptions::new(shutdown.clone()).timeout(LIMIT)).remaining, 0);

    let wrong = std::mem::take(&mut *books.wrong.lock().unwrap());
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_eq!(books.ended.load(Ordering::Relaxed), SESSIONS, "each ended once");
    let told_by_us = books.interrupts.lock().unwrap().len();
    let told_as_seen = interrupts.values().filter(|interrupts| **interrupts).count();
    assert!(told_as_seen <= told_by_us, "nobody is told who was not killed");
    assert!(manager.is_empty());
    let gone: Weak<()> = Arc::downgrade(&alive);
    drop(alive);
    assert!(gone.upgrade().is_none(), "no connection is kept");
    println!(
        "seed {seed}: {accepted} kills accepted ({killed} receipts of killed sessions), \
         {told_by_us} sessions told, {told_as_seen} clients saw it; {} statements cancelled, \
         {voids} cancels void; {} panics",
        books.cancelled.load(Ordering::Relaxed),
        books.panicked.load(Ordering::Relaxed),
    );
}

#[test]
fn every_request_is_accounted_for() {
    let number = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    let seed = number("SOAK_SEED", 1);
    for round_number in 0..number("SOAK_ROUNDS", 3) {
        round(seed + round_number);
    }
}
