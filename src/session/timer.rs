//! Starts the manager's timer when it is first needed.

use crate::core::shared::Shared;
use crate::core::timer::Timer;
#[cfg(safepoint_loom)]
use crate::session::current::wake_all;
#[cfg(not(safepoint_loom))]
use crate::session::timer_thread::start;
use crate::types::error::StartError;
use std::sync::Arc;

#[cfg(safepoint_loom)]
impl Timer {
    /// Expires once the timeouts that are due at `now`.
    pub(crate) fn expire_once(&self, shared: &Shared, now: u64) {
        let mut due = Vec::new();
        self.take(now, &mut due);
        for record in due.into_iter().filter_map(|session| shared.sessions.get(session)) {
            wake_all(record.expire_timeouts(now));
        }
    }
}

/// Returns the manager's timer, and starts its thread if it does not run.
///
/// # Errors
/// Returns [`StartError`] if the system gives no thread, or the manager has no id for it.
pub(crate) fn ensure_running(shared: &Arc<Shared>) -> Result<&Arc<Timer>, StartError> {
    #[cfg(not(safepoint_loom))]
    start(shared)?;
    Ok(&shared.timers.timer)
}
