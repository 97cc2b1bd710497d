//! Each step of the word, torn by itself.

use super::*;

/// A step that is torn loads the word, and stores what it has worked out.
const TORN: Edit = Edit {
    file: "core/state/word.rs",
    within: "fn try_transition",
    find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
    replace: "if crate::mutation::torn() {
        self.0.store(after.0, Ordering::Release);
        Ok(seen)
    } else {
        self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)
    }",
};

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "AttachTorn",
        about: "The step that attaches a session is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn resume",
                find: "word.attach(slot)",
                replace: "if !word.suspended() { crate::mutation::tear(); } word.attach(slot)",
            },
            TORN,
        ],
        loom: &["no_kill_is_lost::attach_overwrites_closing"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GoOnTorn",
        about: "The step that attaches a task that goes on is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn resume",
                find: "word.attach(slot)",
                replace: "if word.suspended() { crate::mutation::tear(); } word.attach(slot)",
            },
            TORN,
        ],
        loom: &["hold_off_reports_nothing::a_kill_gets_into_a_held_task", "no_other_statement_is_hit::cancel_follows_a_task", "no_waiter_is_missed::lost_wake_up_of_a_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SuspendTorn",
        about: "The step that takes a task off its thread is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn suspend",
                find: "self.transition_to_wait(waker, |word| word.suspend(killable))",
                replace: "self.transition_to_wait(waker, |word| { crate::mutation::tear(); word.suspend(killable) })",
            },
            TORN,
        ],
        loom: &["no_waiter_is_missed::lost_wake_up_of_a_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "DetachTorn",
        about: "The step that takes a session off its thread is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn detach",
                find: "self.word.transition(Snapshot::detach)",
                replace: "self.word.transition(|word| { crate::mutation::tear(); word.detach() })",
            },
            TORN,
        ],
        loom: &["no_kill_is_lost::kill_dropped_while_changing_threads"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "DetachQueuedTorn",
        about: "The step that takes a session off its thread and back to the queue is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn detach",
                find: "self.word.transition(Snapshot::detach_to_queue)",
                replace: "self.word.transition(|word| { crate::mutation::tear(); word.detach_to_queue() })",
            },
            TORN,
        ],
        loom: &["no_kill_is_lost::kill_dropped_while_going_back_to_the_queue"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "QueueTorn",
        about: "The step that queues a command is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/statement.rs",
                within: "fn queue",
                find: "self.transition(Snapshot::queue)",
                replace: "self.transition(|word| { crate::mutation::tear(); word.queue() })",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_reserve_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "VoidQueuedTorn",
        about: "The step that gives up a queued command is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/statement.rs",
                within: "fn discard_reserved",
                find: "self.transition(Snapshot::discard_reserved)",
                replace: "self.transition(|word| { crate::mutation::tear(); word.discard_reserved() })",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_discard_reserved", "each_transition_is_atomic::cancel_against_discard_reserved"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "BeginTorn",
        about: "The step that begins a statement is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/statement.rs",
                within: "fn begin_at",
                find: "word.begin(|| self.held())",
                replace: "word.begin(|| self.held()).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_begin", "each_transition_is_atomic::cancel_against_begin"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FinishTorn",
        about: "The step that ends a statement is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/statement.rs",
                within: "pub(crate) fn finish",
                find: "self.transition(Snapshot::finish)",
                replace: "self.transition(|word| { crate::mutation::tear(); word.finish() })",
            },
            TORN,
        ],
        loom: &["no_other_statement_is_hit::cancel_hits_next_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionTorn",
        about: "The step that says whether a transaction is open is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "self.transition(transition); return;",
                replace: "self.transition(|word| { crate::mutation::tear(); transition(word) }); return;",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_transaction"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionWithLimitsTorn",
        about: "The step that says whether a transaction is open, of a session with limits, is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(transition)",
                replace: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(|word| { crate::mutation::tear(); transition(word) })",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::probe_against_transaction"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SleepTorn",
        about: "The step that goes to sleep is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn begin_wait",
                find: "word.begin_wait(killable)",
                replace: "crate::mutation::tear(); word.begin_wait(killable)",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_a_short_wait", "no_waiter_is_missed::lost_wake_up"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "WakeTorn",
        about: "The step that wakes is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn end_wait",
                find: "self.transition(Snapshot::end_wait)",
                replace: "self.transition(|word| { crate::mutation::tear(); word.end_wait() })",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_a_short_wait"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "EndTorn",
        about: "The step that ends a session is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "pub(crate) fn end",
                find: "self.transition(Snapshot::end)",
                replace: "self.transition(|word| { crate::mutation::tear(); word.end() })",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::cancel_against_end"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "AnswerTorn",
        about: "The step that answers a probe is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "fn answer_probe",
                find: "self.transition(Snapshot::passed);",
                replace: "self.transition(|word| { crate::mutation::tear(); word.passed() });",
            },
            TORN,
        ],
        loom: &["probe_against_detach::a_probe_is_answered_before_a_kill"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ProbeTorn",
        about: "The step that probes a session is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/diagnose.rs",
                within: "pub(crate) fn probe",
                find: "word.probe(held)",
                replace: "word.probe(held).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::probe_against_kill"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TerminateTorn",
        about: "The step that tells a session to end is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn terminate_if_unchanged",
                find: "word.terminate(when, only)",
                replace: "word.terminate(when, only).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["no_kill_is_lost::kill_dropped_while_changing_threads", "no_waiter_is_missed::lost_wake_up"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "CancelTorn",
        about: "The step that tells a statement to end is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "pub(crate) fn cancel(",
                find: "word.cancel(named, only)",
                replace: "word.cancel(named, only).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["no_other_statement_is_hit::cancel_hits_next_statement", "each_transition_is_atomic::cancel_against_discard_reserved"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitCancelTorn",
        about: "The step that tells a statement to end whose limit has run out is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "now.cancel(named, None)",
                replace: "now.cancel(named, None).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["timeout_names_its_reason::timeout_against_finish"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitEndTorn",
        about: "The step that tells a session to end whose limit has run out is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "still_due(now).and_then(|()| now.terminate(TerminateMode::Immediate, None))",
                replace: "still_due(now).and_then(|()| now.terminate(TerminateMode::Immediate, None)).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::idle_timeout_against_detach"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceTorn",
        about: "The step that tells a session to end whose grace is over is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "|now: Snapshot| now.terminate(TerminateMode::Immediate, None)",
                replace: "|now: Snapshot| now.terminate(TerminateMode::Immediate, None).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::grace_against_detach"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FailTorn",
        about: "The step that ends a session that cannot go on is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn fail",
                find: "word.terminate(TerminateMode::Immediate, None)",
                replace: "word.terminate(TerminateMode::Immediate, None).inspect(|_| crate::mutation::tear())",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::probe_against_the_last_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RouseTorn",
        about: "The step that asks who sleeps as a hold-off ends is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn take_wakers_after_hold_off",
                find: "self.transition(|word| word);",
                replace: "self.transition(|word| { crate::mutation::tear(); word });",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_the_end_of_a_hold_off"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "CheckRungTorn",
        about: "The step that looks, of a safe point that was rung, is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn check_flagged",
                find: "self.word.transition(|word| word).after",
                replace: "self.word.transition(|word| { crate::mutation::tear(); word }).after",
            },
            TORN,
        ],
        loom: &["no_kill_is_lost::flag_cleared_as_a_kill_raises_it"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ArmTorn",
        about: "The step that looks, of the timer, is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn arm",
                find: "self.transition(|word| word).after",
                replace: "self.transition(|word| { crate::mutation::tear(); word }).after",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_set_timeouts"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "KeepValueTorn",
        about: "The step that asks whether a session may keep a value is a load and a store.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn insert_value_if_open",
                find: "self.transition(|word| word).after.ended()",
                replace: "self.transition(|word| { crate::mutation::tear(); word }).after.ended()",
            },
            TORN,
        ],
        loom: &["each_transition_is_atomic::kill_against_the_first_value"],
        shuttle: &[],
        tests: &[],
    },
];
