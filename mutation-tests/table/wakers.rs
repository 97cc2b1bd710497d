//! Mistakes in whose waker is woken.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "ReceiptKeepsFirstWaker",
        about: "A receipt that is polled again keeps the waker of its first poll.",
        edits: &[Edit {
            file: "outcome.rs",
            within: "fn poll",
            find: "Some(std::mem::replace(known, waker.clone()))",
            replace: "None",
        }],
        loom: &[
            "the_last_waker_is_woken::a_receipt_that_is_polled_again",
            "the_last_waker_is_woken::a_sweep_that_is_polled_again",
            "the_last_waker_is_woken::one_of_two_waits_no_more",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SleeperKeepsFirstWaker",
        about: "Who sleeps again keeps the waker of the first sleep.",
        edits: &[Edit {
            file: "record/asleep.rs",
            within: "fn leave_waker",
            find: "Some(std::mem::replace(&mut **other, waker.clone()))",
            replace: "None",
        }],
        loom: &[
            "the_last_waker_is_woken::a_task_that_is_polled_again",
            "the_last_waker_is_woken::a_thread_that_sleeps_again",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "HolderKeepsFirstWaker",
        about: "A holder that leaves another waker keeps the first.",
        edits: &[Edit {
            file: "record/asleep.rs",
            within: "fn set_detached_waker",
            find: "std::mem::replace(&mut self.slow.lock().detached_waker, waker)",
            replace: "let mut slow = self.slow.lock();
                if slow.detached_waker.is_some() && waker.is_some() {
                    waker
                } else {
                    std::mem::replace(&mut slow.detached_waker, waker)
                }",
        }],
        loom: &["the_last_waker_is_woken::an_idle_task_that_is_polled_again"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "AllLeaveWithOne",
        about: "Of those who wait for one end, all are forgotten as one of them waits no more.",
        edits: &[Edit {
            file: "outcome.rs",
            within: "fn leave",
            find: "self.0.lock().waiting.try_remove(place)",
            replace: "std::mem::take(&mut self.0.lock().waiting).try_remove(place)",
        }],
        loom: &["the_last_waker_is_woken::one_of_two_waits_no_more"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FirstEndIsAll",
        about: "Who waits for the end of a sweep's targets is woken by the first.",
        edits: &[Edit {
            file: "sweep.rs",
            within: "impl<T: Clone> Future for Swept<T>",
            find: "swept.complete += 1;",
            replace: "swept.complete = swept.receipts.len();",
        }],
        loom: &["the_last_waker_is_woken::a_sweep_that_is_polled_again"],
        shuttle: &[],
        tests: &[],
    },
];
