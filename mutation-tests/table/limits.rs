//! Mistakes in limits, the watchdog, what unwinds, the grammar and the telemetry.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
];
