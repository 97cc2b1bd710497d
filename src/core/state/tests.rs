//! Every reachable word with every event, without threads, compared to a model without bits.

mod model;

use super::snapshot::{KILLABLE, LAST_STATEMENT, STATEMENT_SHIFT, WAITING};
use super::transitions::NotRunning;
use super::*;
use crate::types::id::StatementId;
use crate::types::request::TerminateMode;
use model::{Command, Event, Model, No, Placement, Rest};
use std::collections::{BTreeMap, BTreeSet};

const WHENS: [TerminateMode; 3] =
    [TerminateMode::AfterTransaction, TerminateMode::AfterStatement, TerminateMode::Immediate];
const THREADS: [Slot; 3] = [Slot(1), Slot(2), Slot::OWN];

/// Statement ids only grow. With this number of them after each of [`ROOTS`], one differs from the
/// next.
const STATEMENTS: u64 = 3;

/// The number of ids assigned before: none, or so many that the next ids overflow 16 or 32 bits, or
/// are the last ids that exist.
const ROOTS: [u64; 4] = [0, (1 << 16) - 2, (1 << 32) - 2, LAST_STATEMENT - STATEMENTS];

/// Translates a word into the model. Panics if the word contradicts itself.
fn meaning(word: Snapshot) -> Model {
    let rest = match (word.has(WAITING), word.has(KILLABLE)) {
        (false, false) => Rest::Awake,
        (true, false) => Rest::Waiting,
        (true, true) => Rest::Killable,
        (false, true) => panic!("killable without a wait: {word:?}"),
    };
    let placement = match word.slot() {
        None if rest == Rest::Waiting && word.in_statement() => Placement::Suspended,
        None => {
            assert!(rest == Rest::Awake && !word.in_statement(), "no thread runs it: {word:?}");
            Placement::Detached
        }
        Some(slot) => {
            let thread = THREADS.iter().position(|known| *known == slot).unwrap();
            Placement::Attached { thread, rest }
        }
    };
    let (number, cancelled) = (word.number(), word.cancelled());
    let command = match (word.in_statement(), word.queued()) {
        (true, false) => Command::Running { number, cancelled },
        (false, true) => Command::Queued { number, cancelled },
        (false, false) => {
            assert!(!cancelled, "a cancel without its statement: {word:?}");
            Command::None
        }
        (true, true) => panic!("one number for two: {word:?}"),
    };
    Model {
        placement,
        command,
        transaction: word.in_transaction(),
        pending: word.terminate_mode(),
        given: number,
        ended: word.ended(),
        probed: word.probed(),
    }
}

fn events(word: Snapshot) -> Vec<Event> {
    use Event::*;
    let mut events =
        vec![Suspend, Detach, DetachToQueue, Queue, DiscardReserved, Finish, Wake, End, Passed];
    events.extend([false, true].map(|held| Begin { held }));
    events.extend([false, true].map(|held| Probe { held }));
    events.extend([false, true].map(Transaction));
    events.extend([false, true].map(|killable| Sleep { killable }));
    events.extend((0..THREADS.len()).map(Attach));
    let near = word.number().saturating_sub(STATEMENTS)..=word.number() + 1;
    // Each of these ids differs from the session's own in one bit, so comparing too few bits fails.
    let alike = (0..64).map(|bit| word.number() ^ 1 << bit);
    let named = [1, LAST_STATEMENT].into_iter().chain(near).chain(alike).filter(|id| *id > 0);
    let named: BTreeSet<u64> = named.collect();
    for only in [None].into_iter().chain((0..THREADS.len()).map(Some)) {
        events.extend(WHENS.map(|when| Terminate { when, only }));
        events.push(Cancel { named: None, only });
        events.extend(named.iter().map(|number| Cancel { named: Some(*number), only }));
    }
    events
}

