//! The settings for a session's timeouts.

use crate::backends;
use crate::engine::LOCK_WAIT;
use crate::settings::Settings;
use crate::types::SqlError;
use safepoint::session::Timeouts;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Returns the canonical name of a setting: openGauss calls one of them `session_timeout`.
pub(crate) fn alias(name: &str) -> &str {
    if name == "session_timeout" { "idle_session_timeout" } else { name }
}

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
fn milliseconds(name: &str, value: &str) -> Result<u64, SqlError> {
    number(name, value, "ms")
}

/// Parses a number as PostgreSQL does: in this unit if no unit follows. Without a unit it is no time.
pub(crate) fn number(name: &str, value: &str, own: &str) -> Result<u64, SqlError> {
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
pub(crate) fn shown(name: &str, value: &str) -> Result<String, SqlError> {
    let micros = milliseconds(name, value)? * 1000;
    let fits = |(_, unit): &&(&str, u64)| micros >= *unit && micros.is_multiple_of(*unit);
    Ok(match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => "0".to_string(),
    })
}

/// Returns the timeouts of a session's settings. The value 0 means no timeout.
pub(crate) fn of(settings: &Settings) -> Timeouts {
    let limit = |name: &str| {
        let value = settings.get(name).unwrap_or("0");
        let ms = milliseconds(name, value).unwrap_or(0);
        (ms > 0).then(|| Duration::from_millis(ms))
    };
    Timeouts::new()
        .with_statement(limit("statement_timeout"))
        .with_transaction(limit("transaction_timeout"))
        .with_lock(limit("lock_timeout"))
        .with_idle(limit("idle_session_timeout"))
        .with_idle_in_transaction(limit("idle_in_transaction_session_timeout"))
        .with_client_disconnect(limit("client_connection_check_interval"))
}

std::thread_local! {
    static WAITS_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Handles a lock of another session, for SQLite: waits and tries again, unless an interrupt is
/// due. The session with the lock may need a worker to continue, so this one blocks in place.
pub(crate) fn lock_wait(tries: i32) -> bool {
    let (first, most) = LOCK_WAIT;
    let time = first.saturating_mul(1 << tries.clamp(0, 10)).min(most);
    // All attempts together are one wait.
    let before = WAITS_SINCE.get().filter(|_| tries > 0);
    let since = before.unwrap_or_else(Instant::now);
    WAITS_SINCE.set(Some(since));
    let _shown = backends::waits_for_lock();
    safepoint::current::with_lock_timeout(since, || {
        safepoint::current::block_in_place(|| safepoint::current::sleep(time))
    })
    .is_ok()
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
