//! Every session is served or closed while threads of the pool start, end and park.
//!
//! At the same time: a session given to a worker that is about to end, growth against a shutdown, a
//! requester against a socket that becomes readable.

use crate::common::explore;
use safepoint_under_shuttle::manager::DrainOptions;
use safepoint_under_shuttle::pool::{
    Action, CloseReason, Connection, Descriptor, GroupStatus, Pool, PoolBuilder, Priority,
};
use safepoint_under_shuttle::request::EndReason;
use safepoint_under_shuttle::{
    Attached, ClientInfo, Interrupt, Requester, Session, SessionId, SessionManager, Terminate,
    TerminateMode, ThreadModel,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A place where so many have to be at the same time.
struct Meeting(Mutex<usize>, Condvar);

impl Meeting {
    fn of(missing: usize) -> Arc<Meeting> {
        Arc::new(Meeting(Mutex::new(missing), Condvar::new()))
    }

    fn call_off(&self) {
        *self.0.lock().unwrap() = 0;
        self.1.notify_all();
    }

    fn attend(&self) {
        let mut missing = self.0.lock().unwrap();
        *missing = missing.saturating_sub(1);
        self.1.notify_all();
        while *missing > 0 {
            missing = self.1.wait(missing).unwrap();
        }
    }
}

enum Command {
    Work,
    /// Blocks outside of the pool's sight until so many do.
    Meet(Arc<Meeting>),
    /// The same, and says so.
    MeetElsewhere(Arc<Meeting>),
}

struct Server {
    commands: Receiver<Command>,
    answers: Sender<Option<CloseReason>>,
    descriptor: Arc<Descriptor>,
    /// Whether it was called though nothing had arrived.
    called_for_nothing: Arc<AtomicBool>,
    /// Those that go first are no emergency.
    priority: Priority,
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Connection for Server {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        if !self.descriptor.drained() {
            self.called_for_nothing.store(true, Ordering::Relaxed);
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    let statement = session.begin()?;
                    match command {
                        Command::Work => thread::yield_now(),
                        Command::Meet(meeting) => meeting.attend(),
                        Command::MeetElsewhere(meeting) => {
                            statement.block_in_place(|| meeting.attend());
                        }
                    }
                    statement.finish()?;
                    let _ = self.answers.send(None);
                }
                Err(TryRecvError::Empty) => return Ok(Action::WaitReadable),
                Err(TryRecvError::Disconnected) => return Ok(Action::Close),
            }
        }
    }

    fn on_close(&mut self, _: &Session, why: CloseReason) {
        let _ = self.answers.send(Some(why));
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn is_emergency(&mut self) -> bool {
        (0..thread_rng().gen_range(0..20)).for_each(|_| thread::yield_now());
        false
    }
}

struct Peer {
    id: SessionId,
    commands: Option<Sender<Command>>,
    answers: Receiver<Option<CloseReason>>,
    descriptor: Arc<Descriptor>,
    called_for_nothing: Arc<AtomicBool>,
}

impl Peer {
    fn connect(manager: &SessionManager, pool: &Pool<Server>) -> Peer {
        Peer::with(manager, pool, Priority::Normal)
    }

    fn with(manager: &SessionManager, pool: &Pool<Server>, priority: Priority) -> Peer {
        let session = manager.open(ClientInfo::default()).unwrap();
        let id = session.id();
        let descriptor = Descriptor::new().unwrap();
        let (commands, received) = channel();
        let (answers, answered) = channel();
        let called_for_nothing = Arc::new(AtomicBool::new(false));
        let server = Server {
            commands: received,
            answers,
            descriptor: descriptor.clone(),
            called_for_nothing: called_for_nothing.clone(),
            priority,
        };
        pool.serve(session, server).unwrap();
        Peer { id, commands: Some(commands), answers: answered, descriptor, called_for_nothing }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Fails where it has ended.
            let _ = commands.send(command);
            self.descriptor.turn_readable();
        }
    }

    fn answered(&self) {
        assert_eq!(self.answers.recv().unwrap(), None);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.commands.take());
        self.descriptor.turn_readable();
    }
}

