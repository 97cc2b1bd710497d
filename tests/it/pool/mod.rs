//! The pool, with clients over real sockets that speak a line protocol.
mod abandoned;
mod callbacks;
mod calm;
mod custom;
mod ends;
mod fixture;
mod groups;
mod lanes;
mod panics;
mod queued;
mod slow;
mod starts;

use crate::common::{TEST_TIMEOUT, kill_now, locked, scope, supervised, wait_until};
use fixture::{Peer, PoolFixture};
use safepoint::manager::DrainOptions;
use safepoint::pool::{CloseReason, HIGH_PRIORITY_BURST, PoolBuilder};
use safepoint::request::EndReason;
use safepoint::view::SessionState;
use safepoint::{Cancel, SessionId};
use std::collections::HashSet;
use std::future::Future;
use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake};
use std::time::Duration;

#[test]
fn idle_sessions_hold_no_worker() {
    supervised(|| {
        let fixture = PoolFixture::new(2);
        let mut peer = fixture.connect();
        let never_spoke = fixture.connect();
        peer.ask("hello");
        wait_until("it is idle", || fixture.doing(peer.id) == Some(SessionState::Idle));
        for id in [peer.id, never_spoke.id] {
            let row = fixture.manager.session_info(id).unwrap();
            assert_eq!((row.thread_id, row.statement_id), (None, None));
        }
        assert!(fixture.manager.threads().iter().all(|row| row.session_id.is_none()));
    });
}

#[test]
fn a_hundred_clients_share_four_workers() {
    supervised(|| {
        let fixture = PoolFixture::new(4);
        let mut peers: Vec<_> = (0..100).map(|_| fixture.connect()).collect();
        for round in 0..5 {
            peers.iter().for_each(|peer| peer.say(&format!("{round}\n")));
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), round.to_string()));
        }
        assert!((1..=4).contains(&locked(&fixture.log.threads).len()));
        assert_eq!(fixture.log.ran.load(Ordering::SeqCst), 500);
    });
}

#[test]
fn an_idle_target_is_notified_with_every_worker_stuck() {
    supervised(|| {
        let fixture = PoolFixture::new(2);
        let mut target = fixture.connect();
        target.ask("hello");
        wait_until("it is idle", || fixture.doing(target.id) == Some(SessionState::Idle));
        let stuck = fixture.stick_all(2);
        let receipt = fixture.manager.terminate(target.id, kill_now()).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        target.expects_fatal_and_eof();
        // The stuck sessions are requested to end too, and end when they can.
        let mut receipt = fixture.manager.terminate(stuck[0].id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Running);
        assert_eq!(receipt.wait_timeout(Duration::from_millis(1)), None);
        drop(fixture.release);
        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
    });
}

#[test]
fn the_command_of_a_terminated_queued_session_never_runs() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let target = fixture.connect();
        let _stuck = fixture.stick_all(1);
        target.say("never\n");
        wait_until("it is queued", || fixture.doing(target.id) == Some(SessionState::Queued));
        let ran = fixture.log.ran.load(Ordering::SeqCst);
        let receipt = fixture.manager.terminate(target.id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Queued);
        assert!(receipt.try_get().is_some());
        target.expects_fatal_and_eof();
        let mut other = fixture.connect();
        drop(fixture.release);
        other.ask("after");
        assert_eq!(fixture.log.ran.load(Ordering::SeqCst), ran + 1);
    });
}

#[test]
fn the_emergency_lane_serves_with_the_only_worker_stuck() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut before = fixture.connect();
        let _stuck = fixture.stick_all(1);
        let waits = fixture.connect();
        waits.say("ordinary\n");
        wait_until("it waits", || fixture.status().queued == 1);
        let mut after = fixture.connect();
        for _ in 0..3 {
            before.ask("help");
            after.ask("help");
        }
        assert_eq!(
            fixture.doing(waits.id),
            Some(SessionState::Queued),
            "the lane is not for everyone"
        );
    });
}

#[test]
fn workers_are_added_up_to_the_maximum_if_all_are_stuck() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(2).max_workers(3));
        let mut peer = fixture.connect();
        let mut stuck = fixture.stick_all(2);
        peer.ask("served by a third");
        stuck.push(fixture.connect());
        stuck[2].say("stuck\n");
        wait_until("it has the third", || fixture.log.stuck.load(Ordering::SeqCst) == 3);
        peer.say("waits\n");
        wait_until("it waits", || fixture.status().queued == 1);
        assert_eq!(fixture.doing(peer.id), Some(SessionState::Queued));
        let status = fixture.status();
        assert_eq!((status.active_limit, status.workers, status.idle, status.queued), (3, 3, 0, 1));
        assert_eq!((status.sessions, status.running), (4, 3));
        let coupled = status.threads.iter().filter_map(|thread| thread.session_id);
        assert_eq!(coupled.collect::<HashSet<_>>(), stuck.iter().map(|peer| peer.id).collect());
        drop(fixture.release);
        assert_eq!(peer.hear(), "waits");
    });
}

