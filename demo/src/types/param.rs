use std::num::IntErrorKind::{NegOverflow, PosOverflow};

use rusqlite::types::Value;

use super::{Format, NAME, OID, PgType, SqlError, Steps, decimal, time};

const BPCHAR: u32 = 1042;
const JSON: u32 = 114;

/// Returns the value of a Bind parameter of the type `ty_oid`, which is 0 if it is unknown. A time
/// without an offset is a time of the zone `zone`.
pub(crate) fn decode_param(
    bytes: Option<&[u8]>,
    ty_oid: u32,
    format: Format,
    zone: &str,
) -> Result<Value, SqlError> {
    let Some(bytes) = bytes else {
        return Ok(Value::Null);
    };
    match format {
        Format::Text => decode_text(utf8(bytes)?, ty_oid, zone),
        Format::Binary => decode_binary(bytes, ty_oid),
    }
}

/// Returns the value of a text of a type.
pub(super) fn decode_text(text: &str, oid: u32, zone: &str) -> Result<Value, SqlError> {
    match PgType::from_oid(oid) {
        PgType::Int2 => integer(text, "smallint", i16::MIN.into(), i16::MAX.into()),
        PgType::Int4 => integer(text, "integer", i32::MIN.into(), i32::MAX.into()),
        PgType::Int8 => integer(text, "bigint", i64::MIN, i64::MAX),
        PgType::Other(OID) => integer(text, "oid", 0, u32::MAX.into()),
        PgType::Float4 => real(text, "real"),
        PgType::Float8 => real(text, "double precision"),
        PgType::Numeric => decimal::from_text(text)?.ok_or_else(|| invalid(text, "numeric")),
        ty @ (PgType::Date | PgType::Timestamp | PgType::Timestamptz) => {
            time::kept(text, ty, zone).map(Value::Text)
        }
        PgType::Bool => boolean(text),
        PgType::Bytea => bytea(text),
        // SQLite gives a parameter no affinity. Outside of a column's context, digits must be a
        // number to compare equal to a number.
        PgType::Unknown => Ok(match canonical_integer(text) {
            Some(v) => Value::Integer(v),
            None => Value::Text(text.to_owned()),
        }),
        PgType::Text
        | PgType::Varchar
        | PgType::Instant
        | PgType::Interval
        | PgType::Int4Array
        | PgType::Untyped
        | PgType::Other(_) => Ok(Value::Text(text.to_owned())),
    }
}

