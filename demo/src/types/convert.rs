//! Converts SQLite's values to those of PostgreSQL's types, where the conversion is exact.

use rusqlite::types::{Value, ValueRef};

use super::{PgType, SqlError, decimal};

pub(super) fn integer(value: ValueRef<'_>, ty: PgType) -> Result<i64, SqlError> {
    let v = match value {
        ValueRef::Integer(v) => Some(v),
        ValueRef::Real(v) if v.trunc() == v => {
            // -2^63 is a double and 2^63 - 1 is not, hence the half-open range.
            if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v) {
                return Err(out_of_range(value, ty));
            }
            Some(v as i64)
        }
        ValueRef::Text(v) => std::str::from_utf8(v).ok().and_then(|v| v.trim_ascii().parse().ok()),
        _ => None,
    };
    let v = v.ok_or_else(|| mismatch(value, ty))?;
    let fits = match ty {
        PgType::Int2 => i16::try_from(v).is_ok(),
        PgType::Int4 => i32::try_from(v).is_ok(),
        _ => true,
    };
    if fits { Ok(v) } else { Err(out_of_range(value, ty)) }
}

pub(super) fn float(value: ValueRef<'_>, ty: PgType) -> Result<f64, SqlError> {
    let v = match value {
        ValueRef::Real(v) => v,
        ValueRef::Integer(v) if (v as f64) as i128 == i128::from(v) => v as f64,
        ValueRef::Integer(_) => return Err(out_of_range(value, ty)),
        ValueRef::Text(v) => std::str::from_utf8(v)
            .ok()
            .and_then(|v| v.trim_ascii().parse().ok())
            .ok_or_else(|| mismatch(value, ty))?,
        ValueRef::Null | ValueRef::Blob(_) => return Err(mismatch(value, ty)),
    };
    if ty == PgType::Float4 && v.is_finite() && (v as f32).is_infinite() {
        return Err(out_of_range(value, ty));
    }
    Ok(v)
}

pub(super) fn boolean(value: ValueRef<'_>) -> Result<bool, SqlError> {
    match value {
        ValueRef::Integer(0) => Ok(false),
        ValueRef::Integer(1) => Ok(true),
        ValueRef::Text(v) => match v.to_ascii_lowercase().as_slice() {
            b"t" | b"true" | b"1" => Ok(true),
            b"f" | b"false" | b"0" => Ok(false),
            _ => Err(mismatch(value, PgType::Bool)),
        },
        _ => Err(mismatch(value, PgType::Bool)),
    }
}

pub(super) fn bytes(value: ValueRef<'_>) -> Result<&[u8], SqlError> {
    match value {
        ValueRef::Blob(v) | ValueRef::Text(v) => Ok(v),
        _ => Err(mismatch(value, PgType::Bytea)),
    }
}

pub(super) fn numeric(value: ValueRef<'_>) -> Result<Value, SqlError> {
    let wrong = || mismatch(value, PgType::Numeric);
    match value {
        ValueRef::Integer(v) => Ok(Value::Integer(v)),
        ValueRef::Real(v) => Ok(Value::Real(v)),
        ValueRef::Text(v) => {
            let text = std::str::from_utf8(v).map_err(|_| wrong())?;
            decimal::from_text(text)?.ok_or_else(wrong)
        }
        ValueRef::Null | ValueRef::Blob(_) => Err(wrong()),
    }
}

pub(super) fn mismatch(value: ValueRef<'_>, ty: PgType) -> SqlError {
    SqlError::new("22P02", format!("{} is not of type {}", show(value), ty.name()))
}

pub(super) fn out_of_range(value: ValueRef<'_>, ty: PgType) -> SqlError {
    SqlError::new("22003", format!("{} is out of range for type {}", show(value), ty.name()))
}

fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(v) => format!("integer {v}"),
        ValueRef::Real(v) => format!("real {v:?}"),
        ValueRef::Text(v) => {
            let v = String::from_utf8_lossy(v);
            let shown: String = v.chars().take(40).collect();
            let more = if shown.len() < v.len() { "..." } else { "" };
            format!("text \"{shown}{more}\"")
        }
        ValueRef::Blob(v) => format!("a blob of {} bytes", v.len()),
    }
}
