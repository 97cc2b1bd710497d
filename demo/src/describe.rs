//! The columns and the parameters of a statement, without executing it.

mod explain;
mod functions;
mod infer;
mod schema;

pub(crate) use infer::Known;

use rusqlite::{Connection, Statement};

use crate::split::starts_with;
use crate::types::{PgType, SqlError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: PgType,
}

/// Returns the columns of the result of `stmt`, which was prepared from `sql`; none if it has no
/// result.
///
/// `functions` returns the type of a function by its name in lower case, and has precedence over
/// SQLite's own functions.
pub(crate) fn columns_of(
    conn: &Connection,
    stmt: &Statement<'_>,
    sql: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
    known: &Known,
) -> rusqlite::Result<Vec<Column>> {
    let declared: Vec<(String, Option<PgType>)> = stmt
        .columns()
        .map(|c| {
            let ty = c.decl_type().map(PgType::from_decltype);
            (c.name().to_owned(), ty)
        })
        .collect();
    // A PRAGMA may take effect when it is prepared, so it is not prepared again.
    let inferred = if declared.iter().all(|(_, ty)| ty.is_some()) || starts_with(sql, &["PRAGMA"]) {
        Vec::new()
    } else if stmt.is_explain() != 0 {
        declared.iter().map(|(name, _)| explain_type(name)).collect()
    } else {
        infer::result_types(conn, stmt, sql, functions, known)?
    };
    Ok(declared
        .into_iter()
        .enumerate()
        .map(|(i, (name, ty))| Column {
            name,
            ty: ty.or_else(|| inferred.get(i).copied()).unwrap_or(PgType::Text),
        })
        .collect())
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
    oids: Vec<u32>,
}

impl Parameters {
    /// Returns the highest `n` of a `$n`, which is the number of values that Bind must send.
    pub(crate) fn count(&self) -> usize {
        self.oids.len()
    }

    /// Returns `(index, n)`: the parameter with the number `index` in SQLite is `$n`. One `$n` may
    /// have several.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (usize, usize)> {
        self.numbers.iter().enumerate().map(|(i, &n)| (i + 1, n))
    }

    /// Returns the type that each of `$1`, `$2`, ... is cast to, as in `$1::int8`, or 0.
    pub(crate) fn oids(&self) -> &[u32] {
        &self.oids
    }
}

/// Returns the parameters of a statement. SQLite takes `$1` for a name, and numbers names in the
/// order of their first use. It takes `$1::int8` for one name too, without a cast.
pub(crate) fn parameters(stmt: &Statement<'_>) -> Result<Parameters, SqlError> {
    let mut parameters = Parameters::default();
    for index in 1..=stmt.parameter_count() {
        // SQLite searches for a name from the first one on.
        safepoint::check()?;
        let name = stmt.parameter_name(index).unwrap_or("?");
        let (n, cast) = number(name)
            .ok_or_else(|| SqlError::new("42P02", format!("there is no parameter {name}")))?;
        if parameters.oids.len() < n {
            parameters.oids.resize(n, 0);
        }
        if let Some(ty) = cast {
            parameters.oids[n - 1] = ty.oid();
        }
        parameters.numbers.push(n);
    }
    Ok(parameters)
}

/// Parses the number in `$n` or `$n::type`, and the type.
fn number(name: &str) -> Option<(usize, Option<PgType>)> {
    let rest = name.strip_prefix('$')?;
    let (digits, cast) = match rest.split_once("::") {
        Some((digits, cast)) => (digits, Some(cast_type(cast)?)),
        None => (rest, None),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n = digits.parse().ok()?;
    (1..=65_535).contains(&n).then_some((n, cast))
}

fn cast_type(name: &str) -> Option<PgType> {
    // In SQLite a modifier, as in `varchar(8)`, is part of the name.
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    Some(match name.to_ascii_lowercase().as_str() {
        "int2" | "smallint" => PgType::Int2,
        "int4" | "int" | "integer" => PgType::Int4,
        "float4" | "real" => PgType::Float4,
        other => PgType::from_decltype(other),
    })
}

#[cfg(test)]
mod tests;
