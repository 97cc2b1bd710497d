//! Percentiles of latencies.

use crate::figures::Figure;

/// The measurements of one section of time, and the percentiles of the sections before.
///
/// A percentile is the median of the stretches' own, so that what else the machine did for a
/// moment spoils one stretch, not the figure.
#[derive(Debug, Default)]
pub struct Percentiles {
    stretch: Vec<u64>,
    p50: Vec<u64>,
    p99: Vec<u64>,
}

fn at(sorted: &[u64], percent: usize) -> u64 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

impl Percentiles {
    /// Adds one measurement, in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        self.stretch.push(nanos);
    }

    /// Ends a stretch.
    pub fn end_stretch(&mut self) {
        if self.stretch.is_empty() {
            return;
        }
        self.stretch.sort_unstable();
        self.p50.push(at(&self.stretch, 50));
        self.p99.push(at(&self.stretch, 99));
        self.stretch.clear();
    }

    /// Returns the percentiles as figures of `label`.
    #[must_use]
    pub fn figures(mut self, label: &str) -> Vec<Figure> {
        self.p50.sort_unstable();
        self.p99.sort_unstable();
        [("p50", self.p50), ("p99", self.p99)]
            .into_iter()
            .filter_map(|(name, stretches)| Figure::new(label, name, at(&stretches, 50) as f64))
            .collect()
    }
}
