//! Threads that start, or can't; where they run; and what is shown of them.

use crate::common::{TEST_TIMEOUT, kill_now, locked, of, supervised, wait_until};
use crate::pool::custom::{CustomConnection, serves};
use crate::pool::fixture::PoolFixture;
use safepoint::manager::{DrainOptions, StartError};
use safepoint::pool::{
    Action, EMERGENCY_THREADS, GroupLayout, PoolBuilder, Priority, ThreadPoolAttr,
};
use safepoint::{SessionManager, Thread, ThreadModel, current};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the pools of these tests keep a thread that has nothing to do.
const IDLE: Duration = Duration::from_millis(200);

/// Takes all the numbers that there are for threads that run sessions: no other can start.
fn take_all(manager: &SessionManager) -> Vec<Thread> {
    std::iter::from_fn(|| manager.register_worker("another").ok()).collect()
}

/// The threads that are not the test's own.
fn threads(manager: &SessionManager) -> usize {
    manager.threads().iter().filter(|row| &*row.name != "another").count()
}

#[test]
fn a_pool_requires_a_manager_with_the_pool_model() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let refused =
            PoolBuilder::new(1).start::<CustomConnection>(manager.clone()).map(drop).unwrap_err();
        assert!(matches!(refused, StartError::WrongModel), "{refused}");
        assert!(manager.threads().is_empty());
    });
}

/// If any thread cannot start, the threads that have started end.
#[test]
fn a_pool_that_cannot_start_leaves_no_thread() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let attr: ThreadPoolAttr = "2, 2".parse().unwrap();
        let config = PoolBuilder::from(attr.layout().unwrap());
        let mut others = take_all(&manager);
        // Two workers and two lanes.
        for free in 0..4 {
            for _ in 0..free {
                others.pop();
            }
            assert!(config.start::<CustomConnection>(manager.clone()).is_err(), "{free} can start");
            wait_until("all have ended", || threads(&manager) == 0);
            others.extend(take_all(&manager));
        }
        others.truncate(others.len() - 4);
        let pool = config.start(manager.clone()).unwrap();
        serves(&manager, &pool);
        assert_eq!(threads(&manager), 6, "the listeners are two more");
    });
}

/// Where the system gives no thread, the session waits; and as soon as it does, it is served.
#[test]
fn a_worker_that_cannot_start_is_tried_again() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(1).max_workers(2));
        let manager = fixture.manager.clone();
        let mut others = take_all(&manager);
        let mut stuck = fixture.stick_another("stuck");
        let mut peer = fixture.connect();
        peer.say("waits\n");
        for _ in 0..20 {
            let failed = || fixture.status().active_limit == 2 && fixture.status().starting == 0;
            wait_until("there is a place that nobody has", failed);
            // Each attempt is over as soon as it has begun.
            let status = fixture.status();
            assert!(status.workers <= 2 && status.queued == 1, "{status:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        others.pop();
        assert_eq!(peer.hear(), "waits");
        assert_eq!((fixture.status().workers, fixture.status().active_limit), (2, 2));
        fixture.let_one_go();
        assert_eq!(stuck.hear(), "stuck");
        // The pool does not wait for threads that never started.
        let (sender, over) = channel();
        let pool = fixture.pool;
        std::thread::spawn(move || {
            let _ = sender.send(pool.shutdown(DrainOptions::new(kill_now())).remaining);
        });
        assert_eq!(over.recv_timeout(TEST_TIMEOUT), Ok(0));
        assert_eq!(threads(&manager), 0);
    });
}

