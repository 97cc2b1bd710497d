use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use crate::sqlite_error::interrupted;

/// One line of EXPLAIN's output.
pub(super) struct Op {
    address: i64,
    pub(super) opcode: String,
    pub(super) p1: i64,
    pub(super) p2: i64,
    pub(super) p3: i64,
    pub(super) p4: String,
}

/// Returns whether a statement takes the write lock of the main database.
pub(crate) fn writes_main(conn: &Connection, sql: &str) -> Result<bool> {
    let takes = |op: &Op| op.opcode == "Transaction" && op.p1 == 0 && op.p2 != 0;
    Ok(explain(conn, sql)?.iter().any(takes))
}

/// Returns the program to which SQLite compiles `sql`.
pub(super) fn explain(conn: &Connection, sql: &str) -> Result<Vec<Op>> {
    let mut stmt = conn.prepare(&format!("EXPLAIN {sql}"))?;
    // Unlike `query`, this needs no bound parameters.
    let ops = stmt
        .raw_query()
        .mapped(|r| {
            // EXPLAIN executes no instructions, so SQLite reaches no safe point.
            safepoint::check().map_err(interrupted)?;
            Ok(Op {
                address: r.get(0)?,
                opcode: r.get(1)?,
                p1: r.get(2)?,
                p2: r.get(3)?,
                p3: r.get(4)?,
                // A blob constant is returned unchanged, and may be no valid text.
                p4: match r.get_ref(5)? {
                    ValueRef::Text(p4) => String::from_utf8_lossy(p4).into_owned(),
                    _ => String::new(),
                },
            })
        })
        .collect::<Result<Vec<Op>>>()?;
    // The programs of triggers follow, each numbered from 0 again.
    Ok(ops
        .into_iter()
        .zip(0..)
        .take_while(|(op, at)| op.address == *at)
        .map(|(op, _)| op)
        .collect())
}

/// Functions whose results depend on what the connection has done.
const OF_THE_CONNECTION: [&str; 3] = ["changes(", "total_changes(", "last_insert_rowid("];

/// The databases that each connection has: the main one, and the views of the server.
const OF_ALL: [i64; 2] = [0, 2];

/// Returns whether a query has the same result on another connection: it reads no temporary table, no
/// attached database, and nothing that the connection has done.
pub(crate) fn is_shared(conn: &Connection, sql: &str) -> Result<bool> {
    Ok(explain(conn, sql)?.iter().all(|op| match op.opcode.as_str() {
        "Transaction" => OF_ALL.contains(&op.p1),
        _ => !OF_THE_CONNECTION.iter().any(|name| op.p4.starts_with(name)),
    }))
}

/// Returns whether a statement writes to temporary tables alone.
pub(crate) fn is_temporary(conn: &Connection, sql: &str) -> Result<bool> {
    let ops = explain(conn, sql)?;
    let mut written =
        ops.iter().filter(|op| op.opcode == "Transaction" && op.p2 != 0).map(|op| op.p1).peekable();
    Ok(written.peek().is_some() && written.all(|database| database == TEMPORARY))
}

/// The number of the database of temporary tables.
const TEMPORARY: i64 = 1;
