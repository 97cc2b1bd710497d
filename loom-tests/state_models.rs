//! Each transition of the session's state is atomic, without the rest of the library.
//!
//! At the same time: two transitions, in every interleaving.
//!
//! These models are unit tests of `core::state`, because the state is private to the library.

use super::{Slot, Snapshot, State};
use crate::types::id::StatementId;
use crate::types::request::TerminateMode;
use crate::mutation::Mutation;
use loom::sync::Arc;

#[path = "tests/models/common/explore.rs"]
mod explore;

use explore::model;

fn in_two_threads<T: 'static, U>(
    first: impl FnOnce(&State) -> U,
    second: impl FnOnce(&State) -> T + 'static,
    word: State,
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

fn attached() -> State {
    let word = State::new();
    word.transition(|word| word.attach(Slot::OWN));
    word
}

fn kill(word: &State) -> Snapshot {
    word.try_transition(|word| word.terminate(TerminateMode::Immediate, None)).expect("it is alive").after
}

#[test]
fn either_the_owner_or_the_requester_ends_it() {
    let name = "core::state::models::either_the_owner_or_the_requester_ends_it";
    let scene = || {
        let runner = |word: &State| word.transition(Snapshot::detach).after.attention();
        let (runner, killer, word) = in_two_threads(runner, kill, attached());
        assert!(word.terminate_due(), "nothing clears a kill");
        assert!(runner != killer.needs_wake(), "one of them ends it, and not both");
    };
    model(name, false, scene);
}

#[test]
fn a_whole_turn_keeps_a_kill() {
    let name = "core::state::models::a_whole_turn_keeps_a_kill";
    let scene = || {
        let runner = |word: &State| {
            word.transition(|word| word.attach(Slot::OWN));
            if word.try_transition(|word| word.begin(|| false)).is_ok() {
                word.transition(Snapshot::finish);
            }
            word.transition(Snapshot::detach)
        };
        let (_, _, word) = in_two_threads(runner, kill, State::new());
        assert!(word.terminate_due() && word.attention(), "nothing clears a kill");
    };
    model(name, false, scene);
}

#[test]
fn a_waiter_checks_or_is_woken() {
    let name = "core::state::models::a_waiter_checks_or_is_woken";
    let scene = || {
        let runner = |word: &State| word.transition(|word| word.begin_wait(false)).after.attention();
        let (looked, killer, _) = in_two_threads(runner, kill, attached());
        assert!(looked != killer.needs_wake(), "one of them sees the other");
    };
    model(name, false, scene);
}

#[test]
fn a_cancel_is_of_one_statement() {
    let name = "core::state::models::a_cancel_is_of_one_statement";
    let scene = || {
        let word = attached();
        word.try_transition(|word| word.begin(|| false)).expect("nothing is due");
        let runner = |word: &State| {
            let finished = word.transition(Snapshot::finish);
            let next =
                word.try_transition(|word| word.begin(|| false)).expect("a cancel ends no session");
            (finished.before.cancelled(), next.after.attention() || word.attention())
        };
        let cancel =
            |word: &State| word.try_transition(|word| word.cancel(Some(StatementId::of(1)), None)).is_ok();
        let ((first, second), accepted, _) = in_two_threads(runner, cancel, word);
        assert!(!second, "the statement that was not named");
        assert_eq!(first, accepted, "an accepted cancel is found by its statement's end");
    };
    model(name, false, scene);
}

#[test]
fn the_stronger_of_two_kills_stands() {
    let name = "core::state::models::the_stronger_of_two_kills_stands";
    let scene = || {
        let weak = |word: &State| {
            word.try_transition(|word| word.terminate(TerminateMode::AfterTransaction, None)).is_ok()
        };
        let (_, _, word) = in_two_threads(weak, kill, attached());
        assert_eq!(word.terminate_mode(), Some(TerminateMode::Immediate));
    };
    model(name, false, scene);
}
