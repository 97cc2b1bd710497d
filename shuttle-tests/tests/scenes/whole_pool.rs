//! All counts of a busy pool balance at its end, and no thread waits forever.
//!
//! At the same time: workers, the listener, the emergency lane, clients, requesters, a list and a
//! shutdown.
//!
//! The counts are those of `tests/soak.rs`. shuttle detects deadlocks.

use crate::common::explore;
use safepoint_under_shuttle::id::StatementId;
use safepoint_under_shuttle::manager::DrainOptions;
use safepoint_under_shuttle::pool::{
    Action, CloseReason, Connection, Descriptor, Pool, PoolBuilder, Priority,
};
use safepoint_under_shuttle::request::{EndReason, SessionEnd, StatementEnd};
use safepoint_under_shuttle::session::{SuspendedStatement, WaitMode};
use safepoint_under_shuttle::view::SessionState;
use safepoint_under_shuttle::{
    Attached, Cancel, ClientInfo, Interrupt, Receipt, Requester, Session, SessionId,
    SessionManager, Statement, Terminate, TerminateMode, ThreadModel,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::RwLock;
use shuttle::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use shuttle::thread;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const WORKERS: usize = 2;
const DRIVERS: usize = 4;
const CLIENTS: usize = 3;
/// How many clients come where others have gone.
const SUCCESSORS: usize = 2;
const COMMANDS: usize = 3;
const KILLERS: usize = 3;
const REQUESTS: usize = 8;
const SHUTDOWN: &str = "shutdown";

#[test]
fn counts_balance() {
    explore("whole_pool::counts_balance", 2000, scene);
    let met = |what: &AtomicUsize| what.load(Ordering::Relaxed);
    let [sessions, kills, killed, cancels, cancelled] = [0, 1, 2, 3, 4].map(|at| met(&MET[at]));
    println!(
        "met: {sessions} sessions; {kills} kills accepted, {killed} sessions told of one; \
         {cancels} cancels accepted, {cancelled} statements cancelled"
    );
}

/// How much of what happened in all schedules together.
static MET: [AtomicUsize; 5] = [const { AtomicUsize::new(0) }; 5];

fn below(limit: usize) -> usize {
    thread_rng().gen_range(0..limit)
}

/// What a session does for one byte that has arrived.
#[derive(Clone, Copy)]
enum Command {
    Work,
    Sleep,
    Transaction,
    HoldOff,
    /// Outside the pool's sight.
    Block,
    /// The statement waits for its peer to read.
    Suspend,
    /// Until it is told to stop.
    Forever,
}

impl Command {
    fn any(forever: bool) -> Command {
        match below(if forever { 8 } else { 7 }) {
            0 | 1 => Command::Work,
            2 => Command::Sleep,
            3 => Command::Transaction,
            4 => Command::HoldOff,
            5 => Command::Block,
            6 => Command::Suspend,
            _ => Command::Forever,
        }
    }
}

/// When the end of the pool comes.
#[derive(Clone, Copy)]
enum Ending {
    /// A shutdown, in the midst of it all.
    AtOnce,
    AfterKillers,
    /// After the clients as well: each has been served, or told.
    AfterAll,
    /// No shutdown: the pool is dropped in the midst of it all.
    Dropped,
}

impl Ending {
    fn any() -> Ending {
        [Ending::AtOnce, Ending::AfterKillers, Ending::AfterAll, Ending::Dropped][below(4)]
    }
}

enum Answer {
    Done,
    Killed,
}

/// What the server's side saw. These locks are never held where threads may change.
#[derive(Default)]
struct Books {
    opened: Mutex<Vec<SessionId>>,
    ended: Mutex<BTreeSet<SessionId>>,
    /// The text of the request that each session that was told to end was told of.
    told: Mutex<BTreeMap<SessionId, String>>,
    /// Those that left by themselves. The request that was due by then, if one was, has ended them
    /// all the same.
    left: Mutex<BTreeSet<SessionId>>,
    /// Which statements saw a cancel.
    cancelled: Mutex<BTreeSet<(SessionId, StatementId)>>,
    last: Mutex<BTreeMap<SessionId, StatementId>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The server's end of a connection.
struct Server {
    id: SessionId,
    commands: Receiver<Command>,
    answers: Sender<Answer>,
    descriptor: Arc<Descriptor>,
    books: Arc<Books>,
    suspended: Option<SuspendedStatement>,
}

/// The client's.
struct Peer {
    /// `None` once it has hung up.
    commands: Option<Sender<Command>>,
    answers: Receiver<Answer>,
    descriptor: Arc<Descriptor>,
    books: Arc<Books>,
    id: SessionId,
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Server {
    fn command(&mut self, session: &mut Attached<'_>, command: Command) -> Result<(), Interrupt> {
        let statement = match session.begin() {
            Err(interrupt) if !interrupt.is_terminate() => {
                self.cancelled_in_queue(&interrupt);
                return Ok(());
            }
            begun => begun?,
        };
        let number = statement.statement_id();
        locked(&self.books.last).insert(self.id, number);
        if let Command::Suspend = command {
            self.suspended = Some(statement.suspend(WaitMode::Interruptible));
            return Ok(());
        }
        match self.run(&statement, command) {
            Err(interrupt) if !interrupt.is_terminate() => self.cancelled(number, &interrupt),
            other => other?,
        }
        statement.finish()
    }

    /// Goes on with a suspended statement. Returns whether it has ended.
    fn resume(&mut self, session: &mut Attached<'_>) -> Result<bool, Interrupt> {
        let Some(suspended) = self.suspended.take() else { return Ok(true) };
        let number = suspended.statement_id();
        match session.resume(suspended) {
            Ok(statement) if self.descriptor.is_full() => {
                self.suspended = Some(statement.suspend(WaitMode::Interruptible));
                return Ok(false);
            }
            Ok(statement) => {
                assert_eq!(statement.statement_id(), number);
                statement.finish()?;
            }
            Err(interrupt) if interrupt.is_terminate() => return Err(interrupt),
            Err(interrupt) => self.cancelled(number, &interrupt),
        }
        let _ = self.answers.send(Answer::Done);
        Ok(true)
    }

    /// Its number is one that no statement has begun with.
    fn cancelled_in_queue(&self, interrupt: &Interrupt) {
        let meant = text(interrupt);
        let (_, number) = meant.split_once('/').expect("a cancel names a statement");
        let number = StatementId::try_from(number.parse::<u64>().unwrap()).unwrap();
        let last = locked(&self.books.last).insert(self.id, number);
        assert!(last.is_none_or(|last| last < number), "a statement that had begun is hit again");
        self.cancelled(number, interrupt);
    }

    fn cancelled(&self, number: StatementId, interrupt: &Interrupt) {
        assert_eq!(text(interrupt), format!("{}/{number}", self.id), "another statement is hit");
        locked(&self.books.cancelled).insert((self.id, number));
    }

    fn run(&self, statement: &Statement<'_>, command: Command) -> Result<(), Interrupt> {
        match command {
            Command::Work => (0..4).try_for_each(|_| statement.check()),
            Command::Sleep => statement.sleep(Duration::from_secs(1)),
            Command::Transaction => {
                statement.set_in_transaction(!statement.in_transaction());
                statement.check()
            }
            Command::HoldOff => {
                let _held = statement.hold_off("a test");
                statement.check().expect("a hold-off holds");
                let slept = statement.sleep(Duration::from_secs(1));
                slept.expect("a hold-off holds in a wait");
                Ok(())
            }
            Command::Block => {
                statement.block_in_place(thread::yield_now);
                safepoint_under_shuttle::check()
            }
            Command::Suspend => unreachable!("it does not run"),
            Command::Forever => loop {
                statement.park()?;
            },
        }
    }
}

impl Connection for Server {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        if !self.resume(session)? {
            return Ok(Action::WaitWritable);
        }
        for _ in 0..2 {
            match self.commands.try_recv() {
                Ok(command) => {
                    self.command(session, command)?;
                    if self.suspended.is_some() {
                        return Ok(Action::WaitWritable);
                    }
                }
                Err(TryRecvError::Empty) => {
                    // More may arrive just now.
                    (0..below(8)).for_each(|_| thread::yield_now());
                    return Ok(Action::WaitReadable);
                }
                Err(TryRecvError::Disconnected) => return Ok(Action::Close),
            }
            // It may have gone; that is noticed at the next look.
            let _ = self.answers.send(Answer::Done);
        }
        Ok(Action::Yield)
    }

    fn on_close(&mut self, session: &Session, why: CloseReason) {
        assert_eq!(session.id(), self.id);
        assert!(locked(&self.books.ended).insert(self.id), "{} ended twice", self.id);
        if let CloseReason::Interrupted(interrupt) = why {
            assert!(interrupt.is_terminate(), "a cancel ends no session");
            let meant = text(&interrupt);
            assert!(
                meant == SHUTDOWN || meant.starts_with(&format!("{} ", self.id)),
                "a bystander is hit: {} by {meant}",
                self.id
            );
            locked(&self.books.told).insert(self.id, meant);
            let _ = self.answers.send(Answer::Killed);
        } else {
            locked(&self.books.left).insert(self.id);
        }
    }

    fn priority(&self) -> Priority {
        if self.id.get().is_multiple_of(4) { Priority::High } else { Priority::Normal }
    }

    fn is_emergency(&mut self) -> bool {
        below(2) == 0
    }
}

fn text(interrupt: &Interrupt) -> String {
    interrupt.request().comment().expect("every request has one").to_string()
}

/// `None` once the manager is closed.
fn connect(house: &House) -> Option<Peer> {
    let session = house.manager.open(ClientInfo::default()).ok()?;
    let pool = house.pool.read().unwrap();
    let pool = pool.as_ref()?;
    let id = session.id();
    locked(&house.books.opened).push(id);
    let descriptor = Descriptor::new().unwrap();
    let (commands, received) = channel();
    let (answers, answered) = channel();
    let books = house.books.clone();
    let server = Server {
        id,
        commands: received,
        answers,
        descriptor: descriptor.clone(),
        books,
        suspended: None,
    };
    pool.serve(session, server).expect("the poller takes it");
    let books = house.books.clone();
    Some(Peer { commands: Some(commands), answers: answered, descriptor, books, id })
}

impl Peer {
    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            if let Command::Suspend = command {
                self.descriptor.fill();
            }
            // Fails where the session has ended; the answer tells.
            let _ = commands.send(command);
            self.descriptor.turn_readable();
        }
    }

    /// Whether it may go on.
    fn hear(&self) -> bool {
        // Now and then a request comes before it reads.
        (0..below(20)).for_each(|_| thread::yield_now());
        self.descriptor.turn_writable();
        match self.answers.recv() {
            Ok(Answer::Done) => true,
            Ok(Answer::Killed) => {
                assert!(locked(&self.books.told).contains_key(&self.id));
                assert!(self.answers.recv().is_err(), "told twice, or answered after the end");
                false
            }
            Err(_) => false,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.commands.take());
        self.descriptor.turn_readable();
    }
}

