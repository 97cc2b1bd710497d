//! Mistakes in the watchdog, in reasons why not yet, and in what is shown.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "StretchFromFirstAskEver",
        about: "A new stretch without safe points counts from the first time that anyone asked.",
        edits: &[
            Edit {
                file: "record/why.rs",
                within: "fn probe",
                find: "noted.asked = Some(Moment::now());",
                replace: "noted.asked.get_or_insert_with(Moment::now);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::each_stretch_counts_from_its_own_beginning", "watchdog::an_answer_forgets_the_time_of_the_probe"],
    },
    Mutation {
        name: "StretchFromLastAsk",
        about: "A stretch counts from the last time that anyone asked.",
        edits: &[
            Edit {
                file: "record/why.rs",
                within: "fn probe",
                find: "Probe::Unanswered { since: asked.elapsed(), last }",
                replace: "{ noted.asked = Some(Moment::now()); Probe::Unanswered { since: asked.elapsed(), last } }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::an_answer_forgets_the_time_of_the_probe"],
    },
    Mutation {
        name: "StretchReportedAgain",
        about: "A stretch is reported at each look.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "fn look",
                find: "reported.contains(&record.id())",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::a_stretch_is_reported_once"],
    },
    Mutation {
        name: "StretchReportedOnceEver",
        about: "A session is reported once, and never again.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "fn look",
                find: "*reported = still;",
                replace: "reported.extend(still);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::each_stretch_counts_from_its_own_beginning"],
    },
    Mutation {
        name: "WatchdogLimitUnasked",
        about: "A stretch is reported that is shorter than the limit.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "fn look",
                find: "since < limit",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::whoever_looks_is_left_alone"],
    },
    Mutation {
        name: "WatchdogDoesNotLookAgain",
        about: "The watchdog does not look once more as it is dropped.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "fn start",
                find: "// A stretch that has lasted for the limit by now is one all the same. look(&manager, limit, &mut reported, &mut report);",
                replace: "",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::the_watchdog_looks_once_more_as_it_is_dropped"],
    },
    Mutation {
        name: "WatchdogRunsSessions",
        about: "The watchdog is registered as a thread that runs sessions.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "fn start",
                find: "manager.register_background(\"watchdog\")",
                replace: "manager.register_worker(\"watchdog\")",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["unwinding::a_watchdog"],
    },
    Mutation {
        name: "WatchdogStaysWithAPanic",
        about: "A watchdog that is dropped by a panic goes on.",
        edits: &[
            Edit {
                file: "watchdog.rs",
                within: "impl Drop for Watchdog",
                find: "drop(self.stop.take());",
                replace: "if std::thread::panicking() { std::mem::forget(self.stop.take()); self.thread = None; }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["unwinding::a_watchdog"],
    },
    Mutation {
        name: "HeldOffSleeperNotProbed",
        about: "A session that sleeps in a hold-off is not asked.",
        edits: &[
            Edit {
                file: "record/why.rs",
                within: "fn probe",
                find: "self.held()",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::whoever_runs_is_reported_with_what_it_says_of_itself"],
    },
    Mutation {
        name: "SleeperProbed",
        about: "A session that an interrupt would wake is asked.",
        edits: &[
            Edit {
                file: "record/why.rs",
                within: "fn probe",
                find: "self.held()",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["watchdog::who_has_nothing_to_run_or_can_be_woken_is_left_alone"],
    },
];
