//! The counters after each step.

use super::*;

/// Returns the counters, and the number of threads that have not ended.
fn books(queue: &Queue<Held>) -> (Counts, usize) {
    let state = queue.state.lock();
    assert!(!(state.listener_sleeps && state.counts.idle == 0), "some thread must poll");
    drop(state);
    (queue.counts(), queue.state.lock().threads)
}

#[test]
fn workers_start_wait_run_and_block() {
    let queue = Queue::<Held>::new(Size { min: 2, max: 4, queue: 9 }, TEST_TIMEOUT);
    let none = Counts { permits: 2, ..Counts::default() };
    assert_eq!(books(&queue), (none, 0));
    queue.first_workers();
    let both = Counts { workers: 2, active: 2, ..none };
    assert_eq!(books(&queue), (Counts { starting: 2, ..both }, 2));
    queue.worker_started(true);
    assert_eq!(books(&queue), (Counts { starting: 1, ..both }, 2));
    queue.worker_started(true);
    assert_eq!(books(&queue), (both, 2));

    assert_eq!(waits(queue.next(None)), None, "one of the first waits for as long as it takes");
    assert_eq!(books(&queue), (Counts { idle: 1, ..both }, 2));
    assert_eq!(waits(queue.next(None)), None);
    assert_eq!(books(&queue), (Counts { idle: 2, ..both }, 2));
    queue.takes_ready();
    assert_eq!(books(&queue), (Counts { idle: 1, ..both }, 2));
    assert_eq!(queue.release_permit(), Wakeup::None);
    assert_eq!(books(&queue), (Counts { idle: 1, active: 1, ..both }, 2));
    queue.reacquire_permit();
    assert_eq!(waits(queue.next(None)), None);
    assert_eq!(books(&queue), (Counts { idle: 2, ..both }, 2));
    for waited in [PollEnd::Woken, PollEnd::InVain] {
        assert_eq!(waits(queue.next(Some(waited))), None, "it was woken for nothing");
        assert_eq!(books(&queue), (Counts { idle: 2, ..both }, 2));
    }
    queue_one(&queue);
    assert_eq!(books(&queue), (Counts { idle: 2, queued: 1, ..both }, 2));
    runs_one(queue.next(Some(PollEnd::InVain)));
    assert_eq!(books(&queue), (Counts { idle: 1, ..both }, 2));
    assert_eq!(waits(queue.next(None)), None);
    assert_eq!(books(&queue), (Counts { idle: 2, ..both }, 2));
}

/// Each queued session wakes one worker. A woken worker that leaves sessions in the queue wakes the
/// next.
#[test]
fn one_worker_is_woken_for_each_waiting_session() {
    let queue = idle(3, 3);
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::Idle);
    assert_eq!(push(&queue, Priority::High).1, Wakeup::Idle);
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::Idle);
    // The three wake-ups may have been merged.
    assert_eq!(runs(queue.next(Some(PollEnd::Woken))).1, Wakeup::Idle);
    assert_eq!(runs(queue.next(Some(PollEnd::Woken))).1, Wakeup::Idle);
    assert_eq!(runs(queue.next(Some(PollEnd::Woken))).1, Wakeup::None, "no other session waits");
    assert_eq!(queue.counts().idle, 0);

    // All permits are in use.
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::None);
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::None);
    assert_eq!(runs(queue.next(None)).1, Wakeup::None, "no worker is idle");
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1), "for the waiting session");
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
    let full = Counts { permits: 3, workers: 6, starting: 3, active: 3, ..Counts::default() };
    assert_eq!(books(&queue), (Counts { queued: 1, ..full }, 6));
    assert_eq!(push(&queue, Priority::High).1, Wakeup::None);
}

/// A worker that requeues its session, and then takes the next, wakes no other worker for one
/// session.
#[test]
fn a_worker_that_requeues_wakes_another_only_for_others() {
    let queue = idle(2, 2);
    queue.takes_ready();
    let again = || queue.push_back(entry(), Priority::Normal).expect("it is open");
    assert_eq!(again(), Wakeup::None);
    assert_eq!(again(), Wakeup::Idle);
    assert_eq!(queue.counts().queued, 2);
    let queue = running(2, 2);
    assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
    let again = || queue.push_back(entry(), Priority::High).expect("it is open");
    assert_eq!(again(), Wakeup::None);
    assert_eq!(again(), Wakeup::Spawn(1));
    assert_eq!(again(), Wakeup::None, "there is no other permit");
}

