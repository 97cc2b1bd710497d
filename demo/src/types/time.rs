//! The types `date`, `timestamp` and `timestamptz`. SQLite has texts for them: `2024-02-29`,
//! `2024-02-29 12:30:15.5`, and the same in UTC with `+00:00`, as SQLite's own functions read them.
//! Texts in these forms compare as the times do.

use super::{PgType, SqlError};
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Unit};

/// The day from which PostgreSQL counts.
const EPOCH: Date = date(2000, 1, 1);

/// The seconds from the Unix epoch to PostgreSQL's.
const EPOCH_SECONDS: i64 = 946_684_800;

/// The offset with which a time is kept.
const KEPT_OFFSET: &str = "+00:00";

fn invalid(text: &str, ty: PgType) -> SqlError {
    let text: String = text.chars().take(40).collect();
    SqlError::new("22007", format!("invalid input syntax for type {}: \"{text}\"", ty.name()))
}

fn out_of_range(ty: PgType) -> SqlError {
    SqlError::new("22008", format!("{} out of range", ty.name()))
}

/// Returns whether a text has the digits of a date or a time, with values that no field has.
fn has_form(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = |byte: u8| byte.is_ascii_digit() || b"-:. T+Z".contains(&byte);
    digits >= 8 && text.bytes().all(plain) && text.bytes().filter(|byte| *byte == b'-').count() >= 2
}

fn failed(text: &str, ty: PgType) -> SqlError {
    if text.trim_ascii_end().ends_with("BC") || text.eq_ignore_ascii_case("infinity") {
        return SqlError::new("0A000", format!("{} \"{text}\" is not supported", ty.name()));
    }
    if has_form(text) {
        let message = format!("date/time field value out of range: \"{text}\"");
        return SqlError::new("22008", message);
    }
    invalid(text, ty)
}

/// Parses a date and a time with an optional offset. The offset counts for `timestamptz` only, as in
/// PostgreSQL.
fn parse(text: &str, ty: PgType) -> Result<DateTime, SqlError> {
    let text = text.trim_ascii();
    if text.len() > 64 {
        return Err(invalid(text, ty));
    }
    if ty == PgType::Timestamptz
        && let Ok(at) = text.parse::<Timestamp>()
    {
        return Ok(at.to_zoned(TimeZone::UTC).datetime());
    }
    // With `Z` it is a time that is not civil.
    let civil = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let parsed = civil.parse::<DateTime>().map_err(|_| failed(text, ty))?;
    match ty {
        PgType::Date => Ok(parsed.date().into()),
        _ => Ok(parsed),
    }
}

/// Returns whether a text has an offset from UTC.
fn has_offset(text: &str) -> bool {
    let time = text.find(':').map_or("", |at| &text[at..]);
    time.contains(['+', '-', 'Z', 'z'])
}

/// Writes a time with the offset.
fn write(at: DateTime, ty: PgType, offset: &str) -> String {
    if ty == PgType::Date {
        return at.date().to_string();
    }
    let (date, time) = (at.date(), at.time());
    let mut text = format!("{date} {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    let micros = time.subsec_nanosecond() / 1000;
    if micros > 0 {
        text += format!(".{micros:06}").trim_end_matches('0');
    }
    if ty == PgType::Timestamptz { text + offset } else { text }
}

/// Rounds to microseconds, as PostgreSQL does.
fn rounded(at: DateTime, ty: PgType) -> Result<DateTime, SqlError> {
    at.round(Unit::Microsecond).map_err(|_| out_of_range(ty))
}

/// Returns what SQLite keeps for a text of this type. A time without an offset is a time of the zone
/// `zone`.
pub(super) fn kept(text: &str, ty: PgType, zone: &str) -> Result<String, SqlError> {
    let at = parse(text, ty)?;
    if at.year() < 1 {
        return Err(SqlError::new("0A000", "years before 1 are not supported"));
    }
    let is_utc = matches!(zone, "UTC" | "GMT" | "Z" | "Etc/UTC");
    if ty == PgType::Timestamptz && !is_utc && !has_offset(text) {
        let message = format!("a time without an offset is not supported with TimeZone \"{zone}\"");
        return Err(SqlError::new("0A000", message));
    }
    Ok(write(rounded(at, ty)?, ty, KEPT_OFFSET))
}

/// Returns the text that SQLite keeps, as PostgreSQL shows it.
pub(super) fn shown(text: &str, ty: PgType) -> Result<String, SqlError> {
    // SQLite's own functions give UTC without an offset.
    Ok(write(rounded(parse(text, ty)?, ty)?, ty, "+00"))
}

/// Returns PostgreSQL's binary form of a text that SQLite keeps: days, or microseconds.
pub(super) fn number(text: &str, ty: PgType) -> Result<i64, SqlError> {
    let at = rounded(parse(text, ty)?, ty)?;
    let days = (at.date() - EPOCH).get_days();
    if ty == PgType::Date {
        return Ok(i64::from(days));
    }
    let time = at.time().duration_since(Time::midnight());
    Ok(i64::from(days) * 86_400_000_000 + i64::try_from(time.as_micros()).unwrap_or(0))
}

/// Returns what SQLite keeps for the binary form of a date.
pub(super) fn from_days(days: i32) -> Result<String, SqlError> {
    if matches!(days, i32::MIN | i32::MAX) {
        return Err(SqlError::new("0A000", "an infinite date is not supported"));
    }
    let span = Span::new().try_days(days).ok();
    let day = span.and_then(|span| EPOCH.checked_add(span).ok()).filter(|day| day.year() >= 1);
    day.map(|day| day.to_string()).ok_or_else(|| out_of_range(PgType::Date))
}

/// Returns what SQLite keeps for the binary form of a timestamp.
pub(super) fn from_micros(micros: i64, ty: PgType) -> Result<String, SqlError> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(SqlError::new("0A000", "an infinite timestamp is not supported"));
    }
    let unix = micros.checked_add(EPOCH_SECONDS * 1_000_000);
    let at = unix.and_then(|unix| Timestamp::from_microsecond(unix).ok());
    let at = at.map(|at| at.to_zoned(TimeZone::UTC).datetime()).filter(|at| at.year() >= 1);
    at.map(|at| write(at, ty, KEPT_OFFSET)).ok_or_else(|| out_of_range(ty))
}