/// A lane thread that cannot start is tried again with each emergency, and failed threads do not
/// count.
#[test]
fn a_lane_that_cannot_start_is_tried_again() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let others = take_all(&fixture.manager);
        let mut stuck = fixture.stick_all(1);
        let mut peer = fixture.connect();
        for _ in 0..=EMERGENCY_THREADS {
            peer.ask("help");
        }
        let lanes = || fixture.status().threads.iter().filter(|thread| thread.is_emergency).count();
        assert_eq!(lanes(), 1);
        drop(others);
        let mut peers: Vec<_> = (0..EMERGENCY_THREADS).map(|_| fixture.connect()).collect();
        peers.iter().for_each(|peer| peer.say("help\nstuck\n"));
        peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        // A thread that is slow to take its session is helped by one more.
        assert!(lanes() >= EMERGENCY_THREADS);
        let PoolFixture { manager, pool, release, .. } = fixture;
        drop(release);
        peers.iter_mut().chain(&mut stuck).for_each(|peer| assert_eq!(peer.hear(), "stuck"));
        let (sender, over) = channel();
        std::thread::spawn(move || {
            let _ = sender.send(pool.shutdown(DrainOptions::new(kill_now())).remaining);
        });
        assert_eq!(over.recv_timeout(TEST_TIMEOUT), Ok(0));
        assert!(manager.threads().is_empty());
    });
}

/// The CPUs that the calling thread may run on.
fn cpus() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let ranges =
        list.trim().split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    let number = |text: &str| text.parse::<usize>().unwrap();
    ranges.flat_map(|(first, last)| number(first)..=number(last)).collect()
}

/// Each worker runs on the CPUs that the layout has for it.
#[test]
fn workers_run_on_their_bound_cpus() {
    supervised(|| {
        let attr: ThreadPoolAttr = "4, 0, (allbind)".parse().unwrap();
        let layout = attr.layout().unwrap();
        let manager = SessionManager::new(ThreadModel::Pool);
        let pool = PoolBuilder::from(layout.clone()).start(manager.clone()).unwrap();
        let workers: usize = layout.groups().iter().map(GroupLayout::threads).sum();
        let shown: Vec<_> = pool.status().into_iter().map(|group| group.cpus).collect();
        let expected: Vec<_> = layout.groups().iter().map(|group| group.cpus().unwrap()).collect();
        assert_eq!(shown, expected);

        let seen: Arc<Mutex<BTreeMap<String, Vec<usize>>>> = Arc::default();
        let (release, wait) = crossbeam_channel::bounded::<()>(0);
        let mut peers = Vec::new();
        // Enough for each worker of each group to have one at the same time.
        for _ in 0..workers * layout.groups().len() {
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (seen, wait) = (seen.clone(), wait.clone());
            client.runs = Box::new(move |_| {
                let name = std::thread::current().name().unwrap().to_owned();
                locked(&seen).insert(name, cpus());
                let _ = wait.recv();
                Ok(Action::WaitReadable)
            });
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            peers.push(peer);
        }
        wait_until("each runs one", || locked(&seen).len() == workers);
        drop(release);
        peers.iter_mut().for_each(|peer| peer.read_exact(&mut [0]).expect("an answer"));
        let seen = locked(&seen).clone();
        for (group, laid_out) in layout.groups().iter().enumerate() {
            for worker in 0..laid_out.threads() {
                let number = worker + 1;
                let name = match layout.groups().len() {
                    1 => format!("worker {number}"),
                    _ => format!("worker {number} of group {group}"),
                };
                let expected = laid_out.cpus_of(worker).map(<[_]>::to_vec);
                assert_eq!(seen.get(&name), expected.as_ref(), "{name}");
            }
        }
    });
}

