//! The queue's books and calls step by step, on one thread where that can show it.

mod books;
mod lanes;
mod listener;
mod order;

use super::*;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};

/// What the queue holds.
type Held = Arc<()>;

/// Longer than any step takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(30);

/// A queue with its first workers, which have started and run something. Two may wait for them.
fn running(least: usize, most: usize) -> Queue<Held> {
    let queue = Queue::new(Size { least, most, queue: 2 });
    queue.first_workers();
    (0..least).for_each(|_| queue.worker_started(true));
    queue
}

/// The same, with all of them idle.
fn idle(least: usize, most: usize) -> Queue<Held> {
    let queue = running(least, most);
    (0..least).for_each(|_| assert_eq!(waits(queue.next(None)), None));
    queue
}

fn seat() -> Held {
    Held::default()
}

fn push(queue: &Queue<Held>, priority: Priority) -> (Held, Wakeup) {
    let seat = seat();
    let call = queue.push(seat.clone(), priority).expect("it is open");
    (seat, call)
}

/// Someone waits for a worker, whoever is called for that.
fn someone_waits(queue: &Queue<Held>) {
    let _ = push(queue, Priority::Normal);
}

/// For how long a worker waits at the poller, as it has to here.
#[track_caller]
fn waits(turn: WorkerStep<Held>) -> Option<Duration> {
    match turn {
        WorkerStep::Poll(limit) => limit,
        turn => panic!("it has to wait, not to {}", name(&turn)),
    }
}

/// Whom a worker runs, as it has to here, and whom it calls before that.
#[track_caller]
fn runs(turn: WorkerStep<Held>) -> (Held, Wakeup) {
    match turn {
        WorkerStep::Run(seat, call) => (seat, call),
        turn => panic!("it has to run someone, not to {}", name(&turn)),
    }
}

/// The same, where it does not matter whom.
#[track_caller]
fn runs_someone(turn: WorkerStep<Held>) {
    let _ = runs(turn);
}

fn name(turn: &WorkerStep<Held>) -> &'static str {
    match turn {
        WorkerStep::Run(..) => "run someone",
        WorkerStep::Poll(_) => "wait",
        WorkerStep::Park(_) => "be a spare",
        WorkerStep::Exit => "stop",
    }
}

/// What a listener has seen that finds that nobody has got anything done for long.
fn stalled(queue: &Queue<Held>) -> StallDetector {
    StallDetector {
        taken: queue.jobs.lock().taken,
        since: now() - STALL_AFTER,
        ..StallDetector::new()
    }
}

/// What the listener does next, as it has to go on here: nobody else listens.
#[track_caller]
fn look(queue: &Queue<Held>, watch: &mut StallDetector) -> (Duration, Wakeup) {
    assert_eq!(queue.counts().idle, 0, "it would go to sleep");
    match queue.watch(watch) {
        ListenerStep::Poll(limit, call) => (limit, call),
        ListenerStep::Stop => panic!("it goes on"),
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
    sleep(5 * STALL_AFTER);
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
