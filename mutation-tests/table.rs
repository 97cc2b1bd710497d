//! The mistakes. Each is a place of `src/` that is written wrongly on purpose, and must be seen.
//!
//! The build scripts of `loom-tests`, `shuttle-tests` and `mutation-tests` apply all of them to a
//! copy of the sources, each behind a switch, so that one build serves all mistakes and the
//! compiler checks both branches. A place that is not found exactly once fails the build.
//!
//! - A model or a scene is told of its mistakes by this table: it is enough to name it here.
//! - `scripts/mutations.sh [NAME ...]` runs the library's own tests that are named here.

use super::format::{Edit, Mutation};

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(crate) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "TaskSleepsWithoutRecheck",
        about: "A task that waits does not look at what its step to sleep returned.",
        edits: &[Edit {
            file: "record/asleep.rs",
            within: "fn suspend",
            find: "step.after.due() && !self.held() && !Twin::NoRecheckBeforeSleep.is_on()",
            replace: "false",
        }],
        loom: &["no_sleeper_sleeps_on::lost_wake_up_of_a_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FinishKeepsItsStatement",
        about: "The step that ends a statement leaves it running.",
        edits: &[Edit {
            file: "word.rs",
            within: "fn finish",
            find: "self.without(IN_STATEMENT | CANCEL).settled()",
            replace: "self.without(CANCEL).settled()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::word::tests::every_reachable_word_does_what_the_model_does"],
    },
];
