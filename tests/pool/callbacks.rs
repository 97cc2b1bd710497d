//! Clients whose own code does what it should not: it panics, and again as it is dropped, or kills
//! its own session where the pool asks it something.

use crate::common::{LONG, eventually, kill_now, of};
use crate::house::House;
use safepoint::pool::{Client, Config, End, Next, Pool, Priority, ServeError};
use safepoint::{Attached, HowEnded, Interrupt, Session, SessionManager, ThreadModel};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Calls = Box<dyn Fn(&SessionManager) + Send + Sync>;

/// Reads, and answers with a dot. What it does beside that, where it is asked something.
struct Odd {
    socket: UnixStream,
    manager: SessionManager,
    ready: Calls,
    priority: Calls,
    emergency: Calls,
    farewell: Calls,
    dropped: Calls,
    next: Next,
}

impl Odd {
    /// One that does nothing odd, its session's manager, and the test's end of its socket.
    fn new(manager: &SessionManager) -> (Odd, Session, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_read_timeout(Some(LONG)).unwrap();
        let nothing = || Box::new(|_: &_| ());
        let odd = Odd {
            socket,
            manager: manager.clone(),
            ready: nothing(),
            priority: nothing(),
            emergency: nothing(),
            farewell: nothing(),
            dropped: nothing(),
            next: Next::Wait,
        };
        (odd, manager.open(of("ann")).unwrap(), peer)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        (self.dropped)(&self.manager);
    }
}

impl AsFd for Odd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Client for Odd {
    fn ready(&mut self, _: &mut Attached<'_>) -> Result<Next, Interrupt> {
        let mut bytes = [0; 64];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Ok(Next::Close),
            Ok(_) => {}
            Err(_) => return Ok(self.next),
        }
        (self.ready)(&self.manager);
        let _ = self.socket.write_all(b".");
        Ok(self.next)
    }

    fn end(&mut self, _: &Session, _: End) {
        (self.farewell)(&self.manager);
    }

    fn priority(&self) -> Priority {
        (self.priority)(&self.manager);
        Priority::First
    }

    fn emergency(&mut self) -> bool {
        (self.emergency)(&self.manager);
        false
    }
}

fn pool() -> (SessionManager, Pool<Odd>) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::start(manager.clone(), &Config::new(1)).unwrap();
    (manager, pool)
}

/// Another client is served as if nothing had been.
fn serves(manager: &SessionManager, pool: &Pool<Odd>) {
    let (client, session, mut peer) = Odd::new(manager);
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).expect("an answer");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn what_a_panic_carries_may_panic_as_it_is_dropped() {
    let (manager, pool) = pool();
    let (mut client, session, mut peer) = Odd::new(&manager);
    client.ready = Box::new(|_| std::panic::panic_any(Bomb));
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "its connection is closed");
    serves(&manager, &pool);
}

#[test]
fn a_farewell_that_panics_and_a_client_that_panics_as_it_is_dropped() {
    let (manager, pool) = pool();
    let (mut client, session, _peer) = Odd::new(&manager);
    client.farewell = Box::new(|_| panic!("on purpose"));
    client.dropped = Box::new(|_| panic!("on purpose"));
    let id = session.id();
    pool.serve(session, client).unwrap();
    let mut receipt = manager.terminate(id, kill_now()).unwrap();
    assert!(matches!(receipt.wait(LONG).unwrap().how, HowEnded::Killed(_)));
    serves(&manager, &pool);
}

#[test]
fn a_client_may_kill_its_own_session_where_it_is_asked_how_urgent_it_is() {
    for next in [Next::Wait, Next::Again] {
        let (manager, pool) = pool();
        // With the worker busy the listener asks, otherwise the worker where there is more to do.
        let stuck = crossbeam_channel::bounded::<()>(0);
        let (mut busy, session, mut busy_peer) = Odd::new(&manager);
        let wait = stuck.1;
        busy.ready = Box::new(move |_| {
            let _ = wait.recv();
        });
        let other = session.id();
        pool.serve(session, busy).unwrap();
        if next == Next::Wait {
            busy_peer.write_all(b"x").unwrap();
            eventually("it is with the worker", || {
                manager.session(other).unwrap().thread.is_some()
            });
        }
        let (mut client, session, mut peer) = Odd::new(&manager);
        let id = session.id();
        client.next = next;
        client.priority = Box::new(move |manager| {
            let _ = manager.terminate(id, kill_now());
        });
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        eventually("it has ended", || manager.session(id).is_none());
        drop(stuck.0);
        serves(&manager, &pool);
    }
}

