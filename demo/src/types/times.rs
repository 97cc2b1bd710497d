//! Times and lengths of time. Both are microseconds in SQLite, which has no types for them: a time
//! since 1970, so that SQLite computes differences and comparisons.

use super::{Format, SqlError};
use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use std::fmt::Write as _;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// PostgreSQL's times count from the beginning of the year 2000.
const EPOCH: i64 = 10_957 * DAY;

pub(super) fn put_instant(micros: i64, format: Format, out: &mut BytesMut) -> Result<(), SqlError> {
    let wrong = || SqlError::new("22008", "timestamp out of range");
    match format {
        Format::Binary => out.put_i64(micros.checked_sub(EPOCH).ok_or_else(wrong)?),
        Format::Text => {
            let at = Timestamp::from_microsecond(micros).map_err(|_| wrong())?;
            let mut text = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            fraction(micros.rem_euclid(SECOND), &mut text);
            text.push_str("+00");
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// Writes whole days as days, as PostgreSQL's difference of two times has them.
pub(super) fn put_interval(micros: i64, format: Format, out: &mut BytesMut) {
    let (days, rest) = (micros / DAY, micros % DAY);
    match format {
        Format::Binary => {
            out.put_i64(rest);
            // All microseconds of a number have fewer days than that.
            out.put_i32(i32::try_from(days).unwrap_or(i32::MAX));
            out.put_i32(0);
        }
        Format::Text => out.put_slice(interval_text(days, rest).as_bytes()),
    }
}

fn interval_text(days: i64, rest: i64) -> String {
    let mut text = String::new();
    if days != 0 {
        let plural = if days == 1 { "" } else { "s" };
        let _ = write!(text, "{days} day{plural}");
    }
    if rest != 0 || days == 0 {
        if days != 0 {
            text.push(' ');
        }
        if rest < 0 {
            text.push('-');
        }
        let (seconds, micros) = (rest.abs() / SECOND, rest.abs() % SECOND);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let _ = write!(text, "{hours:02}:{minutes:02}:{:02}", seconds % 60);
        fraction(micros, &mut text);
    }
    text
}

/// Writes a fraction of a second without zeros at its end.
fn fraction(micros: i64, text: &mut String) {
    if micros != 0 {
        let digits = format!(".{micros:06}");
        text.push_str(digits.trim_end_matches('0'));
    }
}

fn invalid(name: &str, code: &'static str, text: &str) -> SqlError {
    SqlError::new(code, format!("invalid input syntax for type {name}: \"{text}\""))
}

/// Parses the text of a time, which is in UTC if it has no offset.
pub(crate) fn parse_timestamp(text: &str) -> Result<i64, SqlError> {
    let wrong = || invalid("timestamp with time zone", "22007", text);
    let trimmed = text.trim();
    let (date, rest) = match trimmed.find([' ', 'T']) {
        Some(at) => (&trimmed[..at], trimmed[at + 1..].trim_start()),
        None => (trimmed, "00:00:00"),
    };
    let zoned = rest.ends_with(['Z', 'z']) || rest.contains(['+', '-']);
    let time = match rest.split(['+', '-']).next().map(|time| time.matches(':').count()) {
        // jiff wants seconds.
        Some(1) => match rest.find(['+', '-', 'Z', 'z']) {
            Some(at) => format!("{}:00{}", &rest[..at], &rest[at..]),
            None => format!("{rest}:00"),
        },
        _ => rest.to_string(),
    };
    let zone = if zoned { "" } else { "Z" };
    let at: Timestamp = format!("{date}T{time}{zone}").parse().map_err(|_| wrong())?;
    Ok(at.as_microsecond())
}

/// The units of an interval that have a fixed length.
const UNITS: [(&[&str], i64); 7] = [
    (&["us", "usec", "usecs", "microsecond", "microseconds"], 1),
    (&["ms", "msec", "msecs", "millisecond", "milliseconds"], 1000),
    (&["", "s", "sec", "secs", "second", "seconds"], SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3600 * SECOND),
    (&["d", "day", "days"], DAY),
    (&["w", "week", "weeks"], 7 * DAY),
];

/// Units whose length depends on the date.
const CALENDAR: [&str; 10] =
    ["mon", "mons", "month", "months", "y", "yr", "yrs", "year", "years", "decade"];

/// Parses the text of an interval: numbers with units, and `hours:minutes:seconds`.
pub(crate) fn parse_interval(text: &str) -> Result<i64, SqlError> {
    let wrong = || invalid("interval", "22007", text);
    let far = || SqlError::new("22008", format!("interval out of range: \"{text}\""));
    let mut rest = text.trim();
    let mut sum = 0_i64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = |c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':' | '-' | '+'));
        let end = rest.find(digits).unwrap_or(rest.len());
        let (amount, after) = rest.split_at(end);
        let after = after.trim_start();
        let micros = if amount.contains(':') {
            rest = after;
            clock(amount).ok_or_else(wrong)?
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            rest = after.trim_start();
            let unit = unit.to_ascii_lowercase();
            if CALENDAR.contains(&unit.as_str()) {
                let message = "an interval of months or years is not supported";
                return Err(SqlError::new("0A000", message));
            }
            let known = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str()));
            let (_, micros) = known.ok_or_else(wrong)?;
            product(amount, *micros).ok_or_else(wrong)?
        };
        sum = sum.checked_add(micros).ok_or_else(far)?;
    }
    Ok(sum)
}

