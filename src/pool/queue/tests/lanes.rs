//! Who gets to the lane, in which order, and by which threads.

use super::*;
use crate::pool::EMERGENCY_DELAY;

/// So many who go first; they have waited for long enough for the lane to look at them.
fn due(queue: &Queue<Held>, count: usize) -> Vec<Held> {
    let seats: Vec<_> = (0..count).map(|_| push(queue, Priority::High).0).collect();
    queue.jobs.lock().first.iter_mut().for_each(|job| job.since -= EMERGENCY_DELAY);
    seats
}

/// The one that a lane looks at next, as it has to here.
#[track_caller]
fn looks_at(queue: &Queue<Held>, seat: &Held) -> Job<Held> {
    let job = lane_looks(queue).expect("there is one to look at");
    assert!(Arc::ptr_eq(&job.entry, seat), "it is another's turn");
    job
}

/// Makes a lane look. It gives up where there is nobody to look at, as if it were not the only one.
fn lane_looks(queue: &Queue<Held>) -> Option<Job<Held>> {
    assert_eq!(queue.patience, Duration::ZERO);
    queue.jobs.lock().idle_lanes += 1;
    let job = queue.pop_for_lane();
    queue.jobs.lock().idle_lanes -= 1;
    job
}

/// One with its only worker stuck, and a lane.
fn with_a_lane() -> Queue<Held> {
    let mut queue = running(1, 1);
    queue.patience = Duration::ZERO;
    assert!(queue.wants_lane(9));
    queue
}

#[test]
fn the_lane_looks_at_each_once_and_in_order_and_leaves_them_in_order() {
    let queue = with_a_lane();
    let seats = due(&queue, 4);
    let other = push(&queue, Priority::Normal).0;
    for (at, seat) in seats.iter().enumerate() {
        let job = looks_at(&queue, seat);
        // The third is an emergency, which the lane runs.
        if at != 2 {
            assert_eq!(queue.push_back_from_lane(job), Wakeup::None);
        }
    }
    assert_eq!(queue.counts().queued, 4);
    assert!(lane_looks(&queue).is_none(), "it has looked at all of them");
    assert_eq!(queue.counts().lanes, 0, "one that has nothing to do goes");
    let order: Vec<_> = (0..4).map(|_| runs(queue.next(None)).0).collect();
    let expected = [&seats[0], &seats[1], &seats[3], &other];
    assert!(order.iter().zip(expected).all(|(one, other)| Arc::ptr_eq(one, other)));
}

/// Two lanes look at two at once. Whichever leaves its own to the workers first, they stay in order.
#[test]
fn what_two_lanes_put_back_stays_in_order() {
    for turned in [false, true] {
        let queue = with_a_lane();
        let seats = due(&queue, 3);
        let mut jobs = vec![looks_at(&queue, &seats[0]), looks_at(&queue, &seats[1])];
        if turned {
            jobs.reverse();
        }
        jobs.into_iter().for_each(|job| assert_eq!(queue.push_back_from_lane(job), Wakeup::None));
        looks_at(&queue, &seats[2]);
        for seat in &seats[..2] {
            assert!(Arc::ptr_eq(&runs(queue.next(None)).0, seat), "turned: {turned}");
        }
    }
}

/// Held is looked at before its time.
#[test]
fn the_lane_lets_the_workers_have_them_first() {
    let queue = with_a_lane();
    let before = now();
    let seat = push(&queue, Priority::High).0;
    looks_at(&queue, &seat);
    assert!(now() >= before + EMERGENCY_DELAY);
}

/// What the lane leaves is there for whoever can take it.
#[test]
fn what_the_lane_puts_back_calls_a_worker() {
    let mut queue = idle(1, 1);
    queue.patience = Duration::ZERO;
    let seats = due(&queue, 1);
    let job = looks_at(&queue, &seats[0]);
    assert_eq!(queue.push_back_from_lane(job), Wakeup::Idle);
    runs_someone(queue.next(Some(PollEnd::Woken)));
    // The worker blocks, and its place is free.
    assert_eq!(queue.release_permit(), Wakeup::None);
    let job = Job { entry: seats[0].clone(), since: now(), lane_declined: false };
    assert_eq!(queue.push_back_from_lane(job), Wakeup::Spawn(1));
}