/// Returns a queue with two spares. Two workers have blocked and returned, and two new workers have
/// their permits. Each channel reports whether a spare got a permit.
fn with_spares(max: usize) -> (Arc<Queue<Held>>, [Receiver<bool>; 2]) {
    let mut queue = running(2, max);
    queue.idle_timeout = 2 * TEST_TIMEOUT;
    let two = Counts { permits: 2, active: 2, workers: 4, ..Counts::default() };
    for _ in 0..2 {
        queue_one(&queue);
        assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
        queue.worker_started(true);
        assert_eq!(runs(queue.next(None)).1, Wakeup::None);
    }
    assert_eq!(books(&queue), (two, 4));
    for parked in 1..=2 {
        queue.reacquire_permit();
        assert_eq!(books(&queue), (Counts { active: 3, parked: parked - 1, ..two }, 4));
        assert!(matches!(queue.next(None), WorkerStep::Park(Wakeup::None)));
        assert_eq!(books(&queue), (Counts { parked, ..two }, 4));
    }
    let queue = Arc::new(queue);
    let spares = std::array::from_fn(|_| {
        let queue = queue.clone();
        on_a_thread(move || queue.wait_as_spare())
    });
    pause();
    (queue, spares)
}

/// A worker that returns from blocking finds its permit in use. It is a spare until a permit is
/// free, and it is woken before a new worker is started.
#[test]
fn parked_workers_are_woken_before_others_start() {
    let (queue, spares) = with_spares(2);
    let two = Counts { permits: 2, active: 2, workers: 4, ..Counts::default() };
    assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
    assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::None, "a parked is called");
    assert_eq!(books(&queue), (Counts { active: 1, parked: 1, queued: 1, ..two }, 4));
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::None);
    assert_eq!(books(&queue), (Counts { queued: 2, ..two }, 4));
    assert!(spares.iter().all(soon), "each has a permit");
    assert_eq!(queue.state.lock().called, 0);
    runs_one(queue.next(None));
    runs_one(queue.next(None));
    assert_eq!(books(&queue), (two, 4));
    // There are no more spares.
    assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
    assert_eq!(push(&queue, Priority::Normal).1, Wakeup::Spawn(1));
    assert_eq!(books(&queue), (Counts { workers: 5, starting: 1, queued: 1, ..two }, 5));
}

/// Two permits are added at once, and both spares get one.
#[test]
fn growth_wakes_every_parked_worker_with_a_permit() {
    let (queue, spares) = with_spares(4);
    (0..2).for_each(|_| queue_one(&queue));
    assert_eq!(look(&queue, &mut stalled(&queue)).1, Wakeup::None, "no worker is started");
    let four = Counts { permits: 4, active: 4, workers: 4, queued: 2, ..Counts::default() };
    assert_eq!(books(&queue), (four, 4));
    assert!(spares.iter().all(soon));
}

/// Of two added permits the spare gets one, and a new worker the other.
#[test]
fn growth_wakes_parked_workers_and_starts_the_rest() {
    let queue = running(2, 5);
    queue_one(&queue);
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
    queue.worker_started(true);
    runs_one(queue.next(None));
    queue.reacquire_permit();
    assert!(matches!(queue.next(None), WorkerStep::Park(Wakeup::None)));
    let before = Counts { permits: 2, active: 2, workers: 3, parked: 1, ..Counts::default() };
    assert_eq!(books(&queue), (before, 3));
    queue_one(&queue);
    queue_one(&queue);
    let mut watch = stalled(&queue);
    assert_eq!(look(&queue, &mut watch).1, Wakeup::Spawn(1));
    let four = Counts { permits: 4, active: 4, workers: 4, ..Counts::default() };
    let after = Counts { starting: 1, queued: 2, ..four };
    assert_eq!(books(&queue), (after, 4));
    assert!(queue.wait_as_spare(), "it has a permit already");
}