fn house(config: PoolBuilder, peers: usize) -> (SessionManager, Pool<Server>, Vec<Peer>) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = config.start(manager.clone()).unwrap();
    let peers = (0..peers).map(|_| Peer::connect(&manager, &pool)).collect();
    (manager, pool, peers)
}

fn shut_down(manager: &SessionManager, pool: Pool<Server>) {
    let request = Terminate::new(TerminateMode::Immediate, Requester::system());
    let drained = pool.shutdown(DrainOptions::new(request.clone()));
    assert_eq!(drained.remaining, 0);
    assert!(manager.is_empty());
    assert!(manager.threads().is_empty(), "a thread outlives the pool");
}

/// Whoever has been given a session, and whoever is called for one, takes it; else those who
/// are to meet wait for ever, while threads are idle.
#[test]
fn hand_over_to_a_retiring_worker() {
    explore("workers::hand_over_to_a_retiring_worker", 1500, || {
        let (manager, pool, peers) = house(PoolBuilder::new(2).max_workers(3), 3);
        for _ in 0..3 {
            let meeting = Meeting::of(3);
            let elsewhere = thread_rng().gen_range(0..2) == 0;
            let meet = if elsewhere { Command::MeetElsewhere } else { Command::Meet };
            peers.iter().for_each(|peer| peer.send(Command::Work));
            peers.iter().for_each(|peer| peer.send(meet(meeting.clone())));
            peers.iter().for_each(Peer::answered);
            peers.iter().for_each(Peer::answered);
            // Some of the workers lose their patience meanwhile.
            (0..thread_rng().gen_range(0..20)).for_each(|_| thread::yield_now());
        }
        shut_down(&manager, pool);
    });
}

/// Workers that are added as the pool ends are gone when it has ended.
#[test]
fn growth_against_shutdown() {
    explore("workers::growth_against_shutdown", 3000, || {
        let (manager, pool, peers) = house(PoolBuilder::new(2).max_workers(4), 3);
        let meeting = Meeting::of(3);
        peers.iter().for_each(|peer| peer.send(Command::Meet(meeting.clone())));
        (0..thread_rng().gen_range(0..100)).for_each(|_| thread::yield_now());
        // Those who wait for others that never come are let go.
        meeting.call_off();
        shut_down(&manager, pool);
        drop(peers);
    });
}

/// A victim is its killer's or a worker's, and told once; with the worker stuck, its killer's.
#[test]
fn kill_of_a_session_that_becomes_ready() {
    explore("workers::kill_of_a_session_that_becomes_ready", 3000, || {
        let (manager, pool, mut peers) = house(PoolBuilder::new(1), 2);
        let (victim, other) = (peers.remove(0), peers.remove(0));
        let meeting = Meeting::of(2);
        other.send(Command::Meet(meeting.clone()));
        let target = victim.id;
        let killer = {
            let manager = manager.clone();
            thread::spawn(move || {
                let request = Terminate::new(TerminateMode::Immediate, Requester::system());
                let mut receipt = manager.terminate(target, request).unwrap();
                let ended = receipt.wait_timeout(Duration::MAX).unwrap();
                assert!(matches!(ended.reason, EndReason::Terminated(_)));
                assert!(manager.session_info(target).is_none());
            })
        };
        victim.send(Command::Work);
        killer.join().unwrap();
        // Only now may the worker go on.
        meeting.attend();
        other.answered();
        let said: Vec<_> = std::iter::from_fn(|| victim.answers.recv().ok()).collect();
        assert!(matches!(said.last(), Some(Some(CloseReason::Interrupted(_)))));
        assert!(said.len() <= 2 && said.iter().filter(|end| end.is_some()).count() == 1);
        shut_down(&manager, pool);
    });
}

/// An event that is on its way as its session ends is not that of the session which has its place
/// from then on.
#[test]
fn a_late_event_reaches_no_successor() {
    explore("workers::a_late_event_reaches_no_successor", 2000, || {
        let (manager, pool, mut peers) = house(PoolBuilder::new(2), 1);
        let victim = peers.remove(0);
        let target = victim.id;
        let arrives = thread::spawn(move || {
            victim.descriptor.turn_readable();
            victim
        });
        let request = Terminate::new(TerminateMode::Immediate, Requester::system());
        let mut receipt = manager.terminate(target, request).unwrap();
        receipt.wait_timeout(Duration::MAX).unwrap();
        let successor = Peer::connect(&manager, &pool);
        (0..thread_rng().gen_range(0..20)).for_each(|_| thread::yield_now());
        successor.send(Command::Work);
        successor.answered();
        drop(arrives.join().unwrap());
        shut_down(&manager, pool);
        assert!(!successor.called_for_nothing.load(Ordering::Relaxed), "nothing has arrived");
    });
}

