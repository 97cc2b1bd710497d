//! Peers that do not read: their sessions wait for room, with a suspended statement or without, and hold no worker.

use super::custom::serves;
use crate::common::{
    TEST_TIMEOUT, admin, joined, kill_now, locked, of, outcome, scope, supervised, wait_until,
};
use safepoint::pool::{Action, CloseReason, Connection, Pool, PoolBuilder, Priority};
use safepoint::request::{EndReason, InterruptReason};
use safepoint::session::{SuspendedStatement, WaitMode};
use safepoint::view::SessionState;
use safepoint::{
    Attached, Cancel, Interrupt, Session, SessionId, SessionManager, Statement, ThreadModel,
};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The size of an answer, more than sockets hold.
const ANSWER: usize = 1 << 20;

#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    /// How often there was no room.
    full: AtomicUsize,
    answered: AtomicUsize,
    cancelled: AtomicUsize,
    ends: Mutex<Vec<CloseReason>>,
}

/// A connection that answers each byte with many.
struct Slow {
    socket: UnixStream,
    /// Whether the statement lasts until its answer is written.
    suspends: bool,
    left: usize,
    suspended: Option<SuspendedStatement>,
    seen: Arc<Seen>,
    /// Whether it may use the emergency lane.
    is_admin: bool,
    /// Held by the test while the connection keeps its worker.
    gate: Option<Arc<Mutex<()>>>,
}

impl AsFd for Slow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Slow {
    /// Writes what fits. Returns whether all was written.
    fn write(&mut self) -> bool {
        while self.left > 0 {
            match self.socket.write(&[b'r'; 4096][..self.left.min(4096)]) {
                Ok(written) => self.left -= written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.seen.full.fetch_add(1, Ordering::SeqCst);
                    return false;
                }
                // The peer has gone. The next read finds that out.
                Err(_) => self.left = 0,
            }
        }
        true
    }

    fn run(&mut self, statement: Statement<'_>) -> Result<Action, Interrupt> {
        if !self.write() {
            self.suspended = Some(statement.suspend(WaitMode::Interruptible));
            return Ok(Action::WaitWritable);
        }
        self.seen.answered.fetch_add(1, Ordering::SeqCst);
        statement.finish().map(|()| Action::WaitReadable)
    }

    /// The answer ends here.
    fn cancelled(&mut self, interrupt: Interrupt) -> Result<Action, Interrupt> {
        if interrupt.is_terminate() {
            return Err(interrupt);
        }
        self.left = 0;
        self.seen.cancelled.fetch_add(1, Ordering::SeqCst);
        Ok(Action::WaitReadable)
    }
}

impl Connection for Slow {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            drop(locked(gate));
        }
        if let Some(suspended) = self.suspended.take() {
            return match session.resume(suspended) {
                Ok(statement) => self.run(statement),
                Err(interrupt) => self.cancelled(interrupt),
            };
        }
        if self.left > 0 {
            session.discard_reserved();
            return Ok(if self.write() { Action::WaitReadable } else { Action::WaitWritable });
        }
        match self.socket.read(&mut [0]) {
            Ok(1) => self.left = ANSWER,
            Ok(_) => return Ok(Action::Close),
            Err(_) => return Ok(Action::WaitReadable),
        }
        let statement = match session.begin() {
            Ok(statement) => statement,
            Err(interrupt) => return self.cancelled(interrupt),
        };
        if self.suspends {
            return self.run(statement);
        }
        statement.finish()?;
        Ok(if self.write() { Action::WaitReadable } else { Action::WaitWritable })
    }

    fn priority(&self) -> Priority {
        if self.is_admin { Priority::High } else { Priority::Normal }
    }

    fn is_emergency(&mut self) -> bool {
        self.is_admin
    }

    fn on_close(&mut self, _: &Session, why: CloseReason) {
        locked(&self.seen.ends).push(why);
    }
}

struct Fixture {
    manager: SessionManager,
    pool: Pool<Slow>,
    seen: Arc<Seen>,
}