#[test]
fn block_in_place_releases_the_permit() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        let blocked: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
        for (before, blocked) in blocked.iter().enumerate() {
            blocked.say("elsewhere\n");
            wait_until("it blocks", || fixture.log.stuck.load(Ordering::SeqCst) == before + 1);
            peer.ask("served meanwhile");
        }
        drop(fixture.release);
        for mut blocked in blocked {
            assert_eq!(blocked.hear(), "elsewhere");
        }
        // There is one free permit, for any number of workers.
        let running = fixture.pool.status()[0].active_limit;
        assert_eq!(running, 1);
    });
}

#[test]
fn high_priority_does_not_starve_the_others() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let _stuck = fixture.stick_all(1);
        let mut other = fixture.connect();
        other.say("in order\n");
        let first: Vec<_> = (0..3 * HIGH_PRIORITY_BURST).map(|_| fixture.connect()).collect();
        first.iter().for_each(|peer| peer.say("soon\n"));
        wait_until("all wait", || fixture.status().queued == 1 + first.len());
        drop(fixture.release);
        assert_eq!(other.hear(), "in order");
        first.into_iter().for_each(|mut peer| assert_eq!(peer.hear(), "soon"));
        let order = locked(&fixture.log.order);
        // The stuck one was before them all.
        let before = order.iter().position(|id| *id == other.id).unwrap() - 1;
        assert_eq!(before, HIGH_PRIORITY_BURST);
    });
}

/// Otherwise a connection with much input is blocked, such as an administrator that ends a thousand
/// sessions.
#[test]
fn an_emergency_that_yields_stays_in_the_lane() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        let _stuck = fixture.stick_all(1);
        for _ in 0..3 {
            peer.say("help again\n");
            assert_eq!(peer.hear(), "help after all");
        }
    });
}

#[test]
fn simultaneous_emergencies_are_all_served() {
    supervised(|| {
        for _ in 0..20 {
            let fixture = PoolFixture::new(1);
            let mut peers = [fixture.connect(), fixture.connect()];
            // One gets the worker and keeps it, and nothing more turns ready to wake the lane.
            peers.iter().for_each(|peer| peer.say("help\nstuck\n"));
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        }
    });
}

#[test]
fn a_panic_ends_its_session_and_nothing_else() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut bystander = fixture.connect();
        for _ in 0..3 {
            let peer = fixture.stick_another("panic");
            let mut receipt = fixture
                .manager
                .terminate(peer.id, crate::common::kill(safepoint::TerminateMode::AfterStatement))
                .unwrap();
            fixture.let_one_go();
            assert_eq!(receipt.wait_timeout(TEST_TIMEOUT).unwrap().reason, EndReason::Panicked);
            assert_eq!(fixture.close_count(peer.id), 1);
            assert!(locked(&fixture.log.ends).contains(&(peer.id, CloseReason::Panicked)));
            assert!(fixture.manager.session_info(peer.id).is_none());
            bystander.ask("still here");
        }
    });
}

/// A worker completes the receipts of the sessions that it ends.
#[test]
fn a_worker_survives_a_panicking_receipt_waker() {
    supervised(|| {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let fixture = PoolFixture::new(1);
        let mut bystander = fixture.connect();
        for _ in 0..3 {
            let peer = fixture.stick_another("stuck");
            let after_it = crate::common::kill(safepoint::TerminateMode::AfterStatement);
            let mut receipt = fixture.manager.terminate(peer.id, after_it).unwrap();
            let waker = Arc::new(Panics).into();
            assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
            fixture.let_one_go();
            bystander.ask("still here");
            assert!(receipt.try_get().is_some());
        }
    });
}

/// A waker that a worker wakes runs with no lock held, and may even stop the pool.
#[test]
fn a_receipt_may_stop_the_pool_that_completes_it() {
    supervised(|| {
        struct Stops(Arc<PoolFixture>);
        impl Wake for Stops {
            fn wake(self: Arc<Self>) {
                self.0.pool.shutdown(DrainOptions::new(kill_now()).timeout(Duration::ZERO));
            }
        }
        let fixture = Arc::new(PoolFixture::new(1));
        let mut peer = fixture.stick_another("forgets");
        let whatever = Cancel::running(crate::common::admin("root"));
        let mut receipt = fixture.manager.cancel(peer.id, whatever).unwrap();
        let waker = Arc::new(Stops(fixture.clone())).into();
        assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
        fixture.let_one_go();
        assert_eq!(peer.hear(), "forgets");
        peer.expects_fatal_and_eof();
    });
}

#[test]
fn a_connection_that_always_yields_starves_no_other() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let hog = fixture.connect();
        hog.say("rounds\n");
        let mut peer = fixture.connect();
        for _ in 0..20 {
            peer.ask("me too");
        }
        let mut receipt = fixture.manager.terminate(hog.id, kill_now()).unwrap();
        assert!(matches!(
            receipt.wait_timeout(TEST_TIMEOUT).unwrap().reason,
            EndReason::Terminated(_)
        ));
        hog.expects_fatal_and_eof();
    });
}

