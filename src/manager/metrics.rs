//! The gauges of sessions.

use crate::manager::manager::SessionManager;
use crate::types::state::SessionState;
use metrics::gauge;

impl SessionManager {
    /// Sets the gauge `safepoint_sessions`, by `state`, to the sessions that there are now.
    /// It looks at all of them, so call it as the figures are collected.
    pub fn record_metrics(&self) {
        const STATES: [SessionState; 6] = [
            SessionState::Idle,
            SessionState::IdleInTransaction,
            SessionState::Queued,
            SessionState::BetweenStatements,
            SessionState::Running,
            SessionState::Waiting,
        ];
        let mut counts = [0_u32; STATES.len()];
        for row in self.sessions() {
            if let Some(at) = STATES.iter().position(|state| *state == row.state) {
                counts[at] += 1;
            }
        }
        for (state, count) in STATES.iter().zip(counts) {
            gauge!("safepoint_sessions", "state" => state.to_string()).set(count);
        }
    }
}
