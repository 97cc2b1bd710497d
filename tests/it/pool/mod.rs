//! The pool, with clients over real sockets that speak a line protocol.
mod callbacks;
mod calm;
mod ends;
mod groups;
mod house;
mod lanes;
mod odd;
mod panics;
mod queued;
mod starts;

use crate::common::{LONG, eventually, kill_now, locked, scope, supervised};
use house::{House, Peer};
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
        let house = House::new(2);
        let mut peer = house.connect();
        let never_spoke = house.connect();
        peer.ask("hello");
        eventually("it is idle", || house.doing(peer.id) == Some(SessionState::Idle));
        for id in [peer.id, never_spoke.id] {
            let row = house.manager.session_info(id).unwrap();
            assert_eq!((row.thread_id, row.statement_id), (None, None));
        }
        assert!(house.manager.threads().iter().all(|row| row.session_id.is_none()));
    });
}

#[test]
fn a_hundred_clients_share_four_workers() {
    supervised(|| {
        let house = House::new(4);
        let mut peers: Vec<_> = (0..100).map(|_| house.connect()).collect();
        for round in 0..5 {
            peers.iter().for_each(|peer| peer.say(&format!("{round}\n")));
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), round.to_string()));
        }
        assert!((1..=4).contains(&locked(&house.log.threads).len()));
        assert_eq!(house.log.ran.load(Ordering::SeqCst), 500);
    });
}

#[test]
fn an_idle_target_is_notified_with_every_worker_stuck() {
    supervised(|| {
        let house = House::new(2);
        let mut victim = house.connect();
        victim.ask("hello");
        eventually("it is idle", || house.doing(victim.id) == Some(SessionState::Idle));
        let stuck = house.stick_all(2);
        let receipt = house.manager.terminate(victim.id, kill_now()).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        victim.hears_fatal_and_nothing_after();
        // The stuck ones are told as well, and end once they can.
        let mut receipt = house.manager.terminate(stuck[0].id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Running);
        assert_eq!(receipt.wait_timeout(Duration::from_millis(1)), None);
        drop(house.release);
        assert!(receipt.wait_timeout(LONG).is_some());
    });
}

#[test]
fn the_command_of_a_terminated_queued_session_never_runs() {
    supervised(|| {
        let house = House::new(1);
        let victim = house.connect();
        let _stuck = house.stick_all(1);
        victim.say("never\n");
        eventually("it is queued", || house.doing(victim.id) == Some(SessionState::Queued));
        let ran = house.log.ran.load(Ordering::SeqCst);
        let receipt = house.manager.terminate(victim.id, kill_now()).unwrap();
        assert_eq!(receipt.target().state, SessionState::Queued);
        assert!(receipt.try_get().is_some());
        victim.hears_fatal_and_nothing_after();
        let mut other = house.connect();
        drop(house.release);
        other.ask("after");
        assert_eq!(house.log.ran.load(Ordering::SeqCst), ran + 1);
    });
}

#[test]
fn the_emergency_lane_serves_with_the_only_worker_stuck() {
    supervised(|| {
        let house = House::new(1);
        let mut before = house.connect();
        let _stuck = house.stick_all(1);
        let waits = house.connect();
        waits.say("ordinary\n");
        eventually("it waits", || house.status().queued == 1);
        let mut after = house.connect();
        for _ in 0..3 {
            before.ask("help");
            after.ask("help");
        }
        assert_eq!(
            house.doing(waits.id),
            Some(SessionState::Queued),
            "the lane is not for everyone"
        );
    });
}

#[test]
fn workers_are_added_up_to_the_maximum_if_all_are_stuck() {
    supervised(|| {
        let house = House::with(&PoolBuilder::new(2).max_workers(3));
        let mut peer = house.connect();
        let mut stuck = house.stick_all(2);
        peer.ask("served by a third");
        stuck.push(house.connect());
        stuck[2].say("stuck\n");
        eventually("it has the third", || house.log.stuck.load(Ordering::SeqCst) == 3);
        peer.say("waits\n");
        eventually("it waits", || house.status().queued == 1);
        assert_eq!(house.doing(peer.id), Some(SessionState::Queued));
        let status = house.status();
        assert_eq!((status.active_limit, status.workers, status.idle, status.queued), (3, 3, 0, 1));
        assert_eq!((status.sessions, status.running), (4, 3));
        let coupled = status.threads.iter().filter_map(|thread| thread.session_id);
        assert_eq!(coupled.collect::<HashSet<_>>(), stuck.iter().map(|peer| peer.id).collect());
        drop(house.release);
        assert_eq!(peer.hear(), "waits");
    });
}