fn decode_binary(bytes: &[u8], oid: u32) -> Result<Value, SqlError> {
    Ok(match PgType::from_oid(oid) {
        PgType::Int2 => Value::Integer(i16::from_be_bytes(exactly(bytes)?).into()),
        PgType::Int4 => Value::Integer(i32::from_be_bytes(exactly(bytes)?).into()),
        PgType::Int8 => Value::Integer(i64::from_be_bytes(exactly(bytes)?)),
        PgType::Other(OID) => Value::Integer(u32::from_be_bytes(exactly(bytes)?).into()),
        PgType::Float4 => number(f32::from_be_bytes(exactly(bytes)?).into())?,
        PgType::Float8 => number(f64::from_be_bytes(exactly(bytes)?))?,
        PgType::Bool => Value::Integer((exactly::<1>(bytes)? != [0]).into()),
        PgType::Bytea => Value::Blob(bytes.to_vec()),
        PgType::Numeric => decimal::from_binary(bytes)?,
        PgType::Date => Value::Text(time::from_days(i32::from_be_bytes(exactly(bytes)?))?),
        ty @ (PgType::Timestamp | PgType::Timestamptz) => {
            Value::Text(time::from_micros(i64::from_be_bytes(exactly(bytes)?), ty)?)
        }
        PgType::Text
        | PgType::Varchar
        | PgType::Unknown
        | PgType::Untyped
        | PgType::Other(BPCHAR | NAME | JSON) => Value::Text(utf8(bytes)?.to_owned()),
        PgType::Instant | PgType::Interval | PgType::Int4Array | PgType::Other(_) => {
            return Err(SqlError::new(
                "0A000",
                format!("no binary input function available for type with OID {oid}"),
            ));
        }
    })
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], SqlError> {
    bytes.try_into().map_err(|_| {
        if bytes.len() < N {
            SqlError::new("08P01", "insufficient data left in message")
        } else {
            SqlError::new("22P03", "incorrect binary data format in bind parameter")
        }
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    let bad = |byte: u8| {
        SqlError::new("22021", format!("invalid byte sequence for encoding \"UTF8\": {byte:#04x}"))
    };
    if bytes.contains(&0) {
        return Err(bad(0));
    }
    std::str::from_utf8(bytes)
        .map_err(|e| bad(bytes.get(e.valid_up_to()).copied().unwrap_or_default()))
}

fn invalid(text: &str, name: &str) -> SqlError {
    SqlError::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
}

fn integer(text: &str, name: &str, min: i64, max: i64) -> Result<Value, SqlError> {
    let digits = text.trim_ascii();
    match digits.parse::<i64>() {
        Ok(v) if (min..=max).contains(&v) => Ok(Value::Integer(v)),
        Err(e) if !matches!(e.kind(), PosOverflow | NegOverflow) => Err(invalid(text, name)),
        _ => {
            Err(SqlError::new("22003", format!("value \"{text}\" is out of range for type {name}")))
        }
    }
}

fn real(text: &str, name: &str) -> Result<Value, SqlError> {
    let v: f64 = text.trim_ascii().parse().map_err(|_| invalid(text, name))?;
    if v.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(SqlError::new("22003", format!("\"{text}\" is out of range for type {name}")));
    }
    number(v)
}

/// Rejects a NaN, which SQLite would silently turn into NULL.
fn number(v: f64) -> Result<Value, SqlError> {
    if v.is_nan() {
        return Err(SqlError::new("0A000", "SQLite cannot store NaN"));
    }
    Ok(Value::Real(v))
}

fn boolean(text: &str) -> Result<Value, SqlError> {
    let word = text.trim_ascii().to_ascii_lowercase();
    let means = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if means("true", 1) || means("yes", 1) || word == "on" || word == "1" {
        Ok(Value::Integer(1))
    } else if means("false", 1) || means("no", 1) || means("off", 2) || word == "0" {
        Ok(Value::Integer(0))
    } else {
        Err(invalid(text, "boolean"))
    }
}

fn canonical_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => text == digits,
        [b'1'..=b'9', rest @ ..] if rest.len() < 19 => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { text.parse().ok() } else { None }
}

fn bytea(text: &str) -> Result<Value, SqlError> {
    let decoded = match text.strip_prefix("\\x") {
        Some(hex) => unhex(hex.as_bytes()),
        None => unescape(text.as_bytes()),
    };
    decoded?.map(Value::Blob).ok_or_else(|| invalid(text, "bytea"))
}

fn unhex(hex: &[u8]) -> Result<Option<Vec<u8>>, SqlError> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut steps = Steps::default();
    for pair in hex.chunks(2) {
        steps.step()?;
        let [a, b] = pair else { return Ok(None) };
        let (Some(a), Some(b)) = (digit(*a), digit(*b)) else { return Ok(None) };
        out.push((a << 4 | b) as u8);
    }
    Ok(Some(out))
}

