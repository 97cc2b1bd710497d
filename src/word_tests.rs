//! Every reachable word against every step, without threads.

use super::*;
use std::collections::BTreeSet;

const WHENS: [When; 3] = [When::AfterTransaction, When::AfterStatement, When::Immediate];

/// Statement numbers grow without end; so many are enough to tell one from the next.
const STATEMENTS: u64 = 3;

/// The steps that whoever owns the session may take in this state, by name.
fn own_steps(word: Snapshot) -> Vec<(&'static str, Snapshot)> {
    let mut steps = Vec::new();
    if word.ended() {
        return steps;
    }
    let attached = word.slot().is_some();
    if !attached {
        steps.push(("queue", word.queue()));
        steps.push(("attach", word.attach(Slot(1))));
        steps.push(("attach to another", word.attach(Slot(2))));
    } else if word.asleep() {
        steps.push(("wake", word.wake()));
    } else {
        steps.push(("void what is queued", word.void_queued()));
        steps.push(("detach", word.detach()));
        steps.push(("detach, queued", word.detach_queued()));
        steps.push(("open a transaction", word.set_transaction(true)));
        steps.push(("close a transaction", word.set_transaction(false)));
        steps.push(("sleep", word.sleep(false)));
        steps.push(("sleep, deaf", word.sleep(true)));
        if word.in_statement() {
            steps.push(("finish", word.finish()));
        } else if let Ok(begun) = word.begin() {
            steps.push(("begin", begun));
        }
    }
    steps.push(("end", word.end()));
    steps
}

fn killers_steps(word: Snapshot) -> Vec<(&'static str, Snapshot)> {
    let slots = [None, Some(Slot(1)), Some(Slot(2)), Some(Slot::OWN)];
    let terminate = slots.iter().flat_map(|only| WHENS.map(|when| word.terminate(when, *only)));
    let named = [None].into_iter().chain((0..=STATEMENTS + 1).map(|n| Some(StatementId(n))));
    let cancel = slots.iter().flat_map(|only| named.clone().map(|id| word.cancel(id, *only)));
    let terminate = terminate.flatten().map(|next| ("terminate", next));
    terminate.chain(cancel.flatten().map(|next| ("cancel", next))).collect()
}

fn reachable() -> BTreeSet<u64> {
    let mut known = BTreeSet::from([Snapshot::FIRST.0]);
    let mut frontier = vec![Snapshot::FIRST];
    while let Some(word) = frontier.pop() {
        for (_, next) in own_steps(word).into_iter().chain(killers_steps(word)) {
            if next.number() <= STATEMENTS && known.insert(next.0) {
                frontier.push(next);
            }
        }
    }
    known
}

#[test]
fn every_step_of_every_reachable_word() {
    let words = reachable();
    let mut pairs = 0;
    for word in words.iter().map(|raw| Snapshot(*raw)) {
        let due = word.terminate_due() || word.cancel_due();
        assert_eq!(word.attention(), due, "attention says what is due: {word:?}");
        assert!(
            !word.cancelled() || word.in_statement() || word.queued(),
            "a cancel without its statement: {word:?}"
        );
        assert!(!(word.in_statement() && word.queued()), "{word:?}");
        assert!(word.slot().is_some() || !(word.in_statement() || word.asleep()), "{word:?}");

        for (name, next) in own_steps(word) {
            pairs += 1;
            let seen = format!("{name}: {word:?} -> {next:?}");
            assert_eq!(next.terminate_asked(), word.terminate_asked(), "a kill was lost, {seen}");
            assert!(next.number() >= word.number(), "{seen}");
            let statement_goes_on = next.statement() == word.statement();
            if word.cancelled() {
                assert_eq!(next.cancelled(), statement_goes_on, "a cancel sticks, {seen}");
            } else {
                assert!(!next.cancelled(), "{seen}");
            }
        }
        for (name, next) in killers_steps(word) {
            pairs += 1;
            let seen = format!("{name}: {word:?} -> {next:?}");
            assert!(next.terminate_asked() >= word.terminate_asked(), "weaker hides, {seen}");
            let own = |word: Snapshot| word.without(ATTENTION | CANCEL | TERMINATE).0;
            assert_eq!(own(next), own(word), "a killer changes only requests, {seen}");
            assert!(!word.ended(), "{seen}");
        }
    }
    println!("{} words, {pairs} pairs of word and step", words.len());
    assert!(words.len() > 500, "the exploration is as large as it should be");
}

#[test]
fn what_is_due_when() {
    let running = Snapshot::FIRST.attach(Slot(1)).begin().unwrap();
    let in_transaction = running.set_transaction(true);
    for (when, word, due) in [
        (When::Immediate, running, true),
        (When::AfterStatement, running, false),
        (When::AfterStatement, running.finish(), true),
        (When::AfterStatement, in_transaction.finish(), true),
        (When::AfterTransaction, running, false),
        (When::AfterTransaction, in_transaction.finish(), false),
        (When::AfterTransaction, running.finish(), true),
        (When::AfterTransaction, in_transaction.finish().set_transaction(false), true),
        (When::AfterStatement, Snapshot::FIRST.queue(), true),
        (When::Immediate, running.end(), false),
    ] {
        let told = word.terminate(when, None);
        assert_eq!(told.is_ok_and(Snapshot::terminate_due), due, "{when:?} in {word:?}");
    }
}

#[test]
fn a_cancel_names_its_statement() {
    let first = Snapshot::FIRST.attach(Slot(1)).begin().unwrap();
    let second = first.finish().begin().unwrap();
    let cancel = |word: Snapshot, number| word.cancel(Some(StatementId(number)), None);
    assert!(cancel(first, 1).is_ok_and(Snapshot::cancel_due));
    assert_eq!(cancel(second, 1), Err(Void::Stale));
    assert_eq!(cancel(second, 3), Err(Void::NotYet));
    assert_eq!(cancel(first.finish(), 1), Err(Void::Stale));
    assert_eq!(first.finish().cancel(None, None), Err(Void::NothingRuns));
    assert_eq!(second.cancel(None, Some(Slot(2))), Err(Void::NotThere));
    assert!(!cancel(first, 1).unwrap().finish().begin().unwrap().attention());
}

#[test]
fn a_queued_command_keeps_its_number_and_its_cancel() {
    let queued = Snapshot::FIRST.queue();
    assert_eq!(queued.queue(), queued);
    let told = queued.cancel(Some(StatementId(1)), None).unwrap();
    assert!(!told.attention());
    let begun = told.attach(Slot(1)).detach_queued().attach(Slot(2)).begin().unwrap();
    assert_eq!(begun.statement(), Some(StatementId(1)));
    assert!(begun.cancel_due());
    let void = told.attach(Slot(1)).detach();
    assert!(!void.cancelled());
    assert_eq!(void.attach(Slot(1)).begin().unwrap().statement(), Some(StatementId(2)));
}

#[test]
fn a_deaf_sleeper_hears_a_cancel_when_it_wakes() {
    let asleep = Snapshot::FIRST.attach(Slot(1)).begin().unwrap().sleep(true);
    let told = asleep.cancel(None, None).unwrap();
    assert!(!told.attention() && !told.wants_waking());
    assert!(told.wake().cancel_due());
    assert!(asleep.terminate(When::Immediate, None).unwrap().wants_waking());
}

#[test]
fn the_last_statement_number_is_the_last() {
    let last = Snapshot::FIRST.attach(Slot(1)).with_statement(LAST_STATEMENT);
    assert_eq!(last.begin(), Err(NoBegin::Exhausted));
    assert_eq!(last.queue(), last);
}
