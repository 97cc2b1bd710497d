//! Which sessions reach the emergency lane, in which order, and on which threads.

use super::*;
use crate::pool::EMERGENCY_DELAY;

/// Queues sessions with high priority that have waited for `EMERGENCY_DELAY`.
fn due(queue: &Queue<Held>, count: usize) -> Vec<Held> {
    let entries: Vec<_> = (0..count).map(|_| push(queue, Priority::High).0).collect();
    queue.state.lock().first.iter_mut().for_each(|job| job.since -= EMERGENCY_DELAY);
    entries
}

/// Returns the next job of a lane. Panics if it is not for this entry.
#[track_caller]
fn lane_takes(queue: &Queue<Held>, entry: &Held) -> Job<Held> {
    let job = pop_for_lane(queue).expect("a job is due");
    assert!(Arc::ptr_eq(&job.entry, entry), "another job is next");
    job
}

/// Takes the next job for a lane. The lane exits if there is none, as if another lane were idle.
fn pop_for_lane(queue: &Queue<Held>) -> Option<Job<Held>> {
    assert_eq!(queue.idle_timeout, Duration::ZERO);
    queue.state.lock().idle_lanes += 1;
    let job = queue.pop_for_lane();
    queue.state.lock().idle_lanes -= 1;
    job
}

/// A queue whose only worker is busy, and one lane.
fn one_lane() -> Queue<Held> {
    let mut queue = running(1, 1);
    queue.idle_timeout = Duration::ZERO;
    assert!(queue.wants_lane(9));
    queue
}

#[test]
fn the_lane_checks_each_job_once_and_keeps_the_order() {
    let queue = one_lane();
    let entries = due(&queue, 4);
    let other = push(&queue, Priority::Normal).0;
    for (at, entry) in entries.iter().enumerate() {
        let job = lane_takes(&queue, entry);
        // The third is an emergency, which the lane runs.
        if at != 2 {
            assert_eq!(queue.push_back_from_lane(job), Wakeup::None);
        }
    }
    assert_eq!(queue.counts().queued, 4);
    assert!(pop_for_lane(&queue).is_none(), "all state were taken or declined");
    assert_eq!(queue.counts().lanes, 0, "a lane without work exits");
    let order: Vec<_> = (0..4).map(|_| runs(queue.next(None)).0).collect();
    let expected = [&entries[0], &entries[1], &entries[3], &other];
    assert!(order.iter().zip(expected).all(|(one, other)| Arc::ptr_eq(one, other)));
}

/// Two lanes take two jobs at once. The jobs stay in order, no matter which lane declines its job
/// first.
#[test]
fn jobs_put_back_by_two_lanes_stay_in_order() {
    for turned in [false, true] {
        let queue = one_lane();
        let entries = due(&queue, 3);
        let mut state = vec![lane_takes(&queue, &entries[0]), lane_takes(&queue, &entries[1])];
        if turned {
            state.reverse();
        }
        state.into_iter().for_each(|job| assert_eq!(queue.push_back_from_lane(job), Wakeup::None));
        lane_takes(&queue, &entries[2]);
        for entry in &entries[..2] {
            assert!(Arc::ptr_eq(&runs(queue.next(None)).0, entry), "turned: {turned}");
        }
    }
}

/// A lane does not take a job before `EMERGENCY_DELAY`.
#[test]
fn workers_get_jobs_before_the_lane() {
    let queue = one_lane();
    let before = now();
    let entry = push(&queue, Priority::High).0;
    lane_takes(&queue, &entry);
    assert!(now() >= before + EMERGENCY_DELAY);
}

/// A job that the lane declines wakes a worker.
#[test]
fn a_job_put_back_by_the_lane_wakes_a_worker() {
    let mut queue = idle(1, 1);
    queue.idle_timeout = Duration::ZERO;
    let entries = due(&queue, 1);
    let job = lane_takes(&queue, &entries[0]);
    assert_eq!(queue.push_back_from_lane(job), Wakeup::Idle);
    runs_one(queue.next(Some(PollEnd::Woken)));
    // The worker blocks, so its permit is free.
    assert_eq!(queue.release_permit(), Wakeup::None);
    let job = Job { entry: entries[0].clone(), since: now(), lane_declined: false };
    assert_eq!(queue.push_back_from_lane(job), Wakeup::Spawn(1));
}

/// A lane sleeps while no job waits. The listener wakes it for a job that has waited for
/// `EMERGENCY_DELAY`, at any position in the queue.
#[test]
fn the_listener_wakes_a_lane_after_the_delay() {
    let queue = Arc::new(one_lane());
    let lane = queue.clone();
    let job = on_a_thread(move || lane.pop_for_lane());
    wait_until("the lane waits", || queue.state.lock().idle_lanes == 1);
    // A job that a lane has declined is in front of it.
    let entries = due(&queue, 2);
    queue.state.lock().first[0].lane_declined = true;
    let _ = look(&queue, &mut StallDetector::new());
    let job = soon(&job).expect("a job is due");
    assert!(Arc::ptr_eq(&job.entry, &entries[1]));
}

