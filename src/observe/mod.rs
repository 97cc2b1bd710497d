//! Events, and their receivers: the audit, `tracing` and `metrics`.

pub(crate) mod event;
pub(crate) mod hooks;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(feature = "tracing")]
pub(crate) mod tracing;
