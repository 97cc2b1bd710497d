//! The rules for times and intervals, which are numbers in SQLite. What would be wrong with numbers is
//! an error here.

use super::algebra::{FLOAT, INT, Ty};
use crate::compat::CAST;
use crate::split::mentions;
use crate::types::{PgType, SqlError};

const TIME: Ty = Some(PgType::Instant);
const INTERVAL: Ty = Some(PgType::Interval);

/// Returns whether a type is one of the times that are numbers in SQLite.
pub(super) fn is_number(ty: Ty) -> bool {
    matches!(ty, TIME | INTERVAL)
}

/// Returns whether a type is a time that SQLite keeps as a text. Texts can be compared and stored, and
/// SQLite would compute with the digits at their beginning.
fn is_text(ty: Ty) -> bool {
    matches!(ty, Some(PgType::Date | PgType::Timestamp | PgType::Timestamptz))
}

pub(super) fn is_time(ty: Ty) -> bool {
    is_number(ty) || is_text(ty)
}

fn name(ty: Ty) -> &'static str {
    ty.map_or("unknown", PgType::name)
}

fn no_operator(operator: &str, a: Ty, b: Ty) -> rusqlite::Error {
    let message = format!("operator does not exist: {} {operator} {}", name(a), name(b));
    rusqlite::Error::UserFunctionError(SqlError::new("42883", message).into())
}

/// Returns the type of `a operator b`, or `None` if neither is a time.
pub(super) fn arithmetic(opcode: &str, a: Ty, b: Ty) -> rusqlite::Result<Option<Ty>> {
    if !is_time(a) && !is_time(b) {
        return Ok(None);
    }
    if opcode == "Concat" && !is_number(a) && !is_number(b) {
        return Ok(None);
    }
    let whole = |ty: Ty| matches!(ty, INT | Some(PgType::Int4 | PgType::Int2));
    Ok(Some(match (opcode, a, b) {
        (_, None, ty) | (_, ty, None) => ty,
        ("Subtract", TIME, TIME) | ("Add" | "Subtract", INTERVAL, INTERVAL) => INTERVAL,
        ("Add" | "Subtract", TIME, INTERVAL) | ("Add", INTERVAL, TIME) => TIME,
        // Of two integers SQLite returns one.
        ("Multiply" | "Divide", INTERVAL, other) if whole(other) => INTERVAL,
        ("Multiply", other, INTERVAL) if whole(other) => INTERVAL,
        _ => {
            let operator = match opcode {
                "Add" => "+",
                "Subtract" => "-",
                "Multiply" => "*",
                "Divide" => "/",
                "Remainder" => "%",
                "Concat" => "||",
                other => other,
            };
            return Err(no_operator(operator, a, b));
        }
    }))
}

/// Checks the two sides of a comparison.
pub(super) fn compare(opcode: &str, a: Ty, b: Ty) -> rusqlite::Result<()> {
    let number = |ty: Ty| matches!(ty, INT | FLOAT | Some(PgType::Int4 | PgType::Int2));
    let mixed = is_number(a) != is_number(b) || is_number(a) && a != b;
    let odd = is_text(a) && number(b) || number(a) && is_text(b);
    if a.is_none() || b.is_none() || !mixed && !odd {
        return Ok(());
    }
    let operator = match opcode {
        "Eq" => "=",
        "Ne" => "<>",
        "Lt" => "<",
        "Le" => "<=",
        "Gt" => ">",
        _ => ">=",
    };
    Err(no_operator(operator, a, b))
}

/// The number of registers that are checked for times among the arguments of a function with any
/// number of them.
pub(super) const WINDOW: i64 = 8;

/// Returns the type of a function that has a time among its arguments, or `None` if it has none.
pub(super) fn function(name: &str, arguments: &[Ty]) -> rusqlite::Result<Option<Ty>> {
    let Some(first) = arguments.iter().copied().find(|ty| is_number(*ty)) else { return Ok(None) };
    if name.starts_with(CAST) {
        cast(first)?;
    }
    let same = arguments.iter().all(|ty| *ty == first || ty.is_none());
    match name {
        "count" => Ok(Some(INT)),
        "row_number" | "rank" | "dense_rank" | "ntile" => Ok(Some(INT)),
        "safepoint_epoch" => Ok(Some(FLOAT)),
        "min" | "max" | "coalesce" | "ifnull" | "nullif" | "iif" | "if" | "lag" | "lead"
        | "first_value" | "last_value" | "nth_value" | "likely" | "unlikely"
            if same || matches!(name, "iif" | "if" | "lag" | "lead" | "nth_value") =>
        {
            Ok(Some(first))
        }
        "sum" | "abs" if first == INTERVAL => Ok(Some(INTERVAL)),
        "age" if arguments.len() == 2 && first == TIME && same => Ok(Some(INTERVAL)),
        "safepoint_timestamptz" => Ok(Some(TIME)),
        _ => {
            let types: Vec<_> = arguments.iter().map(|ty| self::name(*ty)).collect();
            let message = format!("function {name}({}) does not exist", types.join(", "));
            Err(rusqlite::Error::UserFunctionError(SqlError::new("42883", message).into()))
        }
    }
}

/// Rejects a cast of a time.
pub(super) fn cast(ty: Ty) -> rusqlite::Result<()> {
    if !is_number(ty) {
        return Ok(());
    }
    let message = format!("cannot cast type {} here", name(ty));
    Err(rusqlite::Error::UserFunctionError(SqlError::new("42846", message).into()))
}

/// Rejects values that would be stored: a table has no column of their type.
pub(super) fn store(mut record: impl Iterator<Item = Ty>) -> rusqlite::Result<()> {
    let Some(ty) = record.find(|ty| is_number(*ty)) else { return Ok(()) };
    let message = format!("a value of type {} cannot be stored", name(ty));
    Err(rusqlite::Error::UserFunctionError(SqlError::new("0A000", message).into()))
}

/// Rejects parameters that would be compared or computed with such times: clients send texts.
pub(super) fn parameters(types: &[Ty]) -> rusqlite::Result<()> {
    let Some(ty) = types.iter().copied().find(|ty| is_number(*ty)) else { return Ok(()) };
    let message = format!("a parameter of type {} is not supported here", name(ty));
    Err(rusqlite::Error::UserFunctionError(SqlError::new("0A000", message).into()))
}

/// Returns whether a statement may have a time in it.
pub(super) fn mentioned(sql: &str) -> bool {
    mentions(sql, &["pg_stat_activity", "threadpool_workers", "safepoint_"])
}
