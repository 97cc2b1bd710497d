//! The queue's counters and wake-ups after each step, on a single thread where possible.

mod books;
mod lanes;
mod listener;
mod order;

use super::listener::{LISTENER_INTERVAL, QUIET_TICKS, STALL_AFTER};
use super::queue::{Counts, Job, QueueState};
use super::*;
use crate::pool::connection::Priority;
use crate::sync::now;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// An entry of the test queues.
type Held = Arc<()>;

/// Longer than any step takes. A test that reaches it has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A queue whose first workers have started and run a session. It is full with two waiting
/// sessions.
fn running(min: usize, max: usize) -> Queue<Held> {
    let queue = Queue::new(Size { min, max, queue: 2 }, TEST_TIMEOUT);
    queue.first_workers();
    (0..min).for_each(|_| queue.worker_started(true));
    queue
}

/// A queue whose first workers are all idle.
fn idle(min: usize, max: usize) -> Queue<Held> {
    let queue = running(min, max);
    (0..min).for_each(|_| assert_eq!(waits(queue.next(None)), None));
    queue
}

fn entry() -> Held {
    Held::default()
}

fn push(queue: &Queue<Held>, priority: Priority) -> (Held, Wakeup) {
    let entry = entry();
    let call = queue.push(entry.clone(), priority).expect("it is open");
    (entry, call)
}

/// Queues a session and ignores the wake-up.
fn queue_one(queue: &Queue<Held>) {
    let _ = push(queue, Priority::Normal);
}

/// Returns how long the worker polls. Panics if its step is not `Poll`.
#[track_caller]
fn waits(turn: WorkerStep<Held>) -> Option<Duration> {
    match turn {
        WorkerStep::Poll(limit) => limit,
        turn => panic!("the worker must wait, not {}", name(&turn)),
    }
}

/// Returns the session that the worker runs, and the wake-up that it owes. Panics if its step is
/// not `Run`.
#[track_caller]
fn runs(turn: WorkerStep<Held>) -> (Held, Wakeup) {
    match turn {
        WorkerStep::Run(entry, call) => (entry, call),
        turn => panic!("the worker must run a session, not {}", name(&turn)),
    }
}

/// Panics if the worker's step is not `Run`.
#[track_caller]
fn runs_one(turn: WorkerStep<Held>) {
    let _ = runs(turn);
}

fn name(turn: &WorkerStep<Held>) -> &'static str {
    match turn {
        WorkerStep::Run(..) => "run one",
        WorkerStep::Poll(_) => "wait",
        WorkerStep::Park(_) => "be a parked",
        WorkerStep::Exit => "stop",
    }
}

/// The observations of a listener for which the queue has stalled: no session was taken for
/// `STALL_AFTER`.
fn stalled(queue: &Queue<Held>) -> StallDetector {
    StallDetector {
        taken: queue.state.lock().taken,
        since: now() - STALL_AFTER,
        ..StallDetector::new()
    }
}

/// Returns the listener's next step, which must be `Poll`. No worker may be idle, or the listener
/// would sleep.
#[track_caller]
fn look(queue: &Queue<Held>, watch: &mut StallDetector) -> (Duration, Wakeup) {
    assert_eq!(queue.counts().idle, 0, "it would go to sleep");
    match queue.watch(watch) {
        ListenerStep::Poll(limit, call, _) => (limit, call),
        ListenerStep::Stop => panic!("the listener must not stop"),
    }
}

/// Returns the result of another thread. Panics if there is none in time.
#[track_caller]
fn soon<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(TEST_TIMEOUT).expect("the other thread waits forever")
}

/// Gives another thread time to begin its wait. No test relies on this: without it a test only
/// covers less.
fn pause() {
    sleep(5 * STALL_AFTER);
}

/// Waits until another thread makes the condition true.
#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        sleep(Duration::from_millis(1));
    }
}

fn on_a_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    spawn(move || {
        // The receiver is dropped if the test has failed.
        let _ = sender.send(run());
    });
    receiver
}
