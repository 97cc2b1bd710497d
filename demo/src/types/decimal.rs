//! The type `numeric`. SQLite keeps such a value as an integer or as a double, and a value that neither
//! of them has exactly is an error.

use super::{SqlError, Steps};
use bytes::{BufMut, BytesMut};
use rusqlite::types::Value;

const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const MINUS_INFINITE: u16 = 0xf000;

/// The number of decimal digits in one of PostgreSQL's digits.
const DIGITS: usize = 4;

/// A double has every integer up to this one.
const EXACT: i64 = 1 << 53;

/// The maximum exponent that is written without one. A double has no larger exponent.
const EXPONENT: i64 = 400;

/// A decimal number: `0.digits` times ten to the power of `exponent`. The first and the last digit are
/// not zero.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Parses digits with an optional point and exponent. Returns `None` if that is no number.
    fn parse(text: &str) -> Result<Option<Decimal>, SqlError> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let Ok(exponent) = exponent.parse::<i32>() else { return Ok(None) };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut steps = Steps::default();
        let mut digits = Vec::with_capacity(whole.len() + fraction.len());
        for digit in whole.bytes().chain(fraction.bytes()) {
            steps.step()?;
            if !digit.is_ascii_digit() {
                return Ok(None);
            }
            digits.push(digit - b'0');
        }
        if digits.is_empty() {
            return Ok(None);
        }
        let point = whole.len() as i64 + i64::from(exponent);
        Ok(Some(Decimal::new(text.starts_with('-'), digits, point)))
    }

    fn new(negative: bool, mut digits: Vec<u8>, point: i64) -> Decimal {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        let used = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
        digits.truncate(used);
        if digits.is_empty() {
            return Decimal::default();
        }
        Decimal { negative, digits, exponent: point - zeros as i64 }
    }

    fn of(value: f64) -> Decimal {
        // The shortest form that means this double.
        let text = format!("{value:e}");
        Decimal::parse(&text).ok().flatten().unwrap_or_default()
    }

    /// Returns the value as SQLite keeps it.
    fn value(&self) -> Option<Value> {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        if digits.is_empty() {
            return Some(Value::Real(0.0));
        }
        let real: f64 = format!("{sign}0.{digits}e{}", self.exponent).parse().ok()?;
        if real.is_finite() && Decimal::of(real) == *self {
            return Some(Value::Real(real));
        }
        // An integer that is too long for a double.
        let zeros = usize::try_from(self.exponent).ok()?.checked_sub(digits.len())?;
        let integer = format!("{sign}{digits}{}", "0".repeat(zeros.min(20)));
        integer.parse().ok().map(Value::Integer)
    }

    fn put_text(&self, out: &mut BytesMut) {
        if self.negative {
            out.put_u8(b'-');
        }
        let count = self.digits.len() as i64;
        let digit = |at: i64| {
            let digit = usize::try_from(at).ok().and_then(|at| self.digits.get(at));
            b'0' + digit.copied().unwrap_or(0)
        };
        if self.exponent <= 0 {
            out.put_u8(b'0');
        }
        (0..self.exponent).for_each(|at| out.put_u8(digit(at)));
        if count > self.exponent {
            out.put_u8(b'.');
            (self.exponent.min(0)..0).for_each(|_| out.put_u8(b'0'));
            (self.exponent.max(0)..count).for_each(|at| out.put_u8(digit(at)));
        }
    }

    fn put_binary(&self, out: &mut BytesMut) {
        let scale = (self.digits.len() as i64 - self.exponent).max(0);
        // PostgreSQL's digits have four decimal digits each, aligned to the point.
        let weight = (self.exponent - 1).div_euclid(DIGITS as i64);
        let before = (weight + 1) * DIGITS as i64 - self.exponent;
        let mut padded = vec![0; usize::try_from(before).unwrap_or(0)];
        padded.extend_from_slice(&self.digits);
        padded.resize(padded.len().next_multiple_of(DIGITS), 0);
        if self.digits.is_empty() {
            padded.clear();
        }
        out.put_i16((padded.len() / DIGITS) as i16);
        out.put_i16(if padded.is_empty() { 0 } else { weight as i16 });
        out.put_u16(if self.negative { NEGATIVE } else { POSITIVE });
        out.put_i16(scale as i16);
        for group in padded.chunks(DIGITS) {
            out.put_i16(group.iter().fold(0, |sum, digit| sum * 10 + i16::from(*digit)));
        }
    }
}

fn inexact() -> SqlError {
    let message = "a numeric value with more digits than a double has is not supported";
    SqlError::new("0A000", message)
}

/// Returns the value of a text of type `numeric`, or `None` if it is not a number.
pub(super) fn from_text(text: &str) -> Result<Option<Value>, SqlError> {
    let text = text.trim_ascii();
    let infinite = |sign: f64| Ok(Some(Value::Real(sign * f64::INFINITY)));
    match text.to_ascii_lowercase().as_str() {
        "nan" => return Err(SqlError::new("0A000", "SQLite cannot store NaN")),
        "infinity" | "+infinity" | "inf" | "+inf" => return infinite(1.0),
        "-infinity" | "-inf" => return infinite(-1.0),
        _ => {}
    }
    match Decimal::parse(text)? {
        Some(decimal) => decimal.value().ok_or_else(inexact).map(Some),
        None => Ok(None),
    }
}