struct House {
    manager: SessionManager,
    pool: RwLock<Option<Pool<Server>>>,
    books: Arc<Books>,
    /// Whether commands may last until they are stopped.
    forever: bool,
}

fn drive(house: &House) {
    let mut peers: Vec<_> = (0..CLIENTS).filter_map(|_| connect(house)).collect();
    let mut successors = SUCCESSORS;
    for _ in 0..COMMANDS {
        peers.iter().for_each(|peer| peer.send(Command::any(house.forever)));
        peers.retain(Peer::hear);
        while peers.len() < CLIENTS && successors > 0 {
            successors -= 1;
            peers.extend(connect(house));
        }
    }
}

struct Kill {
    when: TerminateMode,
    text: String,
    receipt: Receipt<SessionEnd>,
}

#[derive(Default)]
struct Requests {
    kills: Vec<Kill>,
    cancels: Vec<(StatementId, Receipt<StatementEnd>)>,
}

fn kill(house: &House, killer: usize) -> Requests {
    let mut requests = Requests::default();
    for number in 0..REQUESTS {
        let known = locked(&house.books.opened).clone();
        if known.is_empty() {
            thread::yield_now();
            continue;
        }
        let id = known[below(known.len())];
        match below(8) {
            0 => look(house, &known),
            1..=3 => {
                let when = [
                    TerminateMode::Immediate,
                    TerminateMode::AfterStatement,
                    TerminateMode::AfterTransaction,
                ];
                let when = when[below(3)];
                let text = format!("{id} {killer}.{number}");
                let request = Terminate::new(when, Requester::system()).comment(text.clone());
                if let Ok(mut receipt) = house.manager.terminate(id, request) {
                    if when == TerminateMode::Immediate && below(2) == 0 {
                        let ended = receipt.wait_timeout(Duration::MAX);
                        assert!(ended.is_some() && house.manager.session_info(id).is_none());
                    }
                    requests.kills.push(Kill { when, text, receipt });
                }
            }
            _ => {
                // The one that runs, or one that is over or still to come.
                let last = locked(&house.books.last).get(&id).map_or(1, |last| last.get());
                let statement = StatementId::try_from(last + below(2) as u64).unwrap();
                let cancel = Cancel::statement(statement, Requester::system());
                let cancel = cancel.comment(format!("{id}/{statement}"));
                let accepted = house.manager.cancel(id, cancel);
                requests.cancels.extend(accepted.map(|receipt| (statement, receipt)));
            }
        }
    }
    requests
}

