//! Each memory ordering, weakened by itself, and what else keeps what is said together.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "LoadRelaxed",
        about: "A look at the word orders nothing.",
        edits: &[Edit {
            file: "core/state/word.rs",
            within: "pub(crate) fn load",
            find: "self.0.load(Ordering::Acquire)",
            replace: "self.0.load(Ordering::Relaxed)",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstLookRelaxed",
        about: "The look with which a step begins orders nothing, and so whoever is refused by it is not ordered.",
        edits: &[Edit {
            file: "core/state/word.rs",
            within: "fn try_transition",
            find: "self.0.load(Ordering::Acquire)",
            replace: "self.0.load(Ordering::Relaxed)",
        }],
        loom: &[
            "rows_are_consistent::a_rejection_precedes_the_end_of_the_statement",
            "rows_are_consistent::a_rejection_precedes_the_end_of_the_session",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RefusalRelaxed",
        about: "Whoever is refused once another step has come first is not ordered.",
        edits: &[Edit {
            file: "core/state/word.rs",
            within: "fn try_transition",
            find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
            replace: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Relaxed)",
        }],
        loom: &[
            "rows_are_consistent::a_rejection_precedes_the_end_of_the_statement",
            "rows_are_consistent::a_rejection_precedes_the_end_of_the_session",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StepAcquiresOnly",
        about: "Whoever sees a step does not see what came before it.",
        edits: &[Edit {
            file: "core/state/word.rs",
            within: "fn try_transition",
            find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
            replace: "self.0.compare_exchange_weak(seen, after.0, Ordering::Acquire, Ordering::Acquire)",
        }],
        loom: &[
            "receipts_match_the_outcome::terminate_reports_a_wrong_thread",
            "no_kill_is_lost::flag_of_another_thread",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StepReleasesOnly",
        about: "Whoever takes a step does not see what came before the last one.",
        edits: &[Edit {
            file: "core/state/word.rs",
            within: "fn try_transition",
            find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
            replace: "self.0.compare_exchange_weak(seen, after.0, Ordering::Release, Ordering::Acquire)",
        }],
        loom: &["no_kill_is_lost::flag_of_the_same_state"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ThreadStoredRelaxed",
        about: "Whoever reads the number of the thread that a session goes to does not see that it has left the last.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn resume",
            find: "self.thread.store(thread.get(), Ordering::Release);",
            replace: "self.thread.store(thread.get(), Ordering::Relaxed);",
        }],
        loom: &[
            "rows_are_consistent::a_row_has_the_thread_of_another_statement",
            "rows_are_consistent::a_row_has_the_thread_of_a_reused_slot",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LastThreadRelaxed",
        about: "The number of the last thread, read before the word, orders nothing.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn last_thread",
            find: "self.thread.load(Ordering::Acquire)",
            replace: "self.thread.load(Ordering::Relaxed)",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_a_reused_slot"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ThreadAfterRelaxed",
        about: "The number of the thread, read after the word, orders nothing.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn thread_in",
            find: "self.thread.load(Ordering::Acquire)",
            replace: "self.thread.load(Ordering::Relaxed)",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceTakenRelaxed",
        about: "Whoever takes a place does not see the end of who had it.",
        edits: &[Edit {
            file: "core/admission.rs",
            within: "fn step",
            find: "self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, next)",
            replace: "self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)",
        }],
        loom: &[
            "no_slot_is_taken_twice::a_slot_is_taken_before_it_is_released",
            "no_slot_is_taken_twice::an_admission_before_a_slot_is_released",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceGivenBackRelaxed",
        about: "Whoever gives a place back does not hand on what came before.",
        edits: &[Edit {
            file: "core/admission.rs",
            within: "fn release",
            find: "self.taken.fetch_sub(given, Ordering::Release);",
            replace: "self.taken.fetch_sub(given, Ordering::Relaxed);",
        }],
        loom: &[
            "no_slot_is_taken_twice::a_slot_is_taken_before_it_is_released",
            "no_slot_is_taken_twice::an_admission_before_a_slot_is_released",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceGivenBackInTwoSteps",
        about: "A place is given back by a load and a store.",
        edits: &[Edit {
            file: "core/admission.rs",
            within: "fn release",
            find: "self.taken.fetch_sub(given, Ordering::Release);",
            replace: "self.taken.store(self.taken.load(Ordering::Acquire) - given, Ordering::Release);",
        }],
        loom: &["no_slot_is_taken_twice::two_release_their_slots"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TextOfAnyStatement",
        about: "A row has the text that was kept last, whatever runs.",
        edits: &[Edit {
            file: "manager/info.rs",
            within: "impl SessionInfo => fn of",
            find: "!word.in_statement() || of == word.statement()",
            replace: "true",
        }],
        loom: &["rows_are_consistent::a_row_has_the_text_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LastThreadReadAfter",
        about: "The number of the last thread is read once, after the word.",
        edits: &[Edit {
            file: "manager/info.rs",
            within: "impl SessionInfo => fn of",
            find: "record.thread_in(word, before)",
            replace: "record.thread_in(word, record.last_thread())",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_a_reused_slot"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ToldReadFirst",
        about: "A row is made of the word as it was before what was told is looked at.",
        edits: &[Edit {
            file: "core/record/diagnose.rs",
            within: "fn at_one_moment",
            find: "let guarded = self.guarded.lock(); let word = self.snapshot(); look( word, guarded.pending(word), guarded.metadata.description(self.has(ADMIN)), &guarded.metadata, )",
            replace: "let word = self.snapshot(); let guarded = self.guarded.lock(); look( word, guarded.pending(word), guarded.metadata.description(self.has(ADMIN)), &guarded.metadata, )",
        }],
        loom: &["rows_are_consistent::a_row_has_the_requester_of_another_request"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ThreadNotReadAgain",
        about: "The number of the thread is not read once more after the last look.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn thread_in",
            find: "self.snapshot().slot() == Some(slot) && self.thread.load(Ordering::Relaxed) == thread",
            replace: "self.snapshot().slot() == Some(slot)",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceNotLookedAtAgain",
        about: "Whether the session is still in its place is not asked once more.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn thread_in",
            find: "self.snapshot().slot() == Some(slot) && self.thread.load(Ordering::Relaxed) == thread",
            replace: "self.thread.load(Ordering::Relaxed) == thread",
        }],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "KillersThreadAfterStep",
        about: "A killer reads the number of its target's thread after its step.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn terminate_by",
            find: "Ok(self.accepted(transition.before, thread, completion))",
            replace: "let _ = thread; Ok(self.accepted(transition.before, self.last_thread(), completion))",
        }],
        loom: &["receipts_match_the_outcome::terminate_reports_the_thread_of_a_reused_slot"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "CancellersThreadAfterStep",
        about: "A canceller reads the number of its target's thread after its step.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn cancel_by",
            find: "Ok(self.accepted(transition.before, thread, completion))",
            replace: "let _ = thread; Ok(self.accepted(transition.before, self.last_thread(), completion))",
        }],
        loom: &["receipts_match_the_outcome::cancel_reports_the_thread_of_a_reused_slot"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ThreadAfterAttach",
        about: "The number of the thread that a session goes to is written after the step that attaches it.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn resume",
                find: "self.thread.store(thread.get(), Ordering::Release);",
                replace: "",
            },
            Edit {
                file: "core/record/mod.rs",
                within: "pub(crate) fn attach",
                find: "self.resume(slot, thread, flag)",
                replace: "let transition = self.resume(slot, thread, flag);
                    self.thread.store(thread.get(), Ordering::Release);
                    transition",
            },
        ],
        loom: &["rows_are_consistent::a_row_has_the_thread_of_another_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "BellAfterAttach",
        about: "Which bell to ring is written after the step that attaches a session.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn resume",
                find: "self.flags.store(flags | u32::from(flag) << FLAG_SHIFT, Ordering::Relaxed);",
                replace: "let _ = flags;",
            },
            Edit {
                file: "core/record/mod.rs",
                within: "pub(crate) fn attach",
                find: "self.resume(slot, thread, flag)",
                replace: "let transition = self.resume(slot, thread, flag);
                    let flags = self.flags.load(Ordering::Relaxed) & ((1 << FLAG_SHIFT) - 1);
                    self.flags.store(flags | u32::from(flag) << FLAG_SHIFT, Ordering::Relaxed);
                    transition",
            },
        ],
        loom: &["no_kill_is_lost::flag_of_another_thread", "no_kill_is_lost::flag_of_the_same_state"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceFreeAfterReceipts",
        about: "A session that ends completes its receipts, and then gives its place back.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn leave_registry",
                find: "if let Some(admission) = &shared.admission {
                    record.release_admission(admission);
                }",
                replace: "",
            },
            Edit {
                file: "session/session.rs",
                within: "fn end(",
                find: "self.record.completed(transition)",
                replace: "let ended = self.record.completed(transition);
                    if let Some(admission) = &self.owner.shared.admission {
                        self.record.release_admission(admission);
                    }
                    ended",
            },
        ],
        loom: &["no_slot_is_taken_twice::a_slot_is_free_once_its_session_has_ended"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceFreeWhileListed",
        about: "A session that ends gives its place back, and then leaves the list.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn leave_registry",
                find: "shared.sessions.remove(record.number());",
                replace: "",
            },
            Edit {
                file: "session/session.rs",
                within: "fn leave_registry",
                find: "if let Some(admission) = &shared.admission {
                    record.release_admission(admission);
                }",
                replace: "if let Some(admission) = &shared.admission {
                        record.release_admission(admission);
                    }
                    shared.sessions.remove(record.number());",
            },
        ],
        loom: &["no_slot_is_taken_twice::a_slot_is_taken_before_it_is_released"],
        shuttle: &[],
        tests: &[],
    },
];