/// Two wake-ups may have been merged, and reached a worker that has lost its permit.
#[test]
fn a_worker_without_a_permit_passes_the_wakeup_on() {
    for idle_one_goes in [false, true] {
        let queue = running(1, 1);
        queue_one(&queue);
        assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
        queue.worker_started(true);
        runs_one(queue.next(None));
        assert_eq!(waits(queue.next(None)), None);
        queue.reacquire_permit();
        assert_eq!(push(&queue, Priority::Normal).1, Wakeup::Idle);
        let (goes, calls, stays) = match idle_one_goes {
            false => (None, Wakeup::Idle, Some(PollEnd::Woken)),
            true => (Some(PollEnd::Woken), Wakeup::None, None),
        };
        assert!(matches!(queue.next(goes), WorkerStep::Park(call) if call == calls));
        runs_one(queue.next(stays));
    }
}

/// Added workers exit after the idle timeout, each with its permit. The first workers stay.
#[test]
fn idle_workers_exit_down_to_the_minimum() {
    let mut queue = running(2, 5);
    queue.idle_timeout = TEST_TIMEOUT;
    for (added, permits) in [(2, 4), (1, 5)] {
        (0..2).for_each(|_| queue_one(&queue));
        assert_eq!(look(&queue, &mut stalled(&queue)).1, Wakeup::Spawn(added));
        (0..added).for_each(|_| queue.worker_started(true));
        assert_eq!(queue.counts().permits, permits);
    }
    let five = Counts { permits: 5, workers: 5, active: 5, ..Counts::default() };
    assert_eq!(books(&queue), (Counts { queued: 4, ..five }, 5));
    (0..4).for_each(|_| runs_one(queue.next(None)));
    (0..5).for_each(|_| assert_eq!(waits(queue.next(None)), Some(TEST_TIMEOUT)));
    // A worker that is woken, or finds a session in the queue, stays.
    assert_eq!(waits(queue.next(Some(PollEnd::Woken))), Some(TEST_TIMEOUT));
    queue_one(&queue);
    runs_one(queue.next(Some(PollEnd::InVain)));
    assert_eq!(waits(queue.next(None)), Some(TEST_TIMEOUT));
    assert_eq!(books(&queue), (Counts { idle: 5, ..five }, 5));
    for left in [4, 3, 2] {
        assert!(matches!(queue.next(Some(PollEnd::InVain)), WorkerStep::Exit));
        let left = Counts { permits: left, workers: left, active: left, idle: left, ..five };
        assert_eq!(books(&queue), (left, 5), "its thread has not ended");
    }
    for _ in 0..2 {
        assert_eq!(waits(queue.next(Some(PollEnd::InVain))), None, "the first stay");
    }
}

/// While two of the first workers block, the two added workers stay. One of them exits after a
/// blocked worker has returned.
#[test]
fn permits_never_go_below_the_minimum() {
    let queue = running(2, 2);
    for _ in 0..2 {
        assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
        assert_eq!(push(&queue, Priority::Normal).1, Wakeup::Spawn(1));
        queue.worker_started(true);
        runs_one(queue.next(None));
    }
    let two = Counts { permits: 2, active: 2, workers: 4, ..Counts::default() };
    assert_eq!(waits(queue.next(None)), None);
    assert_eq!(waits(queue.next(None)), None);
    queue.reacquire_permit();
    // Three active workers share two permits, and one of the idle workers has reached its idle
    // timeout.
    assert!(matches!(queue.next(Some(PollEnd::InVain)), WorkerStep::Exit));
    assert_eq!(books(&queue), (Counts { workers: 3, idle: 1, ..two }, 4));
}

#[test]
fn a_parked_worker_is_not_counted_after_its_timeout() {
    let mut queue = running(1, 1);
    queue_one(&queue);
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
    queue.worker_started(true);
    runs_one(queue.next(None));
    queue.reacquire_permit();
    assert!(matches!(queue.next(None), WorkerStep::Park(_)));
    queue.idle_timeout = Duration::from_millis(1);
    let queue = Arc::new(queue);
    let parked = queue.clone();
    assert!(!soon(&on_a_thread(move || parked.wait_as_spare())));
    let one = Counts { permits: 1, active: 1, workers: 1, ..Counts::default() };
    assert_eq!(books(&queue), (one, 2), "its thread has not ended");
    // The next free permit goes to a new worker.
    queue_one(&queue);
    assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
    assert_eq!(books(&queue), (Counts { workers: 2, starting: 1, queued: 1, ..one }, 3));
}

