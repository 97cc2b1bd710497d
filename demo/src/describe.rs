//! The columns and the parameters of a statement, without executing it.

mod algebra;
mod explain;
mod functions;
mod infer;
mod schema;
mod times;
mod variables;

pub(crate) use explain::{is_shared, is_temporary, writes_main};
pub(crate) use infer::Known;

use rusqlite::{Connection, Statement};

use crate::compat;
use crate::split::starts_with;
use crate::types::{PgType, SqlError};
use infer::Types;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: PgType,
}

/// Returns the columns of the result of `stmt`, which was prepared from `sql`, and the types of its
/// parameters; no columns if it has no result.
///
/// `declared` has the types that the client has declared for the parameters, or 0. In the result, 0 is
/// a type that cannot be inferred. `functions` returns the type of a function by its name in lower
/// case, and has precedence over SQLite's own functions.
pub(crate) fn describe(
    conn: &Connection,
    stmt: &Statement<'_>,
    sql: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
    known: &Known,
    parameters: &Parameters,
    declared: &[u32],
) -> rusqlite::Result<(Vec<Column>, Vec<u32>)> {
    let given: Vec<(String, Option<PgType>)> = stmt
        .columns()
        .map(|c| {
            let ty = c.decl_type().map(PgType::from_decltype);
            (compat::column_name(c.name()).into_owned(), ty)
        })
        .collect();
    let declared: Vec<Option<PgType>> = declared
        .iter()
        .map(|oid| Some(PgType::from_oid(*oid)).filter(|ty| *ty != PgType::Unknown))
        .collect();
    let all_known =
        given.iter().all(|(_, ty)| ty.is_some()) && declared.iter().all(Option::is_some);
    let all_known = all_known && !times::mentioned(sql);
    // A PRAGMA may take effect when it is prepared, so it is not prepared again.
    let types = if all_known || starts_with(sql, &["PRAGMA"]) {
        Types { parameters: declared, results: Vec::new() }
    } else if stmt.is_explain() != 0 {
        let results = given.iter().map(|(name, _)| explain_type(name)).collect();
        Types { parameters: declared, results }
    } else {
        infer::types(conn, stmt, sql, functions, known, parameters, &declared)?
    };
    let columns = given.into_iter().enumerate().map(|(i, (name, ty))| Column {
        name,
        ty: ty.or_else(|| types.results.get(i).copied()).unwrap_or(PgType::Text),
    });
    let parameters = types.parameters.iter().map(|ty| ty.map_or(0, PgType::oid));
    Ok((columns.collect(), parameters.collect()))
}

fn explain_type(column: &str) -> PgType {
    match column {
        "addr" | "p1" | "p2" | "p3" | "p5" | "id" | "parent" | "notused" => PgType::Int8,
        _ => PgType::Text,
    }
}

/// Maps each of SQLite's parameters to one of PostgreSQL's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    numbers: Vec<usize>,
    count: usize,
}

impl Parameters {
    /// Returns the highest `n` of a `$n`, which is the number of values that Bind must send.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns `(index, n)`: the parameter with the number `index` in SQLite is `$n`.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (usize, usize)> {
        self.numbers.iter().enumerate().map(|(i, &n)| (i + 1, n))
    }
}

/// Returns the parameters of a statement. SQLite takes `$1` for a name, and numbers names in the
/// order of their first use.
pub(crate) fn parameters(stmt: &Statement<'_>) -> Result<Parameters, SqlError> {
    let mut parameters = Parameters::default();
    for index in 1..=stmt.parameter_count() {
        // SQLite searches for a name from the first one on.
        safepoint::check()?;
        let name = stmt.parameter_name(index).unwrap_or("?");
        let n = number(name)
            .ok_or_else(|| SqlError::new("42P02", format!("there is no parameter {name}")))?;
        parameters.count = parameters.count.max(n);
        parameters.numbers.push(n);
    }
    Ok(parameters)
}

/// Parses the number in `$n`.
fn number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix('$')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|n| (1..=65_535).contains(n))
}

#[cfg(test)]
mod tests;
