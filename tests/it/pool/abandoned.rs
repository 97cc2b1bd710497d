//! Queued sessions whose peers have closed the connection.

use crate::common::{locked, supervised, wait_until};
use crate::pool::custom::{CustomConnection, serves, stick};
use crate::pool::queued::assert_queues_exactly;
use safepoint::pool::{CloseReason, Pool, PoolBuilder, Priority};
use safepoint::view::SessionState;
use safepoint::{SessionId, SessionManager, ThreadModel};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Ends = Arc<Mutex<Vec<CloseReason>>>;

/// A pool with one worker, which closes abandoned sessions after this time.
fn pool(after: Duration) -> (SessionManager, Pool<CustomConnection>) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = PoolBuilder::new(1).close_abandoned(after).start(manager.clone()).unwrap();
    (manager, pool)
}

fn connect(
    manager: &SessionManager,
    pool: &Pool<CustomConnection>,
    goes: Priority,
) -> (SessionId, Ends, UnixStream) {
    let (mut client, session, peer) = CustomConnection::new(manager);
    client.goes = goes;
    let (id, ends) = (session.id(), client.ends.clone());
    pool.serve(session, client).unwrap();
    (id, ends, peer)
}

fn until_queued(manager: &SessionManager, id: SessionId) {
    wait_until("it is queued", || manager.session_info(id).unwrap().state == SessionState::Queued);
}

#[test]
fn abandoned_sessions_leave_the_queue() {
    supervised(|| {
        let (manager, pool) = pool(Duration::from_millis(5));
        let stuck = stick(&manager, &pool);
        for goes in [Priority::High, Priority::Normal] {
            let (id, ends, mut peer) = connect(&manager, &pool, goes);
            let (other, _, mut stays) = connect(&manager, &pool, goes);
            peer.write_all(b"x").unwrap();
            stays.write_all(b"x").unwrap();
            until_queued(&manager, id);
            until_queued(&manager, other);
            wait_until("both are in the queue", || pool.status()[0].queued == 2);
            drop(peer);
            wait_until("it has gone", || manager.session_info(id).is_none());
            assert_eq!(*locked(&ends), [CloseReason::Abandoned]);
            wait_until("it does not wait", || pool.status()[0].queued == 1);
            // Nor does one that has sent nothing.
            let (id, ends, peer) = connect(&manager, &pool, goes);
            drop(peer);
            wait_until("it has gone", || manager.session_info(id).is_none());
            assert_eq!(*locked(&ends), [CloseReason::Abandoned]);
            assert_eq!(manager.session_info(other).unwrap().state, SessionState::Queued);
            drop(stays);
            wait_until("it has gone", || manager.session_info(other).is_none());
        }
        assert_queues_exactly(&manager, &pool, 3);
        drop(stuck);
        serves(&manager, &pool);
    });
}

/// Its command runs to its end, and closes the connection. If it waited for its client again, a worker and the
/// listener would both find the session.
#[test]
fn a_running_session_is_not_abandoned() {
    supervised(|| {
        let (manager, pool) = pool(Duration::ZERO);
        let (release, wait) = crossbeam_channel::bounded::<()>(0);
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        client.runs = Box::new(move |_| {
            let _ = wait.recv();
            Ok(safepoint::pool::Action::Close)
        });
        let (id, ends) = (session.id(), client.ends.clone());
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it runs", || manager.session_info(id).unwrap().thread_id.is_some());
        drop(peer);
        // Another one is closed meanwhile.
        let (other, _, gone) = connect(&manager, &pool, Priority::Normal);
        drop(gone);
        wait_until("it has gone", || manager.session_info(other).is_none());
        assert!(manager.session_info(id).unwrap().thread_id.is_some());
        drop(release);
        wait_until("it has gone", || manager.session_info(id).is_none());
        assert_eq!(*locked(&ends), [CloseReason::Closed]);
    });
}

/// Its peer still reads, so it is served as soon as a worker is free.
#[test]
fn a_peer_that_only_stops_sending_is_served_within_the_time() {
    supervised(|| {
        let hour = Duration::from_secs(3600);
        for pool in [pool(hour), crate::pool::custom::pool()] {
            let (manager, pool) = pool;
            let stuck = stick(&manager, &pool);
            let (id, ends, mut peer) = connect(&manager, &pool, Priority::Normal);
            peer.write_all(b"x").unwrap();
            until_queued(&manager, id);
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            drop(stuck);
            peer.read_exact(&mut [0]).expect("it is served");
            wait_until("it has gone", || manager.session_info(id).is_none());
            assert_eq!(*locked(&ends), [CloseReason::Closed]);
        }
    });
}

/// Each of the later sessions is queued by the listener, which has looked at the first one by then.
#[test]
fn an_abandoned_session_keeps_its_place_for_the_time() {
    supervised(|| {
        let (manager, pool) = pool(Duration::from_secs(3600));
        let stuck = stick(&manager, &pool);
        let (id, _, mut peer) = connect(&manager, &pool, Priority::Normal);
        peer.write_all(b"x").unwrap();
        until_queued(&manager, id);
        drop(peer);
        let others: Vec<_> = (0..20)
            .map(|_| {
                let (other, _, mut stays) = connect(&manager, &pool, Priority::Normal);
                stays.write_all(b"x").unwrap();
                until_queued(&manager, other);
                // The listener looks at the queue at each tick, which is when a worker might be added.
                std::thread::sleep(Duration::from_millis(5));
                stays
            })
            .collect();
        assert_eq!(manager.session_info(id).unwrap().state, SessionState::Queued);
        drop((others, stuck));
        wait_until("it has gone", || manager.session_info(id).is_none());
    });
}
