//! The gauges of sessions.

use crate::manager::manager::SessionManager;
use crate::types::state::SessionState;
use metrics::gauge;

impl SessionManager {
    /// Sets the gauge `safepoint_sessions`, by `state`, to the number of open sessions. It reads
    /// the state of each session, so call it when the metrics are collected.
    pub fn record_metrics(&self) {
        const STATES: [SessionState; 7] = [
            SessionState::Idle,
            SessionState::IdleInTransaction,
            SessionState::Queued,
            SessionState::BetweenStatements,
            SessionState::Running,
            SessionState::Waiting,
            SessionState::Ended,
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
