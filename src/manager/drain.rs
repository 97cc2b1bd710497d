//! Drain: terminates all sessions, with a grace for their statements or transactions.

use crate::manager::manager::SessionManager;
use crate::session::receipt::Receipt;
use crate::sync::now;
use crate::types::outcome::SessionEnd;
use crate::types::request::{Terminate, TerminateMode};
use std::time::Duration;

/// The result of a [drain](SessionManager::drain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DrainReport {
    /// The number of sessions that were open.
    pub sessions: usize,
    /// The number of sessions that ended within the grace: idle sessions, and sessions that reached
    /// the end of their statement or transaction.
    pub graceful: usize,
    /// The number of sessions that ended after the grace, at a safe point in a statement or
    /// transaction.
    pub forced: usize,
    /// The number of sessions that had not ended at the end of the timeout, including the
    /// requester's own session. Their requests stay pending.
    pub remaining: usize,
}

/// Options of a [drain](SessionManager::drain).
///
/// ```
/// use safepoint::manager::DrainOptions;
/// use safepoint::{Requester, Terminate, TerminateMode};
/// use std::time::Duration;
///
/// let request = Terminate::new(TerminateMode::AfterTransaction, Requester::system());
/// let options = DrainOptions::new(request)
///     .grace(Duration::from_secs(30))
///     .timeout(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct DrainOptions {
    request: Terminate,
    grace: Duration,
    timeout: Duration,
}

impl DrainOptions {
    /// Creates options with no grace and no timeout: all sessions are terminated at once, and the
    /// drain waits until all have ended.
    #[must_use]
    pub fn new(request: Terminate) -> DrainOptions {
        DrainOptions { request, grace: Duration::ZERO, timeout: Duration::MAX }
    }

    /// Sets the time that sessions have to reach the end of the statement or transaction, according
    /// to the mode of the request. After it they are terminated immediately. The default is zero.
    #[must_use]
    pub fn grace(self, grace: Duration) -> DrainOptions {
        DrainOptions { grace, ..self }
    }

    /// Sets the maximum time to wait for the sessions after the grace. The default is
    /// [`Duration::MAX`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> DrainOptions {
        DrainOptions { timeout, ..self }
    }

    /// Returns the time at which the drain ends at the latest, or `None` if it is too far away for
    /// the clock.
    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn deadline(&self) -> Option<std::time::Instant> {
        now().checked_add(self.grace.saturating_add(self.timeout))
    }
}

impl SessionManager {
    /// Stops opening sessions and requests the termination of all, as [`shutdown`](Self::shutdown)
    /// does. Sessions that run something have the grace to reach the end of their statement or
    /// transaction, with [`TerminateMode::AfterStatement`] or [`TerminateMode::AfterTransaction`].
    /// Then they are terminated immediately. Blocks for at most the grace and the timeout.
    ///
    /// Returns earlier if all sessions have ended. The wait cannot be interrupted. The requester's
    /// own session ends at its next safe point, and the drain does not wait for it.
    #[must_use = "it counts the sessions that remain"]
    pub fn drain(&self, options: DrainOptions) -> DrainReport {
        let DrainOptions { request, grace, timeout } = options;
        let mut receipts = self.shutdown(request.clone());
        let mut report = DrainReport { sessions: receipts.len(), ..DrainReport::default() };
        receipts.retain(|receipt| request.requester().session != Some(receipt.session()));
        let own = report.sessions - receipts.len();
        let wait = |receipts: &mut Vec<Receipt<SessionEnd>>, timeout: Duration| {
            // A timeout that is too long for the clock counts as none.
            let deadline = now().checked_add(timeout);
            receipts.retain_mut(|receipt| {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
                receipt.wait_timeout(left.unwrap_or(Duration::MAX)).is_none()
            });
            receipts.len()
        };
        let open = wait(&mut receipts, grace);
        report.graceful = report.sessions - own - open;
        if open > 0 {
            let immediate = request.clone().mode(TerminateMode::Immediate);
            for receipt in &receipts {
                // `None` only if the session has ended.
                let _ = self.terminate_unchecked(receipt.session(), &immediate);
            }
            report.remaining = wait(&mut receipts, timeout);
            report.forced = open - report.remaining;
        }
        report.remaining += own;
        report
    }
}
