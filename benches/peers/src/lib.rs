//! What the questions of `benches/` share: the peers behind one trait, a clock for what criterion
//! can't tell (percentiles), and the figures that `report` reads.
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

use criterion::Criterion;
use std::time::Duration;

/// Short, so that all questions take minutes. `--measurement-time 5` asks one of them longer.
#[must_use]
pub fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(30)
        .without_plots()
        .configure_from_args()
}
