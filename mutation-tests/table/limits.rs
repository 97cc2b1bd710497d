//! Mistakes in limits, the watchdog, what unwinds, the grammar and the telemetry.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "QueuedIsUntimed",
        about: "A command that waits for a thread has no limit before it begins.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "impl TimeoutState => fn next",
                find: "runs || word.queued()",
                replace: "runs",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::timeouts::the_time_in_the_queue_counts"],
    },
    Mutation {
        name: "RestartedTimeoutRunsOn",
        about: "A statement timeout that is restarted counts from the start of the statement.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "impl Record => fn restart_timeout",
                find: "timing.timer.now()",
                replace: "timing.since.load(Ordering::Relaxed)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &["it::timeouts::a_restarted_timeout_counts_anew"],
    },
    Mutation {
        name: "EarlierStartIsNotWatched",
        about: "The timer is not told of an earlier time from which a statement timeout counts.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "impl Record => fn change_start",
                find: "self.watch(self.snapshot());",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &["it::timeouts::a_timeout_counts_from_an_earlier_start"],
    },
];