/// If the system cannot start a thread, the permit is free for the next attempt.
#[test]
fn a_worker_that_cannot_start_releases_its_permit() {
    let queue = running(1, 3);
    (0..2).for_each(|_| queue_one(&queue));
    for attempt in 0..3 {
        let mut watch = stalled(&queue);
        assert_eq!(look(&queue, &mut watch).1, Wakeup::Spawn(1), "attempt {attempt}");
        let before = queue.counts();
        assert_eq!((before.workers, before.starting, before.active), (2, 1, 2));
        queue.worker_started(false);
        let alone = Counts { permits: 2, workers: 1, active: 1, queued: 2, ..Counts::default() };
        assert_eq!(books(&queue), (alone, 1));
    }
}

/// Both workers block in place, so two permits are free. One session is queued, and the worker
/// started for it takes longer than a stall, so that the listener considers adding permits.
#[test]
fn every_worker_that_counts_is_started() {
    let queue = idle(2, 4);
    for _ in 0..2 {
        queue.takes_ready();
        assert_eq!(queue.release_permit(), Wakeup::None);
    }
    let mut watch = StallDetector::new();
    let started = |call| match call {
        Wakeup::Spawn(count) => count,
        Wakeup::None | Wakeup::Idle => 0,
    };
    let mut look = || started(look(&queue, &mut watch).1);
    assert_eq!(look(), 0);
    let mut starting = started(push(&queue, Priority::Normal).1);
    assert_eq!(starting, 1);
    for _ in 0..4 {
        sleep(STALL_AFTER);
        starting += look();
        let counts = queue.counts();
        assert_eq!((counts.starting, counts.workers), (starting, 2 + starting));
        assert_eq!(counts.active, starting);
    }
    assert_eq!(queue.counts().permits, 4, "permits are added if none is free");
}

/// Stale entries are not counted as queued, and each is subtracted once, even if it is taken much
/// later.
#[test]
fn stale_entries_are_counted_once() {
    let queue = running(1, 1);
    for round in 0..3 {
        for waiting in 0..3 {
            assert_eq!(
                (queue.counts().queued, queue.is_full()),
                (waiting, waiting >= 2),
                "{round}"
            );
            queue_one(&queue);
        }
        for left in [2, 1, 0] {
            queue.add_stale();
            assert_eq!((queue.counts().queued, queue.is_full()), (left, left >= 2), "{round}");
        }
        // While the three stale entries are still in the queue, it becomes full at the same bound
        // again.
        for waiting in 0..2 {
            assert_eq!((queue.counts().queued, queue.is_full()), (waiting, false), "{round}");
            let _ = push(&queue, Priority::High);
        }
        assert_eq!((queue.counts().queued, queue.is_full()), (2, true), "{round}");
        for taken in 0..5 {
            runs_one(queue.next(None));
            if taken >= 2 {
                // The last three entries taken are the first three pushed.
                queue.remove_stale();
                assert_eq!(queue.counts().queued, 0);
            } else {
                assert_eq!((queue.counts().queued, queue.is_full()), (1 - taken, false));
            }
        }
        assert_eq!(queue.state.lock().stale, 0);
    }
    // The requester may count a stale entry after a worker has taken it.
    queue_one(&queue);
    runs_one(queue.next(None));
    queue.remove_stale();
    assert_eq!(queue.counts().queued, 1, "for a moment");
    queue.add_stale();
    assert_eq!(queue.counts().queued, 0);
}

#[test]
fn a_queue_of_length_zero_is_always_full() {
    let queue = Queue::<Held>::new(Size { min: 1, max: 1, queue: 0 }, TEST_TIMEOUT);
    assert!(queue.is_full());
}

