//! When the listener sleeps, when it is woken, and when it adds permits.

use super::*;

/// Starts a listener, which sleeps because a worker is idle. The channel reports whether it must
/// poll again.
fn sleeping(queue: &Arc<Queue<Held>>) -> Receiver<bool> {
    let listener = queue.clone();
    let wakes = on_a_thread(move || {
        matches!(listener.watch(&mut StallDetector::new()), ListenerStep::Poll(..))
    });
    wait_until("the listener sleeps", || queue.state.lock().listener_sleeps);
    assert!(wakes.try_recv().is_err());
    wakes
}

/// The last idle worker stops polling, in each possible case. If the listener slept on, no thread
/// would poll: a pool whose workers are all busy would neither grow nor use its lane.
#[test]
fn the_last_polling_worker_wakes_the_listener() {
    type Goes = fn(&Queue<Held>);
    let cases: [(&str, Goes); 5] = [
        ("it runs what has turned ready", Queue::takes_ready),
        ("it is called for one in the queue", |queue| {
            queue_one(queue);
            runs_one(queue.next(Some(PollEnd::Woken)));
        }),
        ("it finds one in the queue", |queue| {
            queue_one(queue);
            runs_one(queue.next(Some(PollEnd::InVain)));
        }),
        ("it has had nothing to do for long", |queue| {
            // Another worker runs a session, perhaps forever.
            queue.reacquire_permit();
            assert!(matches!(queue.next(Some(PollEnd::InVain)), WorkerStep::Exit));
        }),
        ("it has lost its permit", |queue| {
            queue.reacquire_permit();
            assert!(matches!(queue.next(Some(PollEnd::Woken)), WorkerStep::Park(_)));
        }),
    ];
    for (case, goes) in cases {
        let queue = Arc::new(idle(1, 1));
        let wakes = sleeping(&queue);
        goes(&queue);
        assert!(!queue.state.lock().listener_sleeps, "{case}");
        assert_eq!(
            wakes.recv_timeout(TEST_TIMEOUT),
            Ok(true),
            "{case}, and the listener sleeps on"
        );
    }
}

/// While another worker is idle, that worker polls.
#[test]
fn the_listener_sleeps_while_a_worker_polls() {
    let queue = Arc::new(idle(2, 2));
    let wakes = sleeping(&queue);
    queue.takes_ready();
    assert_eq!(waits(queue.next(None)), None);
    assert_eq!(waits(queue.next(Some(PollEnd::Woken))), None);
    assert!(queue.state.lock().listener_sleeps);
    assert!(wakes.try_recv().is_err());
    (0..2).for_each(|_| queue.takes_ready());
    assert!(soon(&wakes));
}

/// Wakes the listener without need: a worker takes a session, and is idle again before the listener
/// has checked.
fn wake_needlessly(queue: &Queue<Held>, state: &mut QueueState<Held>) {
    state.counts.idle -= 1;
    queue.call_listener(state);
    state.counts.idle += 1;
}

/// The listener sleeps again only after the full number of quiet ticks.
#[test]
fn a_listener_woken_without_need_sleeps_again() {
    let queue = Arc::new(idle(1, 1));
    let wakes = sleeping(&queue);
    for _ in 0..2 {
        let before = now();
        wake_needlessly(&queue, &mut queue.state.lock());
        wait_until("the listener sleeps again", || queue.state.lock().listener_sleeps);
        assert!(now() >= before + (QUIET_TICKS - 1) * LISTENER_INTERVAL);
    }
    queue.takes_ready();
    assert!(soon(&wakes));
}

/// Before the listener sleeps, it checks by itself at each interval.
#[test]
fn a_listener_that_does_not_sleep_needs_no_wake() {
    let queue = Arc::new(idle(1, 1));
    let listener = queue.clone();
    let looks = on_a_thread(move || {
        matches!(listener.watch(&mut StallDetector::new()), ListenerStep::Poll(..))
    });
    loop {
        let mut state = queue.state.lock();
        if !state.listener_sleeps {
            state.counts.idle = 0;
            break;
        }
        wake_needlessly(&queue, &mut state);
    }
    assert!(soon(&looks));
}

#[test]
fn closing_stops_the_listener() {
    let stops = |queue: &Arc<Queue<Held>>, mut watch: StallDetector| {
        let queue = queue.clone();
        on_a_thread(move || matches!(queue.watch(&mut watch), ListenerStep::Stop))
    };
    let queue = Arc::new(idle(1, 1));
    let sleeps = stops(&queue, StallDetector::new());
    wait_until("the listener sleeps", || queue.state.lock().listener_sleeps);
    queue.close();
    assert!(soon(&sleeps), "it slept");
    assert!(soon(&stops(&queue, StallDetector::new())), "with an idle worker");
    let queue = Arc::new(running(1, 1));
    queue.close();
    assert!(soon(&stops(&queue, StallDetector::new())), "with none");
    assert!(
        soon(&stops(&queue, StallDetector { flows: true, ..StallDetector::new() })),
        "with much to do"
    );
}