impl Fixture {
    fn new() -> Fixture {
        let manager = SessionManager::new(ThreadModel::Pool);
        let pool = PoolBuilder::new(1).max_workers(1).start(manager.clone()).unwrap();
        Fixture { manager, pool, seen: Arc::default() }
    }

    /// A peer that has sent its command, and whose session waits for room.
    fn peer(&self, suspends: bool) -> (SessionId, UnixStream) {
        self.peer_of(suspends, false)
    }

    fn peer_of(&self, suspends: bool, is_admin: bool) -> (SessionId, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let full = self.seen.full.load(Ordering::SeqCst);
        let session = self.manager.open(of("ann")).unwrap();
        let id = session.id();
        let seen = self.seen.clone();
        let (left, suspended, gate) = (0, None, None);
        let slow = Slow { socket, suspends, left, suspended, seen, is_admin, gate };
        self.pool.serve(session, slow).unwrap();
        (&peer).write_all(b"x").unwrap();
        let waits = if suspends { SessionState::Waiting } else { SessionState::Idle };
        wait_until("it waits for room", || {
            let row = self.manager.session_info(id).unwrap();
            let full = self.seen.full.load(Ordering::SeqCst) > full;
            full && (row.state, row.thread_id) == (waits, None)
        });
        (id, peer)
    }
}

fn read_all(mut peer: &UnixStream) {
    let mut answer = vec![0; ANSWER];
    peer.read_exact(&mut answer).expect("the whole answer");
}

/// Both kinds of connections.
fn each(test: impl Fn(&Fixture, bool) + Send + Sync + 'static) {
    supervised(move || {
        for suspends in [true, false] {
            test(&Fixture::new(), suspends);
        }
    });
}

#[test]
fn peers_that_do_not_read_hold_no_worker() {
    each(|fixture, suspends| {
        let peers: Vec<_> = (0..20).map(|_| fixture.peer(suspends)).collect();
        let status = &fixture.pool.status()[0];
        assert_eq!((status.running, status.queued), (0, 0));
        peers.iter().for_each(|(_, peer)| read_all(peer));
        if suspends {
            let answered = || fixture.seen.answered.load(Ordering::SeqCst) == 20;
            wait_until("all statements have ended", answered);
        }
        // They are as they were: each may send its next command.
        for (_, mut peer) in peers {
            peer.write_all(b"x").unwrap();
            read_all(&peer);
        }
        assert!(locked(&fixture.seen.ends).iter().all(|why| *why == CloseReason::Closed));
    });
}

/// Its peer reads nothing, and a worker ends it all the same.
#[test]
fn a_cancel_reaches_a_suspended_statement() {
    supervised(|| {
        let fixture = Fixture::new();
        let (id, peer) = fixture.peer(true);
        let mut receipt = fixture.manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        assert!(outcome(&mut receipt).cancelled);
        wait_until("it says so", || fixture.seen.cancelled.load(Ordering::SeqCst) == 1);
        // The session continues.
        assert!(locked(&fixture.seen.ends).is_empty());
        drop(peer);
        wait_until("it has gone", || fixture.manager.is_empty());
    });
}

/// The requester ends it by itself: the only worker is in another session.
#[test]
fn a_termination_needs_no_worker() {
    each(|fixture, suspends| {
        let (id, _peer) = fixture.peer(suspends);
        let calls = fixture.seen.calls.load(Ordering::SeqCst);
        let mut receipt = fixture.manager.terminate(id, kill_now()).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        outcome(&mut receipt);
        assert_eq!(fixture.seen.calls.load(Ordering::SeqCst), calls);
        let ends = locked(&fixture.seen.ends);
        let [CloseReason::Interrupted(told)] = &ends[..] else { panic!("{ends:?}") };
        assert_eq!(told.request().reason(), InterruptReason::AdministratorCommand);
    });
}

