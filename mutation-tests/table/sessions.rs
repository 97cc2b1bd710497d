//! Mistakes in what a session, its holder and its killers are given: waits, receipts, ids, audit, sweeps.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "WaitThrowsAwayForInterrupt",
        about: "A wait returns the interrupt that is due by its end instead of what its closure returned.",
        edits: &[Edit {
            file: "wait.rs",
            within: "pub fn wait<T>(",
            find: "asleep(self.record, waker, deaf, at, sleep)",
            replace: "asleep(self.record, waker, deaf, at, sleep).and_then(|slept| self.check().map(|()| slept))",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["waits::nothing_that_a_wait_brought_is_thrown_away_for_an_interrupt"],
    },
    Mutation {
        name: "BlockOnAsksBeforeItPolls",
        about: "A future that is ready as an interrupt wakes it is dropped unasked.",
        edits: &[Edit {
            file: "wait.rs",
            within: "pub(crate) fn block_on<F",
            find: "asleep(record, &place.waker, false, at, || place.park(deadline))?;",
            replace: "asleep(record, &place.waker, false, at, || place.park(deadline))?; record.check_at(at)?;",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["waits::a_future_that_is_ready_as_an_interrupt_wakes_it_has_its_output_returned"],
    },
    Mutation {
        name: "ParkReportsNothing",
        about: "An interrupt that ends a park is left to the next safe point.",
        edits: &[Edit {
            file: "wait.rs",
            within: "pub fn park(",
            find: "block_on(self.record, once, deadline).and_then(|_| self.check())",
            replace: "block_on(self.record, once, deadline).map(|_| ())",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["waits::park"],
    },
    Mutation {
        name: "EndUnaskedIsClosed",
        about: "A session that is dropped while a termination is due, and nobody asked, says that it was closed.",
        edits: &[Edit {
            file: "record/told.rs",
            within: "fn completed",
            find: "step.before.detach().terminate_due()",
            replace: "false",
        }],
        loom: &["a_receipt_tells_the_truth::ok_although_nothing_happened"],
        shuttle: &[],
        tests: &["kill_table::a_session_ends_by_the_request_that_was_due_though_its_holder_never_asked"],
    },
    Mutation {
        name: "EndUnaskedIsKilledByWhatIsNotDue",
        about: "A session that is dropped with a transaction open says that what was deferred to the transaction's end has killed it.",
        edits: &[Edit {
            file: "record/told.rs",
            within: "fn completed",
            find: "step.before.detach().terminate_due()",
            replace: "true",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["kill_table::a_session_ends_by_the_request_that_was_due_though_its_holder_never_asked"],
    },
    Mutation {
        name: "EndUnaskedForgetsItsStatement",
        about: "A session that is dropped in a statement whose guards were forgotten asks what was due within that.",
        edits: &[Edit {
            file: "record/told.rs",
            within: "fn completed",
            find: "step.before.detach().terminate_due()",
            replace: "step.before.terminate_due()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["kill_table::a_session_ends_by_the_request_that_was_due_though_its_holder_never_asked"],
    },
    Mutation {
        name: "SerialsStartAlike",
        about: "Each manager gives out the same numbers, so that one of another run names someone.",
        edits: &[Edit {
            file: "manager.rs",
            within: "fn any_serial",
            find: "RandomState::new().hash_one(0)",
            replace: "RandomState::new().hash_one(0) & 0 | 1",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["kill_targets::a_number_of_another_run_names_nobody"],
    },
    Mutation {
        name: "FirstSerialNotBounded",
        about: "The first serial that is given may leave none after it.",
        edits: &[Edit {
            file: "manager.rs",
            within: "pub fn build",
            find: "(first_serial % FIRST_SERIALS).max(1)",
            replace: "first_serial.clamp(1, MAX_SERIAL)",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["kill_targets::the_first_serial_can_be_given"],
    },
    Mutation {
        name: "EarlierSerialsWereGivenOut",
        about: "A thread's number of an earlier run is taken for one that was given out.",
        edits: &[Edit {
            file: "registry.rs",
            within: "fn was_given_out",
            find: "self.first_serial..=shard.last_serial",
            replace: "1..=shard.last_serial",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::registry::tests::a_number_is_never_given_out_twice_and_finds_no_successor"],
    },
    Mutation {
        name: "AmbientLimitsOfAnyManager",
        about: "Code that was handed no session has the timer of another manager look at its session.",
        edits: &[Edit {
            file: "home.rs",
            within: "fn of(",
            find: "same.is_some_and(|same| Arc::ptr_eq(&same, record))",
            replace: "{ let _ = (same, record); true }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["limits::ambient_limits_are_those_of_the_session_s_own_manager"],
    },
];
