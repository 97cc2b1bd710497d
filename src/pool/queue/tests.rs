//! The queue's books and calls step by step, on one thread where that can show it.

mod books;
mod lanes;
mod listener;
mod order;

use super::*;
use crate::pool::tests::Nobody;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};

/// Longer than any step takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(30);

/// A queue with its first workers, which have started and run something. Two may wait for them.
fn running(least: usize, most: usize) -> Queue<Nobody> {
    let queue = Queue::new(Size { least, most, queue: 2 });
    queue.first_workers();
    (0..least).for_each(|_| queue.worker_started(true));
    queue
}

/// The same, with all of them idle.
fn idle(least: usize, most: usize) -> Queue<Nobody> {
    let queue = running(least, most);
    (0..least).for_each(|_| assert_eq!(waits(queue.next(None)), None));
    queue
}

fn seat() -> Arc<Seat<Nobody>> {
    Arc::new(Seat::empty(0))
}

fn push(queue: &Queue<Nobody>, priority: Priority) -> (Arc<Seat<Nobody>>, Call) {
    let seat = seat();
    let call = queue.push(seat.clone(), priority).expect("it is open");
    (seat, call)
}

/// Someone waits for a worker, whoever is called for that.
fn someone_waits(queue: &Queue<Nobody>) {
    let _ = push(queue, Priority::InOrder);
}

/// For how long a worker waits at the poller, as it has to here.
#[track_caller]
fn waits(turn: Turn<Nobody>) -> Option<Duration> {
    match turn {
        Turn::Wait(limit) => limit,
        turn => panic!("it has to wait, not to {}", name(&turn)),
    }
}

/// Whom a worker runs, as it has to here, and whom it calls before that.
#[track_caller]
fn runs(turn: Turn<Nobody>) -> (Arc<Seat<Nobody>>, Call) {
    match turn {
        Turn::Run(seat, call) => (seat, call),
        turn => panic!("it has to run someone, not to {}", name(&turn)),
    }
}

/// The same, where it does not matter whom.
#[track_caller]
fn runs_someone(turn: Turn<Nobody>) {
    let _ = runs(turn);
}

fn name(turn: &Turn<Nobody>) -> &'static str {
    match turn {
        Turn::Run(..) => "run someone",
        Turn::Wait(_) => "wait",
        Turn::Spare(_) => "be a spare",
        Turn::Stop => "stop",
    }
}

/// What a listener has seen that finds that nobody has got anything done for long.
fn stalled(queue: &Queue<Nobody>) -> Watch {
    Watch { taken: queue.jobs.lock().taken, since: now() - STALL, ..Watch::new() }
}

/// What the listener does next, as it has to go on here: nobody else listens.
#[track_caller]
fn look(queue: &Queue<Nobody>, watch: &mut Watch) -> (Duration, Call) {
    assert_eq!(queue.counts().idle, 0, "it would go to sleep");
    match queue.watch(watch) {
        Look::Poll(limit, call) => (limit, call),
        Look::Stop => panic!("it goes on"),
    }
}

/// What another thread comes to; it has to come to something.
#[track_caller]
fn soon<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LONG).expect("the other thread waits for ever")
}

/// Lets another thread get to where it waits. No test depends on it: if it has not got there, the
/// test shows less.
fn pause() {
    sleep(5 * STALL);
}

/// Waits for a condition that another thread brings about.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        sleep(Duration::from_millis(1));
    }
}

fn on_a_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    spawn(move || {
        // The test may have failed by now.
        let _ = sender.send(run());
    });
    receiver
}
