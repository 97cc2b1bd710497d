//! Groups: the distribution of sessions, the resources of each group, and how groups end.

use crate::common::{TEST_TIMEOUT, kill_now, locked, of, scope, supervised, wait_until};
use crate::pool::custom::CustomConnection;
use crate::pool::fixture::{Peer, PoolFixture};
use safepoint::manager::DrainOptions;
use safepoint::pool::{PoolBuilder, ServeErrorKind, ThreadPoolAttr};
use safepoint::{SessionManager, ThreadModel};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// The layout of the setting.
fn config(attr: &str) -> PoolBuilder {
    PoolBuilder::from(attr.parse::<ThreadPoolAttr>().unwrap().layout().unwrap())
}

fn sessions(fixture: &PoolFixture) -> Vec<usize> {
    fixture.pool.status().iter().map(|group| group.sessions).collect()
}

#[test]
fn a_session_goes_to_the_group_with_the_fewest() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("3, 3"));
        let numbers: Vec<_> = fixture.pool.status().iter().map(|group| group.group).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let mut peers: Vec<Peer> = Vec::new();
        for expected in [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2]] {
            peers.push(fixture.connect());
            assert_eq!(sessions(&fixture), expected);
        }
        // The sessions of the second group end, and the next session goes to that group.
        for gone in [1, 4] {
            let mut receipt = fixture.manager.terminate(peers[gone].id, kill_now()).unwrap();
            assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
        }
        assert_eq!(sessions(&fixture), [2, 0, 2]);
        peers.push(fixture.connect());
        peers.push(fixture.connect());
        assert_eq!(sessions(&fixture), [2, 2, 2]);
    });
}

/// A group may be stuck once its workers have run their sessions for 2 ms.
const STUCK: Duration = Duration::from_millis(5);

/// A group is stuck for good once its workers have run their sessions for 1 s.
const STUCK_FOR_GOOD: Duration = Duration::from_millis(1005);

/// Waits until each worker of this group has run its session for this time.
fn until_stuck(fixture: &PoolFixture, group: usize, time: Duration) {
    wait_until("they are stuck", || is_stuck(fixture, group, time));
}

fn is_stuck(fixture: &PoolFixture, group: usize, time: Duration) -> bool {
    let status = fixture.pool.status().swap_remove(group);
    let mut workers = status.threads.iter().filter(|thread| !thread.is_emergency);
    let long = |since: SystemTime| since.elapsed().is_ok_and(|elapsed| elapsed >= time);
    workers.all(|thread| thread.session_id.is_some() && long(thread.since))
}

#[test]
fn a_stuck_group_gets_no_new_sessions() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("2, 2"));
        let mut stuck = fixture.stick_all(1);
        until_stuck(&fixture, 0, STUCK_FOR_GOOD);
        let mut peers: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        assert_eq!(sessions(&fixture), [1, 5]);
        peers.iter_mut().for_each(|peer| peer.ask("hello"));
        // If both are stuck, the number of sessions decides.
        peers[0].say("stuck\n");
        wait_until("it is stuck", || fixture.log.stuck.load(Ordering::SeqCst) == 2);
        until_stuck(&fixture, 1, STUCK_FOR_GOOD);
        let waits = fixture.connect();
        assert_eq!(sessions(&fixture), [2, 5]);
        drop(waits);
        // The groups serve again.
        fixture.let_one_go();
        fixture.let_one_go();
        assert_eq!(stuck[0].hear(), "stuck");
        wait_until("the first one is idle", || fixture.pool.status()[0].idle == 1);
        wait_until("the other has gone", || sessions(&fixture) == [1, 5]);
        let mut newcomer = fixture.connect();
        assert_eq!(sessions(&fixture), [2, 5]);
        newcomer.ask("hello");
    });
}

/// On a busy machine a group that serves may seem stuck for some milliseconds.
#[test]
fn a_group_that_is_stuck_for_longer_gets_no_new_sessions() {
    supervised(|| {
        wait_until("a newcomer came before the other group was stuck for good", || {
            let fixture = PoolFixture::with(&config("2, 2"));
            let _stuck = fixture.stick_all(1);
            until_stuck(&fixture, 0, STUCK_FOR_GOOD);
            let (slow, _other) = (fixture.connect(), fixture.connect());
            slow.say("stuck\n");
            wait_until("it is stuck", || fixture.log.stuck.load(Ordering::SeqCst) == 2);
            until_stuck(&fixture, 1, STUCK);
            let _newcomer = fixture.connect();
            let chosen = sessions(&fixture);
            let in_time = !is_stuck(&fixture, 1, Duration::from_millis(990));
            assert!(!in_time || chosen == [1, 3], "{chosen:?}");
            in_time
        });
    });
}

