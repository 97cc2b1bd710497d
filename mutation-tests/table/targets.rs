//! Mistakes in whom a request hits that names a thread.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "AttachedToNotTied",
        about: "A request for whatever is attached to a thread hits that session wherever it is by then.",
        edits: &[Edit {
            file: "manager/resolve.rs",
            within: "fn required_slot",
            find: "Ok(thread.slot())",
            replace: "Ok(thread.slot().filter(|_| !matches!(self.target, Target::AttachedTo(_))))",
        }],
        loom: &[
            "no_other_session_is_hit::killed_by_thread_after_it_has_moved",
            "no_other_session_is_hit::cancelled_by_thread_after_it_has_moved",
            "no_other_session_is_hit::cancelled_by_sql_after_it_has_moved",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PairNotTied",
        about: "A request for a session on a thread hits it wherever it is by then.",
        edits: &[Edit {
            file: "manager/resolve.rs",
            within: "fn required_slot",
            find: "Ok(thread.slot())",
            replace: "Ok(thread.slot().filter(|_| !matches!(self.target, Target::Pair(..))))",
        }],
        loom: &[
            "no_other_session_is_hit::killed_by_thread_and_id_after_it_has_moved",
            "no_other_session_is_hit::cancelled_by_thread_and_id_after_it_has_moved",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "OwnThreadNotTied",
        about: "A request for the session of a thread of its own hits it while nobody runs it.",
        edits: &[Edit {
            file: "manager/resolve.rs",
            within: "fn required_slot",
            find: "Ok(Some(Slot::OWN))",
            replace: "Ok(None)",
        }],
        loom: &["no_other_session_is_hit::killed_by_its_own_thread_after_it_has_left_it"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TerminateNotTied",
        about: "The step that tells a session to end does not ask whether it is on the thread that was named.",
        edits: &[Edit {
            file: "core/state/transitions.rs",
            within: "pub(crate) fn terminate(",
            find: "only.is_some() && self.slot() != only",
            replace: "false",
        }],
        loom: &[
            "no_other_session_is_hit::killed_by_thread_after_it_has_moved",
            "no_other_session_is_hit::killed_by_thread_and_id_after_it_has_moved",
            "no_other_session_is_hit::killed_by_its_own_thread_after_it_has_left_it",
        ],
        shuttle: &[],
        tests: &["lib::core::state::tests::every_reachable_state_follows_the_model"],
    },
    Mutation {
        name: "CancelNotTied",
        about: "The step that tells a statement to end does not ask whether its session is on the thread that was named.",
        edits: &[Edit {
            file: "core/state/transitions.rs",
            within: "pub(crate) fn cancel(",
            find: "only.is_some() && self.slot() != only",
            replace: "false",
        }],
        loom: &[
            "no_other_session_is_hit::cancelled_by_thread_after_it_has_moved",
            "no_other_session_is_hit::cancelled_by_thread_and_id_after_it_has_moved",
        ],
        shuttle: &[],
        tests: &["lib::core::state::tests::every_reachable_state_follows_the_model"],
    },
    Mutation {
        name: "PlaceFreeWithItsThread",
        about: "The place of a thread that has gone is given to another while someone still names the first.",
        edits: &[
            Edit {
                file: "session/thread.rs",
                within: "impl Drop for Thread ",
                find: "threads.remove(record.number());",
                replace: "threads.remove(record.number());
                    if let Some(slot) = record.slot {
                        record.slots.release(slot);
                    }",
            },
            Edit {
                file: "core/thread.rs",
                within: "impl Drop for ThreadRecord",
                find: "self.slots.release(slot);",
                replace: "",
            },
        ],
        loom: &[
            "no_other_session_is_hit::killed_by_a_thread_whose_slot_is_reused",
            "no_other_session_is_hit::cancelled_by_a_thread_whose_slot_is_reused",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LastThreadNotAsked",
        about: "Whoever names a thread hits a session that was forgotten in the same place.",
        edits: &[Edit {
            file: "manager/resolve.rs",
            within: "fn required_slot",
            find: "!self.record.was_last_on(thread.id())",
            replace: "false",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::leaked::a_request_with_another_thread_is_rejected"],
    },
    Mutation {
        name: "SweepCancelsWhateverRuns",
        about: "A sweep of statements cancels whatever runs by then.",
        edits: &[Edit {
            file: "manager/bulk.rs",
            within: "pub fn cancel_where",
            find: "request.clone().naming(statement)",
            replace: "let _ = statement; request.clone()",
        }],
        loom: &["bulk_request_hits_what_its_row_shows::cancel_where_against_next_statement"],
        shuttle: &[],
        tests: &["it::bulk_pauses::a_cancel_reaches_no_other_statement"],
    },
    Mutation {
        name: "BellLookedAtFirst",
        about: "Whether a session runs on this thread is asked of its bell, and then of its word.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn runs_here",
            find: "let attached = self.snapshot().slot().is_some();
                let flag = self.flags.load(Ordering::Relaxed) >> FLAG_SHIFT;
                attached && flag == u32::from(attention::own())",
            replace: "let flag = self.flags.load(Ordering::Relaxed) >> FLAG_SHIFT;
                let attached = self.snapshot().slot().is_some();
                attached && flag == u32::from(attention::own())",
        }],
        loom: &["no_other_session_is_hit::a_leaked_attachment_comes_back"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SqlCancelFollowsItsSession",
        about: "The SQL function that cancels by thread reaches the session wherever it is by then.",
        edits: &[Edit {
            file: "sql/execute.rs",
            within: "pub fn cancel_session",
            find: "manager.cancel(target, cancel)",
            replace: "let runs = match target { Target::AttachedTo(thread) => manager.threads().into_iter().find(|row| row.id == thread).and_then(|row| row.session_id), _ => None }; manager.cancel(runs.map_or(target, Target::Session), cancel)",
        }],
        loom: &["no_other_session_is_hit::cancelled_by_sql_after_it_has_moved"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SqlCancelNamesItsSession",
        about: "The SQL function that cancels by thread names the session of that thread in its refusal.",
        edits: &[Edit {
            file: "sql/execute.rs",
            within: "pub fn cancel_session",
            find: "manager.cancel(target, cancel)",
            replace: "let runs = match target { Target::AttachedTo(thread) => manager.threads().into_iter().find(|row| row.id == thread).and_then(|row| row.session_id), _ => None }; manager.cancel(match (target, runs) { (Target::AttachedTo(thread), Some(session)) => Target::Pair(thread, session), _ => target }, cancel)",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::a_hidden_session_is_not_named"],
    },
    Mutation {
        name: "SqlCancelOfTheRunningOnly",
        about: "The SQL function that cancels does not reach a queued command.",
        edits: &[Edit {
            file: "sql/execute.rs",
            within: "pub fn cancel_session",
            find: "Cancel::running_or_queued(requester)",
            replace: "Cancel::running(requester)",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::sql_commands::the_function_cancels_a_queued_command",
            "it::notices::a_cancel_by_thread_reaches_the_queued_command",
        ],
    },
    Mutation {
        name: "RunningIsQueued",
        about: "A cancel of the running statement reaches a queued command.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "pub(crate) fn cancel(",
            find: "word.statement().filter(|_| or_queued)",
            replace: "{ let _ = or_queued; word.statement() }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::kill_table::detached_queued"],
    },
];