/// The status shows the session of a thread, and the time, while it runs.
#[test]
fn the_status_shows_what_each_thread_runs() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let idle = fixture.status();
        let [worker, lane] = &idle.threads[..] else { panic!("two threads: {idle:?}") };
        assert_eq!((worker.is_emergency, lane.is_emergency), (false, true));
        assert_eq!((worker.session_id, lane.session_id, idle.running), (None, None, 0));
        // Longer than a tick of the clock.
        std::thread::sleep(Duration::from_millis(50));
        let mut stuck = fixture.stick_another("stuck");
        let busy = fixture.status();
        assert_eq!(busy.threads[0].thread_id, worker.thread_id);
        assert_eq!(busy.threads[0].session_id, Some(stuck.id));
        assert_ne!(busy.threads[0].since, worker.since);
        assert_eq!(busy.threads[1], *lane);
        assert_eq!((busy.running, busy.idle, busy.sessions), (1, 0, 1));
        std::thread::sleep(Duration::from_millis(50));
        fixture.let_one_go();
        assert_eq!(stuck.hear(), "stuck");
        wait_until("it runs nothing", || fixture.status().threads[0].session_id.is_none());
        assert_ne!(fixture.status().threads[0].since, busy.threads[0].since);
        // A worker with a released permit and a parked worker are both idle.
        let mut elsewhere = fixture.stick_another("elsewhere");
        fixture.connect().ask("served by a second");
        assert_eq!(fixture.log.stuck.load(Ordering::SeqCst), 2);
        let PoolFixture { pool, release, .. } = fixture;
        drop(release);
        assert_eq!(elsewhere.hear(), "elsewhere");
        wait_until("both are idle", || {
            let status = pool.status().remove(0);
            (status.workers, status.active_limit, status.idle) == (2, 1, 2)
        });
    });
}

/// Added threads end after the idle timeout: workers, parked workers and lane threads. The pool is
/// as before, and grows again.
#[test]
fn added_threads_end_when_idle() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let builder = PoolBuilder::new(1).max_workers(3).idle_thread_timeout(IDLE);
        let pool = builder.start(manager.clone()).unwrap();
        let books = || {
            let status = pool.status().remove(0);
            let lanes = status.threads.iter().filter(|thread| thread.is_emergency).count();
            (status.workers, status.active_limit, status.idle, lanes)
        };
        for round in 0..2 {
            let (release, wait) = crossbeam_channel::bounded::<()>(0);
            let runs = Arc::new(AtomicUsize::new(0));
            let mut peers = Vec::new();
            // Three threads that block, three that take all permits, and two in the lane.
            for number in 0..8 {
                let (mut client, session, mut peer) = CustomConnection::new(&manager);
                let (wait, begun) = (wait.clone(), runs.clone());
                client.goes = if number < 6 { Priority::Normal } else { Priority::High };
                client.is_emergency = true;
                client.runs = Box::new(move |_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let blocks = || wait.recv().unwrap_err();
                    let _gone = if number < 3 { current::block_in_place(blocks) } else { blocks() };
                    Ok(Action::WaitReadable)
                });
                pool.serve(session, client).unwrap();
                peer.write_all(b"x").unwrap();
                wait_until("it runs", || runs.load(Ordering::SeqCst) > number);
                // Without one, the next would be given another after a while.
                wait_until("a lane thread is free", || {
                    let mut threads = pool.status().remove(0).threads.into_iter();
                    threads.any(|thread| thread.is_emergency && thread.session_id.is_none())
                });
                peers.push(peer);
            }
            // In addition to the two busy lane threads one is free.
            wait_until("a lane thread more", || books() == (6, 3, 0, 3));
            drop(release);
            peers.iter_mut().for_each(|peer| peer.read_exact(&mut [0]).expect("it goes on"));
            if round == 0 {
                wait_until("those that were added have gone", || books() == (1, 1, 1, 1));
                wait_until("all have ended", || threads(&manager) == 3);
                serves(&manager, &pool);
            }
        }
    });
}

/// However a session gets to a manager that has none of these threads, it is not run.
#[test]
fn a_session_of_another_manager_is_closed() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let pool = PoolBuilder::new(1).start(manager.clone()).unwrap();
        let others = SessionManager::new(ThreadModel::Pool);
        let (client, session, mut peer) = CustomConnection::new(&manager);
        drop(session);
        let ends = client.ends.clone();
        pool.serve(others.open(of("ann")).unwrap(), client).unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
        wait_until("it has ended", || others.is_empty());
        assert_eq!(*locked(&ends), [safepoint::pool::CloseReason::Closed]);
        serves(&manager, &pool);
    });
}