/// A lane is added if none is idle, up to the maximum, and none after the end.
#[test]
fn lanes_are_added_while_none_is_free_up_to_the_maximum() {
    let queue = running(1, 1);
    let books = |queue: &Queue<Held>| (queue.counts().lanes, queue.state.lock().threads);
    assert!(queue.wants_lane(3));
    assert_eq!(books(&queue), (1, 2));
    queue.state.lock().idle_lanes = 1;
    assert!(!queue.wants_lane(3), "one is free");
    queue.state.lock().idle_lanes = 0;
    assert!(queue.wants_lane(3));
    assert!(queue.wants_lane(3));
    assert_eq!(books(&queue), (3, 4));
    assert!(!queue.wants_lane(3), "there are three");
    assert_eq!(books(&queue), (3, 4));
    queue.lane_failed();
    assert_eq!(books(&queue), (2, 3), "it could not be started");
    assert!(queue.wants_lane(3));
    assert_eq!(books(&queue), (3, 4));
    queue.lane_failed();
    queue.close();
    assert!(!queue.wants_lane(3));
    assert_eq!(books(&queue), (2, 3));
}

/// Lets the listener look, and returns the number of lanes that it must start.
fn lanes_to_start(queue: &Queue<Held>, watch: &mut StallDetector) -> usize {
    match queue.watch(watch) {
        ListenerStep::Poll(_, _, lanes) => lanes,
        ListenerStep::Stop => panic!("the listener must not stop"),
    }
}

/// If all lanes are busy and take nothing for `STALL_AFTER`, lanes are added: one for each session
/// that waits, but at most as many as there are.
#[test]
fn lanes_are_added_while_all_are_stuck() {
    let queue = one_lane();
    let entries = due(&queue, 6);
    let books = |queue: &Queue<Held>| (queue.counts().lanes, queue.state.lock().threads);
    let stalled = |watch: &mut StallDetector| watch.lanes_since -= STALL_AFTER;
    let mut watch = StallDetector::new();
    lane_takes(&queue, &entries[0]);
    stalled(&mut watch);
    assert_eq!(lanes_to_start(&queue, &mut watch), 0, "the lane has taken one");
    assert_eq!(lanes_to_start(&queue, &mut watch), 0, "just now");
    queue.state.lock().idle_lanes = 1;
    stalled(&mut watch);
    assert_eq!(lanes_to_start(&queue, &mut watch), 0, "one is free");
    queue.state.lock().idle_lanes = 0;
    assert_eq!(lanes_to_start(&queue, &mut watch), 0, "one was free just now");
    assert_eq!(books(&queue), (1, 2));
    for (more, lanes) in [(1, 2), (2, 4), (4, 8), (5, 13)] {
        stalled(&mut watch);
        assert_eq!(lanes_to_start(&queue, &mut watch), more);
        assert_eq!(books(&queue), (lanes, lanes + 1));
        assert_eq!(lanes_to_start(&queue, &mut watch), 0, "they were started just now");
    }
    // Only sessions that wait for a lane count.
    queue.state.lock().first.iter_mut().skip(2).for_each(|job| job.lane_declined = true);
    queue.state.lock().first[0].since = now() + EMERGENCY_DELAY;
    stalled(&mut watch);
    assert_eq!(lanes_to_start(&queue, &mut watch), 1);
    queue.state.lock().first[1].lane_declined = true;
    stalled(&mut watch);
    assert_eq!(lanes_to_start(&queue, &mut watch), 0);
    // If no lane could be started at first, one is started now.
    queue.state.lock().first[2].lane_declined = false;
    queue.state.lock().counts.lanes = 0;
    stalled(&mut watch);
    assert_eq!(lanes_to_start(&queue, &mut watch), 1);
}

/// A lane that runs a session is not idle.
#[test]
fn a_lane_is_free_only_while_it_waits() {
    let queue = one_lane();
    let entries = due(&queue, 2);
    for entry in &entries {
        lane_takes(&queue, entry);
        assert_eq!(queue.state.lock().idle_lanes, 0);
    }
}

/// Starts lanes, and returns the first job of each.
fn lanes(queue: &Arc<Queue<Held>>, count: usize) -> Receiver<Option<Job<Held>>> {
    (0..count).for_each(|_| assert!(queue.wants_lane(count)));
    let (sender, state) = channel();
    for _ in 0..count {
        let (queue, sender) = (queue.clone(), sender.clone());
        spawn(move || sender.send(queue.pop_for_lane()));
    }
    state
}

/// Of the waiting lanes, one never exits.
#[test]
fn idle_lanes_exit_except_one() {
    let mut queue = running(1, 1);
    queue.idle_timeout = Duration::from_millis(1);
    let queue = Arc::new(queue);
    let state = lanes(&queue, 3);
    assert!(soon(&state).is_none() && soon(&state).is_none());
    assert_eq!((queue.counts().lanes, queue.state.lock().threads), (1, 4), "threads have to end");
    wait_until("it waits", || queue.state.lock().idle_lanes == 1);
    due(&queue, 1);
    let _ = look(&queue, &mut StallDetector::new());
    assert!(soon(&state).is_some());
    assert_eq!((queue.counts().lanes, queue.state.lock().idle_lanes), (1, 0));
}

#[test]
fn closing_ends_all_lanes() {
    let mut queue = running(1, 1);
    queue.idle_timeout = 2 * TEST_TIMEOUT;
    let queue = Arc::new(queue);
    let state = lanes(&queue, 3);
    wait_until("they wait", || queue.state.lock().idle_lanes == 3);
    queue.close();
    assert!((0..3).all(|_| soon(&state).is_none()));
    assert_eq!(queue.counts().lanes, 0);
    // A lane takes no waiting job after the end either.
    let queue = one_lane();
    due(&queue, 1);
    queue.close();
    assert!(queue.pop_for_lane().is_none());
    assert_eq!(queue.counts().lanes, 0);
}