fn transition(word: Snapshot, event: Event) -> Result<Snapshot, No> {
    let slot = |only: Option<usize>| only.map(|thread| THREADS[thread]);
    let void = |void| match void {
        TransitionError::Ended => No::Ended,
        TransitionError::NotThere => No::NotThere,
        TransitionError::Stale => No::Stale,
        TransitionError::NotYet => No::NotYet,
        TransitionError::NothingRuns => No::NothingRuns,
    };
    Ok(match event {
        Event::Attach(thread) => word.attach(THREADS[thread]),
        Event::Suspend => word.suspend(false),
        Event::Detach => word.detach(),
        Event::DetachToQueue => word.detach_to_queue(),
        Event::Queue => word.queue(),
        Event::DiscardReserved => word.discard_reserved(),
        Event::Begin { held } => word.begin(|| held).map_err(|no| match no {
            BeginError::Terminate => No::TerminationFirst,
            BeginError::Exhausted => No::Exhausted,
        })?,
        Event::Finish => word.finish(),
        Event::Transaction(open) => word.set_transaction(open),
        Event::Sleep { killable } => word.begin_wait(killable),
        Event::Wake => word.end_wait(),
        Event::End => word.end(),
        Event::Terminate { when, only } => word.terminate(when, slot(only)).map_err(void)?,
        Event::Cancel { named, only } => {
            word.cancel(named.map(StatementId::of), slot(only)).map_err(void)?
        }
        Event::Probe { held } => word.probe(held).map_err(|NotRunning| No::NotRunning)?,
        Event::Passed => word.passed(),
    })
}

#[test]
fn every_reachable_state_follows_the_model() {
    let roots = ROOTS.map(|number| Snapshot::FIRST.with_statement(number));
    let mut known: BTreeMap<Model, Snapshot> = roots.map(|word| (meaning(word), word)).into();
    let mut frontier = roots.to_vec();
    let (mut words, mut pairs) = (0, 0);
    while let Some(word) = frontier.pop() {
        words += 1;
        let model = meaning(word);
        assert_eq!(word.terminate_due(), model.terminate_due(), "{word:?}");
        assert_eq!(word.cancel_due(), model.cancel_due(), "{word:?}");
        let due = model.terminate_due() || model.cancel_due();
        assert_eq!(word.due(), due, "{word:?}");
        assert_eq!(word.attention(), due || model.probed, "{word:?}");
        assert_eq!(word.needs_wake(), model.needs_wake(), "{word:?}");
        assert_eq!(word.stops_helpers(), model.stops_helpers(), "{word:?}");
        assert_eq!(word.runs(), model.placement != Placement::Detached, "{word:?}");
        assert_eq!(word.suspended(), model.placement == Placement::Suspended, "{word:?}");
        assert_eq!(word.statement(), model.statement().map(StatementId::of), "{word:?}");

        for event in events(word).into_iter().filter(|event| model.possible(*event)) {
            pairs += 1;
            let next = transition(word, event);
            let expected = model.transition(event, LAST_STATEMENT);
            assert_eq!(next.map(meaning), expected, "{event:?} in {word:?}");
            let Ok(next) = next else { continue };
            assert!(next.terminate_mode() >= word.terminate_mode(), "lost: {event:?} {word:?}");
            let same = meaning(next).does() == model.does();
            assert_eq!(next.same_activity(word), same, "{event:?} in {word:?}");
            let quiet = !word.cancelled() && !next.attention();
            assert_eq!(
                Transition { before: word, after: next }.is_quiet(),
                quiet,
                "{event:?} {word:?}"
            );
            let number = next.number();
            if !ROOTS.iter().any(|root| (*root..=root + STATEMENTS).contains(&number)) {
                continue;
            }
            match known.insert(meaning(next), next) {
                None => frontier.push(next),
                Some(same) => assert_eq!(next, same, "two words that mean the same"),
            }
        }
    }
    println!("{words} words, {pairs} pairs of word and event");
    assert!(words > 2000, "the exploration is as large as it should be");
}

