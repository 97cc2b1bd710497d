//! Sessions that wait for a worker: their number, and its bound.

use crate::common::{TEST_TIMEOUT, kill_now, locked, supervised, wait_until};
use crate::pool::custom::{CustomConnection, pool, serves, stick};
use crate::pool::fixture::{Peer, PoolFixture};
use safepoint::SessionManager;
use safepoint::pool::{CloseReason, Pool, PoolBuilder, Priority, ServeErrorKind};
use safepoint::view::SessionState;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// While the worker is stuck and the queue is empty, sessions fill the queue one by one, and each
/// counts. They are removed after it.
#[track_caller]
pub(crate) fn assert_queues_exactly(
    manager: &SessionManager,
    pool: &Pool<CustomConnection>,
    count: usize,
) {
    let queued = || pool.status()[0].queued;
    assert_eq!(queued(), 0);
    let workers = pool.status()[0].workers;
    let mut waiting: Vec<UnixStream> = Vec::new();
    let mut ids = Vec::new();
    for before in 0..count {
        let (mut client, session, mut peer) = CustomConnection::new(manager);
        client.goes = Priority::Normal;
        ids.push(session.id());
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it counts", || queued() == before + 1);
        waiting.push(peer);
    }
    assert_eq!(pool.status()[0].workers, workers, "nobody is started for them");
    for (left, id) in ids.into_iter().enumerate().rev() {
        let mut receipt = manager.terminate(id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Queued);
        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
        assert_eq!(queued(), left);
    }
}

/// New connections are rejected at the bound, and not below it.
#[track_caller]
fn assert_full(fixture: &PoolFixture, bound: usize) {
    let queued = fixture.status().queued;
    let (socket, session, client) = fixture.connected();
    let id = session.id();
    match fixture.pool.serve(session, client) {
        Ok(()) => {
            assert!(queued < bound, "{queued} of at most {bound} wait, and it is let in");
            drop(fixture.manager.terminate(id, kill_now()).unwrap());
        }
        Err(refused) => {
            assert!(matches!(refused.kind, ServeErrorKind::Overloaded), "{refused:?}");
            assert!(queued >= bound, "{queued} of at most {bound} wait, and it is turned away");
            assert!(fixture.manager.session_info(id).is_none(), "its session has ended");
            assert_eq!(fixture.close_count(id), 0, "the connection comes back as it was");
            drop(refused.connection);
        }
    }
    drop(socket);
    assert!(fixture.manager.session_info(id).is_none(), "it has gone");
}

fn kill(fixture: &PoolFixture, peers: &[Peer]) {
    for peer in peers {
        let mut receipt = fixture.manager.terminate(peer.id, kill_now()).unwrap();
        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
    }
}

/// Sessions that were terminated in the queue do not count towards the bound, before and after a
/// worker has removed their entries.
#[test]
fn terminated_sessions_leave_the_queue() {
    supervised(|| {
        const BOUND: usize = 3;
        let fixture = PoolFixture::with(&PoolBuilder::new(1).max_queue(BOUND));
        let fill = |word: &str, bound: usize| -> Vec<Peer> {
            let peers: Vec<_> = (0..bound).map(|_| fixture.connect()).collect();
            for (before, peer) in peers.iter().enumerate() {
                assert_full(&fixture, BOUND);
                peer.say(&format!("{word}\n"));
                // The lane takes a session of high priority out of the queue to check it, once.
                let looked_at = || word == "hello" || fixture.asked(peer.id) == 1;
                wait_until("it is queued", || looked_at() && fixture.status().queued == before + 1);
            }
            peers
        };
        for round in 0..3 {
            let mut stuck = fixture.stick_another("stuck");
            // Terminated, and filled again while stale entries remain.
            for word in ["hello", "soon"] {
                let peers = fill(word, BOUND);
                assert_full(&fixture, BOUND);
                kill(&fixture, &peers[..1]);
                assert_eq!(fixture.status().queued, BOUND - 1);
                assert_full(&fixture, BOUND);
                kill(&fixture, &peers[1..]);
                assert_eq!(fixture.status().queued, 0, "round {round}");
            }
            let mut peers = fill("hello", BOUND);
            fixture.let_one_go();
            assert_eq!(stuck.hear(), "stuck");
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "hello"));
            // The worker has removed the stale entries.
            wait_until("the queue is empty", || fixture.status().queued == 0);
            fixture.connect().ask("again");
            drop((stuck, peers));
            wait_until("they have hung up", || fixture.manager.is_empty());
        }
        let _stuck = fixture.stick_another("stuck");
        fill("hello", BOUND);
        assert_full(&fixture, BOUND);
    });
}

