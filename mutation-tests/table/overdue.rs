//! Mistakes in the watchdog's view of requests that are due for too long.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "OverdueInEachRound",
        about: "An overdue request is reported in each round.",
        edits: &[Edit {
            file: "manager/overdue.rs",
            within: "fn overdue_for",
            find: "!std::mem::replace(&mut seen.reported, true)",
            replace: "true",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::a_request_is_reported_once_in_each_state"],
    },
    Mutation {
        name: "OverdueWithinTheLimit",
        about: "A request is overdue as soon as it is due.",
        edits: &[Edit {
            file: "manager/overdue.rs",
            within: "fn overdue_for",
            find: "elapsed >= limit",
            replace: "true",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::a_request_is_not_reported_within_the_limit"],
    },
    Mutation {
        name: "OverdueFromTheFirstRound",
        about: "The time of each overdue request counts from the first round that sees it.",
        edits: &[Edit {
            file: "manager/overdue.rs",
            within: "fn overdue_for",
            find: "due.due_since().map_or(now, |since| since.at)",
            replace: "now",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::a_request_is_not_reported_within_the_limit"],
    },
    Mutation {
        name: "OverdueBeforeDue",
        about: "A deferred request counts as due while it is deferred.",
        edits: &[Edit {
            file: "core/record/due.rs",
            within: "pub(crate) fn due_interrupts",
            find: "if word.terminate_due() || word.cancelled() || word.ended() {
            let guarded = self.guarded.lock();
            let word = self.snapshot();
            if let Some(pending) = &guarded.terminate
                && (word.terminate_due() || word.ended())
            {
                let (pending, asked) = pending.row(word);
                due.push(DueInterrupt { pending, asked, statement: None });
            }
            if let Some(pending) = &guarded.cancel
                && word.cancelled()
            {
                let (pending, asked) = pending.row();
                due.push(DueInterrupt { pending, asked, statement: word.statement() });
            }
        }",
            replace: "{
            let guarded = self.guarded.lock();
            let word = self.snapshot();
            if let Some(pending) = &guarded.terminate {
                let (pending, asked) = pending.row(word);
                due.push(DueInterrupt { pending, asked, statement: None });
            }
            if let Some(pending) = &guarded.cancel {
                let (pending, asked) = pending.row();
                due.push(DueInterrupt { pending, asked, statement: word.statement() });
            }
        }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::a_request_that_is_not_due_is_not_reported"],
    },
    Mutation {
        name: "OverdueHelpersOfStatementUnseen",
        about: "A cancel whose statement has ended is not overdue, though helpers are left.",
        edits: &[Edit {
            file: "core/record/due.rs",
            within: "pub(crate) fn due_interrupts",
            find: "self.cancels_with_helpers()",
            replace: "Vec::new()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::overdue::a_request_is_reported_once_in_each_state",
            "it::overdue::an_overdue_cancel_has_the_text_of_its_statement",
        ],
    },
    Mutation {
        name: "OverdueHelpersOfSessionUnseen",
        about: "A termination whose session has ended is not overdue, though helpers are left.",
        edits: &[Edit {
            file: "core/record/due.rs",
            within: "pub(crate) fn due_interrupts",
            find: "word.terminate_due() || word.cancelled() || word.ended()",
            replace: "word.terminate_due() || word.cancelled()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::a_request_is_reported_once_in_each_state"],
    },
    Mutation {
        name: "OverdueOncePerSession",
        about: "Only the first overdue request of all is reported.",
        edits: &[Edit {
            file: "manager/overdue.rs",
            within: "fn overdue_for",
            find: "Arc::as_ptr(request).addr()",
            replace: "0",
        }, Edit {
            file: "manager/overdue.rs",
            within: "fn overdue_for",
            find: "Arc::ptr_eq(&seen.request, request)",
            replace: "true",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::each_request_is_reported_for_itself"],
    },
    Mutation {
        name: "OverdueTextOfAnother",
        about: "The cancel of a statement that has ended is reported with the text of the next one.",
        edits: &[Edit {
            file: "manager/overdue.rs",
            within: "fn describe",
            find: "row.statement_id != Some(*of)",
            replace: "false",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::overdue::an_overdue_cancel_has_the_text_of_its_statement"],
    },
    Mutation {
        name: "RoundsOfTheLongerLimit",
        about: "The rounds of a watchdog fit its longer limit.",
        edits: &[Edit {
            file: "manager/watchdog.rs",
            within: "fn pause",
            find: "stalled.into_iter().chain(overdue).min()",
            replace: "stalled.into_iter().chain(overdue).max()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::manager::watchdog::tests::there_are_two_rounds_in_each_limit"],
    },
];