#[test]
fn a_shutdown_notifies_every_client() {
    supervised(|| {
        for limit in [TEST_TIMEOUT, Duration::MAX] {
            let fixture = PoolFixture::new(2);
            let (manager, log) = (fixture.manager.clone(), fixture.log.clone());
            let mut peers: Vec<_> = (0..20).map(|_| fixture.connect()).collect();
            peers.iter_mut().take(10).for_each(|peer| peer.ask("hello"));
            let drained = fixture.pool.shutdown(DrainOptions::new(kill_now()).timeout(limit));
            assert_eq!((drained.sessions, drained.remaining), (20, 0));
            assert!(manager.is_empty());
            assert_eq!(locked(&log.ends).len(), 20);
            peers.into_iter().for_each(Peer::expects_fatal_and_eof);
        }
    });
}

#[test]
fn a_shutdown_that_times_out_reports_it() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let _stuck = fixture.stick_all(1);
        let drained =
            fixture.pool.shutdown(DrainOptions::new(kill_now()).timeout(Duration::from_millis(1)));
        assert_eq!((drained.sessions, drained.remaining), (1, 1));
        assert_eq!(fixture.manager.len(), 1);
        drop(fixture.release);
        wait_until("the stuck one has ended", || fixture.manager.is_empty());
    });
}

#[test]
fn a_dropped_pool_leaks_nothing() {
    supervised(|| {
        let fixture = PoolFixture::new(3);
        let mut peers: Vec<_> = (0..30).map(|_| fixture.connect()).collect();
        peers.iter_mut().take(20).for_each(|peer| peer.ask("hello"));
        let weak = Arc::downgrade(&fixture.log);
        let PoolFixture { manager, pool, log, release, .. } = fixture;
        drop(pool);
        wait_until("all sessions have closed", || manager.is_empty());
        assert_eq!(locked(&log.ends).len(), 30);
        assert!(locked(&log.ends).iter().all(|(_, why)| *why == CloseReason::Closed));
        drop((log, release));
        wait_until("no client is left", || weak.upgrade().is_none());
        wait_until("no thread is left", || manager.threads().is_empty());
    });
}

#[test]
fn peers_that_disconnect() {
    supervised(|| {
        let fixture = PoolFixture::new(2);
        let mut ids = Vec::new();
        for n in 0..60 {
            let peer = fixture.connect();
            ids.push(peer.id);
            match n % 3 {
                0 => {}
                1 => peer.say("half a li"),
                _ => {
                    peer.say("one\ntwo\n");
                    peer.socket.shutdown(Shutdown::Both).unwrap();
                }
            }
        }
        wait_until("all have ended", || fixture.manager.is_empty());
        assert!(ids.into_iter().all(|id| fixture.close_count(id) == 1));
    });
}

#[test]
fn lines_in_many_tiny_writes() {
    supervised(|| {
        let fixture = PoolFixture::new(2);
        let mut peers: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
        for round in 0..10 {
            let line = format!("a line in pieces {round}");
            for byte in format!("{line}\n").bytes() {
                peers.iter().for_each(|peer| peer.say(std::str::from_utf8(&[byte]).unwrap()));
            }
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), line));
        }
    });
}

#[test]
fn a_session_terminated_before_it_is_served_ends_at_once() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let (socket, session, client) = fixture.connected();
        let receipt = fixture.manager.terminate(session.id(), kill_now()).unwrap();
        let (id, lines) = (session.id(), BufReader::new(socket.try_clone().unwrap()));
        fixture.pool.serve(session, client).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        Peer { id, socket, lines }.expects_fatal_and_eof();
        fixture.connect().ask("the next is served");
    });
}

#[test]
fn a_kill_racing_with_readiness_notifies_the_client_once() {
    supervised(|| {
        const RACES: usize = 2_000;
        let fixture = PoolFixture::new(2);
        let (ids, targets) = crossbeam_channel::bounded::<SessionId>(0);
        let (receipts, killed) = crossbeam_channel::bounded(0);
        scope(|scope| {
            let manager = &fixture.manager;
            scope.spawn(move || {
                for id in targets {
                    // The test may have failed by now.
                    let _ = receipts.send_timeout(manager.terminate(id, kill_now()), TEST_TIMEOUT);
                }
            });
            for _ in 0..RACES {
                let (mut socket, session, client) = fixture.connected();
                let id = session.id();
                fixture.pool.serve(session, client).unwrap();
                ids.send_timeout(id, TEST_TIMEOUT).unwrap();
                // It may have been closed by now.
                let _ = socket.write_all(b"hello\n");
                let mut receipt =
                    killed.recv_timeout(TEST_TIMEOUT).expect("the kill returns").unwrap();
                let ended = receipt.wait_timeout(TEST_TIMEOUT).expect("the kill was lost");
                assert!(matches!(ended.reason, EndReason::Terminated(_)), "{ended:?}");
                assert_eq!(fixture.close_count(id), 1);
            }
            drop(ids);
        });
        assert!(fixture.manager.is_empty());
        fixture.connect().ask("all is well");
    });
}