/// A lane sleeps while nobody waits, and the listener calls it for one whose time has come, wherever
/// that one lies.
#[test]
fn the_listener_calls_a_lane_for_one_whose_time_has_come() {
    let queue = Arc::new(with_a_lane());
    let lane = queue.clone();
    let job = on_a_thread(move || lane.pop_for_lane());
    eventually("the lane waits", || queue.jobs.lock().idle_lanes == 1);
    // One that has been looked at lies before it.
    let seats = due(&queue, 2);
    queue.jobs.lock().first[0].lane_declined = true;
    let _ = look(&queue, &mut StallDetector::new());
    let job = soon(&job).expect("there is one to look at");
    assert!(Arc::ptr_eq(&job.entry, &seats[1]));
}

/// Another lane is wanted where none is free: so many of them, and none after the end.
#[test]
fn lanes_are_added_where_none_is_free_up_to_the_maximum() {
    let queue = running(1, 1);
    let books = |queue: &Queue<Held>| (queue.counts().lanes, queue.jobs.lock().threads);
    assert!(queue.wants_lane(3));
    assert_eq!(books(&queue), (1, 2));
    queue.jobs.lock().idle_lanes = 1;
    assert!(!queue.wants_lane(3), "one is free");
    queue.jobs.lock().idle_lanes = 0;
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

/// A lane that runs something is not free.
#[test]
fn a_lane_is_free_only_while_it_waits() {
    let queue = with_a_lane();
    let seats = due(&queue, 2);
    for seat in &seats {
        looks_at(&queue, seat);
        assert_eq!(queue.jobs.lock().idle_lanes, 0);
    }
}

/// So many lanes, and what each looks at first.
fn lanes(queue: &Arc<Queue<Held>>, count: usize) -> Receiver<Option<Job<Held>>> {
    (0..count).for_each(|_| assert!(queue.wants_lane(count)));
    let (sender, jobs) = channel();
    for _ in 0..count {
        let (queue, sender) = (queue.clone(), sender.clone());
        spawn(move || sender.send(queue.pop_for_lane()));
    }
    jobs
}

/// Of lanes that wait, one stays however long nobody comes.
#[test]
fn lanes_that_have_nothing_to_do_for_long_go_but_for_one() {
    let mut queue = running(1, 1);
    queue.patience = Duration::from_millis(1);
    let queue = Arc::new(queue);
    let jobs = lanes(&queue, 3);
    assert!(soon(&jobs).is_none() && soon(&jobs).is_none());
    assert_eq!((queue.counts().lanes, queue.jobs.lock().threads), (1, 4), "threads have to end");
    eventually("it waits", || queue.jobs.lock().idle_lanes == 1);
    due(&queue, 1);
    let _ = look(&queue, &mut StallDetector::new());
    assert!(soon(&jobs).is_some());
    assert_eq!((queue.counts().lanes, queue.jobs.lock().idle_lanes), (1, 0));
}

#[test]
fn at_the_end_all_lanes_go() {
    let mut queue = running(1, 1);
    queue.patience = 2 * LONG;
    let queue = Arc::new(queue);
    let jobs = lanes(&queue, 3);
    eventually("they wait", || queue.jobs.lock().idle_lanes == 3);
    queue.close();
    assert!((0..3).all(|_| soon(&jobs).is_none()));
    assert_eq!(queue.counts().lanes, 0);
    // Nor does one look at those who wait.
    let queue = with_a_lane();
    due(&queue, 1);
    queue.close();
    assert!(queue.pop_for_lane().is_none());
    assert_eq!(queue.counts().lanes, 0);
}
