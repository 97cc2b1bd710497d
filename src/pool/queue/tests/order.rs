//! The order in which sessions are taken.

use super::*;

/// Takes `count` sessions, and returns the index of each.
fn takes(queue: &Queue<Held>, entries: &[Held], count: usize) -> Vec<usize> {
    let which = |entry: Held| entries.iter().position(|known| Arc::ptr_eq(known, &entry));
    (0..count).map(|_| which(runs(queue.next(None)).0).expect("it is known")).collect()
}

fn pushed(queue: &Queue<Held>, priorities: &[Priority]) -> Vec<Held> {
    priorities.iter().map(|priority| push(queue, *priority).0).collect()
}

const FIRST: Priority = Priority::High;
const OTHER: Priority = Priority::Normal;

#[test]
fn high_priority_is_taken_first_and_each_in_order() {
    let queue = running(1, 1);
    let entries = pushed(&queue, &[OTHER, FIRST, OTHER, FIRST, OTHER]);
    assert_eq!(takes(&queue, &entries, 5), [1, 3, 0, 2, 4]);
}

#[test]
fn a_requeued_session_is_the_last_of_its_priority() {
    let queue = running(1, 1);
    let entries = pushed(&queue, &[FIRST, OTHER, FIRST, OTHER]);
    let first = runs(queue.next(None)).0;
    let _ = queue.push_back(first, FIRST).expect("it is open");
    assert_eq!(takes(&queue, &entries, 3), [2, 0, 1]);
    let _ = queue.push_back(entries[1].clone(), OTHER).expect("it is open");
    assert_eq!(takes(&queue, &entries, 2), [3, 1]);
}

/// After each burst of high priority one session of normal priority is taken, which starts a new
/// burst.
#[test]
fn bursts_of_high_priority_are_bounded() {
    let queue = running(1, 1);
    let mut priorities = vec![OTHER; 3];
    priorities.extend([FIRST; 2 * HIGH_PRIORITY_BURST + 1]);
    let entries = pushed(&queue, &priorities);
    let mut expected: Vec<_> = (3..3 + HIGH_PRIORITY_BURST).collect();
    expected.push(0);
    expected.extend(3 + HIGH_PRIORITY_BURST..3 + 2 * HIGH_PRIORITY_BURST);
    expected.extend([1, 3 + 2 * HIGH_PRIORITY_BURST, 2]);
    assert_eq!(takes(&queue, &entries, entries.len()), expected);
}

/// A burst is counted without a break: a session of normal priority resets it.
#[test]
fn a_burst_begins_after_a_normal_job() {
    let queue = running(1, 1);
    let entries = pushed(&queue, &[FIRST; HIGH_PRIORITY_BURST - 1]);
    takes(&queue, &entries, entries.len());
    let entries = pushed(&queue, &[OTHER]);
    takes(&queue, &entries, 1);
    let mut priorities = vec![OTHER];
    priorities.extend([FIRST; HIGH_PRIORITY_BURST]);
    let entries = pushed(&queue, &priorities);
    let mut expected: Vec<_> = (1..=HIGH_PRIORITY_BURST).collect();
    expected.push(0);
    assert_eq!(takes(&queue, &entries, entries.len()), expected);
}

/// While no session of normal priority waits, high priority is not limited.
#[test]
fn high_priority_alone_is_not_limited() {
    let queue = running(1, 1);
    let entries = pushed(&queue, &[FIRST; HIGH_PRIORITY_BURST + 2]);
    assert_eq!(
        takes(&queue, &entries, entries.len()),
        (0..HIGH_PRIORITY_BURST + 2).collect::<Vec<_>>()
    );
    let entries = pushed(&queue, &[OTHER, FIRST]);
    assert_eq!(takes(&queue, &entries, 2), [0, 1], "the others have waited for long enough");
}