/// A worker can be added, so a new session is served.
#[test]
fn a_group_that_can_serve_is_not_stuck() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("2, 2").max_workers(4));
        let _stuck = fixture.stick_all(1);
        until_stuck(&fixture, 0, STUCK);
        let mut peers: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
        assert_eq!(sessions(&fixture), [2, 2]);
        peers.iter_mut().for_each(|peer| peer.ask("hello"));
    });
}

/// A new connection is rejected only if the queue of each group is full.
#[test]
fn a_full_group_gets_no_new_sessions() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("2, 2").max_queue(1));
        let mut peers: Vec<_> = (0..6).map(|_| fixture.connect()).collect();
        let mut receipt = fixture.manager.terminate(peers[4].id, kill_now()).unwrap();
        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
        peers[..2].iter().for_each(|peer| peer.say("stuck\n"));
        wait_until("both are stuck", || fixture.log.stuck.load(Ordering::SeqCst) == 2);
        until_stuck(&fixture, 0, STUCK);
        until_stuck(&fixture, 1, STUCK);
        peers[2].say("waits\n");
        wait_until("it waits", || fixture.pool.status()[0].queued == 1);
        assert_eq!(sessions(&fixture), [2, 3]);
        let _newcomer = fixture.connect();
        assert_eq!(sessions(&fixture), [2, 4]);
        peers[3].say("waits\n");
        wait_until("it waits", || fixture.pool.status()[1].queued == 1);
        let (_socket, session, client) = fixture.connected();
        let refused = fixture.pool.serve(session, client).unwrap_err();
        assert!(matches!(refused.kind, ServeErrorKind::Overloaded), "{refused:?}");
        drop(fixture.release);
        [2, 3].iter().for_each(|at| assert_eq!(peers[*at].hear(), "waits"));
    });
}

/// Each has its own workers, which run sessions at the same time.
#[test]
fn groups_serve_concurrently() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("2, 2"));
        let mut idle = [fixture.connect(), fixture.connect()];
        let mut stuck = fixture.stick_all(2);
        let running: Vec<_> = fixture.pool.status().iter().map(|group| group.running).collect();
        assert_eq!(running, [1, 1]);
        let threads: HashSet<_> = locked(&fixture.log.threads).iter().copied().collect();
        assert_eq!(threads.len(), 2);
        // Each group has its own lane and queue.
        idle.iter().for_each(|peer| peer.say("help\n"));
        idle.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        idle.iter().for_each(|peer| peer.say("waits\n"));
        wait_until("one waits in each", || {
            fixture.pool.status().iter().all(|group| group.queued == 1)
        });
        fixture.let_one_go();
        wait_until("one of them runs", || {
            fixture.pool.status().iter().any(|group| group.queued == 0)
        });
        assert!(fixture.pool.status().iter().any(|group| group.queued == 1));
        drop(fixture.release);
        stuck.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
        idle.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "waits"));
    });
}

/// The workers that may be added are divided in the ratio of the first workers, and each group adds
/// its own.
#[test]
fn each_group_adds_its_own_workers() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("2, 2").max_workers(4));
        let mut peers: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
        peers.iter().for_each(|peer| peer.say("stuck\n"));
        wait_until("each has added one", || {
            fixture.pool.status().iter().all(|group| (group.running, group.queued) == (2, 2))
        });
        for group in fixture.pool.status() {
            assert_eq!((group.workers, group.active_limit, group.max_workers), (2, 2, 2));
        }
        drop(fixture.release);
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
    });
}