/// Until it holds; for ever where it does not, which shuttle notices.
fn until(pool: &Pool<Server>, holds: impl Fn(&GroupStatus) -> bool) {
    while !holds(&pool.status()[0]) {
        thread::yield_now();
    }
}

/// However kills meet those that are on their way into the queue or out of it, each who waits is
/// counted once, and who is gone is not.
#[test]
fn kills_against_the_count_of_queued_sessions() {
    explore("workers::kills_against_the_count_of_queued_sessions", 1000, || {
        let (manager, pool, mut peers) = house(PoolBuilder::new(1), 3);
        let stuck = peers.pop().unwrap();
        let meeting = Meeting::of(2);
        // Both victims turn ready as the worker goes from idle to stuck, and are killed meanwhile.
        let killers: Vec<_> = peers
            .iter()
            .map(|peer| {
                let (manager, target) = (manager.clone(), peer.id);
                thread::spawn(move || {
                    let request = Terminate::new(TerminateMode::Immediate, Requester::system());
                    let mut receipt = manager.terminate(target, request).unwrap();
                    receipt.wait_timeout(Duration::MAX).unwrap();
                })
            })
            .collect();
        peers[0].send(Command::Work);
        stuck.send(Command::Meet(meeting.clone()));
        peers[1].send(Command::Work);
        killers.into_iter().for_each(|killer| killer.join().unwrap());
        while manager.session_info(stuck.id).unwrap().thread_id.is_none() {
            thread::yield_now();
        }
        let waiting: Vec<_> = (0..3).map(|_| Peer::connect(&manager, &pool)).collect();
        for (before, peer) in waiting.iter().enumerate() {
            peer.send(Command::Work);
            until(&pool, |status| status.queued > before);
            assert_eq!(pool.status()[0].queued, before + 1);
        }
        meeting.attend();
        stuck.answered();
        waiting.iter().for_each(Peer::answered);
        until(&pool, |status| status.queued == 0);
        shut_down(&manager, pool);
    });
}

/// Workers come and go, with the pool at rest between, and whoever is stuck has someone listen for
/// the rest.
#[test]
fn growth_after_a_rest() {
    explore("workers::growth_after_a_rest", 2000, || {
        let (manager, pool, peers) = house(PoolBuilder::new(1).max_workers(2), 2);
        for _ in 0..3 {
            // The worker is idle for long enough for the listener to sleep, or not.
            (0..thread_rng().gen_range(0..40)).for_each(|_| thread::yield_now());
            let meeting = Meeting::of(2);
            let elsewhere = thread_rng().gen_range(0..2) == 0;
            let meet = if elsewhere { Command::MeetElsewhere } else { Command::Meet };
            peers.iter().for_each(|peer| peer.send(meet(meeting.clone())));
            peers.iter().for_each(Peer::answered);
        }
        shut_down(&manager, pool);
    });
}

/// The worker comes back, and is idle, as the lane looks at one that is no emergency: the call for
/// the worker may be heard by the listener, which still polls.
#[test]
fn emergency_lane_against_an_idle_worker() {
    explore("workers::emergency_lane_against_an_idle_worker", 2000, || {
        let (manager, pool, mut peers) = house(PoolBuilder::new(1), 1);
        let stuck = peers.remove(0);
        let first = Peer::with(&manager, &pool, Priority::High);
        for _ in 0..2 {
            let meeting = Meeting::of(2);
            stuck.send(Command::Meet(meeting.clone()));
            first.send(Command::Work);
            // The lane looks at it meanwhile, or not.
            (0..thread_rng().gen_range(0..100)).for_each(|_| thread::yield_now());
            meeting.attend();
            stuck.answered();
            first.answered();
        }
        shut_down(&manager, pool);
    });
}
