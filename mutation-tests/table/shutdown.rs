//! Mistakes in the end of all sessions.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "ListsBeforeItCloses",
        about: "A shutdown lists the sessions, and then closes the manager.",
        edits: &[Edit {
            file: "manager/manager.rs",
            within: "pub fn shutdown",
            find: "self.close(); self.sessions().filter_map(|row| self.terminate_unchecked(row.id, &request)).collect()",
            replace: "let rows: Vec<_> = self.sessions().collect();
                self.close();
                rows.into_iter().filter_map(|row| self.terminate_unchecked(row.id, &request)).collect()",
        }],
        loom: &[
            "shutdown_reaches_every_session::open_against_shutdown",
            "shutdown_reaches_every_session::open_against_drain",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TellsBeforeItCloses",
        about: "A shutdown tells the sessions, and then closes the manager.",
        edits: &[Edit {
            file: "manager/manager.rs",
            within: "pub fn shutdown",
            find: "self.close(); self.sessions().filter_map(|row| self.terminate_unchecked(row.id, &request)).collect()",
            replace: "let receipts = self.sessions().filter_map(|row| self.terminate_unchecked(row.id, &request)).collect();
                self.close();
                receipts",
        }],
        loom: &[
            "shutdown_reaches_every_session::open_against_shutdown",
            "shutdown_reaches_every_session::open_against_drain",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ClosesTheFirstShard",
        about: "A manager that closes leaves all shards but one open.",
        edits: &[Edit {
            file: "core/registry.rs",
            within: "pub(crate) fn close",
            find: "for shard in &self.shards { shard.lock().closed = true; }",
            replace: "self.shards[0].lock().closed = true;",
        }],
        loom: &[
            "shutdown_reaches_every_session::open_against_shutdown",
            "shutdown_reaches_every_session::open_against_close",
            "shutdown_reaches_every_session::open_against_drain",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ClosedAskedBefore",
        about: "Whether the manager is closed is asked before the lock under which a session is added.",
        edits: &[
            Edit {
                file: "core/registry.rs",
                within: "fn insert_into",
                find: "self.shards[index].lock()",
                replace: "if self.shards[index].lock().closed {
                        return Err(OpenError::Closed);
                    }
                    self.shards[index].lock()",
            },
            Edit {
                file: "core/registry.rs",
                within: "fn insert_into",
                find: "if shard.closed { return Err(OpenError::Closed); }",
                replace: "",
            },
        ],
        loom: &[
            "shutdown_reaches_every_session::open_against_shutdown",
            "shutdown_reaches_every_session::open_against_close",
            "shutdown_reaches_every_session::open_against_drain",
        ],
        shuttle: &[],
        tests: &[],
    },
];
