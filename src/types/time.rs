//! Times, for measuring and for display.

use crate::sync::{now, time_of_last_tick};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970. Zero means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnixMicros(u64);

impl UnixMicros {
    pub(crate) fn now() -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMicros(since.as_micros() as u64)
    }

    /// Returns the time of the last tick of the clock, which is a few milliseconds ago at most.
    pub(crate) fn of_last_tick() -> UnixMicros {
        UnixMicros(time_of_last_tick().as_micros() as u64)
    }

    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn from_raw(raw: u64) -> UnixMicros {
        UnixMicros(raw)
    }

    pub(crate) fn time(self) -> Option<SystemTime> {
        (self.0 != 0).then(|| UNIX_EPOCH + Duration::from_micros(self.0))
    }
}

/// Formats a time, such as `2026-11-22 23:19:19 UTC`. A time before 1970 is shown as the start of
/// 1970.
pub(crate) fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    // 400 years always have the same number of days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (month, day, second) = (month + 1, days + 1, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn leap(year: u64) -> u64 {
    u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
}

/// One moment on the monotonic clock, to measure from, and on the wall clock, to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp {
    pub(crate) at: Instant,
    pub(crate) time: SystemTime,
}

impl Timestamp {
    pub(crate) fn now() -> Timestamp {
        Timestamp { at: now(), time: SystemTime::now() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        now().saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_around_leap_days_and_the_ends_of_years() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (45_296, "1970-01-01 12:34:56 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (1_767_225_600, "2026-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (12_622_780_800, "2370-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        let before = UNIX_EPOCH.checked_sub(Duration::from_secs(86_400)).unwrap();
        assert_eq!(utc(before), "1970-01-01 00:00:00 UTC");
    }
}