#[test]
fn block_in_place_releases_the_permit() {
    supervised(|| {
        let house = House::new(1);
        let mut peer = house.connect();
        let blocked: Vec<_> = (0..3).map(|_| house.connect()).collect();
        for (before, blocked) in blocked.iter().enumerate() {
            blocked.say("elsewhere\n");
            eventually("it blocks", || house.log.stuck.load(Ordering::SeqCst) == before + 1);
            peer.ask("served meanwhile");
        }
        drop(house.release);
        for mut blocked in blocked {
            assert_eq!(blocked.hear(), "elsewhere");
        }
        // However many there are now, the place is one.
        let running = house.pool.status()[0].active_limit;
        assert_eq!(running, 1);
    });
}

#[test]
fn high_priority_does_not_starve_the_others() {
    supervised(|| {
        let house = House::new(1);
        let _stuck = house.stick_all(1);
        let mut other = house.connect();
        other.say("in order\n");
        let first: Vec<_> = (0..3 * HIGH_PRIORITY_BURST).map(|_| house.connect()).collect();
        first.iter().for_each(|peer| peer.say("soon\n"));
        eventually("all wait", || house.status().queued == 1 + first.len());
        drop(house.release);
        assert_eq!(other.hear(), "in order");
        first.into_iter().for_each(|mut peer| assert_eq!(peer.hear(), "soon"));
        let order = locked(&house.log.order);
        // The stuck one was before them all.
        let before = order.iter().position(|id| *id == other.id).unwrap() - 1;
        assert_eq!(before, HIGH_PRIORITY_BURST);
    });
}

/// Else whoever has much to say, such as an administrator who kills a thousand, is shut out.
#[test]
fn an_emergency_that_yields_stays_in_the_lane() {
    supervised(|| {
        let house = House::new(1);
        let mut peer = house.connect();
        let _stuck = house.stick_all(1);
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
            let house = House::new(1);
            let mut peers = [house.connect(), house.connect()];
            // One gets the worker and keeps it, and nothing more turns ready to wake the lane.
            peers.iter().for_each(|peer| peer.say("help\nstuck\n"));
            peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "help"));
        }
    });
}

#[test]
fn a_panic_ends_its_session_and_nothing_else() {
    supervised(|| {
        let house = House::new(1);
        let mut bystander = house.connect();
        for _ in 0..3 {
            let peer = house.stick_another("panic");
            let mut receipt = house
                .manager
                .terminate(peer.id, crate::common::kill(safepoint::TerminateMode::AfterStatement))
                .unwrap();
            house.let_one_go();
            assert_eq!(receipt.wait_timeout(LONG).unwrap().reason, EndReason::Panicked);
            assert_eq!(house.told(peer.id), 1);
            assert!(locked(&house.log.ends).contains(&(peer.id, CloseReason::Panicked)));
            assert!(house.manager.session_info(peer.id).is_none());
            bystander.ask("still here");
        }
    });
}

/// A worker completes the receipts of those whom it ends.
#[test]
fn a_worker_survives_a_panicking_receipt_waker() {
    supervised(|| {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let house = House::new(1);
        let mut bystander = house.connect();
        for _ in 0..3 {
            let peer = house.stick_another("stuck");
            let after_it = crate::common::kill(safepoint::TerminateMode::AfterStatement);
            let mut receipt = house.manager.terminate(peer.id, after_it).unwrap();
            let waker = Arc::new(Panics).into();
            assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
            house.let_one_go();
            bystander.ask("still here");
            assert!(receipt.try_get().is_some());
        }
    });
}

/// Whoever is woken by a worker runs on it with no lock held, and may even stop the pool.
#[test]
fn a_receipt_may_stop_the_pool_that_completes_it() {
    supervised(|| {
        struct Stops(Arc<House>);
        impl Wake for Stops {
            fn wake(self: Arc<Self>) {
                self.0.pool.shutdown(DrainOptions::new(kill_now()).timeout(Duration::ZERO));
            }
        }
        let house = Arc::new(House::new(1));
        let mut peer = house.stick_another("forgets");
        let whatever = Cancel::running(crate::common::admin("root"));
        let mut receipt = house.manager.cancel(peer.id, whatever).unwrap();
        let waker = Arc::new(Stops(house.clone())).into();
        assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
        house.let_one_go();
        assert_eq!(peer.hear(), "forgets");
        peer.hears_fatal_and_nothing_after();
    });
}