/// Every thread exits after `close`, in any state, and no thread is counted at the end.
#[test]
fn closing_ends_every_thread() {
    let mut queue = running(4, 8);
    queue.idle_timeout = 2 * TEST_TIMEOUT;
    let queue = Arc::new(queue);
    queue.thread_starts();
    assert!(queue.wants_lane(9));
    // One worker blocks and has a replacement, one is a spare, and one spare has a permit but has
    // not seen it yet.
    for _ in 0..3 {
        queue_one(&queue);
        assert_eq!(queue.release_permit(), Wakeup::Spawn(1));
        queue.worker_started(true);
        runs_one(queue.next(None));
    }
    for _ in 0..2 {
        queue.reacquire_permit();
        assert!(matches!(queue.next(None), WorkerStep::Park(_)));
    }
    (0..2).for_each(|_| queue_one(&queue));
    assert_eq!(queue.release_permit(), Wakeup::None, "a parked is called");
    let spares: [_; 2] = std::array::from_fn(|_| {
        let queue = queue.clone();
        on_a_thread(move || queue.wait_as_spare())
    });
    pause();
    wait_until("the parked that was called has come", || queue.state.lock().called == 0);
    // The other spare gets a permit, and one more worker is starting.
    let mut watch = stalled(&queue);
    assert_eq!(look(&queue, &mut watch).1, Wakeup::Spawn(1));

    assert!(!queue.is_closed());
    queue.close();
    assert!(queue.is_closed());
    assert!(queue.push(entry(), Priority::High).is_err());
    assert!(queue.push_back(entry(), Priority::High).is_err());
    assert_eq!((queue.counts().queued, queue.is_full()), (0, false), "all entries are closed");
    assert!(matches!(queue.watch(&mut watch), ListenerStep::Stop));
    let lane = queue.clone();
    assert!(soon(&on_a_thread(move || lane.pop_for_lane())).is_none());
    assert!(!queue.wants_lane(9));
    assert!(spares.iter().all(soon), "both have been called");
    assert_eq!(queue.release_permit(), Wakeup::None, "no worker is started");
    (0..3).for_each(|_| queue.reacquire_permit());
    queue.worker_started(true);
    for worker in 0..8 {
        assert!(matches!(queue.next(None), WorkerStep::Exit), "worker {worker}");
    }
    let left = Counts { permits: queue.counts().permits, ..Counts::default() };
    assert_eq!(books(&queue), (left, 10));

    let waiter = |limit: Option<Duration>| {
        let queue = queue.clone();
        on_a_thread(move || {
            let before = now();
            queue.wait_for_threads(limit.map(|limit| before + limit));
            now() - before
        })
    };
    let for_all = waiter(None);
    for ended in 0..10 {
        assert!(for_all.try_recv().is_err(), "only {ended} have ended");
        assert!(soon(&waiter(Some(STALL_AFTER))) >= STALL_AFTER, "it waits for as long as it may");
        queue.thread_ends();
    }
    soon(&for_all);
    soon(&waiter(Some(2 * TEST_TIMEOUT)));
}

/// Idle workers, and spares without a permit, exit as well.
#[test]
fn closing_ends_waiting_workers() {
    let (queue, spares) = with_spares(2);
    (0..2).for_each(|_| assert_eq!(waits(queue.next(None)), None));
    queue.close();
    assert!(!spares.iter().any(soon), "there is no permit for them");
    for waited in [PollEnd::Woken, PollEnd::InVain] {
        assert!(matches!(queue.next(Some(waited)), WorkerStep::Exit));
    }
    assert_eq!(books(&queue), (Counts { permits: 2, ..Counts::default() }, 4));
}

/// A queue is saturated if all permits are in use, no worker is idle, and none can be added.
#[test]
fn a_queue_is_saturated_if_no_worker_can_take_a_session() {
    assert!(running(2, 2).is_saturated());
    assert!(!running(2, 3).is_saturated(), "a worker may be added");
    assert!(!idle(1, 1).is_saturated());
    let queue = running(1, 1);
    assert_eq!(queue.release_permit(), Wakeup::None);
    assert!(!queue.is_saturated(), "a permit is free");
    queue.reacquire_permit();
    assert!(queue.is_saturated());
}
