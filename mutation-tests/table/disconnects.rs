//! Mistakes in the watch for clients that leave.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "DisconnectNotArmed",
        about: "The end of a connection is stored, and the timer is not armed for it.",
        edits: &[Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn connection_closed",
            find: "self.arm(timing);",
            replace: "",
        }],
        loom: &["a_disconnect_ends_what_runs::a_statement_begins"],
        shuttle: &[],
        tests: &["it::disconnects::a_statement_ends_with_its_client"],
    },
    Mutation {
        name: "DisconnectArmedEarly",
        about: "The timer is armed before the end of the connection is stored.",
        edits: &[Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn connection_closed",
            find: "self.guarded.lock()",
            replace: "{ self.arm(timing); self.guarded.lock() }",
        }, Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn connection_closed",
            find: "self.arm(timing);",
            replace: "",
        }],
        loom: &["a_disconnect_ends_what_runs::a_statement_begins"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "DisconnectHasNoPeriod",
        about: "The time after the end of a connection counts from that end, also for a statement that began later.",
        edits: &[Edit {
            file: "core/record/timeouts/state.rs",
            within: "pub(super) fn next(",
            find: "self.disconnected_at.load(Ordering::Relaxed).max(since)",
            replace: "self.disconnected_at.load(Ordering::Relaxed)",
        }],
        loom: &["a_disconnect_ends_what_runs::the_next_statement_begins"],
        shuttle: &[],
        tests: &["it::disconnects::a_later_statement_has_the_whole_time"],
    },
    Mutation {
        name: "DisconnectEndsIdleSessions",
        about: "A client that leaves while its session is idle ends the session.",
        edits: &[Edit {
            file: "core/record/timeouts/state.rs",
            within: "pub(super) fn next(",
            find: "if busy { consider(TimeoutKind::ClientDisconnect, gone, &self.client_disconnect); }",
            replace: "consider(TimeoutKind::ClientDisconnect, gone, &self.client_disconnect)",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::disconnects::an_idle_session_is_left_alone"],
    },
    Mutation {
        name: "OldConnectionCounts",
        about: "The end of an earlier connection of the session counts.",
        edits: &[Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn connection_closed",
            find: "timing.connection.load(Ordering::Relaxed) != number",
            replace: "false",
        }],
        loom: &["a_disconnect_ends_what_runs::another_connection"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "NewConnectionIsClosed",
        about: "A session whose client has left does not forget it with its next connection.",
        edits: &[Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn connection_watched",
            find: "timing.disconnected_at.store(NEVER, Ordering::Relaxed);",
            replace: "",
        }],
        loom: &["a_disconnect_ends_what_runs::another_connection"],
        shuttle: &[],
        tests: &["it::disconnects::a_new_connection_is_open"],
    },
    Mutation {
        name: "DisconnectHasNoLimit",
        about: "The timeout for clients that leave is not stored.",
        edits: &[Edit {
            file: "core/record/timeouts/mod.rs",
            within: "pub(crate) fn set_limits",
            find: "limits.client_disconnect",
            replace: "None",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["it::disconnects::a_statement_ends_with_its_client"],
    },
    Mutation {
        name: "ConnectionsThreadStays",
        about: "The thread that watches connections does not end with its manager.",
        edits: &[Edit {
            file: "core/connections.rs",
            within: "impl Drop for ConnectionsOwner",
            find: "rustix::io::write(&connections.wake, &1u64.to_ne_bytes())",
            replace: "Ok::<usize, Errno>(0)",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::connections::tests::the_thread_ends_with_its_manager"],
    },
    Mutation {
        name: "EndedSessionsStayWatched",
        about: "Sessions that have ended are not removed from the watched ones.",
        edits: &[Edit {
            file: "core/connections.rs",
            within: "pub(crate) fn number",
            find: "is_open(*session)",
            replace: "{ let _ = (&is_open, session); true }",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::connections::tests::sessions_that_have_ended_are_removed"],
    },
];