/// Who is open all the while is seen once.
fn look(house: &House, opened: &[SessionId]) {
    let rows: Vec<_> = house.manager.sessions().map(|row| row.id).collect();
    let seen: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(rows.len(), seen.len(), "seen twice");
    let ended = locked(&house.books.ended).clone();
    let unseen = opened.iter().find(|id| !seen.contains(id) && !ended.contains(id));
    assert_eq!(unseen, None, "open, and not seen");
}

fn scene() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let config = PoolBuilder::new(WORKERS).max_workers(WORKERS + below(3));
    let pool = config.start(manager.clone()).unwrap();
    let ending = Ending::any();
    let house = Arc::new(House {
        manager: manager.clone(),
        pool: RwLock::new(Some(pool)),
        books: Arc::default(),
        forever: matches!(ending, Ending::AtOnce | Ending::AfterKillers),
    });
    let spawn_driver = |_| {
        let house = house.clone();
        thread::spawn(move || drive(&house))
    };
    let spawn_killer = |killer| {
        let house = house.clone();
        thread::spawn(move || kill(&house, killer))
    };
    let mut drivers: Vec<_> = (0..DRIVERS).map(spawn_driver).collect();
    let mut killers: Vec<_> = (0..KILLERS).map(spawn_killer).collect();
    let mut requests: Vec<Requests> = Vec::new();
    if matches!(ending, Ending::AfterKillers | Ending::AfterAll) {
        requests.extend(killers.drain(..).map(|killer| killer.join().unwrap()));
    }
    if matches!(ending, Ending::AfterAll) {
        drivers.drain(..).for_each(|driver| driver.join().unwrap());
    }

    let shutdown = Terminate::new(TerminateMode::Immediate, Requester::system()).comment(SHUTDOWN);
    let mut receipts = Vec::new();
    if matches!(ending, Ending::Dropped) {
        let pool = house.pool.write().unwrap().take();
        drop(pool);
    } else {
        receipts = manager.shutdown(shutdown.clone());
        let pool = house.pool.write().unwrap().take().expect("taken once");
        let drained = pool.shutdown(DrainOptions::new(shutdown.clone()));
        assert_eq!(drained.remaining, 0);
        assert!(manager.is_empty(), "alive after the shutdown");
    }
    requests.extend(killers.into_iter().map(|killer| killer.join().unwrap()));
    drivers.into_iter().for_each(|driver| driver.join().unwrap());

    // A pool that was dropped leaves its workers to it. If one session stays this goes on for
    // ever, which shuttle notices.
    while !manager.is_empty() {
        thread::yield_now();
    }
    for mut receipt in receipts {
        receipt.wait_timeout(Duration::MAX).expect("every receipt completes");
    }
    audit(&house.books, requests);
}

