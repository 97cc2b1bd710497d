use super::algebra::{FLOAT, INT, TEXT, Ty, UNKNOWN, join, widen};
use crate::compat::CAST;
use crate::types::PgType;

/// Returns the result type of `name(n)`, as EXPLAIN shows a function, for the types of its
/// arguments.
pub(super) fn returns(
    call: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
    arg: impl Fn(i64) -> Ty,
) -> Ty {
    let (name, n) = call.split_once('(').unwrap_or((call, ""));
    let name = name.to_ascii_lowercase();
    if let Some(ty) = functions(&name) {
        return Some(ty);
    }
    // A function with any number of arguments is shown with a negative number.
    let args = || match n.trim_end_matches(')').parse::<i64>() {
        Ok(n) if n >= 0 => (0..n.min(1 << 15)).map(&arg).fold(None, join),
        _ => UNKNOWN,
    };
    match name.as_str() {
        "count" | "length" | "octet_length" | "instr" | "unicode" | "random" | "sign"
        | "changes" | "total_changes" | "last_insert_rowid" | "row_number" | "rank"
        | "dense_rank" | "ntile" | "unixepoch" | "like" | "glob" | "regexp" | "json_valid"
        | "json_array_length" => INT,
        "avg" | "total" | "round" | "julianday" | "percent_rank" | "cume_dist" | "pi" | "sqrt"
        | "exp" | "ln" | "log" | "log10" | "log2" | "mod" | "pow" | "power" | "sin" | "cos"
        | "tan" | "asin" | "acos" | "atan" | "atan2" | "degrees" | "radians" => FLOAT,
        "lower" | "upper" | "replace" | "trim" | "ltrim" | "rtrim" | "printf" | "format"
        | "strftime" | "date" | "time" | "datetime" | "timediff" | "hex" | "quote" | "char"
        | "typeof" | "group_concat" | "string_agg" | "concat" | "concat_ws" | "json"
        | "json_array" | "json_object" | "json_group_array" | "json_group_object"
        | "sqlite_version" | "sqlite_source_id" => TEXT,
        "randomblob" | "zeroblob" | "unhex" => Some(PgType::Bytea),
        "abs" | "sum" | "ceil" | "ceiling" | "floor" | "trunc" => match widen(args()) {
            ty @ (INT | FLOAT | Some(PgType::Numeric) | None) => ty,
            _ => UNKNOWN,
        },
        "substr" | "substring" => match arg(0) {
            Some(PgType::Bytea) => Some(PgType::Bytea),
            _ => TEXT,
        },
        "min" | "max" | "coalesce" | "ifnull" => args(),
        "likely" | "unlikely" | "likelihood" | "nullif" => arg(0),
        _ => UNKNOWN,
    }
}

/// The types that a function requires of its arguments.
pub(super) enum Takes {
    Nothing,
    /// All arguments have one type.
    Same,
    /// The types of the arguments. The last is the type of all that follow.
    Each(&'static [Ty]),
    /// All arguments have this type.
    Type(PgType),
}

/// Returns the types that a function, as EXPLAIN shows it, requires of its arguments, and their number.
pub(super) fn takes(call: &str, functions: &dyn Fn(&str) -> Option<PgType>) -> (Takes, i64) {
    let (name, n) = call.split_once('(').unwrap_or((call, ""));
    let name = name.to_ascii_lowercase();
    let takes = match name.as_str() {
        "lower" | "upper" | "length" | "octet_length" | "trim" | "ltrim" | "rtrim" | "replace"
        | "instr" | "like" | "glob" | "regexp" | "unicode" | "concat_ws" | "set_config"
        | "current_setting" => Takes::Each(match name.as_str() {
            "current_setting" => &[TEXT, Some(PgType::Bool)],
            "set_config" => &[TEXT, TEXT, Some(PgType::Bool)],
            _ => &[TEXT],
        }),
        "substr" | "substring" => Takes::Each(&[TEXT, INT]),
        "round" => Takes::Each(&[FLOAT, INT]),
        "sqrt" | "exp" | "ln" | "log" | "pow" | "power" | "pg_sleep" => Takes::Each(&[FLOAT]),
        "pg_cancel_backend" | "pg_terminate_backend" => Takes::Each(&[INT]),
        "pg_terminate_session" | "pg_cancel_session" => Takes::Each(&[INT, INT, TEXT]),
        "min" | "max" | "coalesce" | "ifnull" | "nullif" => Takes::Same,
        _ => match functions(&name).filter(|_| name.starts_with(CAST)) {
            Some(ty) => Takes::Type(ty),
            None => Takes::Nothing,
        },
    };
    let n = n.trim_end_matches(')').parse().unwrap_or(0);
    match takes {
        // The second argument of a cast is a length.
        Takes::Type(_) => (takes, n.min(1)),
        takes => (takes, n),
    }
}
