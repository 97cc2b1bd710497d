//! Events, and their way to the audit, to `tracing` and to `metrics`.

pub(crate) mod event;
pub(crate) mod hooks;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(feature = "tracing")]
pub(crate) mod tracing;
