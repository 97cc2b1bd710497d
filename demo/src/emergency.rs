//! Selects the statements that the emergency lane runs for an administrator while all workers are
//! stuck: all statements that take no lock of SQLite's. A writer may wait for the lock of a session
//! that is stuck itself, so it waits for a worker instead.

use crate::plan::{Plan, plan};
use crate::split;
use crate::transaction::Control;

/// Returns whether the emergency lane runs all statements of a text. A statement that fails
/// before it runs is one of them.
pub(crate) fn is_for_emergencies(text: &str) -> bool {
    split::split(text).into_iter().all(|statement| match plan(statement) {
        Ok(Plan::Kill(_) | Plan::Setting(_)) | Err(_) => true,
        Ok(Plan::Control(control)) => !matches!(control, Control::Begin { writer: true, .. }),
        // The statement of a cursor keeps its thread between two fetches.
        Ok(Plan::Copy { .. } | Plan::Cursor(_)) => false,
        Ok(Plan::Sqlite(statements)) => statements.iter().all(|statement| only_reads(statement)),
    })
}

/// Returns whether a statement of SQLite's is a query. Queries do not wait for a writer.
fn only_reads(statement: &str) -> bool {
    // A PRAGMA returns rows too, and may take any lock.
    !split::starts_with(statement, &["PRAGMA"])
        && matches!(split::command_tag(statement, 0).as_str(), "SELECT 0" | "EXPLAIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_lock_is_for_emergencies() {
        for text in [
            "",
            "begin",
            "begin isolation level serializable read only; commit and chain",
            "savepoint a; rollback to a; release a; abort",
            "alter system kill session '1, 2' immediate",
            "alter system kill session 'x'",
            "show all; set lock_timeout = 1; reset all; discard all",
            "Select 1; VALUES (1); table pg_stat_activity",
            "with a as (select 1), b as (values (2)) select * from a, b",
            "with \"insert\" as (select 1) select * from \"insert\"",
            "explain insert into t values (1)",
            "select pg_sleep(1)",
            "copy t to stdout",
            // It is refused before it runs.
            "attach 'x' as y",
        ] {
            assert!(is_for_emergencies(text), "{text}");
        }
        for text in [
            "insert into t values (1)",
            "select 1; update t set a = 1",
            "with a as (select 1) insert into t select * from a",
            "with a as (select 1) delete from t",
            "begin immediate",
            "begin exclusive",
            "pragma wal_checkpoint",
            "PRAGMA table_info(t)",
            "create table t (a)",
            "drop table t",
            "vacuum",
            "analyze t",
            "truncate t",
            "copy t from stdin",
            "declare c cursor for select 1",
            "replace into t values (1)",
        ] {
            assert!(!is_for_emergencies(text), "{text}");
        }
    }
}
