//! Mistakes in what is traced and counted.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "TracedUserIsItsDatabase",
        about: "The user of a session that is opened is its database.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "&*description.user",
                replace: "&*description.database",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "TracedAddressIsItsApplication",
        about: "The address of a session that is opened is its application.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "&*description.address",
                replace: "&*description.application",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "TracedWithoutItsText",
        about: "What the author had to say is not traced.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "request.comment.as_deref()",
                replace: "None::<&str>",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "TracedWithoutItsThread",
        about: "The thread on which a request found its target is not traced.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "found.thread_id.map(|thread| thread.get())",
                replace: "found.thread_id.filter(|_| false).map(|thread| thread.get())",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "TracedPairSwapped",
        about: "The thread and the session of a refusal are taken for each other.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "(Some(id.get()), Some(thread.get()))",
                replace: "(Some(thread.get()), Some(id.get()))",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::rejections_with_their_targets"],
    },
    Mutation {
        name: "DeniedIsNoWarning",
        about: "A request that the policy refuses is no warning.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "emit!(warn, \"permission denied\");",
                replace: "emit!(info, \"permission denied\");",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::rejections_with_their_targets"],
    },
    Mutation {
        name: "EachRefusalIsAWarning",
        about: "A request that misses its target is a warning.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "emit!(info, \"request rejected\");",
                replace: "emit!(warn, \"request rejected\");",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::rejections_with_their_targets"],
    },
    Mutation {
        name: "TracedCancelledInverted",
        about: "A statement is said to have been cancelled where it was not.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "end.cancelled",
                replace: "!end.cancelled",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "StallTracedWithoutItsWait",
        about: "The wait of a session that is stalled is not traced.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn trace",
                find: "stalled.wait.map(tracing::field::display)",
                replace: "stalled.wait.filter(|_| false).map(tracing::field::display)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::a_stall_is_a_warning_with_its_location"],
    },
    Mutation {
        name: "AuthorWithoutItsAddress",
        about: "The address of an author is not traced.",
        edits: &[
            Edit {
                file: "observe/tracing.rs",
                within: "fn from",
                find: "author.address.as_deref()",
                replace: "None",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::traced::requests_and_their_outcomes"],
    },
    Mutation {
        name: "CancelIsATermination",
        about: "A cancel is traced and counted as a termination.",
        edits: &[
            Edit {
                file: "types/interrupt.rs",
                within: "fn name",
                find: "\"cancel\"",
                replace: "\"terminate\"",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::kills_and_their_outcomes"],
    },
    Mutation {
        name: "SeenIsAccepted",
        about: "A request that is seen is counted as one that is accepted.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn count",
                find: "kill(kind, \"observed\")",
                replace: "kill(kind, \"accepted\")",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::kills_and_their_outcomes"],
    },
    Mutation {
        name: "PanickedIsClosed",
        about: "A session that a panic has ended is counted as closed.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn count",
                find: "\"panicked\"",
                replace: "\"closed\"",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::kills_and_their_outcomes"],
    },
    Mutation {
        name: "UncancelledIsCounted",
        about: "A statement that finished first is counted as cancelled.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn count",
                find: "end.cancelled",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::kills_and_their_outcomes"],
    },
    Mutation {
        name: "EndsAsACancel",
        about: "The time that a termination takes is counted as a cancel's.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn count",
                find: "has_ended(InterruptKind::Terminate, request);",
                replace: "has_ended(InterruptKind::Cancel, request);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::kills_and_their_outcomes"],
    },
    Mutation {
        name: "LimitsUncounted",
        about: "Limits that are hit are not counted.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn count",
                find: "counter!(\"safepoint_timeouts_total\").increment(1)",
                replace: "counter!(\"safepoint_timeouts_total\").increment(0)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::stalls_and_timeouts"],
    },
    Mutation {
        name: "GapOfNoLength",
        about: "A gap is counted, and not its length.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn gap",
                find: "histogram!(\"safepoint_safe_point_gap_seconds\").record(length);",
                replace: "histogram!(\"safepoint_safe_point_gap_seconds\").record(Duration::ZERO);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::durations"],
    },
    Mutation {
        name: "KillOfNoLength",
        about: "A kill is counted, and not how long it took.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn has_ended",
                find: "request.elapsed()",
                replace: "Duration::ZERO",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::durations"],
    },
    Mutation {
        name: "DeniedIsMissing",
        about: "A request that the policy refuses is counted as one that found no session.",
        edits: &[
            Edit {
                file: "observe/metrics.rs",
                within: "fn outcome",
                find: "\"permission denied\"",
                replace: "\"no such session\"",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::rejections_by_reason"],
    },
    Mutation {
        name: "StatesCountOne",
        about: "Of the sessions in a state one is counted.",
        edits: &[
            Edit {
                file: "manager/metrics.rs",
                within: "fn record_metrics",
                find: "counts[at] += 1;",
                replace: "counts[at] = 1;",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["features::measured::sessions_by_state"],
    },
];
