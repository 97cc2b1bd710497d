//! Lengths of time and other numbers with units.

use crate::types::SqlError;

/// The units, in microseconds, largest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("us", 1),
];

/// Parses a length as PostgreSQL does: a number, in milliseconds if no unit follows.
pub(crate) fn milliseconds(name: &str, value: &str) -> Result<u64, SqlError> {
    number(name, value, "ms")
}

/// Parses a number as PostgreSQL does: in this unit if no unit follows. Without a unit it is no time.
pub(super) fn number(name: &str, value: &str, own: &str) -> Result<u64, SqlError> {
    let refused = |text: String| Err(SqlError::new("22023", text));
    let text = value.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let micros = |name: &str| match UNITS.iter().find(|(known, _)| *known == name) {
        Some((_, micros)) => Some(*micros),
        None => (name.is_empty() && own.is_empty()).then_some(1),
    };
    let unit = micros(if unit.is_empty() { own } else { unit }).filter(|_| {
        // A number that is no time has no unit.
        !own.is_empty() || unit.is_empty()
    });
    let (Ok(number), Some(unit), Some(base)) = (number.trim().parse::<f64>(), unit, micros(own))
    else {
        return refused(format!("invalid value for parameter \"{name}\": \"{value}\""));
    };
    let number = (number * unit as f64 / base as f64).round_ties_even();
    if !(0.0..=f64::from(i32::MAX)).contains(&number) {
        let own = if own.is_empty() { String::new() } else { format!(" {own}") };
        let range = format!("(0{own} .. {}{own})", i32::MAX);
        return refused(format!(
            "{number}{own} is outside the valid range for parameter \"{name}\" {range}"
        ));
    }
    Ok(number as u64)
}

/// Formats the value in the largest unit that fits.
pub(super) fn shown(name: &str, value: &str) -> Result<String, SqlError> {
    let micros = milliseconds(name, value)? * 1000;
    let fits = |(_, unit): &&(&str, u64)| micros >= *unit && micros.is_multiple_of(*unit);
    Ok(match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => "0".to_string(),
    })
}

/// The units of sizes, in bytes, largest first.
const SIZES: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// Parses a size as PostgreSQL does: a number, in kilobytes if no unit follows. Returns kilobytes; -1 means
/// no limit.
pub(crate) fn kilobytes(name: &str, value: &str) -> Result<i64, SqlError> {
    let refused = |text: String| Err(SqlError::new("22023", text));
    let text = value.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = if unit.is_empty() { "kB" } else { unit };
    let unit = SIZES.iter().find(|(known, _)| *known == unit).map(|(_, bytes)| *bytes as f64);
    let (Ok(number), Some(unit)) = (number.trim().parse::<f64>(), unit) else {
        return refused(format!("invalid value for parameter \"{name}\": \"{value}\""));
    };
    let number = (number * unit / 1024.0).round_ties_even();
    if !(-1.0..=f64::from(i32::MAX)).contains(&number) {
        let most = i32::MAX;
        return refused(format!(
            "{number} kB is outside the valid range for parameter \"{name}\" (-1 kB .. {most} kB)"
        ));
    }
    Ok(number as i64)
}

/// Formats the size in the largest unit that fits.
pub(super) fn shown_size(name: &str, value: &str) -> Result<String, SqlError> {
    let kilobytes = kilobytes(name, value)?;
    let Ok(bytes) = u64::try_from(kilobytes).map(|kilobytes| kilobytes * 1024) else {
        return Ok(kilobytes.to_string());
    };
    let fits = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    Ok(match SIZES.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => "0".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_postgresql_reads_them() {
        for (value, expected) in [
            ("0", "0"),
            ("0s", "0"),
            ("100", "100ms"),
            ("100ms", "100ms"),
            ("5s", "5s"),
            ("5000", "5s"),
            (" 1 min ", "1min"),
            ("90s", "90s"),
            ("1.5min", "90s"),
            ("1500us", "2ms"),
            ("2h", "2h"),
            ("1d", "1d"),
        ] {
            assert_eq!(shown("lock_timeout", value).unwrap(), expected, "{value}");
        }
        for wrong in ["", "s", "x", "5 weeks", "5 S", "-1", "1e", "nan", "25d", "1 2"] {
            let error = shown("lock_timeout", wrong).unwrap_err();
            assert_eq!(error.sqlstate, "22023", "{wrong}");
        }
    }
}
