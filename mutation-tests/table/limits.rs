//! Mistakes in limits, the watchdog, what unwinds, the grammar and the telemetry.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "QueuedIsUntimed",
        about: "A command that waits for a thread has no limit before it begins.",
        edits: &[
            Edit {
                file: "core/record/timeouts.rs",
                within: "impl TimeoutState => fn next",
                find: "runs || word.queued()",
                replace: "runs",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::timeouts::the_time_in_the_queue_counts"],
    },
];
