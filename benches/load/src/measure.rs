//! Latencies and errors, counted.

use hdrhistogram::Histogram;
use std::fmt::Display;
use std::time::Duration;

/// Three significant digits, up to an hour.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

const LONGEST: u64 = 3_600_000_000_000;

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that are in order"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(percent / 100.0))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) first: Option<String>,
}

impl Errors {
    pub(crate) fn add(&mut self, what: &str, error: impl Display) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{what}: {error}"));
    }

    pub(crate) fn merge(&mut self, other: Errors) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut low = Latencies::new();
        let mut high = Latencies::new();
        (1..=50).for_each(|n| low.record(Duration::from_micros(n)));
        (51..=100).for_each(|n| high.record(Duration::from_micros(n)));
        low.merge(&high);
        assert_eq!(low.count(), 100);
        for (percent, micros) in [(50.0, 50), (99.0, 99), (100.0, 100)] {
            let off = low.percentile(percent).abs_diff(Duration::from_micros(micros));
            assert!(off < Duration::from_micros(micros) / 500, "{percent}: {off:?}");
        }
        assert!(low.max() >= Duration::from_micros(100));
        low.record(Duration::MAX);
        assert_eq!(low.count(), 101);
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut errors = Errors::default();
        errors.add("open", "refused");
        let mut later = Errors::default();
        later.add("kill", "denied");
        errors.merge(later);
        assert_eq!((errors.count, errors.first.as_deref()), (2, Some("open: refused")));
    }
}
