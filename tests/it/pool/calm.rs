//! The listener of a pool that was quiet for long sleeps. It is needed again when the workers are
//! stuck.

use crate::common::{supervised, wait_until};
use crate::pool::fixture::PoolFixture;
use safepoint::pool::PoolBuilder;
use safepoint::view::SessionState;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Lets more time pass than the listener stays awake for. No test depends on it: if the listener
/// is awake still, the test shows less.
fn calm() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_quiet_pool_adds_workers_if_all_are_stuck() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(2).max_workers(4));
        calm();
        let mut peer = fixture.connect();
        let _stuck = fixture.stick_all(2);
        peer.ask("served by a third");
        calm();
        let _more = fixture.stick_another("stuck");
        peer.ask("served by a fourth");
    });
}

/// One after the other, with the pool calm between: while one is idle the listener sleeps on.
#[test]
fn a_quiet_pool_with_stuck_workers_adds_workers() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(2).max_workers(3));
        let mut peer = fixture.connect();
        let _first = fixture.stick_another("stuck");
        peer.ask("served by the second");
        calm();
        let _second = fixture.stick_another("stuck");
        peer.ask("served by a third");
    });
}

#[test]
fn a_quiet_pool_serves_in_the_lane() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        peer.ask("hello");
        calm();
        let _stuck = fixture.stick_all(1);
        peer.ask("help");
        fixture.connect().ask("help");
    });
}

/// What waits is queued, and can be seen and ended there.
#[test]
fn a_quiet_pool_queues_waiting_sessions() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        calm();
        let _stuck = fixture.stick_all(1);
        peer.say("waits\n");
        wait_until("it is queued", || fixture.status().queued == 1);
        assert_eq!(fixture.doing(peer.id), Some(SessionState::Queued));
        drop(fixture.release);
        assert_eq!(peer.hear(), "waits");
    });
}

#[test]
fn a_quiet_pool_reuses_the_permit_of_a_blocking_worker() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        for before in 0..2 {
            calm();
            let blocked = fixture.connect();
            blocked.say("elsewhere\n");
            wait_until("it blocks", || fixture.log.stuck.load(Ordering::SeqCst) == before + 1);
            peer.ask("served meanwhile");
        }
        drop(fixture.release);
        peer.ask("and after");
    });
}

/// The blocking worker wakes another one for its permit, because there is work.
#[test]
fn a_blocking_worker_releases_its_permit_to_the_queue() {
    supervised(|| {
        let fixture = PoolFixture::new(1);
        let mut peer = fixture.connect();
        let _blocked = fixture.stick_another("then elsewhere");
        peer.say("served meanwhile\n");
        wait_until("it is queued", || fixture.status().queued == 1);
        fixture.let_one_go();
        assert_eq!(peer.hear(), "served meanwhile");
        drop(fixture.release);
        peer.ask("and after");
    });
}

/// Workers that take their permits back, and block again, leave a working pool.
#[test]
fn a_pool_that_is_quiet_after_a_burst() {
    supervised(|| {
        let fixture = PoolFixture::with(&PoolBuilder::new(1).max_workers(3));
        let mut peer = fixture.connect();
        for _ in 0..2 {
            let before = fixture.log.stuck.load(Ordering::SeqCst);
            let mut stuck: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
            stuck.iter().for_each(|peer| peer.say("stuck\n"));
            wait_until("all are stuck", || fixture.log.stuck.load(Ordering::SeqCst) == before + 3);
            peer.ask("help");
            (0..3).for_each(|_| fixture.let_one_go());
            stuck.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "stuck"));
            peer.ask("all is well");
            calm();
        }
    });
}