/// Returns `[-]hours:minutes[:seconds]` in microseconds.
fn clock(text: &str) -> Option<i64> {
    let digits = text.trim_start_matches(['-', '+']);
    let mut parts = digits.split(':');
    let whole = |part: &str| part.parse::<u32>().ok().map(i64::from);
    let hours = whole(parts.next()?)?;
    let minutes = whole(parts.next()?).filter(|minutes| *minutes < 60)?;
    let seconds = product(parts.next().unwrap_or("0"), SECOND)?;
    if parts.next().is_some() || !(0..60 * SECOND).contains(&seconds) {
        return None;
    }
    let micros = (hours * 3600 + minutes * 60) * SECOND + seconds;
    Some(if text.starts_with('-') { -micros } else { micros })
}

/// Returns a decimal number of units in microseconds, to the nearest one.
fn product(amount: &str, unit: i64) -> Option<i64> {
    let amount: f64 = amount.parse().ok()?;
    let micros = (amount * unit as f64).round();
    (micros.abs() < 9e18).then_some(micros as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(put: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        put(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The texts are PostgreSQL's.
    #[test]
    fn times_look_as_postgresql_prints_them() {
        for (micros, text) in [
            (1_700_000_000_000_042, "2023-11-14 22:13:20.000042+00"),
            (1_700_000_000_500_000, "2023-11-14 22:13:20.5+00"),
            (0, "1970-01-01 00:00:00+00"),
            (-1, "1969-12-31 23:59:59.999999+00"),
        ] {
            let put = |out: &mut BytesMut| put_instant(micros, Format::Text, out).unwrap();
            assert_eq!(shown(put), text);
            assert_eq!(parse_timestamp(text), Ok(micros));
        }
        let mut out = BytesMut::new();
        put_instant(EPOCH, Format::Binary, &mut out).unwrap();
        assert_eq!(&out[..], [0; 8]);
        assert!(put_instant(i64::MAX, Format::Text, &mut out).is_err());
        for (text, micros) in [
            ("2000-01-01", EPOCH),
            ("2000-01-01 02:00", EPOCH + 7200 * SECOND),
            ("2000-01-01 02:00+02", EPOCH),
            ("2000-01-01T00:00:00Z", EPOCH),
        ] {
            assert_eq!(parse_timestamp(text), Ok(micros), "{text}");
        }
        for wrong in ["", "now", "2000-13-01", "2000-01-01 25:00", "12:00"] {
            assert_eq!(parse_timestamp(wrong).unwrap_err().sqlstate, "22007", "{wrong}");
        }
    }

    #[test]
    fn intervals_look_as_postgresql_prints_them() {
        for (micros, text) in [
            (0, "00:00:00"),
            (339_658, "00:00:00.339658"),
            (DAY - 1, "23:59:59.999999"),
            (DAY, "1 day"),
            (2 * DAY + 3_661 * SECOND + SECOND / 2, "2 days 01:01:01.5"),
            (-SECOND, "-00:00:01"),
            (-DAY - SECOND, "-1 days -00:00:01"),
        ] {
            assert_eq!(shown(|out| put_interval(micros, Format::Text, out)), text);
        }
        let mut out = BytesMut::new();
        put_interval(3 * DAY + 7, Format::Binary, &mut out);
        assert_eq!(&out[..], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn intervals_are_parsed() {
        for (text, micros) in [
            ("5 minutes", 300 * SECOND),
            ("5min", 300 * SECOND),
            ("1 day 02:03:04.5", DAY + 7384 * SECOND + SECOND / 2),
            ("1.5 hours", 5400 * SECOND),
            ("-1 day", -DAY),
            ("-00:00:01", -SECOND),
            ("10", 10 * SECOND),
            ("1 week 2 d 3 ms 4 us", 9 * DAY + 3004),
        ] {
            assert_eq!(parse_interval(text), Ok(micros), "{text}");
        }
        for (wrong, code) in [
            ("", "22007"),
            ("x", "22007"),
            ("5 apples", "22007"),
            ("1:60", "22007"),
            ("1 month", "0A000"),
            ("999999999999 weeks", "22007"),
        ] {
            assert_eq!(parse_interval(wrong).unwrap_err().sqlstate, code, "{wrong}");
        }
    }
}