/// Everything has ended.
fn audit(books: &Books, requests: Vec<Requests>) {
    let told = locked(&books.told).clone();
    let cancelled = locked(&books.cancelled).clone();
    let opened: BTreeSet<_> = locked(&books.opened).iter().copied().collect();
    assert_eq!(*locked(&books.ended), opened, "each ended once");
    let by_kill = told.values().filter(|text| *text != SHUTDOWN).count();
    let kills: usize = requests.iter().map(|requests| requests.kills.len()).sum();
    let cancels: usize = requests.iter().map(|requests| requests.cancels.len()).sum();
    let met = [opened.len(), kills, by_kill, cancels, cancelled.len()];
    for (sum, met) in MET.iter().zip(met) {
        sum.fetch_add(met, Ordering::Relaxed);
    }

    let mut accepted = BTreeMap::new();
    let mut terminated: Vec<(TerminateMode, String, Receipt<SessionEnd>)> = Vec::new();
    for Requests { kills, cancels } in requests {
        for Kill { when, text, mut receipt } in kills {
            let ended = receipt.wait_timeout(Duration::MAX).expect("every receipt completes");
            let told = told.get(&receipt.session());
            match ended.reason {
                EndReason::Terminated(request) => {
                    let left = locked(&books.left).contains(&receipt.session());
                    assert!(left || request.comment() == told.map(String::as_str));
                }
                EndReason::Closed => assert_eq!(told, None),
                other => panic!("nothing panicked: {other:?}"),
            }
            let adds = receipt.target().pending_mode < Some(when);
            accepted.insert(text.clone(), adds);
            terminated.push((when, text, receipt));
        }
        for (statement, mut receipt) in cancels {
            let over = receipt.wait_timeout(Duration::MAX).expect("every receipt completes");
            let hit = cancelled.contains(&(receipt.session(), statement));
            assert_eq!(over.cancelled, hit, "a receipt tells the truth");
        }
    }
    for text in told.values().filter(|text| *text != SHUTDOWN) {
        assert_eq!(accepted.get(text), Some(&true), "told of a request that added nothing");
    }
    for (when, text, receipt) in &terminated {
        let found = receipt.target();
        let weaker = terminated.iter().find(|(other, _, others)| {
            others.session() == receipt.session()
                && found.pending_mode == Some(*other)
                && other < when
                && others.target().pending_mode.is_none()
                && others.target().statement_id == found.statement_id
                && matches!(found.state, SessionState::Running | SessionState::Waiting)
        });
        if let Some((_, weaker, _)) = weaker {
            // It was not due as the stronger one came, and never after.
            let told = told.get(&receipt.session());
            assert_ne!(told, Some(weaker), "{text} was stronger");
        }
    }
}
