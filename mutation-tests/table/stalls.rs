//! Mistakes in the watchdog's view of helpers: how they are probed, and which of them are reported.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "HelperProbeNotesAfter",
        about: "A probe of a helper sets its bit, and stores its time under the lock after that.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn probe",
            find: "let mut cold = self.cold.lock();
        let before = SlotState(self.state.fetch_or(PROBE, Ordering::AcqRel));
        if let Some(flag) = before.flag() {
            attention::raise(flag);
        }
        if before.probed() && before.works() {
            return cold.asked.map(|asked| (asked, before));
        }
        cold.asked = Some(now());
        None",
            replace: "let before = SlotState(self.state.fetch_or(PROBE, Ordering::AcqRel));
        if let Some(flag) = before.flag() {
            attention::raise(flag);
        }
        let mut cold = self.cold.lock();
        if before.probed() && before.works() {
            return cold.asked.map(|asked| (asked, before));
        }
        cold.asked = Some(now());
        None",
        }],
        loom: &["helpers_answer_probes::a_probe_counts_from_an_answered_one"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "HelperProbeOutlivesWait",
        about: "The end of a helper's wait leaves a probe that was set before the wait.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn wake_up",
            find: "!(ASLEEP | KILLABLE | PROBE)",
            replace: "!(ASLEEP | KILLABLE)",
        }],
        loom: &["helpers_answer_probes::a_probe_against_a_wait"],
        shuttle: &[],
        tests: &["it::helper_stalls::each_stall_of_a_helper_counts_from_its_own_start"],
    },
    Mutation {
        name: "HelperProbeOutlivesPoll",
        about: "The time of a task on no thread counts as a stall of its next poll.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn begin_poll",
            find: "(state ^ change) & !PROBE",
            replace: "state ^ change",
        }],
        loom: &["helpers_answer_probes::a_probe_against_a_poll"],
        shuttle: &[],
        tests: &["it::helper_stalls::a_stall_of_a_task_counts_from_its_poll"],
    },
    Mutation {
        name: "HelperProbeOutlivesTurn",
        about: "A helper that takes a slot takes over a probe of the helper before.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn take(",
            find: "ACTIVE | flag_bits(flag) | name_bits(name) | turn",
            replace: "ACTIVE | flag_bits(flag) | name_bits(name) | turn | seen & PROBE",
        }],
        loom: &["helpers_answer_probes::a_probe_against_the_next_helper"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "HelperAnswersLate",
        about: "A safe point of a helper clears the probe after it has looked whether there is one.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn noticed",
            find: "SlotState(self.state.fetch_and(!(RAISED | PROBE), Ordering::AcqRel))",
            replace: "let before = self.load(); self.state.fetch_and(!(RAISED | PROBE), Ordering::AcqRel); before",
        }],
        loom: &["helpers_answer_probes::a_probe_against_a_safe_point"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "WaitingHelperStalled",
        about: "A helper in a wait is probed, and reported.",
        edits: &[Edit {
            file: "core/record/helpers/slot.rs",
            within: "pub(crate) fn works(",
            find: "!self.asleep()",
            replace: "true",
        }],
        loom: &["helpers_answer_probes::a_probe_against_a_wait"],
        shuttle: &[],
        tests: &["it::helper_stalls::waiting_helpers_and_helpers_on_no_thread_are_not_reported"],
    },
    Mutation {
        name: "OneHelperReportedForAll",
        about: "Of the helpers of a session one is reported.",
        edits: &[Edit {
            file: "manager/watchdog.rs",
            within: "fn probe_all",
            find: "Some((helper.slot, helper.asked))",
            replace: "None",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::helper_stalls::each_helper_is_reported_for_itself"],
    },
    Mutation {
        name: "EarlierHelpersNotProbed",
        about: "Only the helpers of the last statement are probed.",
        edits: &[Edit {
            file: "core/record/helpers/mod.rs",
            within: "pub(crate) fn probe_helpers",
            find: "self.unfinished_sets()",
            replace: "self.helper_set_if_any().into_iter().collect::<Vec<_>>()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::helper_stalls::a_helper_of_an_earlier_statement_is_reported"],
    },
    Mutation {
        name: "StallWithTextOfAnother",
        about: "A stall of a helper has the text of a later statement.",
        edits: &[Edit {
            file: "core/record/diagnose.rs",
            within: "pub(crate) fn text_of",
            find: "activity.of == Some(statement)",
            replace: "activity.of.is_some()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::helper_stalls::a_helper_of_an_earlier_statement_is_reported"],
    },
    Mutation {
        name: "NestedGuardAnswersNothing",
        about: "A guard within a guard answers no probe of its thread.",
        edits: &[Edit {
            file: "session/helper/mod.rs",
            within: "fn check_cold",
            find: "attention::is_raised() && current::works_for(self.set)",
            replace: "false",
        }],
        loom: &[],
        shuttle: &[],
        tests: &[
            "it::helper_stalls::a_guard_on_the_thread_of_the_statement_answers",
            "it::helper_stalls::each_stall_of_a_helper_counts_from_its_own_start",
        ],
    },
    Mutation {
        name: "NestedGuardAnswersForAnother",
        about: "A guard whose thread works for another session by now answers a probe of that session.",
        edits: &[Edit {
            file: "session/helper/mod.rs",
            within: "fn check_cold",
            find: "current::works_for(self.set)",
            replace: "true",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::helper_stalls::a_guard_that_is_kept_answers_for_no_other_session"],
    },
];
