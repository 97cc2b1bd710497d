use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use super::infer::interrupted;

/// One line of EXPLAIN's output.
pub(super) struct Op {
    address: i64,
    pub(super) opcode: String,
    pub(super) p1: i64,
    pub(super) p2: i64,
    pub(super) p3: i64,
    pub(super) p4: String,
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