/// A session that was accepted may wait, for any number of waiting sessions. Only new connections
/// are rejected.
#[test]
fn a_burst_may_exceed_the_bound_and_new_connections_wait() {
    supervised(|| {
        const BOUND: usize = 3;
        let fixture = PoolFixture::with(&PoolBuilder::new(1).max_queue(BOUND));
        let _stuck = fixture.stick_another("stuck");
        let peers: Vec<_> = (0..2 * BOUND).map(|_| fixture.connect()).collect();
        peers.iter().for_each(|peer| peer.say("hello\n"));
        wait_until("all are queued", || fixture.status().queued == 2 * BOUND);
        for (killed, peer) in peers.iter().enumerate() {
            assert_eq!(fixture.status().queued, 2 * BOUND - killed);
            assert_full(&fixture, BOUND);
            kill(&fixture, std::slice::from_ref(peer));
        }
        assert_full(&fixture, BOUND);
    });
}

#[test]
fn a_queue_of_length_zero_rejects_all() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(1).max_queue(0));
        assert_full(&fixture, 0);
    });
}

/// All who come at once are served by as many workers as there may be, and no more.
#[test]
fn a_burst_brings_the_maximum_of_workers_and_no_more() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(2).max_workers(5));
        let mut peers: Vec<_> = (0..9).map(|_| fixture.connect()).collect();
        peers.iter().for_each(|peer| peer.say("stuck\n"));
        wait_until("five are stuck, and the rest waits", || {
            let status = fixture.status();
            assert!(status.workers <= 5 && status.active_limit <= 5, "{status:?}");
            status.running == 5 && status.queued == 4
        });
        let status = fixture.status();
        assert_eq!(
            (status.workers, status.active_limit, status.idle, status.starting),
            (5, 5, 0, 0)
        );
        assert_eq!((status.min_workers, status.max_workers), (2, 5));
        drop(fixture.release);
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
    });
}

/// A session that yields returns to the queue like any waiting session.
#[test]
fn a_yielding_session_is_terminated_in_the_queue() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let hog = fixture.connect();
        hog.say("rounds\n");
        let _stuck = fixture.stick_another("stuck");
        wait_until("it waits for its next turn", || fixture.status().queued == 1);
        let mut receipt = fixture.manager.terminate(hog.id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Queued);
        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
        assert_eq!(fixture.status().queued, 0);
        hog.expects_fatal_and_eof();
        let peers: Vec<_> = (0..2).map(|_| fixture.connect()).collect();
        for (before, peer) in peers.iter().enumerate() {
            peer.say("hello\n");
            wait_until("it counts", || fixture.status().queued == before + 1);
        }
    });
}

/// The lane removes stale entries too.
#[test]
fn the_lane_removes_stale_entries() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(1));
        let _stuck = fixture.stick_all(1);
        let mut help = fixture.connect();
        for _ in 0..3 {
            let gone: Vec<_> = (0..2).map(|_| fixture.connect()).collect();
            gone.iter().for_each(|peer| peer.say("soon\n"));
            wait_until("they are queued", || fixture.status().queued == 2);
            kill(&fixture, &gone);
            // The lane takes a session of high priority out of the queue to check it, once.
            help.ask("help");
            assert_eq!(fixture.status().queued, 0);
        }
        let peers: Vec<_> = (0..4).map(|_| fixture.connect()).collect();
        for (before, peer) in peers.iter().enumerate() {
            peer.say("hello\n");
            wait_until("it counts", || fixture.status().queued == before + 1);
        }
    });
}

/// A session that is terminated during the listener's call of `priority` is not queued.
#[test]
fn a_session_terminated_while_it_is_queued_does_not_count() {
    supervised(|| {
        let (manager, pool) = pool();
        let stuck = stick(&manager, &pool);
        for _ in 0..3 {
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (id, ends) = (session.id(), client.ends.clone());
            client.priority =
                Box::new(move |manager| drop(manager.terminate(id, kill_now()).unwrap()));
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it has ended", || manager.session_info(id).is_none());
            assert_eq!(locked(&ends).len(), 1);
        }
        assert_queues_exactly(&manager, &pool, 4);
        drop(stuck);
        serves(&manager, &pool);
    });
}

/// The listener calls `priority` while the pool is stopped. The session is not in its slot, and is
/// closed when it is queued.
#[test]
fn a_session_being_queued_at_the_stop_is_closed() {
    supervised(|| {
        let (manager, pool) = pool();
        let stuck = stick(&manager, &pool);
        let (asks, asked) = crossbeam_channel::bounded(1);
        let (answer, answered) = crossbeam_channel::bounded::<()>(0);
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        client.priority = Box::new(move |_| {
            asks.send(()).unwrap();
            let _ = answered.recv();
        });
        let (id, ends) = (session.id(), client.ends.clone());
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        asked.recv_timeout(TEST_TIMEOUT).expect("it is asked");
        drop(pool);
        assert!(manager.session_info(id).is_some());
        drop(answer);
        wait_until("it is closed", || manager.session_info(id).is_none());
        assert_eq!(*locked(&ends), [CloseReason::Closed]);
        drop(stuck);
        wait_until("all are", || manager.is_empty());
        wait_until("no thread is left", || manager.threads().is_empty());
    });
}
