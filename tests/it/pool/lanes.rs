//! The emergency lane: who is served in it, in which order, and by how many threads.

use crate::common::{TEST_TIMEOUT, kill_now, supervised, wait_until};
use crate::pool::custom::{CustomConnection, pool, serves, stick};
use crate::pool::fixture::PoolFixture;
use safepoint::pool::{Action, CloseReason, EMERGENCY_THREADS, PoolBuilder};
use safepoint::view::SessionState;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

/// Returns the threads of the lane, and the number of them that run a session.
fn lanes(fixture: &PoolFixture) -> (usize, usize) {
    let threads = fixture.status().threads;
    let lanes = threads.iter().filter(|thread| thread.is_emergency);
    (lanes.clone().count(), lanes.filter(|thread| thread.session_id.is_some()).count())
}

/// Each is served though those before it never come back, however many they are.
#[test]
fn emergencies_are_served_while_all_lane_threads_are_stuck() {
    supervised(|| {
        const MANY: usize = 2 * EMERGENCY_THREADS + 3;
        let fixture = PoolFixture::new(1);
        let _stuck = fixture.stick_all(1);
        let mut peers: Vec<_> = (0..MANY).map(|_| fixture.connect()).collect();
        peers.iter().for_each(|peer| peer.say("help\nstuck\n"));
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        wait_until("all are stuck", || fixture.log.stuck.load(Ordering::SeqCst) == 1 + MANY);
        assert_eq!(lanes(&fixture).1, MANY);
        assert_eq!(fixture.status().workers, 1, "a lane is no worker");
        let mut one_more = fixture.connect();
        one_more.ask("help");
        let waits = fixture.connect();
        waits.say("ordinary\n");
        wait_until("it waits", || fixture.status().queued == 1);
        one_more.ask("help");
        assert_eq!(fixture.doing(waits.id), Some(SessionState::Queued));
        drop(fixture.release);
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
        one_more.ask("help");
    });
}

/// Two at once, each of which keeps its thread.
#[test]
fn two_emergencies_at_once_get_a_thread_each() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut worker = fixture.stick_all(1);
        let mut peers = [fixture.connect(), fixture.connect()];
        peers.iter().for_each(|peer| peer.say("help\nstuck\n"));
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        wait_until("both are stuck", || fixture.log.stuck.load(Ordering::SeqCst) == 3);
        assert_eq!(lanes(&fixture).1, 2);
        assert_eq!(fixture.status().running, 3);
        drop(fixture.release);
        peers.iter_mut().chain(&mut worker).for_each(|peer| assert_eq!(peer.hear(), "stuck"));
    });
}

/// A session of high priority that is no emergency is checked once, blocks no other session, and
/// waits at its old position for a worker.
#[test]
fn other_jobs_are_checked_once_and_stay_in_order() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut stuck = fixture.stick_all(1);
        let mut soon = Vec::new();
        for n in 1..=3 {
            let peer = fixture.connect();
            peer.say("soon\n");
            wait_until("it is queued", || fixture.status().queued == n);
            soon.push(peer);
        }
        let ordinary = fixture.connect();
        ordinary.say("ordinary\n");
        let mut help = fixture.connect();
        for _ in 0..3 {
            help.ask("help");
        }
        let asked: Vec<_> = soon.iter().map(|peer| fixture.asked(peer.id)).collect();
        assert_eq!(asked, [1, 1, 1]);
        assert_eq!(fixture.asked(ordinary.id), 0);
        assert!(soon.iter().all(|peer| fixture.doing(peer.id) == Some(SessionState::Queued)));
        wait_until("all wait", || fixture.status().queued == 4);
        drop(fixture.release);
        soon.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "soon"));
        stuck.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
        let order = fixture.log.order.lock().unwrap();
        let slots = soon.iter().map(|peer| order.iter().position(|id| *id == peer.id));
        assert!(slots.is_sorted(), "they are served as they came");
    });
}

/// The lane itself does not take what it puts back.
#[test]
fn a_job_put_back_runs_on_an_idle_worker() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let stuck = fixture.stick_all(1);
        let mut peer = fixture.stick_another("help later");
        fixture.let_one_go();
        wait_until("the worker is idle", || fixture.status().idle == 1);
        drop(fixture.release);
        assert_eq!(peer.hear(), "later");
        drop(stuck);
    });
}

