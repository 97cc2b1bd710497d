//! Tests of the features `serde`, `tracing` and `metrics`.

#![cfg(any(feature = "serde", feature = "tracing", feature = "metrics"))]

#[path = "../it/common/mod.rs"]
mod common;
#[cfg(feature = "metrics")]
mod measured;
#[cfg(feature = "serde")]
mod serialized;
#[cfg(feature = "tracing")]
mod traced;