/// The added permits are at most as many as there are permits, and as many as sessions wait, up to
/// the maximum.
#[test]
fn permits_are_added_by_need_and_up_to_the_maximum() {
    for (min, max, waiting, added) in [
        (1, 9, 1, 1),
        (1, 9, 5, 1),
        (3, 9, 2, 2),
        (3, 9, 7, 3),
        (3, 5, 7, 2),
        (3, 4, 7, 1),
        (3, 3, 7, 0),
        (3, 9, 0, 0),
    ] {
        let queue = running(min, max);
        (0..waiting).for_each(|_| queue_one(&queue));
        let mut watch = stalled(&queue);
        let (_, call) = look(&queue, &mut watch);
        let expected = if added > 0 { Wakeup::Spawn(added) } else { Wakeup::None };
        assert_eq!(call, expected, "{waiting} wait for {min} of at most {max}");
        let counts = queue.counts();
        assert_eq!((counts.permits, counts.active), (min + added, min + added));
    }
}

/// A burst of waiting sessions reaches the maximum number of workers, and no more, in a few steps.
#[test]
fn a_burst_brings_the_maximum_and_no_more() {
    let queue = running(2, 7);
    (0..50).for_each(|_| queue_one(&queue));
    let mut watch = StallDetector::new();
    for permits in [4, 7, 7, 7] {
        watch.since -= STALL_AFTER;
        let _ = look(&queue, &mut watch);
        assert_eq!(queue.counts().permits, permits);
        assert_eq!((queue.counts().workers, queue.counts().starting), (permits, permits - 2));
    }
}

/// The stall is measured from the last session taken, or from the last growth.
#[test]
fn permits_are_added_only_after_a_stall() {
    let queue = running(1, 9);
    queue_one(&queue);
    let mut watch = StallDetector::new();
    watch.since = now() + TEST_TIMEOUT;
    assert_eq!(look(&queue, &mut watch).1, Wakeup::None, "it has not stalled");
    let before = now();
    // One of the workers has taken a session.
    runs_one(queue.next(None));
    queue_one(&queue);
    watch.since -= 2 * TEST_TIMEOUT;
    assert_eq!(look(&queue, &mut watch).1, Wakeup::None, "it has moved");
    assert!(watch.since >= before, "and the stall counts from then on");
    watch.since = now() + TEST_TIMEOUT;
    assert_eq!(look(&queue, &mut watch).1, Wakeup::None);
    assert!(watch.since > now(), "nothing has moved");
    watch.since = now() - STALL_AFTER;
    let before = now();
    assert_eq!(look(&queue, &mut watch).1, Wakeup::Spawn(1));
    assert!(watch.since >= before, "the next stall counts from the growth");
    // An idle worker that runs a session whose socket became readable counts as progress too.
    let queue = idle(1, 9);
    let mut watch = StallDetector::new();
    queue.takes_ready();
    queue_one(&queue);
    watch.since -= STALL_AFTER;
    assert_eq!(look(&queue, &mut watch).1, Wakeup::None);
}

/// A free permit is used, even if its wake-up was lost, before a permit is added.
#[test]
fn a_free_permit_is_used_before_one_is_added() {
    let queue = running(2, 9);
    assert_eq!(queue.release_permit(), Wakeup::None, "no session waits");
    let mut watch = StallDetector::new();
    assert_eq!(look(&queue, &mut watch).1, Wakeup::None, "no session waits");
    (0..3).for_each(|_| queue.state.lock().put(entry(), Priority::Normal));
    watch.since -= STALL_AFTER;
    assert_eq!(look(&queue, &mut watch).1, Wakeup::Spawn(1));
    let counts = queue.counts();
    assert_eq!((counts.permits, counts.active, counts.workers), (2, 2, 3));
}

/// If the workers make progress, and have no time to poll, the listener polls without waiting and
/// pauses before the next poll. Otherwise it waits for a socket to become readable.
#[test]
fn the_listeners_timeout_follows_the_workers() {
    let queue = running(1, 1);
    let mut watch = StallDetector::new();
    assert_eq!(look(&queue, &mut watch).0, STALL_AFTER, "nothing moves");
    queue_one(&queue);
    runs_one(queue.next(None));
    assert_eq!(look(&queue, &mut watch).0, Duration::ZERO, "it flows");
    let before = now();
    assert_eq!(look(&queue, &mut watch).0, STALL_AFTER, "nothing has moved since");
    assert!(now() >= before + LISTENER_INTERVAL, "it pauses");
    queue_one(&queue);
    runs_one(queue.next(None));
    assert_eq!(queue.release_permit(), Wakeup::None);
    assert_eq!(look(&queue, &mut watch).0, STALL_AFTER, "a permit is free");
}

/// A wake-up for an idle worker may reach the listener.
#[test]
fn a_missed_wakeup_is_passed_on() {
    let queue = idle(1, 1);
    assert!(!queue.passes_on(), "no session waits");
    queue_one(&queue);
    assert!(queue.passes_on());
    runs_one(queue.next(Some(PollEnd::Woken)));
    assert!(!queue.passes_on());
    queue_one(&queue);
    assert!(!queue.passes_on(), "no worker is idle");
    queue.close();
    assert!(queue.passes_on(), "it may be the end");
}