#[test]
fn requests_fall_due_according_to_their_mode() {
    let running = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap();
    let in_transaction = running.set_transaction(true);
    for (when, word, due) in [
        (TerminateMode::Immediate, running, true),
        (TerminateMode::AfterStatement, running, false),
        (TerminateMode::AfterStatement, running.finish(), true),
        (TerminateMode::AfterStatement, in_transaction.finish(), true),
        (TerminateMode::AfterTransaction, running, false),
        (TerminateMode::AfterTransaction, in_transaction.finish(), false),
        (TerminateMode::AfterTransaction, running.finish(), true),
        (TerminateMode::AfterTransaction, in_transaction.finish().set_transaction(false), true),
        (TerminateMode::AfterStatement, Snapshot::FIRST.queue(), true),
        (TerminateMode::Immediate, running.end(), false),
    ] {
        let pending = word.terminate(when, None);
        assert_eq!(pending.is_ok_and(Snapshot::terminate_due), due, "{when:?} in {word:?}");
    }
}

#[test]
fn a_cancel_names_its_statement() {
    let first = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap();
    let second = first.finish().begin(|| false).unwrap();
    let cancel = |word: Snapshot, number| word.cancel(Some(StatementId::of(number)), None);
    assert!(cancel(first, 1).is_ok_and(Snapshot::cancel_due));
    assert_eq!(cancel(second, 1), Err(TransitionError::Stale));
    assert_eq!(cancel(second, 3), Err(TransitionError::NotYet));
    assert_eq!(cancel(first.finish(), 1), Err(TransitionError::Stale));
    assert_eq!(first.finish().cancel(None, None), Err(TransitionError::NothingRuns));
    assert_eq!(second.cancel(None, Some(Slot(2))), Err(TransitionError::NotThere));
    assert!(!cancel(first, 1).unwrap().finish().begin(|| false).unwrap().attention());
}

#[test]
fn a_queued_command_keeps_its_number_and_its_cancel() {
    let queued = Snapshot::FIRST.queue();
    assert_eq!(queued.queue(), queued);
    let pending = queued.cancel(Some(StatementId::of(1)), None).unwrap();
    assert!(!pending.attention());
    let begun = pending.attach(Slot(1)).detach_to_queue().attach(Slot(2)).begin(|| false).unwrap();
    assert_eq!(begun.statement(), Some(StatementId::of(1)));
    assert!(begun.cancel_due());
    let void = pending.attach(Slot(1)).detach();
    assert!(!void.cancelled());
    assert_eq!(void.attach(Slot(1)).begin(|| false).unwrap().statement(), Some(StatementId::of(2)));
}

#[test]
fn a_cancel_is_due_after_a_killable_wait() {
    let waiting = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap().begin_wait(true);
    let pending = waiting.cancel(None, None).unwrap();
    assert!(!pending.attention() && !pending.needs_wake());
    assert!(pending.end_wait().cancel_due());
    assert!(waiting.terminate(TerminateMode::Immediate, None).unwrap().needs_wake());
}

#[test]
fn a_cancel_does_not_end_a_killable_suspension() {
    let running = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap();
    let pending = running.suspend(true).cancel(None, None).unwrap();
    assert!(pending.suspended() && !pending.due() && !pending.needs_wake());
    assert!(pending.terminate(TerminateMode::Immediate, None).unwrap().needs_wake());
    let back = pending.attach(Slot(2));
    assert!(!back.attention());
    assert!(back.end_wait().cancel_due() && back.end_wait().attention());
    assert!(!pending.detach().killable());
}

