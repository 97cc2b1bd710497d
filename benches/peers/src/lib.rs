//! Shared code of the questions in `benches/`: the peers behind one trait, a clock for percentiles,
//! which criterion does not have, and the figures that `report` reads.
//!
//! Criterion's benches are named `role: name`, where the role is `floor`, `ours` or `peer`; a group
//! is a question. Everything else leaves its figures with [`figures::save`].
#![forbid(unsafe_code)]

pub mod duel;
pub mod figures;
pub mod percentiles;
pub mod race;
pub mod registries;
pub mod shuffle;

use criterion::{Bencher, Criterion};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Configures short measurements, so that all questions take minutes. With `--measurement-time 5`
/// one question runs longer.
#[must_use]
pub fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(30)
        .without_plots()
        .configure_from_args()
}

/// Measures operations of a few nanoseconds, whose ratio to the floor must be known to a few
/// percent. Each sample is divided into sections of this many operations, and the fastest section
/// counts. Other activity of the machine makes a section slower, never faster.
pub fn quietest<T>(b: &mut Bencher<'_>, stretch: u64, mut operation: impl FnMut() -> T) {
    b.iter_custom(|times| {
        let stretch = stretch.min(times);
        let mut best = Duration::MAX;
        for _ in 0..times / stretch {
            let start = Instant::now();
            for _ in 0..stretch {
                black_box(operation());
            }
            best = best.min(start.elapsed());
        }
        best.mul_f64(times as f64 / stretch as f64)
    });
}
