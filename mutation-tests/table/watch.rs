//! Mistakes in the watchdog, in reasons why not yet, and in what is shown.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "StretchFromFirstAskEver",
        about: "A new stretch without safe points counts from the first time that anyone asked.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn probe",
                find: "diagnostics.asked = Some(Timestamp::now());",
                replace: "diagnostics.asked.get_or_insert_with(Timestamp::now);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::each_stall_counts_from_its_own_start", "it::watchdog::an_answer_resets_the_time_of_the_probe"],
    },
    Mutation {
        name: "StretchFromLastAsk",
        about: "A stretch counts from the last time that anyone asked.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn probe",
                find: "ProbeResult::Unanswered { elapsed: asked.elapsed(), last_safe_point: last }",
                replace: "{ diagnostics.asked = Some(Timestamp::now()); ProbeResult::Unanswered { elapsed: asked.elapsed(), last_safe_point: last } }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::an_answer_resets_the_time_of_the_probe"],
    },
    Mutation {
        name: "StretchReportedAgain",
        about: "A stretch is reported at each look.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "fn probe_all",
                find: "reported.contains(&stall)",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::a_stall_is_reported_once"],
    },
    Mutation {
        name: "StretchReportedOnceEver",
        about: "A session is reported once, and never again.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "fn probe_all",
                find: "*reported = stalled_now;",
                replace: "reported.extend(stalled_now);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::each_stall_counts_from_its_own_start"],
    },
    Mutation {
        name: "WatchdogLimitUnasked",
        about: "A stretch is reported that is shorter than the limit.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "fn probe_all",
                find: "elapsed < limit",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::a_session_with_safe_points_is_not_reported"],
    },
    Mutation {
        name: "WatchdogDoesNotLookAgain",
        about: "The watchdog does not look once more as it is dropped.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "pub fn start(mut self",
                find: "// What exceeds its limit by now is reported before the watchdog stops. look();",
                replace: "",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::the_watchdog_probes_once_more_when_dropped"],
    },
    Mutation {
        name: "WatchdogRunsSessions",
        about: "The watchdog is registered as a thread that runs sessions.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "pub fn start(mut self",
                find: "manager.register_background(\"watchdog\")",
                replace: "manager.register_worker(\"watchdog\")",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_watchdog"],
    },
    Mutation {
        name: "WatchdogStaysWithAPanic",
        about: "A watchdog that is dropped by a panic goes on.",
        edits: &[
            Edit {
                file: "manager/watchdog.rs",
                within: "impl Drop for Watchdog",
                find: "drop(self.stop.take());",
                replace: "if std::thread::panicking() { std::mem::forget(self.stop.take()); self.thread = None; }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_watchdog"],
    },
    Mutation {
        name: "HeldOffSleeperNotProbed",
        about: "A session that sleeps in a hold-off is not asked.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn probe",
                find: "self.held()",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::a_stalled_session_is_reported_with_its_diagnostics"],
    },
    Mutation {
        name: "SleeperProbed",
        about: "A session that an interrupt would wake is asked.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn probe",
                find: "self.held()",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::watchdog::idle_and_interruptible_sessions_are_not_reported"],
    },
    Mutation {
        name: "ReasonFromAnOldProbe",
        about: "How long a session has passed no safe point counts from a probe that it has answered.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "diagnostics.asked.filter(|_| word.probed())",
                replace: "diagnostics.asked",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_lower_bound_without_a_safe_point"],
    },
    Mutation {
        name: "ReasonForgetsItsProbe",
        about: "How long a session has passed no safe point does not count from a probe that it has not answered.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "diagnostics.asked.filter(|_| word.probed())",
                replace: "diagnostics.asked.filter(|_| false)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_lower_bound_without_a_safe_point"],
    },
    Mutation {
        name: "QueuedThoughAttached",
        about: "A session that has its thread is said to wait for one.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "(word.slot().is_none() || kind == InterruptKind::Cancel)",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_pending_reason_in_each_state"],
    },
    Mutation {
        name: "QueuedCancelRuns",
        about: "A cancelled command that has not begun is said to run.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "(word.slot().is_none() || kind == InterruptKind::Cancel)",
                replace: "word.slot().is_none()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_pending_reason_in_each_state"],
    },
    Mutation {
        name: "WaitsThoughWoken",
        about: "A session in a wait that the request ends is said to be in one that it does not.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "diagnostics.wait().filter(|_| uninterruptible)",
                replace: "diagnostics.wait()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_pending_reason_in_each_state"],
    },
    Mutation {
        name: "DeafToATermination",
        about: "A wait that only a termination ends is said not to be ended by one.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "!word.waiting() || (word.killable() && kind == InterruptKind::Cancel)",
                replace: "!word.waiting() || word.killable()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_pending_reason_in_each_state"],
    },
    Mutation {
        name: "MayFinishThoughEnded",
        about: "A session that has ended is said to finish its transaction.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn why_not_yet",
                find: "word.ended()",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_pending_reason_at_the_end"],
    },
    Mutation {
        name: "InterruptNotedAsSafePoint",
        about: "A safe point that answers nobody is noted where it reports an interrupt.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn answer_probe",
                find: "self.word.load().probed()",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_last_safe_point", "features::measured::safe_point_gaps"],
    },
    Mutation {
        name: "AskedForgetsTheLast",
        about: "Whoever asks first is not told of the last safe point.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn probe",
                find: "ProbeResult::Requested { last_safe_point: last }",
                replace: "ProbeResult::Requested { last_safe_point: None }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_lower_bound_without_a_safe_point"],
    },
    Mutation {
        name: "AskedJustNow",
        about: "A request is shown as if it had been made just now.",
        edits: &[
            Edit {
                file: "core/record/due.rs",
                within: "fn interrupt_row",
                find: "asked.time",
                replace: "std::time::SystemTime::now()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::when_a_request_was_made"],
    },
    Mutation {
        name: "SeenJustNow",
        about: "A request is shown as if it had been seen just now.",
        edits: &[
            Edit {
                file: "core/record/due.rs",
                within: "fn interrupt_row",
                find: "moment.time",
                replace: "std::time::SystemTime::now()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::when_a_request_was_made"],
    },
    Mutation {
        name: "InnermostWait",
        about: "Of several waits the innermost is shown.",
        edits: &[
            Edit {
                file: "core/diagnostics.rs",
                within: "fn wait",
                find: "self.sections.iter().find(is_wait)",
                replace: "self.sections.iter().rfind(is_wait)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_outermost_section_is_shown"],
    },
    Mutation {
        name: "ProgressOfTheFirst",
        about: "The progress of an inner rollback is said to be the outer one's.",
        edits: &[
            Edit {
                file: "core/diagnostics.rs",
                within: "fn progress",
                find: "section.number == self.number",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_outermost_section_is_shown"],
    },
    Mutation {
        name: "LastStretchLeft",
        about: "The end of a stretch ends the last that has begun.",
        edits: &[
            Edit {
                file: "core/diagnostics.rs",
                within: "fn leave",
                find: "self.sections.retain(|other| other.number != number);",
                replace: "self.sections.pop();",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::pending_reason::held_off"],
    },
    Mutation {
        name: "StalledNamesNoHoldOff",
        about: "The text of a stall does not name its hold-off.",
        edits: &[
            Edit {
                file: "types/reports.rs",
                within: "impl fmt::Display for StalledSession",
                find: "&self.hold_off",
                replace: "&None::<ActiveHoldOff>",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::texts::a_stall_is_reported_in_one_line"],
    },
    Mutation {
        name: "ProgressWithoutTotal",
        about: "The text of a progress does not say how much there is to do.",
        edits: &[
            Edit {
                file: "types/pending.rs",
                within: "impl fmt::Display for Progress",
                find: "write!(f, \"{} of {total}\", self.completed)",
                replace: "write!(f, \"{}\", self.completed)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::texts::reasons_are_sentences"],
    },
    Mutation {
        name: "PendingByNoSession",
        about: "The text of a request does not name the session that has no user.",
        edits: &[
            Edit {
                file: "types/pending.rs",
                within: "impl fmt::Display for PendingInterrupt",
                find: "write!(f, \" by session {session}\")",
                replace: "Ok(())",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::texts::pending_requests_name_the_requester"],
    },
    Mutation {
        name: "DetailWithoutSession",
        about: "A detail does not name the session that has no user.",
        edits: &[
            Edit {
                file: "types/interrupt.rs",
                within: "fn detail",
                find: "Some(format!(\"session {session}\"))",
                replace: "None",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::texts::details_name_the_requester_if_known"],
    },
    Mutation {
        name: "DrainCutsTheFirst",
        about: "After the grace the first that has not ended is told, and nobody else.",
        edits: &[
            Edit {
                file: "manager/drain.rs",
                within: "fn drain",
                find: "let _ = self.terminate_unchecked(receipt.session(), &immediate);",
                replace: "let _ = self.terminate_unchecked(receipt.session(), &immediate); break;",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::drain::all_sessions_that_exceed_the_grace_are_terminated"],
    },
    Mutation {
        name: "DrainLimitIsItsGrace",
        about: "Those who are cut short have as long as the grace.",
        edits: &[
            Edit {
                file: "manager/drain.rs",
                within: "fn drain",
                find: "wait(&mut receipts, timeout)",
                replace: "wait(&mut receipts, grace)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::drain::all_sessions_that_exceed_the_grace_are_terminated"],
    },
    Mutation {
        name: "DrainOneByOne",
        about: "Each of those who have not ended is waited for as long as the limit.",
        edits: &[
            Edit {
                file: "manager/drain.rs",
                within: "fn drain",
                find: "deadline.map(|deadline| deadline.saturating_duration_since(now()))",
                replace: "Some(timeout)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::drain::remaining_sessions_share_one_timeout"],
    },
    Mutation {
        name: "TextOfTheLast",
        about: "A statement that says nothing of itself is shown with the text of the one before it.",
        edits: &[
            Edit {
                file: "manager/info.rs",
                within: "impl SessionInfo",
                find: "!word.in_statement() || of == word.statement()",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::when_a_statement_began_and_what_it_was"],
    },
    Mutation {
        name: "RowOfAThreadSinceEver",
        about: "A registered thread is shown since ever.",
        edits: &[
            Edit {
                file: "manager/info.rs",
                within: "impl ThreadInfo",
                find: "record.since",
                replace: "UNIX_EPOCH",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::when_a_thread_was_registered"],
    },
    Mutation {
        name: "TextCutByTheByte",
        about: "A text that is too long is kept to the end of the character that is cut.",
        edits: &[
            Edit {
                file: "core/metadata.rs",
                within: "fn statement_begins",
                find: "end -= 1;",
                replace: "end += 1;",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::the_length_of_a_text"],
    },
    Mutation {
        name: "ProbeNotesAfter",
        about: "A probe takes its transition, and stores its time under the lock after that.",
        edits: &[Edit {
            file: "core/record/diagnose.rs",
            within: "pub(crate) fn probe",
            find: "self.cold().diagnostics.change(|diagnostics| {
            let Ok(transition) = self.try_transition(|word| word.probe(held)) else {
                return ProbeResult::NotRunning;
            };
            let last = diagnostics.last_safe_point();
            match diagnostics.asked {
                Some(asked) if transition.before.probed() => {
                    ProbeResult::Unanswered { elapsed: asked.elapsed(), last_safe_point: last }
                }
                _ => {
                    diagnostics.asked = Some(Timestamp::now());
                    ProbeResult::Requested { last_safe_point: last }
                }
            }
        })",
            replace: "let Ok(transition) = self.try_transition(|word| word.probe(held)) else {
                return ProbeResult::NotRunning;
            };
            self.cold().diagnostics.change(|diagnostics| {
                let last = diagnostics.last_safe_point();
                match diagnostics.asked {
                    Some(asked) if transition.before.probed() => {
                        ProbeResult::Unanswered { elapsed: asked.elapsed(), last_safe_point: last }
                    }
                    _ => {
                        diagnostics.asked = Some(Timestamp::now());
                        ProbeResult::Requested { last_safe_point: last }
                    }
                }
            })",
        }],
        loom: &["probe_against_detach::a_probe_counts_from_an_answered_one"],
        shuttle: &[],
        tests: &[],
    },
];