/// The worker is idle by the time at which the lane leaves one to it.
#[test]
fn a_declined_job_runs_on_a_worker_that_becomes_idle() {
    supervised(|| {
        let (manager, pool) = pool();
        for _ in 0..3 {
            let stuck = stick(&manager, &pool);
            let (asks, asked) = channel();
            let (answer, answered) = channel::<()>();
            let answered = Mutex::new(answered);
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            client.emergency = Box::new(move |_| {
                asks.send(()).unwrap();
                let _ = answered.lock().unwrap().recv();
            });
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            asked.recv_timeout(TEST_TIMEOUT).expect("it is asked");
            drop(stuck);
            wait_until("the worker is idle", || pool.status()[0].idle == 1);
            drop(answer);
            peer.read_exact(&mut [0]).expect("it is served");
            drop(peer);
            wait_until("all have hung up", || manager.is_empty());
        }
    });
}

/// The lane calls `is_emergency` while the pool is stopped. The session is not in its slot, and is
/// closed when the lane returns it.
#[test]
fn a_session_checked_by_the_lane_is_closed_at_the_stop() {
    supervised(|| {
        for is_emergency in [false, true] {
            let (manager, pool) = pool();
            let stuck = stick(&manager, &pool);
            let (asks, asked) = channel();
            let (answer, answered) = channel::<()>();
            let answered = Mutex::new(answered);
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            client.is_emergency = is_emergency;
            client.emergency = Box::new(move |_| {
                asks.send(()).unwrap();
                let _ = answered.lock().unwrap().recv();
            });
            let (id, ends) = (session.id(), client.ends.clone());
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            asked.recv_timeout(TEST_TIMEOUT).expect("it is asked");
            drop(pool);
            assert!(manager.session_info(id).is_some());
            drop(answer);
            wait_until("it is closed", || manager.session_info(id).is_none());
            assert_eq!(*ends.lock().unwrap(), [CloseReason::Closed]);
            drop(stuck);
            wait_until("all are", || manager.is_empty());
            wait_until("no thread is left", || manager.threads().is_empty());
        }
    });
}

/// A session that is terminated during `is_emergency` ends once, and its queue position is free.
#[test]
fn a_session_terminated_while_the_lane_checks_it_leaves_the_queue() {
    supervised(|| {
        let (manager, pool) = pool();
        let stuck = stick(&manager, &pool);
        for _ in 0..3 {
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (id, ends) = (session.id(), client.ends.clone());
            client.emergency =
                Box::new(move |manager| drop(manager.terminate(id, kill_now()).unwrap()));
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it has ended", || manager.session_info(id).is_none());
            assert_eq!(ends.lock().unwrap().len(), 1);
        }
        crate::pool::queued::assert_queues_exactly(&manager, &pool, 3);
        drop(stuck);
        serves(&manager, &pool);
    });
}

/// An emergency that is killed before its thread has it does not begin.
#[test]
fn a_terminated_emergency_does_not_begin() {
    supervised(|| {
        let (manager, pool) = pool();
        let stuck = stick(&manager, &pool);
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        let (id, ends) = (session.id(), client.ends.clone());
        let (runs, ran) = channel();
        client.is_emergency = true;
        client.emergency =
            Box::new(move |manager| drop(manager.terminate(id, kill_now()).unwrap()));
        client.runs = Box::new(move |_| {
            runs.send(()).unwrap();
            Ok(Action::WaitReadable)
        });
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it has ended", || manager.session_info(id).is_none());
        assert!(matches!(ends.lock().unwrap()[..], [CloseReason::Interrupted(_)]));
        assert!(ran.try_recv().is_err());
        drop(stuck);
        serves(&manager, &pool);
    });
}

/// The lane thread blocks too, and has no permit of the workers to release.
#[test]
fn a_blocking_lane_thread_releases_no_permit() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(1));
        let _stuck = fixture.stick_all(1);
        let mut peer = fixture.connect();
        peer.say("help\nelsewhere\n");
        assert_eq!(peer.hear(), "help");
        wait_until("it blocks", || fixture.log.stuck.load(Ordering::SeqCst) == 2);
        let waits = fixture.connect();
        waits.say("ordinary\n");
        let mut another = fixture.connect();
        for _ in 0..3 {
            another.ask("help");
        }
        wait_until("it waits", || fixture.status().queued == 1);
        let status = fixture.status();
        assert_eq!((status.workers, status.active_limit, status.idle), (1, 1, 0));
        assert_eq!(fixture.doing(waits.id), Some(SessionState::Queued));
    });
}
