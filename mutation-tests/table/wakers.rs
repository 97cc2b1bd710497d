//! Mistakes in whose waker is woken.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "ReceiptKeepsFirstWaker",
        about: "A receipt that is polled again keeps the waker of its first poll.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn poll",
            find: "Some(std::mem::replace(known, waker.clone()))",
            replace: "None",
        }],
        loom: &[
            "the_last_waker_is_woken::a_receipt_that_is_polled_again",
            "the_last_waker_is_woken::a_bulk_result_that_is_polled_again",
            "the_last_waker_is_woken::one_of_two_waiters_leaves",
        ],
        shuttle: &[],
        tests: &[
            "it::wakers::a_receipt_of_a_session",
            "it::wakers::a_receipt_of_a_statement",
            "it::wakers::a_receipt_that_was_waited_for",
            "it::wakers::a_sweep",
        ],
    },
    Mutation {
        name: "SleeperKeepsFirstWaker",
        about: "Who sleeps again keeps the waker of the first sleep.",
        edits: &[Edit {
            file: "core/record/wait.rs",
            within: "fn leave_waker",
            find: "Some(std::mem::replace(&mut **other, waker.clone()))",
            replace: "None",
        }],
        loom: &[
            "the_last_waker_is_woken::a_task_that_is_polled_again",
            "the_last_waker_is_woken::a_thread_that_waits_again",
        ],
        shuttle: &[],
        tests: &[
            "it::wakers::a_session_that_waits_again",
            "it::wakers::tasks::a_task_that_runs_a_statement",
            "it::wakers::tasks::a_task_in_a_hold_off",
        ],
    },
    Mutation {
        name: "HolderKeepsFirstWaker",
        about: "A holder that leaves another waker keeps the first.",
        edits: &[Edit {
            file: "core/record/wait.rs",
            within: "fn set_detached_waker",
            find: "std::mem::replace(&mut self.guarded.lock().detached_waker, waker)",
            replace: "let mut guarded = self.guarded.lock();
                if guarded.detached_waker.is_some() && waker.is_some() {
                    waker
                } else {
                    std::mem::replace(&mut guarded.detached_waker, waker)
                }",
        }],
        loom: &["the_last_waker_is_woken::an_idle_task_that_is_polled_again"],
        shuttle: &[],
        tests: &[
            "it::wakers::an_idle_session",
            "it::wakers::tasks::an_idle_task",
        ],
    },
    Mutation {
        name: "AllLeaveWithOne",
        about: "Of those who wait for one end, all are forgotten as one of them waits no more.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn leave",
            find: "self.0.lock().waiting.try_remove(place)",
            replace: "std::mem::take(&mut self.0.lock().waiting).try_remove(place)",
        }],
        loom: &["the_last_waker_is_woken::one_of_two_waiters_leaves"],
        shuttle: &[],
        tests: &["it::wakers::several_receipts_of_one_session"],
    },
    Mutation {
        name: "FirstEndIsAll",
        about: "Who waits for the end of a sweep's targets is woken by the first.",
        edits: &[Edit {
            file: "manager/bulk.rs",
            within: "pub async fn ended",
            find: "self.complete += 1;",
            replace: "self.complete = self.receipts.len();",
        }],
        loom: &["the_last_waker_is_woken::a_bulk_result_that_is_polled_again"],
        shuttle: &[],
        tests: &["it::wakers::a_sweep"],
    },
    Mutation {
        name: "ReceiptKeepsBothWakers",
        about: "A receipt that is polled again with another waker keeps both.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn poll",
            find: "Some(std::mem::replace(known, waker.clone()))",
            replace: "{ *place = Some(state.waiting.insert(waker.clone())); None }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::wakers::a_receipt_of_a_session",
            "it::wakers::a_receipt_of_a_statement",
            "it::wakers::a_sweep",
        ],
    },
    Mutation {
        name: "AllReceiptsInOnePlace",
        about: "Each of those who wait for one end takes the first one's place.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn poll",
            find: "*place = Some(state.waiting.insert(waker.clone()));",
            replace: "state.waiting.insert(waker.clone()); *place = Some(0);",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::several_receipts_of_one_session"],
    },
    Mutation {
        name: "ReceiptNeverLeaves",
        about: "A receipt that is dropped is woken all the same.",
        edits: &[Edit {
            file: "session/receipt.rs",
            within: "impl<T> Drop for Receipt<T>",
            find: "self.ticket.leave(place);",
            replace: "let _ = place;",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::wakers::several_receipts_of_one_session",
            "it::panicking_wakers::a_receipt_that_is_dropped_takes_its_waker_along",
        ],
    },
    Mutation {
        name: "ReceiptsWokenUnderLock",
        about: "Those who wait for an end are woken while the lock of what they look at is held.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "pub(crate) fn complete",
            find: "waiting.into_iter().for_each(|(_, waker)| wakers.push(waker)); wakers",
            replace: "waiting.into_iter().for_each(|(_, waker)| wakers.push(waker)); let state = self.0.lock(); crate::session::current::wake_all(wakers); drop(state); WakeList::EMPTY",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::whoever_is_woken_finds_the_outcome"],
    },
    Mutation {
        name: "ReceiptsWokenTooSoon",
        about: "Those who wait for an end are woken before it is there to be found.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "pub(crate) fn complete",
            find: "std::mem::take(&mut state.waiting)",
            replace: "{ let value = state.value.take(); let waiting = std::mem::take(&mut state.waiting); drop(state); waiting.into_iter().for_each(|(_, waker)| crate::session::current::wake_all(Some(waker).into())); self.0.lock().value = value; Slab::new() }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::whoever_is_woken_finds_the_outcome"],
    },
    Mutation {
        name: "OneOfManyWoken",
        about: "Of those who wait for one end only the first is woken.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "pub(crate) fn complete",
            find: "waiting.into_iter().for_each(|(_, waker)| wakers.push(waker));",
            replace: "waiting.into_iter().take(1).for_each(|(_, waker)| wakers.push(waker));",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::wakers::several_receipts_of_one_session",
            "it::waits::a_receipt_wakes_everyone_who_waits_for_it",
        ],
    },
    Mutation {
        name: "ReplacedWakerDroppedUnderLock",
        about: "The waker that a receipt is polled with no more is dropped while the lock is held.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn poll",
            find: "drop(state); drop(spent);",
            replace: "drop(spent); drop(state);",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "LeftWakerDroppedUnderLock",
        about: "The waker of a receipt that is dropped is dropped while the lock is held.",
        edits: &[Edit {
            file: "core/completion.rs",
            within: "fn leave",
            find: "let _ = catch_panic(|| drop(waker));",
            replace: "let state = self.0.lock(); let _ = catch_panic(|| drop(waker)); drop(state);",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "HoldersWakerDroppedUnderLock",
        about: "The waker that a holder has left before is dropped while the lock is held.",
        edits: &[Edit {
            file: "core/record/wait.rs",
            within: "fn set_detached_waker",
            find: "drop(spent);",
            replace: "let guarded = self.guarded.lock(); drop(spent); drop(guarded);",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "SleepersWakerDroppedUnderLock",
        about: "The waker of an earlier sleep is dropped while the lock is held.",
        edits: &[Edit {
            file: "core/record/wait.rs",
            within: "fn leave_waker",
            find: "drop(spent);",
            replace: "let guarded = self.guarded.lock(); drop(spent); drop(guarded);",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "EndKeepsSleepersWaker",
        about: "A session that has ended keeps the waker of its last sleep, for as long as someone asks of it.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn spend",
            find: "self.wait_waker.take().map(|waker| *waker)",
            replace: "None",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "EndKeepsHoldersWaker",
        about: "A session that has ended keeps its holder's waker, for as long as someone asks of it.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn spend",
            find: "self.detached_waker.take()",
            replace: "None",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::a_waker_that_is_replaced_or_left_goes_with_no_lock_held"],
    },
    Mutation {
        name: "InterruptedLeavesItsWaker",
        about: "An idle task that has lost interest is woken all the same.",
        edits: &[Edit {
            file: "session/task.rs",
            within: "impl Drop for Interrupted",
            find: "self.session.set_detached_waker(None);",
            replace: "",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::wakers::tasks::an_idle_task"],
    },
    Mutation {
        name: "WaitingTaskTakenForIdle",
        about: "Of a task that waits, the holder's waker is woken.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn waker_of",
            find: "now.asleep()",
            replace: "now.asleep() && now.slot().is_some()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::wakers::tasks::a_task_that_runs_a_statement",
            "it::wakers::tasks::a_task_in_a_hold_off",
        ],
    },
    Mutation {
        name: "StrongerWakesNobody",
        about: "A request that is stronger than the last wakes nobody who has been woken for that.",
        edits: &[Edit {
            file: "core/record/request.rs",
            within: "fn terminate_by",
            find: "told.wake_needed |= adds;",
            replace: "",
        }],
        loom: &["no_waiter_is_missed::lost_wake_up_of_the_stronger"],
        shuttle: &[],
        tests: &[],
    },
];