#[test]
fn an_emergency_may_shut_everything_down() {
    let (manager, pool) = pool();
    let (release, wait) = crossbeam_channel::bounded::<()>(0);
    let (mut busy, session, mut busy_peer) = Odd::new(&manager);
    busy.ready = Box::new(move |_| {
        let _ = wait.recv();
    });
    let other = session.id();
    pool.serve(session, busy).unwrap();
    busy_peer.write_all(b"x").unwrap();
    eventually("it is with the worker", || manager.session(other).unwrap().thread.is_some());
    let (mut client, session, mut peer) = Odd::new(&manager);
    client.emergency = Box::new(|manager| drop(manager.shut_down(&kill_now())));
    let id = session.id();
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    eventually("it has ended", || manager.session(id).is_none());
    drop(release);
    eventually("all have ended", || manager.is_empty());
}

/// Those who were killed in the queue take no newcomer's place in it.
#[test]
fn a_flood_that_was_killed_is_gone_from_the_queue() {
    let house = House::with(&Config::new(1).max_queue(3));
    let _stuck = house.stick_all(1);
    for _ in 0..2 {
        let peers: Vec<_> = (0..3).map(|_| house.connect()).collect();
        peers.iter().for_each(|peer| peer.say("hello\n"));
        eventually("they are queued", || house.pool.status()[0].queued == 3);
        let (_socket, session, client) = house.connected();
        let refused = house.pool.serve(session, client);
        assert!(matches!(refused, Err(ServeError::Overloaded(_))));
        for peer in &peers {
            let mut receipt = house.manager.terminate(peer.id, kill_now()).unwrap();
            assert!(receipt.wait(LONG).is_some());
        }
        assert_eq!(house.pool.status()[0].queued, 0);
    }
    let mut newcomer = house.connect();
    drop(house.release);
    newcomer.ask("hello");
    eventually("the queue is empty", || house.pool.status()[0].queued == 0);
    newcomer.ask("again");
}

/// Its descriptor is watched for another session, which goes on.
#[test]
fn a_connection_that_is_refused_leaves_the_first_alone() {
    struct Shared(Arc<UnixStream>);
    impl AsFd for Shared {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Client for Shared {
        fn ready(&mut self, _: &mut Attached<'_>) -> Result<Next, Interrupt> {
            let mut byte = [0];
            let there = (&*self.0).read_exact(&mut byte).is_ok();
            Ok(if there && (&*self.0).write_all(&byte).is_ok() { Next::Wait } else { Next::Close })
        }
        fn end(&mut self, _: &Session, _: End) {}
    }
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::start(manager.clone(), &Config::new(1)).unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let socket = Arc::new(socket);
    pool.serve(manager.open(of("ann")).unwrap(), Shared(socket.clone())).unwrap();
    let refused = pool.serve(manager.open(of("bob")).unwrap(), Shared(socket));
    assert!(matches!(refused, Err(ServeError::Io(_))));
    eventually("the second has ended", || manager.len() == 1);
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).expect("the first is served");
}

#[test]
fn a_client_may_kill_its_own_session_where_it_is_asked_for_its_socket() {
    struct Asked(Odd, Arc<AtomicBool>);
    impl AsFd for Asked {
        fn as_fd(&self) -> BorrowedFd<'_> {
            if self.1.swap(false, Ordering::SeqCst) {
                (self.0.priority)(&self.0.manager);
            }
            self.0.as_fd()
        }
    }
    impl Client for Asked {
        fn ready(&mut self, session: &mut Attached<'_>) -> Result<Next, Interrupt> {
            self.1.store(true, Ordering::SeqCst);
            self.0.ready(session)
        }
        fn end(&mut self, session: &Session, why: End) {
            self.0.end(session, why);
        }
    }
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::start(manager.clone(), &Config::new(1)).unwrap();
    let (mut client, session, mut peer) = Odd::new(&manager);
    let id = session.id();
    client.priority = Box::new(move |manager| {
        let _ = manager.terminate(id, kill_now());
    });
    pool.serve(session, Asked(client, Arc::default())).unwrap();
    peer.write_all(b"x").unwrap();
    eventually("it has ended", || manager.session(id).is_none());
}

#[test]
fn a_pool_wants_a_manager_that_was_made_for_one() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let refused = Pool::<Odd>::start(manager.clone(), &Config::new(1)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(manager.threads().is_empty());
}

/// The lane itself does not take what it puts back.
#[test]
fn what_the_lane_puts_back_is_run_by_an_idle_worker() {
    let house = House::new(1);
    let stuck = house.stick_all(1);
    let mut peer = house.stick_another("help later");
    house.release.send(()).unwrap();
    eventually("the worker is idle", || house.pool.status()[0].idle == 1);
    drop(house.release);
    assert_eq!(peer.hear(), "later");
    drop(stuck);
}