#[test]
fn threads_are_named_after_their_groups() {
    supervised(|| {
        let names = |attr: &str| {
            let fixture = PoolFixture::with(&config(attr));
            let mut names = Vec::new();
            let mut numbers = HashSet::new();
            for row in fixture.manager.threads() {
                names.push(row.name.to_string());
                assert!(numbers.insert(row.id));
            }
            names.sort();
            let ours: HashSet<_> = fixture
                .pool
                .status()
                .iter()
                .flat_map(|group| {
                    group.threads.iter().map(|thread| (thread.thread_id, thread.is_emergency))
                })
                .collect();
            assert_eq!(
                ours.len(),
                names.iter().filter(|name| !name.starts_with("listener")).count()
            );
            assert!(ours.iter().all(|(thread, _)| numbers.contains(thread)));
            let lanes = names.iter().filter(|name| name.starts_with("emergency lane")).count();
            assert_eq!(ours.iter().filter(|(_, lane)| *lane).count(), lanes);
            names
        };
        assert_eq!(names("2, 1"), ["emergency lane", "listener", "worker 1", "worker 2"]);
        assert_eq!(
            names("2, 2"),
            [
                "emergency lane of group 0",
                "emergency lane of group 1",
                "listener of group 0",
                "listener of group 1",
                "worker 1 of group 0",
                "worker 1 of group 1",
            ]
        );
    });
}

/// A shutdown waits for the threads of each group.
#[test]
fn a_shutdown_ends_the_threads_of_all_groups() {
    supervised(|| {
        for _ in 0..10 {
            let fixture = PoolFixture::with(&config("32, 2"));
            let mut peers: Vec<_> = (0..2).map(|_| fixture.connect()).collect();
            peers.iter_mut().for_each(|peer| peer.ask("hello"));
            assert_eq!(fixture.manager.threads().len(), 32 + 4, "two listeners and two lanes");
            let drained =
                fixture.pool.shutdown(DrainOptions::new(kill_now()).timeout(TEST_TIMEOUT));
            assert_eq!((drained.sessions, drained.remaining), (2, 0));
            assert!(fixture.manager.threads().is_empty());
            for group in fixture.pool.status() {
                assert_eq!((group.workers, group.starting, group.idle), (0, 0, 0));
                assert_eq!((group.sessions, group.queued, group.running), (0, 0, 0));
                assert!(group.threads.is_empty());
            }
        }
    });
}

/// A pool that is dropped closes the idle sessions of each group, and its threads go.
#[test]
fn a_dropped_pool_ends_all_groups() {
    supervised(|| {
        let fixture = PoolFixture::with(&config("3, 3"));
        let mut peers: Vec<_> = (0..9).map(|_| fixture.connect()).collect();
        peers.iter_mut().for_each(|peer| peer.ask("hello"));
        let PoolFixture { manager, pool, log, .. } = fixture;
        drop(pool);
        wait_until("all sessions have closed", || manager.is_empty());
        wait_until("no thread is left", || manager.threads().is_empty());
        assert_eq!(locked(&log.ends).len(), 9);
    });
}

/// As many sessions are admitted as the manager has slots, in any order.
#[test]
fn a_burst_admits_as_many_as_there_are_slots() {
    supervised(|| {
        const PLACES: usize = 5;
        const COME: usize = 12;
        let manager = SessionManager::builder(ThreadModel::Pool).max_sessions(PLACES).build();
        let pool = config("2, 2").max_workers(4).start(manager.clone()).unwrap();
        for _ in 0..20 {
            let all_at_once = Barrier::new(COME);
            let refused = AtomicUsize::new(0);
            let peers: Vec<_> = scope(|scope| {
                let comes = || {
                    let (socket, peer) = UnixStream::pair().unwrap();
                    socket.set_nonblocking(true).unwrap();
                    peer.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                    all_at_once.wait();
                    let Ok(session) = manager.open(of("ann")) else {
                        refused.fetch_add(1, Ordering::SeqCst);
                        return None;
                    };
                    pool.serve(session, CustomConnection::of(&manager, socket)).unwrap();
                    Some(peer)
                };
                let threads: Vec<_> = (0..COME).map(|_| scope.spawn(comes)).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!((peers.len(), refused.into_inner()), (PLACES, COME - PLACES));
            for mut peer in &peers {
                peer.write_all(b"x").unwrap();
                peer.read_exact(&mut [0]).expect("it is served");
            }
            // They hang up.
            drop(peers);
            wait_until("all have gone", || manager.is_empty());
            let groups = pool.status();
            assert!(groups.iter().all(|group| group.sessions == 0));
        }
    });
}
