use rusqlite::{Connection, OptionalExtension, Result};

use crate::types::PgType;

/// Returns the types of the columns that the b-tree with this root page stores, in its order. The
/// type is `None` for a column without a declared type, and for the rowid at the end of an index.
pub(super) fn stored_columns(
    conn: &Connection,
    root: i64,
    database: i64,
    keyed: bool,
) -> Result<Vec<Option<PgType>>> {
    let Some(schema) = usize::try_from(database).ok().and_then(|at| conn.db_name(at).ok()) else {
        return Ok(Vec::new());
    };
    let found = conn
        .prepare_cached(&format!(
            "SELECT type, name, tbl_name FROM \"{}\".sqlite_schema WHERE rootpage = ?1",
            schema.replace('"', "\"\"")
        ))?
        .query_row([root], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((kind, name, table)) = found else {
        return Ok(Vec::new());
    };
    // (position in the table, type, whether it is stored)
    let columns = conn
        .prepare_cached("SELECT cid, type, hidden <> 2 FROM pragma_table_xinfo(?1, ?2)")?
        .query_map([&table, &schema], |r| {
            let decl: Option<String> = r.get(1)?;
            let ty = decl.filter(|d| !d.is_empty()).map(|d| PgType::from_decltype(&d));
            Ok((r.get(0)?, ty, r.get(2)?))
        })?
        .collect::<Result<Vec<(i64, Option<PgType>, bool)>>>()?;
    let index = match (kind.as_str(), keyed) {
        ("index", _) => Some(name),
        // A table WITHOUT ROWID is stored as the index of its primary key.
        (_, true) => conn
            .prepare_cached("SELECT name FROM pragma_index_list(?1, ?2) WHERE origin = 'pk'")?
            .query_row([&table, &schema], |r| r.get(0))
            .optional()?,
        (_, false) => None,
    };
    let Some(index) = index else {
        return Ok(columns
            .into_iter()
            .filter(|(_, _, stored)| *stored)
            .map(|(_, ty, _)| ty)
            .collect());
    };
    conn.prepare_cached("SELECT cid FROM pragma_index_xinfo(?1, ?2) ORDER BY seqno")?
        .query_map([&index, &schema], |r| r.get::<_, i64>(0))?
        .map(|cid| {
            let cid = cid?;
            Ok(columns.iter().find(|(at, _, _)| *at == cid).and_then(|(_, ty, _)| *ty))
        })
        .collect()
}