#[test]
fn a_suspended_session_keeps_its_statement_and_its_cancel() {
    let running = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap();
    let suspended = running.suspend(false);
    assert!(suspended.suspended() && suspended.in_statement());
    assert_eq!(suspended.attach(Slot(2)).suspend(false), suspended);
    let pending = suspended.cancel(None, None).unwrap();
    assert!(pending.needs_wake() && pending.attach(Slot(2)).attention());
    assert!(suspended.terminate(TerminateMode::Immediate, None).unwrap().needs_wake());
    assert!(!suspended.terminate(TerminateMode::AfterStatement, None).unwrap().needs_wake());
    assert_eq!(
        suspended.terminate(TerminateMode::Immediate, Some(Slot(1))),
        Err(TransitionError::NotThere)
    );
    let given_up = pending.detach();
    assert!(!given_up.waiting() && !given_up.cancelled() && !given_up.in_statement());
}

#[test]
fn an_answered_probe_keeps_a_due_interrupt() {
    let running = Snapshot::FIRST.attach(Slot(1)).begin(|| false).unwrap();
    let probed = running.probe(false).unwrap();
    assert!(probed.attention() && !probed.due() && !probed.needs_wake());
    assert_eq!(probed.passed(), running);
    assert!(probed.cancel(None, None).unwrap().passed().attention());
    assert!(probed.finish().attention(), "a statement's end is no safe point");
    for passed in
        [probed.begin_wait(false), probed.detach(), probed.detach_to_queue(), probed.end()]
    {
        assert!(!passed.probed() && !passed.attention(), "{passed:?}");
        assert_eq!(passed.probe(false), Err(NotRunning));
    }
}

/// Statement ids that differ in one bit are different activities, at any size of the id.
#[test]
fn the_activity_is_the_same_only_in_the_same_statement() {
    for number in ROOTS {
        let word = Snapshot::FIRST.with_statement(number).attach(Slot(1));
        for alike in (0..64 - STATEMENT_SHIFT).map(|bit| number ^ 1 << bit) {
            let other = word.with_statement(alike);
            assert_eq!(other.last_statement(), alike);
            assert!(
                !word.same_activity(other) && !other.same_activity(word),
                "{number} and {alike}"
            );
        }
    }
}

/// A request that names a thread hits only a session in the slot of that thread, and in no similar
/// slot.
#[test]
fn each_slot_differs_from_every_other() {
    let running = Snapshot::FIRST.with_statement(LAST_STATEMENT - 1).attach(Slot(u16::MAX));
    let running = running.begin(|| false).unwrap();
    for slot in 1..=u16::MAX {
        let there = running.attach(Slot(slot));
        assert_eq!(there.slot(), Some(Slot(slot)));
        assert_eq!(there.attach(Slot::OWN), running, "the slot is all that has changed");
    }
    for slot in (1..=u16::MAX).step_by(257) {
        let there = running.attach(Slot(slot));
        assert!(there.terminate(TerminateMode::Immediate, Some(Slot(slot))).is_ok());
        assert!(there.cancel(None, Some(Slot(slot))).is_ok());
        for alike in (0..16).map(|bit| slot ^ 1 << bit).filter(|alike| *alike != 0) {
            let only = Some(Slot(alike));
            assert_eq!(
                there.terminate(TerminateMode::Immediate, only),
                Err(TransitionError::NotThere)
            );
            assert_eq!(there.cancel(None, only), Err(TransitionError::NotThere));
        }
    }
    assert_eq!(running.suspend(false).slot(), None);
}

#[test]
fn no_pool_thread_has_the_slot_of_own_threads() {
    let slots: BTreeSet<u16> = (0..Slot::COUNT).map(|at| Slot::new(at).unwrap().0).collect();
    assert_eq!(slots.len(), Slot::COUNT, "each its own");
    assert!(!slots.contains(&0), "that is no thread's");
    let last = Slot::new(Slot::COUNT - 1).unwrap();
    assert_eq!(last.index(), Slot::COUNT - 1);
    assert_ne!(last, Slot::OWN);
    assert_eq!(Slot::new(Slot::COUNT), None);
}
