//! Who is taken first.

use super::*;

/// Takes so many, and says which of these they were.
fn takes(queue: &Queue<Held>, seats: &[Held], count: usize) -> Vec<usize> {
    let which = |seat: Held| seats.iter().position(|known| Arc::ptr_eq(known, &seat));
    (0..count).map(|_| which(runs(queue.next(None)).0).expect("it is known")).collect()
}

fn pushed(queue: &Queue<Held>, priorities: &[Priority]) -> Vec<Held> {
    priorities.iter().map(|priority| push(queue, *priority).0).collect()
}

const FIRST: Priority = Priority::High;
const OTHER: Priority = Priority::Normal;

#[test]
fn those_who_go_first_and_then_the_others_each_as_they_came() {
    let queue = running(1, 1);
    let seats = pushed(&queue, &[OTHER, FIRST, OTHER, FIRST, OTHER]);
    assert_eq!(takes(&queue, &seats, 5), [1, 3, 0, 2, 4]);
}

#[test]
fn one_that_is_put_back_goes_to_the_end_of_its_kind() {
    let queue = running(1, 1);
    let seats = pushed(&queue, &[FIRST, OTHER, FIRST, OTHER]);
    let first = runs(queue.next(None)).0;
    let _ = queue.push_back(first, FIRST).expect("it is open");
    assert_eq!(takes(&queue, &seats, 3), [2, 0, 1]);
    let _ = queue.push_back(seats[1].clone(), OTHER).expect("it is open");
    assert_eq!(takes(&queue, &seats, 2), [3, 1]);
}

/// Of so many and one there is one of the others, and a turn of the others starts a new row.
#[test]
fn of_those_who_go_first_so_many_in_a_row() {
    let queue = running(1, 1);
    let mut priorities = vec![OTHER; 3];
    priorities.extend([FIRST; 2 * HIGH_PRIORITY_BURST + 1]);
    let seats = pushed(&queue, &priorities);
    let mut expected: Vec<_> = (3..3 + HIGH_PRIORITY_BURST).collect();
    expected.push(0);
    expected.extend(3 + HIGH_PRIORITY_BURST..3 + 2 * HIGH_PRIORITY_BURST);
    expected.extend([1, 3 + 2 * HIGH_PRIORITY_BURST, 2]);
    assert_eq!(takes(&queue, &seats, seats.len()), expected);
}

/// A row is one without a break: what was taken before one of the others does not count.
#[test]
fn a_row_begins_after_one_of_the_others() {
    let queue = running(1, 1);
    let seats = pushed(&queue, &[FIRST; HIGH_PRIORITY_BURST - 1]);
    takes(&queue, &seats, seats.len());
    let seats = pushed(&queue, &[OTHER]);
    takes(&queue, &seats, 1);
    let mut priorities = vec![OTHER];
    priorities.extend([FIRST; HIGH_PRIORITY_BURST]);
    let seats = pushed(&queue, &priorities);
    let mut expected: Vec<_> = (1..=HIGH_PRIORITY_BURST).collect();
    expected.push(0);
    assert_eq!(takes(&queue, &seats, seats.len()), expected);
}

/// Without others nobody has to make room for them.
#[test]
fn those_who_go_first_go_on_where_nobody_else_waits() {
    let queue = running(1, 1);
    let seats = pushed(&queue, &[FIRST; HIGH_PRIORITY_BURST + 2]);
    assert_eq!(
        takes(&queue, &seats, seats.len()),
        (0..HIGH_PRIORITY_BURST + 2).collect::<Vec<_>>()
    );
    let seats = pushed(&queue, &[OTHER, FIRST]);
    assert_eq!(takes(&queue, &seats, 2), [0, 1], "the others have waited for long enough");
}
