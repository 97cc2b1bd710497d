use std::io::Write as _;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use rusqlite::types::ValueRef;

use super::convert::{boolean, bytes, float, integer, mismatch, numeric, out_of_range};
use super::times::{put_instant, put_interval};
use super::{CHUNK, Format, INET, NAME, OID, PgType, SqlError, XID, decimal, time};

/// Appends `value` as a field of type `ty`: its length and its bytes, or a length of -1 for NULL.
///
/// In SQLite values have types, and columns do not. A value of another type than the column's is
/// converted if the conversion is exact; otherwise it is an error. Nothing is appended on an error.
pub(crate) fn encode(
    value: ValueRef<'_>,
    ty: PgType,
    format: Format,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    if matches!(value, ValueRef::Null) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    let body = start + 4;
    let done = match ty {
        PgType::Int8 | PgType::Int4 | PgType::Int2 => {
            integer(value, ty).map(|v| put_integer(v, ty, format, out))
        }
        PgType::Float8 | PgType::Float4 => float(value, ty).map(|v| put_float(v, ty, format, out)),
        PgType::Bool => boolean(value).map(|v| match format {
            Format::Text => out.put_u8(if v { b't' } else { b'f' }),
            Format::Binary => out.put_u8(v.into()),
        }),
        PgType::Bytea => bytes(value).and_then(|v| match format {
            Format::Text => put_hex(v, out),
            Format::Binary => {
                out.put_slice(v);
                Ok(())
            }
        }),
        PgType::Numeric => {
            numeric(value).map(|value| decimal::put(&value, format == Format::Binary, out))
        }
        PgType::Date | PgType::Timestamp | PgType::Timestamptz => instant(value, ty, format, out),
        PgType::Instant => integer(value, ty).and_then(|v| put_instant(v, format, out)),
        PgType::Interval => integer(value, ty).map(|v| put_interval(v, format, out)),
        PgType::Untyped if matches!(value, ValueRef::Integer(_)) => Err(SqlError::new(
            "42P18",
            "could not determine the type of a column, which may be a time",
        )),
        PgType::Int4Array if format == Format::Binary => numbers(value, out),
        PgType::Other(OID | XID) => integer(value, ty).and_then(|v| match format {
            Format::Text => {
                put_display(v, out);
                Ok(())
            }
            Format::Binary => {
                out.put_u32(u32::try_from(v).map_err(|_| out_of_range(value, ty))?);
                Ok(())
            }
        }),
        PgType::Other(INET) if format == Format::Binary => address(value, out),
        PgType::Other(NAME) => text(value, out),
        PgType::Other(oid) if format == Format::Binary => Err(SqlError::new(
            "0A000",
            format!("no binary output function available for type with OID {oid}"),
        )),
        PgType::Text
        | PgType::Varchar
        | PgType::Unknown
        | PgType::Untyped
        | PgType::Int4Array
        | PgType::Other(_) => text(value, out),
    };
    let length = done.and_then(|()| {
        i32::try_from(out.len() - body)
            .map_err(|_| SqlError::new("54000", "a value is longer than a field can be"))
    });
    match length {
        Ok(length) => {
            out[start..body].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(e) => {
            out.truncate(start);
            Err(e)
        }
    }
}

fn put_integer(v: i64, ty: PgType, format: Format, out: &mut BytesMut) {
    match (format, ty) {
        (Format::Text, _) => put_display(v, out),
        (Format::Binary, PgType::Int2) => out.put_i16(v as i16),
        (Format::Binary, PgType::Int4) => out.put_i32(v as i32),
        (Format::Binary, _) => out.put_i64(v),
    }
}

fn put_float(v: f64, ty: PgType, format: Format, out: &mut BytesMut) {
    match (format, ty) {
        (Format::Binary, PgType::Float4) => out.put_f32(v as f32),
        (Format::Binary, _) => out.put_f64(v),
        (Format::Text, PgType::Float4) => {
            put_decimal(v, &format!("{:e}", v as f32), 6, out);
        }
        (Format::Text, _) => put_float8_text(v, out),
    }
}

fn put_float8_text(v: f64, out: &mut BytesMut) {
    put_decimal(v, &format!("{v:e}"), 15, out);
}

/// Writes a number, given in Rust's shortest scientific form, in PostgreSQL's form. It has an
/// exponent if that would be below -4, or at least `limit`.
fn put_decimal(v: f64, scientific: &str, limit: i32, out: &mut BytesMut) {
    if v.is_nan() {
        return out.put_slice(b"NaN");
    }
    if v.is_sign_negative() {
        out.put_u8(b'-');
    }
    if v.is_infinite() {
        return out.put_slice(b"Infinity");
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    if !(-4..limit).contains(&exponent) {
        out.put_slice(mantissa.trim_start_matches('-').as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        // A BytesMut takes any number of bytes, so this write does not fail.
        let _ = write!(out.writer(), "e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', exponent.unsigned_abs() as usize - 1);
        out.put_slice(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.put_slice(&digits);
        out.put_bytes(b'0', whole - digits.len());
    } else {
        out.put_slice(&digits[..whole]);
        out.put_u8(b'.');
        out.put_slice(&digits[whole..]);
    }
}

fn text(value: ValueRef<'_>, out: &mut BytesMut) -> Result<(), SqlError> {
    match value {
        ValueRef::Null => {}
        ValueRef::Integer(v) => put_display(v, out),
        ValueRef::Real(v) => put_float8_text(v, out),
        ValueRef::Blob(v) => put_hex(v, out)?,
        ValueRef::Text(v) if std::str::from_utf8(v).is_ok() => out.put_slice(v),
        ValueRef::Text(_) => {
            return Err(SqlError::new("22021", "a text value is not valid in encoding \"UTF8\""));
        }
    }
    Ok(())
}

/// Writes `{1,2}` as an array of PostgreSQL's.
fn numbers(value: ValueRef<'_>, out: &mut BytesMut) -> Result<(), SqlError> {
    let wrong = || mismatch(value, PgType::Int4Array);
    let text = value.as_str().map_err(|_| wrong())?;
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(wrong)?;
    let parts = inner.split(',').filter(|part| !part.is_empty());
    let numbers: Result<Vec<i32>, _> = parts.map(str::parse).collect();
    let numbers = numbers.map_err(|_| wrong())?;
    let dimensions = i32::from(!numbers.is_empty());
    out.put_i32(dimensions);
    // There are no NULLs.
    out.put_i32(0);
    out.put_u32(PgType::Int4.oid());
    if dimensions == 1 {
        out.put_i32(i32::try_from(numbers.len()).map_err(|_| out_of_range(value, PgType::Int4))?);
        out.put_i32(1);
    }
    for number in numbers {
        out.put_i32(4);
        out.put_i32(number);
    }
    Ok(())
}

/// Writes the address of one host.
fn address(value: ValueRef<'_>, out: &mut BytesMut) -> Result<(), SqlError> {
    let wrong = || mismatch(value, PgType::Other(INET));
    let address: IpAddr = value.as_str().map_err(|_| wrong())?.parse().map_err(|_| wrong())?;
    // The family, the bits of the network, whether it is a network only, and the bytes.
    match address {
        IpAddr::V4(address) => {
            out.put_slice(&[2, 32, 0, 4]);
            out.put_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.put_slice(&[3, 128, 0, 16]);
            out.put_slice(&address.octets());
        }
    }
    Ok(())
}

fn instant(
    value: ValueRef<'_>,
    ty: PgType,
    format: Format,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    let ValueRef::Text(v) = value else { return Err(mismatch(value, ty)) };
    let text = std::str::from_utf8(v).map_err(|_| mismatch(value, ty))?;
    match (format, ty) {
        (Format::Text, _) => out.put_slice(time::shown(text, ty)?.as_bytes()),
        (Format::Binary, PgType::Date) => out.put_i32(time::number(text, ty)? as i32),
        (Format::Binary, _) => out.put_i64(time::number(text, ty)?),
    }
    Ok(())
}

fn put_display(v: i64, out: &mut BytesMut) {
    let _ = write!(out.writer(), "{v}");
}

fn put_hex(v: &[u8], out: &mut BytesMut) -> Result<(), SqlError> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + 2 * v.len());
    out.put_slice(b"\\x");
    for chunk in v.chunks(CHUNK) {
        safepoint::check()?;
        for byte in chunk {
            out.put_u8(DIGITS[usize::from(byte >> 4)]);
            out.put_u8(DIGITS[usize::from(byte & 15)]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: ValueRef<'_>, ty: PgType, format: Format) -> Result<Vec<u8>, &'static str> {
        let mut out = BytesMut::from(&b"before"[..]);
        let done = encode(value, ty, format, &mut out);
        assert_eq!(&out[..6], b"before");
        match done {
            Ok(()) => {
                let length = i32::from_be_bytes(out[6..10].try_into().unwrap());
                assert_eq!(length as usize, out.len() - 10);
                Ok(out[10..].to_vec())
            }
            Err(e) => {
                assert_eq!(out.len(), 6, "an error leaves nothing behind");
                Err(e.sqlstate)
            }
        }
    }

    fn as_text(value: ValueRef<'_>, ty: PgType) -> Result<String, &'static str> {
        field(value, ty, Format::Text).map(|v| String::from_utf8(v).unwrap())
    }

    fn float8(v: f64) -> String {
        as_text(ValueRef::Real(v), PgType::Float8).unwrap()
    }

    #[test]
    fn null_is_a_length_of_minus_one() {
        let mut out = BytesMut::new();
        encode(ValueRef::Null, PgType::Int8, Format::Binary, &mut out).unwrap();
        assert_eq!(&out[..], &[0xff; 4]);
    }

    #[test]
    fn doubles_print_as_postgresql_prints_them() {
        for (v, shown) in [
            (1.5, "1.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (100_000.0, "100000"),
            (-123.25, "-123.25"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (1.25e300, "1.25e+300"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_012_3, "1.23e-05"),
            (-1e-5, "-1e-05"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float8(v), shown);
        }
        let float4 = |v| as_text(ValueRef::Real(v), PgType::Float4);
        assert_eq!(float4(0.1).unwrap(), "0.1");
        assert_eq!(float4(1e6).unwrap(), "1e+06");
        assert_eq!(float4(999_999.0).unwrap(), "999999");
        assert_eq!(float4(1e300), Err("22003"));
    }

    #[test]
    fn binary_forms() {
        let int = ValueRef::Integer(-2);
        let get = |v, ty| field(v, ty, Format::Binary).unwrap();
        assert_eq!(get(int, PgType::Int2), [0xff, 0xfe]);
        assert_eq!(get(int, PgType::Int4), (-2i32).to_be_bytes());
        assert_eq!(get(int, PgType::Int8), (-2i64).to_be_bytes());
        assert_eq!(get(int, PgType::Float8), (-2f64).to_be_bytes());
        assert_eq!(get(int, PgType::Float4), (-2f32).to_be_bytes());
        assert_eq!(get(int, PgType::Text), b"-2");
        assert_eq!(get(ValueRef::Integer(1), PgType::Bool), [1]);
        assert_eq!(get(ValueRef::Blob(&[0, 255]), PgType::Bytea), [0, 255]);
        assert_eq!(get(ValueRef::Integer(7), PgType::Other(OID)), 7_u32.to_be_bytes());
        let address = get(ValueRef::Text(b"127.0.0.1"), PgType::Other(INET));
        assert_eq!(address, [2, 32, 0, 4, 127, 0, 0, 1]);
        assert_eq!(get(ValueRef::Text(b"omm"), PgType::Other(NAME)), b"omm");
        let array = |text| get(ValueRef::Text(text), PgType::Int4Array);
        assert_eq!(array(b"{}"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
        let of_one = [[0, 0, 0, 1], [0; 4], [0, 0, 0, 23], [0, 0, 0, 1], [0, 0, 0, 1]].concat();
        assert_eq!(array(b"{9}"), [of_one, vec![0, 0, 0, 4, 0, 0, 0, 9]].concat());
        assert_eq!(field(int, PgType::Other(2950), Format::Binary), Err("0A000"));
    }

    #[test]
    fn decimals_and_times() {
        let day = ValueRef::Text(b"2000-01-02");
        let get = |v, ty| field(v, ty, Format::Binary);
        assert_eq!(get(day, PgType::Date).unwrap(), 1i32.to_be_bytes());
        assert_eq!(get(day, PgType::Timestamptz).unwrap(), 86_400_000_000i64.to_be_bytes());
        assert_eq!(as_text(day, PgType::Timestamp).unwrap(), "2000-01-02 00:00:00");
        assert_eq!(as_text(day, PgType::Timestamptz).unwrap(), "2000-01-02 00:00:00+00");
        assert_eq!(as_text(ValueRef::Integer(1), PgType::Date), Err("22P02"));
        assert_eq!(as_text(ValueRef::Text(b"soon"), PgType::Date), Err("22007"));
        assert_eq!(
            as_text(ValueRef::Real(1e20), PgType::Numeric).unwrap(),
            "100000000000000000000"
        );
        assert_eq!(as_text(ValueRef::Text(b"1.50"), PgType::Numeric).unwrap(), "1.5");
        assert_eq!(as_text(ValueRef::Text(b"x"), PgType::Numeric), Err("22P02"));
        assert_eq!(
            get(ValueRef::Integer(7), PgType::Numeric).unwrap(),
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]
        );
    }

    #[test]
    fn other_types_of_value_convert_when_exact() {
        let text = |v| ValueRef::Text(v);
        assert_eq!(as_text(text(b" 12 "), PgType::Int8).unwrap(), "12");
        assert_eq!(as_text(text(b"1.5"), PgType::Int8), Err("22P02"));
        assert_eq!(as_text(ValueRef::Real(3.0), PgType::Int8).unwrap(), "3");
        assert_eq!(as_text(ValueRef::Real(3.5), PgType::Int8), Err("22P02"));
        assert_eq!(as_text(ValueRef::Real(1e19), PgType::Int8), Err("22003"));
        assert_eq!(as_text(ValueRef::Integer(70_000), PgType::Int2), Err("22003"));
        assert_eq!(as_text(text(b"2.50"), PgType::Float8).unwrap(), "2.5");
        assert_eq!(as_text(text(b"x"), PgType::Float8), Err("22P02"));
        let big = (1 << 53) + 1;
        assert_eq!(as_text(ValueRef::Integer(big), PgType::Float8), Err("22003"));
        assert_eq!(as_text(ValueRef::Integer(i64::MAX), PgType::Float8), Err("22003"));
        assert_eq!(as_text(ValueRef::Integer(1), PgType::Bool).unwrap(), "t");
        assert_eq!(as_text(text(b"FALSE"), PgType::Bool).unwrap(), "f");
        assert_eq!(as_text(ValueRef::Integer(2), PgType::Bool), Err("22P02"));
        assert_eq!(as_text(ValueRef::Real(1.5), PgType::Text).unwrap(), "1.5");
        assert_eq!(as_text(ValueRef::Blob(&[1, 0xab]), PgType::Bytea).unwrap(), "\\x01ab");
        assert_eq!(as_text(ValueRef::Integer(1), PgType::Bytea), Err("22P02"));
        assert_eq!(as_text(text(&[0xff]), PgType::Text), Err("22021"));
    }
}
