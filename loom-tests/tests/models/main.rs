//! The models: the library's public API under loom. Each module checks one rule.
//!
//! `common::model` explores each in a process of its own, and under loom the library's statics belong to
//! one execution of a model. The one exception is the list of managers, which only
//! `current::set_timeouts` reads: no model may call that function.

mod common;

mod a_disconnect_ends_what_runs;
mod a_kill_needs_no_worker;
mod a_panic_ends_its_session;
mod a_receipt_waits_for_the_last_helper;
mod a_session_ends_with_its_last_helper;
mod a_stale_handle_hits_nothing;
mod a_suspended_statement_is_kept;
mod bulk_request_hits_what_its_row_shows;
mod each_transition_is_atomic;
mod helpers_answer_probes;
mod hold_off_reports_nothing;
mod listing_blocks_nobody;
mod no_helper_runs_on;
mod no_helper_sleeps_on;
mod no_kill_is_lost;
mod no_listener_sleeps_on;
mod no_other_session_is_hit;
mod no_other_statement_is_hit;
mod no_slot_is_taken_twice;
mod no_waiter_is_missed;
mod probe_against_detach;
mod receipts_match_the_outcome;
mod rows_are_consistent;
mod session_local_destructors_against_kill;
mod shutdown_reaches_every_session;
mod the_last_waker_is_woken;
mod the_strongest_request_wins;
mod timeout_names_its_reason;
mod timeouts_in_combination;
mod work_is_stopped;

#[path = "../../../mutation-tests/page.rs"]
mod page;

/// The page lists the mistakes that each module refutes.
#[test]
fn the_page_is_up_to_date() {
    page::assert_up_to_date();
}