/// A cancel and a termination meet the session on its way out of the worker, or in its slot.
#[test]
fn a_cancel_at_any_moment() {
    supervised(|| {
        let fixture = Fixture::new();
        for _ in crate::common::rounds(300) {
            let (socket, peer) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            let session = fixture.manager.open(of("ann")).unwrap();
            let id = session.id();
            let seen = fixture.seen.clone();
            let (suspends, left, suspended, is_admin, gate) = (true, 0, None, false, None);
            let slow = Slow { socket, suspends, left, suspended, seen, is_admin, gate };
            fixture.pool.serve(session, slow).unwrap();
            (&peer).write_all(b"x").unwrap();
            let mut receipt = None;
            wait_until("its statement runs", || {
                receipt = fixture.manager.cancel(id, Cancel::running(admin("root"))).ok();
                receipt.is_some()
            });
            assert!(outcome(&mut receipt.unwrap()).cancelled);
        }
        wait_until("all have gone", || fixture.manager.is_empty());
    });
}

/// Also if it could run in the emergency lane: its statement is a worker's.
#[test]
fn a_suspended_statement_waits_for_a_worker() {
    supervised(|| {
        let fixture = Fixture::new();
        let (_, waits) = fixture.peer_of(true, true);
        let gate = Arc::new(Mutex::new(()));
        let held = locked(&gate);
        let serve = |gate: Option<Arc<Mutex<()>>>| {
            let (socket, peer) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            let (session, seen) =
                (fixture.manager.open(of("bob")).unwrap(), Arc::<Seen>::default());
            let (suspends, left, suspended, is_admin) = (false, 0, None, gate.is_none());
            let seen_too = seen.clone();
            let slow = Slow { socket, suspends, left, suspended, seen: seen_too, is_admin, gate };
            fixture.pool.serve(session, slow).unwrap();
            (&peer).write_all(b"x").unwrap();
            wait_until("a thread has taken it", || seen.calls.load(Ordering::SeqCst) > 0);
            peer
        };
        let _keeps_the_worker = serve(Some(gate.clone()));
        let calls = fixture.seen.calls.load(Ordering::SeqCst);
        scope(|scope| {
            let reader = scope.spawn(|| read_all(&waits));
            wait_until("it is ready", || fixture.pool.status()[0].queued == 1);
            // The lane has looked at the first one before.
            let _in_the_lane = serve(None);
            assert_eq!(fixture.seen.calls.load(Ordering::SeqCst), calls);
            drop(held);
            joined("the reader", reader);
        });
        wait_until("it ends", || fixture.seen.answered.load(Ordering::SeqCst) == 1);
    });
}

#[test]
fn a_shutdown_ends_sessions_that_wait_for_room() {
    each(|fixture, suspends| {
        let peers: Vec<_> = (0..3).map(|_| fixture.peer(suspends)).collect();
        drop(fixture.manager.shutdown(kill_now()));
        wait_until("all have ended", || fixture.manager.is_empty());
        assert_eq!(locked(&fixture.seen.ends).len(), 3);
        drop(peers);
    });
}

/// A peer that sends no more may still read. The event for it would come again and again.
#[test]
fn a_peer_that_sends_no_more_may_read() {
    each(|fixture, suspends| {
        let (_, peer) = fixture.peer(suspends);
        let calls = fixture.seen.calls.load(Ordering::SeqCst);
        peer.shutdown(Shutdown::Write).unwrap();
        // Time for the pool to call it often.
        for _ in 0..3 {
            drop(fixture.peer(suspends));
        }
        wait_until("they have gone", || fixture.manager.len() == 1);
        let later = fixture.seen.calls.load(Ordering::SeqCst);
        assert!(later - calls < 50, "{}", later - calls);
        read_all(&peer);
        wait_until("it has gone", || fixture.manager.is_empty());
    });
}

/// Connections of the other tests are served by a pool with sessions that wait for room.
#[test]
fn an_idle_connection_may_wait_for_room() {
    supervised(|| {
        let (manager, pool) = super::custom::pool();
        let (mut client, session, mut peer) = super::custom::CustomConnection::new(&manager);
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = calls.clone();
        client.runs = Box::new(move |session| {
            session.discard_reserved();
            // There is room, so it is called again at once.
            let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
            Ok(if first { Action::WaitWritable } else { Action::WaitReadable })
        });
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it is called again", || calls.load(Ordering::SeqCst) == 2);
        serves(&manager, &pool);
    });
}
