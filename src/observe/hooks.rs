//! The receivers of events: the audit, `tracing` and `metrics`.

use crate::observe::event::{Audit, Event};
use crate::sync::catch::catch_panic;
use std::fmt;

/// The receivers of one manager's events.
#[derive(Default)]
pub(crate) struct Hooks(pub(crate) Option<Box<dyn Audit>>);

impl Hooks {
    /// Returns whether there is a receiver.
    pub(crate) fn hear(&self) -> bool {
        cfg!(any(feature = "tracing", feature = "metrics")) || self.0.is_some()
    }

    /// Emits an event. Must be called without locks held, because the audit is application code.
    pub(crate) fn emit(&self, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        let _ = catch_panic(|| crate::observe::tracing::trace(event));
        #[cfg(feature = "metrics")]
        let _ = catch_panic(|| crate::observe::metrics::count(event));
        if let Some(audit) = &self.0 {
            let _ = catch_panic(|| audit.on_event(event));
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hooks(audit)" } else { "Hooks" })
    }
}
