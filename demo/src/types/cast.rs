//! Casts of SQLite's values to PostgreSQL's types, as PostgreSQL converts them.

use super::param::decode_text;
use super::{Format, PgType, SqlError, decimal, encode};
use bytes::BytesMut;
use rusqlite::types::{Value, ValueRef};

/// Converts a value to a type. `length` is the maximum number of characters of a text.
pub(crate) fn cast(
    value: ValueRef<'_>,
    ty: PgType,
    length: Option<usize>,
    zone: &str,
) -> Result<Value, SqlError> {
    let out_of_range = || {
        let message = format!("{} out of range", ty.name());
        SqlError::new("22003", message)
    };
    match (value, ty) {
        (ValueRef::Null, _) => Ok(Value::Null),
        (ValueRef::Real(real), PgType::Int2 | PgType::Int4 | PgType::Int8) => {
            // As PostgreSQL rounds `numeric`, which a number with a point is there.
            let rounded = real.round();
            let fits =
                (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
            integer(fits.then_some(rounded as i64), ty).ok_or_else(out_of_range)
        }
        (ValueRef::Integer(whole), PgType::Int2 | PgType::Int4 | PgType::Int8) => {
            integer(Some(whole), ty).ok_or_else(out_of_range)
        }
        (ValueRef::Integer(whole), PgType::Bool) => Ok(Value::Integer((whole != 0).into())),
        (ValueRef::Integer(whole), PgType::Numeric) => Ok(decimal::from_integer(whole)),
        (ValueRef::Integer(whole), PgType::Float4 | PgType::Float8) => Ok(real(whole as f64, ty)),
        (ValueRef::Real(value), PgType::Float4 | PgType::Float8) => {
            if ty == PgType::Float4 && value.is_finite() && (value as f32).is_infinite() {
                return Err(out_of_range());
            }
            Ok(real(value, ty))
        }
        (ValueRef::Real(real), PgType::Numeric) => Ok(Value::Real(real)),
        (ValueRef::Blob(bytes), PgType::Bytea) => Ok(Value::Blob(bytes.to_vec())),
        (ValueRef::Text(text), _) => {
            let text = std::str::from_utf8(text).map_err(|_| {
                SqlError::new("22021", "a text value is not valid in encoding \"UTF8\"")
            })?;
            match (ty, length) {
                (PgType::Text | PgType::Varchar, Some(length)) => {
                    Ok(Value::Text(text.chars().take(length).collect()))
                }
                _ => decode_text(text, ty.oid(), zone),
            }
        }
        (_, PgType::Text | PgType::Varchar) => {
            let mut out = BytesMut::new();
            encode(value, PgType::Text, Format::Text, &mut out)?;
            let text = String::from_utf8_lossy(&out[4..]);
            Ok(Value::Text(text.chars().take(length.unwrap_or(usize::MAX)).collect()))
        }
        _ => {
            let from = match value {
                ValueRef::Integer(_) => "integer",
                ValueRef::Real(_) => "double precision",
                _ => "bytea",
            };
            Err(SqlError::new("42846", format!("cannot cast type {from} to {}", ty.name())))
        }
    }
}

fn integer(value: Option<i64>, ty: PgType) -> Option<Value> {
    let value = value?;
    let fits = match ty {
        PgType::Int2 => i16::try_from(value).is_ok(),
        PgType::Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    fits.then_some(Value::Integer(value))
}

fn real(value: f64, ty: PgType) -> Value {
    Value::Real(if ty == PgType::Float4 { f64::from(value as f32) } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL 15 has said these.
    #[test]
    fn casts_convert_as_in_postgresql() {
        use PgType::*;
        let text = |text: &str| Value::Text(text.into());
        for (value, ty, expected) in [
            (text(" 7 "), Int4, Ok(Value::Integer(7))),
            (text("7x"), Int4, Err("22P02")),
            (text("1.5"), Int4, Err("22P02")),
            (Value::Real(2.5), Int4, Ok(Value::Integer(3))),
            (Value::Real(3.5), Int8, Ok(Value::Integer(4))),
            (Value::Real(-1.7), Int2, Ok(Value::Integer(-2))),
            (Value::Real(1e30), Int8, Err("22003")),
            (Value::Integer(70_000), Int2, Err("22003")),
            (Value::Integer(5), Bool, Ok(Value::Integer(1))),
            (text("yes"), Bool, Ok(Value::Integer(1))),
            (text("maybe"), Bool, Err("22P02")),
            (Value::Integer(12), Text, Ok(text("12"))),
            (Value::Real(1.5), Text, Ok(text("1.5"))),
            (Value::Blob(vec![1, 0xab]), Text, Ok(text("\\x01ab"))),
            (text("\\x01ab"), Bytea, Ok(Value::Blob(vec![1, 0xab]))),
            (text("1.50"), Numeric, Ok(Value::Real(1.5))),
            (Value::Integer(5), Numeric, Ok(Value::Real(5.0))),
            (Value::Integer(5), Float8, Ok(Value::Real(5.0))),
            (Value::Real(0.1), Float4, Ok(Value::Real(f64::from(0.1f32)))),
            (Value::Real(1e300), Float4, Err("22003")),
            (text("2024-02-29 10:00"), Date, Ok(text("2024-02-29"))),
            (text("2024-02-30"), Date, Err("22008")),
            (Value::Integer(1), Date, Err("42846")),
            (Value::Blob(vec![1]), Int4, Err("42846")),
            (Value::Null, Int4, Ok(Value::Null)),
        ] {
            let found = cast((&value).into(), ty, None, "UTC").map_err(|error| error.sqlstate);
            assert_eq!(found, expected, "{value:?} to {ty:?}");
        }
        let cut = cast(ValueRef::Text("d\u{e9}j\u{e0}".as_bytes()), Varchar, Some(2), "UTC");
        assert_eq!(cut, Ok(text("d\u{e9}")));
    }
}
