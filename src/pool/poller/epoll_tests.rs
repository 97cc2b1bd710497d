//! Which events the kernel reports of sockets and wake-ups.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

/// Longer than any wait takes. A test that reaches it has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the events that are available without a wait.
fn ready_events(poller: &Poller) -> Vec<Event> {
    waits(poller, Duration::ZERO)
}

fn waits(poller: &Poller, limit: Duration) -> Vec<Event> {
    let mut events = Events::with_capacity(8);
    poller.wait(Some(limit), &mut events);
    events.iter().collect()
}

#[test]
fn a_socket_is_reported_once_each_time_it_is_armed() {
    let poller = Poller::new().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    poller.add(socket.as_fd(), 7).unwrap();
    assert_eq!(ready_events(&poller), [], "there is nothing to read");
    peer.write_all(b"one").unwrap();
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Ready(7)]);
    peer.write_all(b"two").unwrap();
    assert_eq!(ready_events(&poller), [], "it is not armed");
    poller.arm(socket.as_fd(), 8, Interest::Readable).unwrap();
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Ready(8)], "an event comes at once");
    (&socket).read_exact(&mut [0; 6]).unwrap();
    poller.arm(socket.as_fd(), 8, Interest::Readable).unwrap();
    assert_eq!(ready_events(&poller), [], "all has been read");
    drop(peer);
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Ready(8)], "its peer has gone");
    assert_eq!(ready_events(&poller), []);
}

#[test]
fn a_removed_socket_is_not_reported() {
    let poller = Poller::new().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    assert!(poller.arm(socket.as_fd(), 1, Interest::Readable).is_err(), "it was never taken in");
    poller.remove(socket.as_fd());
    poller.add(socket.as_fd(), 1).unwrap();
    assert!(poller.add(socket.as_fd(), 2).is_err(), "it is another's");
    peer.write_all(b"x").unwrap();
    poller.remove(socket.as_fd());
    assert_eq!(ready_events(&poller), []);
    poller.add(socket.as_fd(), 3).unwrap();
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Ready(3)]);
}

#[test]
fn a_wake_ends_one_wait() {
    let poller = Arc::new(Poller::new().unwrap());
    assert_eq!(ready_events(&poller), []);
    poller.wake();
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Woken]);
    assert_eq!(ready_events(&poller), [], "the wake-up was received");
    poller.wake();
    poller.wake();
    assert_eq!(waits(&poller, TEST_TIMEOUT), [Event::Woken], "two pending wake-ups are merged");
    assert_eq!(ready_events(&poller), []);
    // A wake-up ends a wait that has begun, even without a time limit.
    for limit in [None, Some(Duration::MAX)] {
        let (sender, received) = channel();
        let waiter = poller.clone();
        std::thread::spawn(move || {
            let mut events = Events::with_capacity(1);
            waiter.wait(limit, &mut events);
            let _ = sender.send(events.iter().collect::<Vec<_>>());
        });
        assert!(received.recv_timeout(PAUSE).is_err(), "no wake-up yet");
        poller.wake();
        assert_eq!(received.recv_timeout(TEST_TIMEOUT), Ok(vec![Event::Woken]));
    }
}

#[test]
fn a_wait_ends_at_its_timeout_and_reports_nothing_twice() {
    let poller = Arc::new(Poller::new().unwrap());
    let (sender, received) = channel();
    let waiter = poller.clone();
    std::thread::spawn(move || {
        let mut events = Events::with_capacity(1);
        waiter.wake();
        waiter.wait(Some(TEST_TIMEOUT), &mut events);
        let first: Vec<_> = events.iter().collect();
        let before = Instant::now();
        waiter.wait(Some(PAUSE), &mut events);
        let _ = sender.send((first, events.iter().count(), before.elapsed()));
    });
    let (first, then, after) = received.recv_timeout(TEST_TIMEOUT).expect("it ends");
    assert_eq!((first, then), (vec![Event::Woken], 0));
    assert!(after >= PAUSE);
}

/// A wait returns as many events as fit its buffer. The others are for the next wait, or for
/// another thread that waits.
#[test]
fn a_wait_returns_as_many_events_as_fit() {
    let poller = Poller::new().unwrap();
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (socket, peer)) in pairs.iter().enumerate() {
        poller.add(socket.as_fd(), token as u64).unwrap();
        let mut peer = peer;
        peer.write_all(b"x").unwrap();
    }
    let mut events = Events::with_capacity(1);
    let mut events_seen = Vec::new();
    for _ in &pairs {
        poller.wait(Some(TEST_TIMEOUT), &mut events);
        assert_eq!(events.iter().count(), 1);
        events_seen.extend(events.iter());
    }
    events_seen.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events_seen, [Event::Ready(0), Event::Ready(1), Event::Ready(2)]);
    assert_eq!(ready_events(&poller), []);
}
