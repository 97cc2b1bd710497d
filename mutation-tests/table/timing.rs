//! Mistakes in limits, graces and the timer.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "TransactionFromItsStatement",
        about: "A statement outside of transactions counts from its own beginning, though it has closed a transaction since.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn transaction_began",
                find: "changed.max(self.since.load(Ordering::Relaxed))",
                replace: "self.since.load(Ordering::Relaxed)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "IdlenessInTransactionUnlimited",
        about: "A limit on idleness in transactions is not taken for one on idleness.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn limits_idleness",
                find: "self.idle_in_transaction.load(Ordering::Relaxed) != NEVER",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "CancelledRunsOutAgain",
        about: "A statement that was told to end has its limits all the same.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "busy && !word.cancelled()",
                replace: "busy",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LockWaitUnlimited",
        about: "Waits for locks have no limit.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "consider( TimeoutKind::LockWait, self.lock_wait_since.load(Ordering::Relaxed), &self.lock_wait, );",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StatementIsNoTransaction",
        about: "A statement outside of transactions has no limit on transactions.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "open || runs",
                replace: "open",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "IdleInNoTransaction",
        about: "Every idle session is idle in a transaction.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "!busy && open",
                replace: "!busy",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceNotConsidered",
        about: "The timer does not look at graces.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "pending.is_some()",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitsReadWrong",
        about: "The limit on idleness is read back as that on idleness in transactions.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn limits",
                find: "length(&timing.idle)",
                replace: "length(&timing.idle_in_transaction)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitsSetWrong",
        about: "The limit on idleness is set to that on idleness in transactions.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "(&timing.idle, limits.idle)",
                replace: "(&timing.idle, limits.idle_in_transaction)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "OldIdlenessCounts",
        about: "A limit set on an idleness that nobody has noted counts from long ago.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "IdlenessBeginsWithEachLimit",
        about: "Each change of limits has the idleness begin anew.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!word.in_statement() && !word.queued()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StatementBeginsWithItsLimit",
        about: "The first limit on idleness has the statement that runs begin anew.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!was_limited && !word.queued()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "QueuedBeginsWithItsLimit",
        about: "The first limit on idleness has the command that is queued begin anew.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!was_limited && !word.in_statement()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitsUnarmed",
        about: "The timer does not hear of limits that are set.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "self.arm(timing);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "QueueTimeLost",
        about: "A command that was queued begins anew as it begins.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn command_starts",
                find: "!self.snapshot().queued()",
                replace: "true",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "IdlenessNotNoted",
        about: "When a statement ended is not noted.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn command_ends",
                find: "timing.store_now();",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PeriodsNotWatched",
        about: "The timer does not hear of what begins.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn watch",
                find: "self.arm(timing);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionNotNoted",
        about: "When a transaction began is not noted.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "timing.transaction_since.store(timing.timer.now(), Ordering::Relaxed);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionLeavesIdleness",
        about: "The idleness after the end of a transaction counts from before it.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(transition)",
                replace: "self.transition(transition)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "QueuedBeginsWithATransaction",
        about: "A command that is queued begins anew as a transaction is opened.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(transition)",
                replace: "if !word.in_statement() { timing.stamp_statement(); } self.transition(transition)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionNotWatched",
        about: "The timer does not hear of a transaction that begins.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "self.watch(transition.after);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LockWaitFromNow",
        about: "A wait for a lock counts from its last piece.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn lock_wait_begins",
                find: "timing.timer.at(since)",
                replace: "timing.timer.now()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LockWaitNotWatched",
        about: "The timer does not hear of a wait for a lock.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn lock_wait_begins",
                find: "self.watch(self.snapshot());",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "UnlimitedLockWaitNoted",
        about: "A wait for a lock that began without a limit has one that is set later.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn lock_wait_begins",
                find: "timing.lock_wait.load(Ordering::Relaxed) == NEVER",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "OuterLockWaitForgotten",
        about: "The end of an inner wait for a lock ends the outer one.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn lock_wait_ends",
                find: "self.swap_lock_wait(timing, outer);",
                replace: "self.swap_lock_wait(timing, NEVER);",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LockWaitNeverEnds",
        about: "A wait for a lock goes on for the limit when the lock is there.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn lock_wait_ends",
                find: "self.swap_lock_wait(timing, outer);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LaterGraceReplaces",
        about: "A later, longer grace replaces a shorter one.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn escalate",
                find: "at < timing.grace.load(Ordering::Relaxed)",
                replace: "true",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstGraceStays",
        about: "A shorter grace does not replace a longer one.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn escalate",
                find: "at < timing.grace.load(Ordering::Relaxed)",
                replace: "timing.grace.load(Ordering::Relaxed) == NEVER",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceKeepsFirstAuthor",
        about: "The first whose request had a grace is the author of what another's shorter grace comes to.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn escalate",
                find: "*escalation = Some(by);",
                replace: "escalation.get_or_insert(by);",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceUnarmed",
        about: "The timer does not hear of a grace.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn escalate",
                find: "self.arm(timing);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "EndedStaysArmed",
        about: "A session that has ended stays with the timer.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn disarm",
                find: "timing.timer.disarm(self.id.get(), &timing.armed);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "NotArmedAfterAHit",
        about: "What runs out after a limit that was hit is not looked at.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn expire_timeouts",
                find: "self.enforce(timing, due, word)",
                replace: "return self.enforce(timing, due, word)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "NotDueYet",
        about: "The timer does not ask whether the time has come.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn expire_timeouts",
                find: "due.at <= now",
                replace: "true",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitHitUnsaid",
        about: "The audit does not hear of a limit.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn hit",
                find: "self.emit(&Event::TimeoutExpired { session: self.id, reason });",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitHitSaidInVain",
        about: "The audit hears of a limit that has hit nothing.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn hit",
                find: "accepted.is_err()",
                replace: "false",
            },
        ],
        loom: &["timeout_names_its_reason::timeout_against_removal"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceForgottenByShutdown",
        about: "A shutdown forgets its grace.",
        edits: &[
            Edit {
                file: "manager/manager.rs",
                within: "fn terminate_unchecked",
                find: "grace.filter(|_| mode != TerminateMode::Immediate)",
                replace: "None",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &["it::graces::a_grace_counts_from_the_request"],
    },
    Mutation {
        name: "ImmediateHasGrace",
        about: "A termination that is immediate anyway needs a timer for its grace.",
        edits: &[
            Edit {
                file: "manager/manager.rs",
                within: "fn terminate_if_unchanged",
                find: "grace.filter(|_| mode != TerminateMode::Immediate)",
                replace: "grace",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::graces::an_immediate_termination_has_no_grace"],
    },
    Mutation {
        name: "VoidIsIdle",
        about: "A command that was queued and is void was none, and its time in the queue was idleness.",
        edits: &[
            Edit {
                file: "core/record/statement.rs",
                within: "fn discard_reserved",
                find: "self.command_ends();",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "DetachedVoidIsIdle",
        about: "A command that was queued, and is void as its session is detached, was none.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn detach",
                find: "self.word.load().queued()",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TooLongWraps",
        about: "A limit that is too long for the clock is what is left of it.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "fn nanos",
                find: "u64::try_from(length.as_nanos()).unwrap_or(NEVER)",
                replace: "length.as_nanos() as u64",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::timeouts::a_timeout_too_long_for_the_clock_is_none"],
    },
    Mutation {
        name: "ArmedTwice",
        about: "A session that is armed anew keeps the entry that it had.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "fn arm",
                find: "entries.forget(session, armed);",
                replace: "",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TimerNotCalled",
        about: "The timer that sleeps does not hear of what is due earlier.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "fn arm",
                find: "self.unparker.unpark();",
                replace: "",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::timer::tests::a_sleeping_timer_is_woken_for_an_earlier_deadline"],
    },
    Mutation {
        name: "TimerCalledFromRestAlone",
        about: "The timer that sleeps until a time does not hear of what is due earlier.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "fn arm",
                find: "at < entries.wakes_at",
                replace: "entries.wakes_at == NEVER",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::timer::tests::a_sleeping_timer_is_woken_for_an_earlier_deadline"],
    },
    Mutation {
        name: "TimerOutlivesItsManager",
        about: "The timer's thread does not ask whether its manager is gone.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "fn take",
                find: "entries.closed",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::timer::tests::the_timers_thread_ends_with_its_manager"],
    },
    Mutation {
        name: "TimerNotToldOfItsEnd",
        about: "The timer that sleeps does not hear of the end of its manager.",
        edits: &[
            Edit {
                file: "core/timer.rs",
                within: "impl Drop for TimerOwner",
                find: "self.timer.unparker.unpark();",
                replace: "",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::timer::tests::the_timers_thread_ends_with_its_manager"],
    },
    Mutation {
        name: "BothIdlenessesLimited",
        about: "The beginning of an idleness is noted only where both kinds are limited.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn limits_idleness",
                find: "self.idle.load(Ordering::Relaxed) != NEVER || self.idle_in_transaction.load(Ordering::Relaxed) != NEVER",
                replace: "self.idle.load(Ordering::Relaxed) != NEVER && self.idle_in_transaction.load(Ordering::Relaxed) != NEVER",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "IdleInTransactionUnnoted",
        about: "The beginning of an idleness is noted where that in a transaction has no limit.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn limits_idleness",
                find: "self.idle_in_transaction.load(Ordering::Relaxed) != NEVER",
                replace: "self.idle_in_transaction.load(Ordering::Relaxed) == NEVER",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitedAnewRestartsIdleness",
        about: "An idleness that had a limit counts from where that was changed.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!word.in_statement() && !word.queued()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstLimitRestartsTheStatement",
        about: "A statement counts from where its session got its first limit.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!was_limited && !word.queued()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstLimitRestartsTheQueued",
        about: "A queued command counts from where its session got its first limit.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "!was_limited && !word.in_statement()",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstLimitUnnoted",
        about: "An idleness that had no limit counts from the last statement's beginning.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn set_limits",
                find: "!was_limited && !word.in_statement() && !word.queued()",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionRestartsTheStatement",
        about: "A statement counts from where it opened a transaction.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(transition)",
                replace: "if !word.queued() { timing.stamp_statement(); } self.transition(transition)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionRestartsTheQueued",
        about: "A queued command counts from where a transaction was opened.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "if !word.in_statement() && !word.queued() { timing.store_now(); } self.transition(transition)",
                replace: "if !word.in_statement() { timing.stamp_statement(); } self.transition(transition)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TransactionKeepsIdleness",
        about: "The idleness in a transaction counts from before that was opened.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn transaction_step",
                find: "!word.in_statement() && !word.queued()",
                replace: "false",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TieIsTheLater",
        about: "Of two limits that run out at once the later of the list is named.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "if at < first.at { first = Deadline { at, limit, since }; }",
                replace: "if at <= first.at && at != NEVER { first = Deadline { at, limit, since }; }",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TieIsTheGrace",
        about: "A grace that runs out with a limit at once hides that.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "if at < first.at { first = Deadline { at, limit: TimeoutKind::Grace, since: at }; }",
                replace: "if at <= first.at && at != NEVER { first = Deadline { at, limit: TimeoutKind::Grace, since: at }; }",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LaterAuthorOfTheSameGrace",
        about: "Of two graces that end at once the later counts.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn escalate",
                find: "at < timing.grace.load(Ordering::Relaxed)",
                replace: "at <= timing.grace.load(Ordering::Relaxed)",
            },
        ],
        loom: &["timeouts_in_combination::random_sequences"],
        shuttle: &[],
        tests: &[],
    },
];
