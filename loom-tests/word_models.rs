//! The session word alone: two threads, every interleaving, nothing left out.
//!
//! Part of the library's own tests, as the word is nobody else's to see.

use super::{Slot, Snapshot, Word};
use crate::id::StatementId;
use crate::interrupt::When;
use crate::mutation::Mutation;
use loom::sync::Arc;

#[path = "tests/common/explore.rs"]
mod explore;

use explore::model;

fn in_two_threads<T: 'static, U>(
    first: impl FnOnce(&Word) -> U,
    second: impl FnOnce(&Word) -> T + 'static,
    word: Word,
) -> (U, T, Snapshot) {
    let word = Arc::new(word);
    let other = {
        let word = word.clone();
        loom::thread::spawn(move || second(&word))
    };
    let mine = first(&word);
    let theirs = other.join().unwrap();
    (mine, theirs, word.load())
}

fn attached() -> Word {
    let word = Word::new();
    word.step(|word| word.attach(Slot::OWN));
    word
}

fn kill(word: &Word) -> Snapshot {
    word.try_step(|word| word.terminate(When::Immediate, None)).expect("it is alive").after
}

#[test]
fn the_one_who_ends_it_is_the_runner_or_the_killer() {
    let name = "word::models::the_one_who_ends_it_is_the_runner_or_the_killer";
    let scene = || {
        let runner = |word: &Word| word.step(Snapshot::detach).after.attention();
        let (runner, killer, word) = in_two_threads(runner, kill, attached());
        assert!(word.terminate_due(), "nothing clears a kill");
        assert!(runner != killer.wants_waking(), "one of them ends it, and not both");
    };
    model(name, false, scene);
}

#[test]
fn a_whole_turn_keeps_a_kill() {
    let name = "word::models::a_whole_turn_keeps_a_kill";
    let scene = || {
        let runner = |word: &Word| {
            word.step(|word| word.attach(Slot::OWN));
            if word.try_step(|word| word.begin(|| false)).is_ok() {
                word.step(Snapshot::finish);
            }
            word.step(Snapshot::detach)
        };
        let (_, _, word) = in_two_threads(runner, kill, Word::new());
        assert!(word.terminate_due() && word.attention(), "nothing clears a kill");
    };
    model(name, false, scene);
}

#[test]
fn a_sleeper_looks_or_is_woken() {
    let name = "word::models::a_sleeper_looks_or_is_woken";
    let scene = || {
        let runner = |word: &Word| word.step(|word| word.sleep(false)).after.attention();
        let (looked, killer, _) = in_two_threads(runner, kill, attached());
        assert!(looked != killer.wants_waking(), "one of them sees the other");
    };
    model(name, false, scene);
}

#[test]
fn a_cancel_is_of_one_statement() {
    let name = "word::models::a_cancel_is_of_one_statement";
    let scene = || {
        let word = attached();
        word.try_step(|word| word.begin(|| false)).expect("nothing is due");
        let runner = |word: &Word| {
            let finished = word.step(Snapshot::finish);
            let next =
                word.try_step(|word| word.begin(|| false)).expect("a cancel ends no session");
            (finished.before.cancelled(), next.after.attention() || word.attention())
        };
        let cancel =
            |word: &Word| word.try_step(|word| word.cancel(Some(StatementId(1)), None)).is_ok();
        let ((first, second), accepted, _) = in_two_threads(runner, cancel, word);
        assert!(!second, "the statement that was not named");
        assert_eq!(first, accepted, "an accepted cancel is found by its statement's end");
    };
    model(name, false, scene);
}

#[test]
fn the_stronger_of_two_kills_stands() {
    let name = "word::models::the_stronger_of_two_kills_stands";
    let scene = || {
        let weak = |word: &Word| {
            word.try_step(|word| word.terminate(When::AfterTransaction, None)).is_ok()
        };
        let (_, _, word) = in_two_threads(weak, kill, attached());
        assert_eq!(word.terminate_asked(), Some(When::Immediate));
    };
    model(name, false, scene);
}