/// Returns what SQLite keeps for this time.
pub(crate) fn timestamptz(at: Timestamp) -> String {
    write(at.to_zoned(TimeZone::UTC).datetime(), PgType::Timestamptz, KEPT_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PgType::{Date, Timestamp, Timestamptz};

    /// PostgreSQL 15 has said these.
    #[test]
    fn texts_are_kept_and_shown_in_one_form() {
        for (text, ty, kept_as, shown_as, binary) in [
            ("2024-02-29", Date, "2024-02-29", "2024-02-29", 8825),
            ("1999-12-31", Date, "1999-12-31", "1999-12-31", -1),
            ("2024-02-29 12:30", Date, "2024-02-29", "2024-02-29", 8825),
            ("0001-01-01", Date, "0001-01-01", "0001-01-01", -730_119),
            (
                "2024-02-29T12:30:15.5000",
                Timestamp,
                "2024-02-29 12:30:15.5",
                "2024-02-29 12:30:15.5",
                762_525_015_500_000,
            ),
            (
                "2024-02-29 12:30:15+02",
                Timestamp,
                "2024-02-29 12:30:15",
                "2024-02-29 12:30:15",
                762_525_015_000_000,
            ),
            ("2000-01-01", Timestamp, "2000-01-01 00:00:00", "2000-01-01 00:00:00", 0),
            (
                "1999-12-31 23:59:59.9999996",
                Timestamp,
                "2000-01-01 00:00:00",
                "2000-01-01 00:00:00",
                0,
            ),
            (
                "1970-01-01 00:00:00+05:30",
                Timestamptz,
                "1969-12-31 18:30:00+00:00",
                "1969-12-31 18:30:00+00",
                -946_704_600_000_000,
            ),
            (
                "2024-02-29 12:30:15.123456Z",
                Timestamptz,
                "2024-02-29 12:30:15.123456+00:00",
                "2024-02-29 12:30:15.123456+00",
                762_525_015_123_456,
            ),
            (
                "2024-02-29 12:30:15",
                Timestamptz,
                "2024-02-29 12:30:15+00:00",
                "2024-02-29 12:30:15+00",
                762_525_015_000_000,
            ),
        ] {
            let kept = kept(text, ty, "UTC").unwrap();
            assert_eq!(kept, kept_as, "{text}");
            assert_eq!(shown(&kept, ty).unwrap(), shown_as, "{text}");
            assert_eq!(number(&kept, ty).unwrap(), binary, "{text}");
            let again = match ty {
                Date => from_days(binary as i32),
                _ => from_micros(binary, ty),
            };
            assert_eq!(again.unwrap(), kept_as, "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for (text, ty, sqlstate) in [
            ("", Date, "22007"),
            ("nonsense", Date, "22007"),
            ("12", Timestamp, "22007"),
            ("2024-02-30", Date, "22008"),
            ("2024-13-01", Date, "22008"),
            ("2024-02-29 25:00:00", Timestamp, "22008"),
            ("infinity", Timestamptz, "0A000"),
            ("2024-01-01 BC", Date, "0A000"),
        ] {
            assert_eq!(kept(text, ty, "UTC").unwrap_err().sqlstate, sqlstate, "{text}");
        }
        let local = kept("2024-02-29 12:30:15", Timestamptz, "Europe/Berlin");
        assert_eq!(local.unwrap_err().sqlstate, "0A000");
        assert!(kept("2024-02-29 12:30:15+01", Timestamptz, "Europe/Berlin").is_ok());
        for micros in [i64::MIN, i64::MAX] {
            assert_eq!(from_micros(micros, Timestamp).unwrap_err().sqlstate, "0A000");
        }
        assert_eq!(from_micros(i64::MAX - 1, Timestamp).unwrap_err().sqlstate, "22008");
        assert_eq!(from_days(i32::MAX - 1).unwrap_err().sqlstate, "22008");
        assert_eq!(from_days(-800_000).unwrap_err().sqlstate, "22008");
    }
}
