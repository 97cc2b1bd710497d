//! Mistakes in what is given back where a panic unwinds.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "SessionStays",
        about: "A session that a panic drops does not end.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "impl Drop for Session",
                find: "!self.record.snapshot().ended()",
                replace: "!self.record.snapshot().ended() && !std::thread::panicking()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_session"],
    },
    Mutation {
        name: "PlaceStays",
        about: "The place of a session that a panic drops is not given back.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn leave_registry",
                find: "if let Some(admission) = &shared.admission { record.release_admission(admission); }",
                replace: "if !std::thread::panicking() { if let Some(admission) = &shared.admission { record.release_admission(admission); } }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_session"],
    },
    Mutation {
        name: "RecordStays",
        about: "A session that a panic drops stays in the registry.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn leave_registry",
                find: "shared.sessions.remove(record.number());",
                replace: "if !std::thread::panicking() { shared.sessions.remove(record.number()); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_session"],
    },
    Mutation {
        name: "ValuesStay",
        about: "The values of a session that a panic drops are dropped after its receipts.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn end",
                find: "self.drop_values();",
                replace: "if !std::thread::panicking() { self.drop_values(); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_session"],
    },
    Mutation {
        name: "ThreadStays",
        about: "A registered thread that a panic drops stays registered.",
        edits: &[
            Edit {
                file: "session/thread.rs",
                within: "impl Drop for Thread ",
                find: "threads.remove(record.number());",
                replace: "if !std::thread::panicking() { threads.remove(record.number()); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_registered_thread"],
    },
    Mutation {
        name: "SlotStays",
        about: "The place of a thread that a panic drops is not given back.",
        edits: &[
            Edit {
                file: "core/thread.rs",
                within: "impl Drop for ThreadRecord",
                find: "self.slots.release(slot);",
                replace: "if !std::thread::panicking() { self.slots.release(slot); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_registered_thread"],
    },
    Mutation {
        name: "ThreadRunsOn",
        about: "A thread is said to run the session that a panic has detached.",
        edits: &[
            Edit {
                file: "session/attached.rs",
                within: "fn leave_thread",
                find: "shared.run(self.outer);",
                replace: "if !std::thread::panicking() { shared.run(self.outer); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::an_attached"],
    },
    Mutation {
        name: "StatementStays",
        about: "A statement that a panic drops is not over.",
        edits: &[
            Edit {
                file: "session/attached.rs",
                within: "impl Drop for Statement",
                find: "self.leave();",
                replace: "if !std::thread::panicking() { self.leave(); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_statement"],
    },
    Mutation {
        name: "HoldOffStays",
        about: "A hold-off that a panic drops goes on.",
        edits: &[
            Edit {
                file: "session/hold_off.rs",
                within: "impl Held<'_>",
                find: "record.release(number)",
                replace: "!std::thread::panicking() && record.release(number)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_hold_off"],
    },
    Mutation {
        name: "HoldOffWakesNobody",
        about: "A hold-off that a panic drops wakes nobody.",
        edits: &[
            Edit {
                file: "session/hold_off.rs",
                within: "impl Held<'_>",
                find: "record.take_wakers_after_hold_off()",
                replace: "if std::thread::panicking() { WakeList::EMPTY } else { record.take_wakers_after_hold_off() }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_hold_off_that_unwinds_on_another_thread_wakes_the_session"],
    },
    Mutation {
        name: "StretchStays",
        about: "A stretch of code that a panic ends goes on.",
        edits: &[
            Edit {
                file: "core/diagnostics.rs",
                within: "impl Drop for SectionGuard",
                find: "self.diagnostics.change(|diagnostics| diagnostics.leave(self.number));",
                replace: "if !std::thread::panicking() { self.diagnostics.change(|diagnostics| diagnostics.leave(self.number)); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_rollback"],
    },
    Mutation {
        name: "LockWaitStays",
        about: "A wait for a lock that a panic ends goes on.",
        edits: &[
            Edit {
                file: "session/timeouts.rs",
                within: "impl Drop for Ends",
                find: "self.0.lock_wait_ends(self.1);",
                replace: "if !std::thread::panicking() { self.0.lock_wait_ends(self.1); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_wait_for_a_lock"],
    },
    Mutation {
        name: "WakerStays",
        about: "A receipt that a panic drops leaves its waker.",
        edits: &[
            Edit {
                file: "session/receipt.rs",
                within: "impl<T> Drop for Receipt<T>",
                find: "self.completion.deregister(key);",
                replace: "if !std::thread::panicking() { self.completion.deregister(key); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_receipt"],
    },
    Mutation {
        name: "InterruptedStays",
        about: "What waits for an interrupt, and a panic drops, leaves its waker.",
        edits: &[
            Edit {
                file: "session/task.rs",
                within: "impl Drop for Interrupted<'_>",
                find: "self.session.set_detached_waker(None);",
                replace: "if !std::thread::panicking() { self.session.set_detached_waker(None); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_run_and_a_wait_for_an_interrupt"],
    },
    Mutation {
        name: "RunStays",
        about: "The statement of a task that a panic drops is not over.",
        edits: &[
            Edit {
                file: "session/task.rs",
                within: "impl<F> PinnedDrop for Run<'_, F>",
                find: "this.give_up();",
                replace: "if !std::thread::panicking() { this.give_up(); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_run_and_a_wait_for_an_interrupt"],
    },
    Mutation {
        name: "HiddenStays",
        about: "A session is hidden for good from what panics without it.",
        edits: &[
            Edit {
                file: "session/current.rs",
                within: "fn without_session",
                find: "outer.is_here()",
                replace: "outer.is_here() && !std::thread::panicking()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::a_destructor_that_runs_without_the_session"],
    },
    Mutation {
        name: "SleepsOn",
        about: "A session whose wait has panicked is said to wait.",
        edits: &[
            Edit {
                file: "session/wait/mod.rs",
                within: "impl<W: Waits + ?Sized> Drop for EndWait<'_, W>",
                find: "self.0.end_wait();",
                replace: "if !std::thread::panicking() { self.0.end_wait(); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::code_that_blocks_and_waits_of_all_kinds"],
    },
    Mutation {
        name: "TimerStays",
        about: "The timer of a manager that a panic drops goes on.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "impl Drop for TimerOwner",
                find: "self.timer.unparker.unpark();",
                replace: "if !std::thread::panicking() { self.timer.unparker.unpark(); }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::timer::tests::the_timers_thread_ends_with_its_manager"],
    },
    Mutation {
        name: "ValuesSeeAnother",
        about: "A session-local value is dropped while another session is attached.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn drop_values",
                find: "current::without_session(|| values.drop_all());",
                replace: "values.drop_all();",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::session_local::session_locals_are_dropped_with_no_other_session_attached"],
    },
    Mutation {
        name: "LastValueSeesAnother",
        about: "A session-local value that outlives its session is dropped while another is attached.",
        edits: &[
            Edit {
                file: "session/local.rs",
                within: "fn try_with",
                find: "without_session(|| drop(last));",
                replace: "drop(last);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::session_local::a_session_local_that_outlives_its_session_is_dropped_with_none_attached"],
    },
    Mutation {
        name: "PanicsCargoSpreads",
        about: "What a panic carries, and panics as it is dropped, goes further.",
        edits: &[
            Edit {
                file: "sync/catch.rs",
                within: "fn catch_panic",
                find: "catch_unwind(AssertUnwindSafe(|| drop(panic)))",
                replace: "{ drop(panic); Ok::<(), Box<dyn std::any::Any + Send>>(()) }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::panicking_wakers::a_panic_payload_may_panic_in_its_drop"],
    },
    Mutation {
        name: "DroppedLeavesItsCancel",
        about: "A cancel of a command that has not begun is never over where its session is dropped from its thread.",
        edits: &[
            Edit {
                file: "session/attached.rs",
                within: "impl Drop for Attached",
                find: "complete(self.record.cancel_finished(transition));",
                replace: "let _ = self.record.cancel_finished(transition);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::unwinding::an_attached"],
    },
    Mutation {
        name: "WaitsBetweenStatements",
        about: "A wait between statements, which a cancel can't mean, is shown as one that a cancel does not end.",
        edits: &[
            Edit {
                file: "core/record/waits.rs",
                within: "impl Waits for Record",
                find: "self.snapshot().in_statement().then(|| self.within(Section::Wait, at))",
                replace: "Some(self.within(Section::Wait, at))",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::what_is_shown::uninterruptible_waits"],
    },
    Mutation {
        name: "HiddenIsNotFoundAgain",
        about: "A thread that has run another session meanwhile is said to run none.",
        edits: &[
            Edit {
                file: "session/attached.rs",
                within: "fn leave_thread",
                find: "shared.run(self.outer);",
                replace: "shared.run(0);",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::session_local::a_hidden_session_is_current_again_after"],
    },
];