#[test]
fn a_connection_that_always_yields_starves_no_other() {
    supervised(|| {
        let house = House::new(1);
        let hog = house.connect();
        hog.say("rounds\n");
        let mut peer = house.connect();
        for _ in 0..20 {
            peer.ask("me too");
        }
        let mut receipt = house.manager.terminate(hog.id, kill_now()).unwrap();
        assert!(matches!(receipt.wait_timeout(LONG).unwrap().reason, EndReason::Terminated(_)));
        hog.hears_fatal_and_nothing_after();
    });
}

#[test]
fn a_shutdown_notifies_every_client() {
    supervised(|| {
        for limit in [LONG, Duration::MAX] {
            let house = House::new(2);
            let (manager, log) = (house.manager.clone(), house.log.clone());
            let mut peers: Vec<_> = (0..20).map(|_| house.connect()).collect();
            peers.iter_mut().take(10).for_each(|peer| peer.ask("hello"));
            let drained = house.pool.shutdown(DrainOptions::new(kill_now()).timeout(limit));
            assert_eq!((drained.sessions, drained.remaining), (20, 0));
            assert!(manager.is_empty());
            assert_eq!(locked(&log.ends).len(), 20);
            peers.into_iter().for_each(Peer::hears_fatal_and_nothing_after);
        }
    });
}

#[test]
fn a_shutdown_that_times_out_reports_it() {
    supervised(|| {
        let house = House::new(1);
        let _stuck = house.stick_all(1);
        let drained =
            house.pool.shutdown(DrainOptions::new(kill_now()).timeout(Duration::from_millis(1)));
        assert_eq!((drained.sessions, drained.remaining), (1, 1));
        assert_eq!(house.manager.len(), 1);
        drop(house.release);
        eventually("the stuck one has ended", || house.manager.is_empty());
    });
}

#[test]
fn a_dropped_pool_leaks_nothing() {
    supervised(|| {
        let house = House::new(3);
        let mut peers: Vec<_> = (0..30).map(|_| house.connect()).collect();
        peers.iter_mut().take(20).for_each(|peer| peer.ask("hello"));
        let weak = Arc::downgrade(&house.log);
        let House { manager, pool, log, release, .. } = house;
        drop(pool);
        eventually("all sessions have closed", || manager.is_empty());
        assert_eq!(locked(&log.ends).len(), 30);
        assert!(locked(&log.ends).iter().all(|(_, why)| *why == CloseReason::Closed));
        drop((log, release));
        eventually("no client is left", || weak.upgrade().is_none());
        eventually("no thread is left", || manager.threads().is_empty());
    });
}

#[test]
fn peers_that_disconnect() {
    supervised(|| {
        let house = House::new(2);
        let mut ids = Vec::new();
        for n in 0..60 {
            let peer = house.connect();
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
        eventually("all have ended", || house.manager.is_empty());
        assert!(ids.into_iter().all(|id| house.told(id) == 1));
    });
}

#[test]
fn lines_in_many_tiny_writes() {
    supervised(|| {
        let house = House::new(2);
        let mut peers: Vec<_> = (0..8).map(|_| house.connect()).collect();
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
        let house = House::new(1);
        let (socket, session, client) = house.connected();
        let receipt = house.manager.terminate(session.id(), kill_now()).unwrap();
        let (id, lines) = (session.id(), BufReader::new(socket.try_clone().unwrap()));
        house.pool.serve(session, client).unwrap();
        assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        Peer { id, socket, lines }.hears_fatal_and_nothing_after();
        house.connect().ask("the next is served");
    });
}

#[test]
fn a_kill_racing_with_readiness_notifies_the_client_once() {
    supervised(|| {
        const RACES: usize = 2_000;
        let house = House::new(2);
        let (victims, targets) = crossbeam_channel::bounded::<SessionId>(0);
        let (receipts, killed) = crossbeam_channel::bounded(0);
        scope(|scope| {
            let manager = &house.manager;
            scope.spawn(move || {
                for id in targets {
                    // The test may have failed by now.
                    let _ = receipts.send_timeout(manager.terminate(id, kill_now()), LONG);
                }
            });
            for _ in 0..RACES {
                let (mut socket, session, client) = house.connected();
                let id = session.id();
                house.pool.serve(session, client).unwrap();
                victims.send_timeout(id, LONG).unwrap();
                // It may have been closed by now.
                let _ = socket.write_all(b"hello\n");
                let mut receipt = killed.recv_timeout(LONG).expect("the kill returns").unwrap();
                let ended = receipt.wait_timeout(LONG).expect("the kill was lost");
                assert!(matches!(ended.reason, EndReason::Terminated(_)), "{ended:?}");
                assert_eq!(house.told(id), 1);
            }
            drop(victims);
        });
        assert!(house.manager.is_empty());
        house.connect().ask("all is well");
    });
}