fn unescape(mut text: &[u8]) -> Result<Option<Vec<u8>>, SqlError> {
    let mut out = Vec::with_capacity(text.len());
    let mut steps = Steps::default();
    loop {
        steps.step()?;
        text = match text {
            [] => return Ok(Some(out)),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => return Ok(None),
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(v: &str, oid: u32) -> Result<Value, &'static str> {
        decode_param(Some(v.as_bytes()), oid, Format::Text, "UTC").map_err(|e| e.sqlstate)
    }

    fn binary(v: &[u8], oid: u32) -> Result<Value, &'static str> {
        decode_param(Some(v), oid, Format::Binary, "UTC").map_err(|e| e.sqlstate)
    }

    #[test]
    fn untyped_text_is_a_number_only_in_its_one_spelling() {
        for v in ["0", "7", "-12", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(text(v, 0), Ok(Value::Integer(v.parse().unwrap())), "{v}");
            assert_eq!(text(v, 705), text(v, 0));
            assert_eq!(text(v, 25), Ok(Value::Text(v.into())));
        }
        for v in ["", "-", "-0", "007", "+1", " 1", "1.0", "1e3", "9223372036854775808"] {
            assert_eq!(text(v, 0), Ok(Value::Text(v.into())), "{v}");
        }
    }

    #[test]
    fn typed_text() {
        assert_eq!(text(" 42 ", 23), Ok(Value::Integer(42)));
        assert_eq!(text("40000", 21), Err("22003"));
        assert_eq!(text("99999999999999999999", 20), Err("22003"));
        assert_eq!(text("x", 23), Err("22P02"));
        assert_eq!(text("-1", 26), Err("22003"));
        assert_eq!(text("1.5", 701), Ok(Value::Real(1.5)));
        assert_eq!(text("1e999", 701), Err("22003"));
        assert_eq!(text("Infinity", 701), Ok(Value::Real(f64::INFINITY)));
        assert_eq!(text("NaN", 701), Err("0A000"));
        assert_eq!(text("10", 1700), Ok(Value::Real(10.0)));
        assert_eq!(text("x", 1700), Err("22P02"));
        assert_eq!(text("1.50", 1700), Ok(Value::Real(1.5)));
        for (v, b) in [("t", 1), ("YES", 1), ("on", 1), ("f", 0), ("of", 0), ("0", 0)] {
            assert_eq!(text(v, 16), Ok(Value::Integer(b)), "{v}");
        }
        assert_eq!(text("o", 16), Err("22P02"));
        assert_eq!(text("", 16), Err("22P02"));
        assert_eq!(text("\\x00fF", 17), Ok(Value::Blob(vec![0, 255])));
        assert_eq!(text("a\\\\\\001", 17), Ok(Value::Blob(vec![b'a', b'\\', 1])));
        assert_eq!(text("\\x0", 17), Err("22P02"));
        assert_eq!(text("\\x0\u{e9}", 17), Err("22P02"));
        assert_eq!(text("2024-01-01T00:00", 1082), Ok(Value::Text("2024-01-01".into())));
        assert_eq!(text("2024-01-32", 1082), Err("22008"));
    }

    #[test]
    fn binary_lengths_are_checked() {
        assert_eq!(binary(&[0xff, 0xfe], 21), Ok(Value::Integer(-2)));
        assert_eq!(binary(&7i32.to_be_bytes(), 23), Ok(Value::Integer(7)));
        assert_eq!(binary(&7i64.to_be_bytes(), 20), Ok(Value::Integer(7)));
        assert_eq!(binary(&1.5f32.to_be_bytes(), 700), Ok(Value::Real(1.5)));
        assert_eq!(binary(&1.5f64.to_be_bytes(), 701), Ok(Value::Real(1.5)));
        assert_eq!(binary(&f64::NAN.to_be_bytes(), 701), Err("0A000"));
        assert_eq!(binary(&[1], 16), Ok(Value::Integer(1)));
        assert_eq!(binary(&[0, 1], 17), Ok(Value::Blob(vec![0, 1])));
        assert_eq!(binary(b"a", 1043), Ok(Value::Text("a".into())));
        assert_eq!(binary(&[0; 3], 23), Err("08P01"));
        assert_eq!(binary(&[], 16), Err("08P01"));
        assert_eq!(binary(&[0; 9], 20), Err("22P03"));
        assert_eq!(binary(&[0; 8], 1114), Ok(Value::Text("2000-01-01 00:00:00".into())));
        assert_eq!(binary(&[0; 8], 1184), Ok(Value::Text("2000-01-01 00:00:00+00:00".into())));
        assert_eq!(binary(&[0; 4], 1082), Ok(Value::Text("2000-01-01".into())));
        assert_eq!(binary(&[0; 4], 1184), Err("08P01"));
        assert_eq!(binary(&[0; 8], 1700), Ok(Value::Real(0.0)));
        assert_eq!(binary(&[0; 16], 2950), Err("0A000"));
    }

    #[test]
    fn text_must_be_utf8_without_nul() {
        assert_eq!(binary(&[0xff], 25), Err("22021"));
        assert_eq!(text("a\0b", 25), Err("22021"));
        assert_eq!(decode_param(None, 23, Format::Binary, "UTC"), Ok(Value::Null));
    }
}