/// Returns the value of PostgreSQL's binary form.
pub(super) fn from_binary(bytes: &[u8]) -> Result<Value, SqlError> {
    let malformed = || SqlError::new("22P03", "invalid external \"numeric\" value");
    let word = |at: usize| {
        let bytes = bytes.get(2 * at..2 * at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_be_bytes).ok_or_else(malformed)
    };
    let (count, weight, sign) = (usize::from(word(0)?), word(1)? as i16, word(2)?);
    word(3)?;
    if bytes.len() != 8 + 2 * count {
        return Err(malformed());
    }
    let negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN => return Err(SqlError::new("0A000", "SQLite cannot store NaN")),
        INFINITE => return Ok(Value::Real(f64::INFINITY)),
        MINUS_INFINITE => return Ok(Value::Real(f64::NEG_INFINITY)),
        _ => return Err(malformed()),
    };
    let mut digits = Vec::with_capacity(count * DIGITS);
    for at in 0..count {
        let group = word(4 + at)?;
        if group >= 10_000 {
            return Err(malformed());
        }
        digits
            .extend([group / 1000, group / 100 % 10, group / 10 % 10, group % 10].map(|d| d as u8));
    }
    let point = (i64::from(weight) + 1) * DIGITS as i64;
    Decimal::new(negative, digits, point).value().ok_or_else(inexact)
}

/// Appends a number as PostgreSQL shows it.
pub(super) fn put(value: &Value, binary: bool, out: &mut BytesMut) {
    let decimal = match value {
        Value::Real(real) if real.is_infinite() => {
            if binary {
                let sign = if *real > 0.0 { INFINITE } else { MINUS_INFINITE };
                [0, 0, sign, 0].into_iter().for_each(|word| out.put_u16(word));
            } else {
                out.put_slice(if *real > 0.0 { b"Infinity" } else { b"-Infinity" });
            }
            return;
        }
        Value::Real(real) => Decimal::of(*real),
        Value::Integer(integer) => {
            Decimal::parse(&integer.to_string()).ok().flatten().unwrap_or_default()
        }
        _ => Decimal::default(),
    };
    debug_assert!(decimal.exponent.abs() <= EXPONENT);
    if binary { decimal.put_binary(out) } else { decimal.put_text(out) }
}

/// Returns an integer as SQLite keeps a `numeric`: as a double if that is exact, so that a division has
/// a fraction.
pub(super) fn from_integer(integer: i64) -> Value {
    if (-EXACT..=EXACT).contains(&integer) {
        Value::Real(integer as f64)
    } else {
        Value::Integer(integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        let mut out = BytesMut::new();
        put(value, false, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn texts_and_binary_forms_mean_the_same() {
        for (text, value, written) in [
            ("0", Value::Real(0.0), "0"),
            ("-0.00", Value::Real(0.0), "0"),
            ("1.50", Value::Real(1.5), "1.5"),
            (" +12 ", Value::Real(12.0), "12"),
            ("-.5", Value::Real(-0.5), "-0.5"),
            ("5.", Value::Real(5.0), "5"),
            ("0.001", Value::Real(0.001), "0.001"),
            ("123456.789", Value::Real(123_456.789), "123456.789"),
            ("1e3", Value::Real(1000.0), "1000"),
            ("1E-7", Value::Real(1e-7), "0.0000001"),
            ("1e22", Value::Real(1e22), "10000000000000000000000"),
            ("10000.0001", Value::Real(10_000.000_1), "10000.0001"),
            ("9223372036854775807", Value::Integer(i64::MAX), "9223372036854775807"),
            ("-9007199254740993", Value::Integer(-9_007_199_254_740_993), "-9007199254740993"),
            ("infinity", Value::Real(f64::INFINITY), "Infinity"),
            ("-Infinity", Value::Real(f64::NEG_INFINITY), "-Infinity"),
        ] {
            assert_eq!(from_text(text).unwrap(), Some(value.clone()), "{text}");
            assert_eq!(shown(&value), written, "{text}");
            let mut out = BytesMut::new();
            put(&value, true, &mut out);
            let again = from_binary(&out).unwrap();
            assert_eq!(shown(&again), written, "{text}: {:?}", &out[..]);
        }
    }

    /// The binary forms are those that PostgreSQL 15 sends.
    #[test]
    fn binary_forms() {
        let binary = |text: &str| {
            let mut out = BytesMut::new();
            put(&from_text(text).unwrap().unwrap(), true, &mut out);
            out.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect::<Vec<_>>()
        };
        assert_eq!(binary("0"), [0, 0, 0, 0]);
        assert_eq!(binary("1.5"), [2, 0, 0, 1, 1, 5000]);
        assert_eq!(binary("-12"), [1, 0, NEGATIVE, 0, 12]);
        assert_eq!(binary("0.00012"), [2, 0xffff, 0, 5, 1, 2000]);
        assert_eq!(binary("10000.0001"), [3, 1, 0, 4, 1, 0, 1]);
        assert_eq!(binary("123456.789"), [3, 1, 0, 3, 12, 3456, 7890]);
        assert_eq!(binary("1e8"), [1, 2, 0, 0, 1]);
        assert_eq!(binary("1e-7"), [1, 0xfffe, 0, 7, 10]);
    }

    #[test]
    fn what_is_no_number_or_too_long() {
        for text in ["", "-", ".", "e5", "1e", "1 2", "0x1", "1.2.3", "abc"] {
            assert_eq!(from_text(text), Ok(None), "{text}");
        }
        for text in ["0.1234567890123456789", "9223372036854775809", "1e400", "nan"] {
            assert_eq!(from_text(text).unwrap_err().sqlstate, "0A000", "{text}");
        }
        for bytes in [&[][..], &[0; 7], &[0, 1, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 0, 0, 0]] {
            assert_eq!(from_binary(bytes).unwrap_err().sqlstate, "22P03", "{bytes:?}");
        }
        let large = [0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10];
        assert_eq!(from_binary(&large).unwrap_err().sqlstate, "22P03");
        assert_eq!(from_integer(5), Value::Real(5.0));
        assert_eq!(from_integer(EXACT + 1), Value::Integer(EXACT + 1));
    }
}
