//! What the kernel says of sockets and wakes.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

/// Longer than any wait takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(30);

/// What there is to hear without a wait.
fn hears(poller: &Poller) -> Vec<Event> {
    waits(poller, Duration::ZERO)
}

fn waits(poller: &Poller, limit: Duration) -> Vec<Event> {
    let mut events = Events::with_capacity(8);
    poller.wait(Some(limit), &mut events);
    events.iter().collect()
}

#[test]
fn a_socket_is_told_of_once_each_time_that_it_is_armed() {
    let poller = Poller::new().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    poller.add(socket.as_fd(), 7).unwrap();
    assert_eq!(hears(&poller), [], "there is nothing to read");
    peer.write_all(b"one").unwrap();
    assert_eq!(waits(&poller, LONG), [Event::Ready(7)]);
    peer.write_all(b"two").unwrap();
    assert_eq!(hears(&poller), [], "it is not armed");
    poller.arm(socket.as_fd(), 8).unwrap();
    assert_eq!(waits(&poller, LONG), [Event::Ready(8)], "what is there is told of at once");
    (&socket).read_exact(&mut [0; 6]).unwrap();
    poller.arm(socket.as_fd(), 8).unwrap();
    assert_eq!(hears(&poller), [], "all has been read");
    drop(peer);
    assert_eq!(waits(&poller, LONG), [Event::Ready(8)], "its peer has gone");
    assert_eq!(hears(&poller), []);
}

#[test]
fn a_socket_that_was_let_go_is_not_told_of() {
    let poller = Poller::new().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    assert!(poller.arm(socket.as_fd(), 1).is_err(), "it was never taken in");
    poller.remove(socket.as_fd());
    poller.add(socket.as_fd(), 1).unwrap();
    assert!(poller.add(socket.as_fd(), 2).is_err(), "it is another's");
    peer.write_all(b"x").unwrap();
    poller.remove(socket.as_fd());
    assert_eq!(hears(&poller), []);
    poller.add(socket.as_fd(), 3).unwrap();
    assert_eq!(waits(&poller, LONG), [Event::Ready(3)]);
}

#[test]
fn a_wake_ends_one_wait() {
    let poller = Arc::new(Poller::new().unwrap());
    assert_eq!(hears(&poller), []);
    poller.wake();
    assert_eq!(waits(&poller, LONG), [Event::Woken]);
    assert_eq!(hears(&poller), [], "it has been heard");
    poller.wake();
    poller.wake();
    assert_eq!(waits(&poller, LONG), [Event::Woken], "two that nobody has heard are one");
    assert_eq!(hears(&poller), []);
    // One that waits already, however long it may.
    for limit in [None, Some(Duration::MAX)] {
        let (sender, heard) = channel();
        let waiter = poller.clone();
        std::thread::spawn(move || {
            let mut events = Events::with_capacity(1);
            waiter.wait(limit, &mut events);
            let _ = sender.send(events.iter().collect::<Vec<_>>());
        });
        assert!(heard.recv_timeout(PAUSE).is_err(), "nobody has called");
        poller.wake();
        assert_eq!(heard.recv_timeout(LONG), Ok(vec![Event::Woken]));
    }
}

#[test]
fn a_wait_ends_at_its_limit_and_tells_of_nothing_twice() {
    let poller = Arc::new(Poller::new().unwrap());
    let (sender, heard) = channel();
    let waiter = poller.clone();
    std::thread::spawn(move || {
        let mut events = Events::with_capacity(1);
        waiter.wake();
        waiter.wait(Some(LONG), &mut events);
        let first: Vec<_> = events.iter().collect();
        let before = Instant::now();
        waiter.wait(Some(PAUSE), &mut events);
        let _ = sender.send((first, events.iter().count(), before.elapsed()));
    });
    let (first, then, after) = heard.recv_timeout(LONG).expect("it ends");
    assert_eq!((first, then), (vec![Event::Woken], 0));
    assert!(after >= PAUSE);
}

/// As many as there is room for; the rest is for the next wait, or for another who waits.
#[test]
fn a_wait_tells_of_as_many_as_there_is_room_for() {
    let poller = Poller::new().unwrap();
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (socket, peer)) in pairs.iter().enumerate() {
        poller.add(socket.as_fd(), token as u64).unwrap();
        let mut peer = peer;
        peer.write_all(b"x").unwrap();
    }
    let mut events = Events::with_capacity(1);
    let mut told = Vec::new();
    for _ in &pairs {
        poller.wait(Some(LONG), &mut events);
        assert_eq!(events.iter().count(), 1);
        told.extend(events.iter());
    }
    told.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(told, [Event::Ready(0), Event::Ready(1), Event::Ready(2)]);
    assert_eq!(hears(&poller), []);
}
