//! The orderly end of all sessions.

use crate::interrupt::When;
use crate::kill::Receipt;
use crate::manager::{SessionManager, Terminate};
use crate::outcome::Ended;
use crate::sync::now;
use std::time::Duration;

/// What a [drain](SessionManager::drain) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Drained {
    /// Sessions that were open.
    pub sessions: usize,
    /// Those that ended within the grace: they were idle, or got as far as the request says.
    pub in_grace: usize,
    /// Those that ended after that, at a safe point in the midst of it.
    pub cut_short: usize,
    /// Those that had not ended by the limit, and the session that asked for the drain. Their
    /// requests stand.
    pub left: usize,
}

impl SessionManager {
    /// Opens no more sessions and tells all to end, as in [`shut_down`](Self::shut_down). Those
    /// that run something have until the end of the `grace` to get as far as the request says,
    /// [`When::AfterStatement`] or [`When::AfterTransaction`]; then they are told to end at once.
    /// It waits for that up to `limit` after the grace.
    ///
    /// It returns as soon as all have ended. The wait can't be interrupted. A session that is the
    /// request's author ends as it goes on after this, and is not waited for.
    pub fn drain(&self, request: &Terminate, grace: Duration, limit: Duration) -> Drained {
        let mut receipts = self.shut_down(request);
        let mut drained = Drained { sessions: receipts.len(), ..Drained::default() };
        receipts.retain(|receipt| request.author().session != Some(receipt.session()));
        let author = drained.sessions - receipts.len();
        let wait = |receipts: &mut Vec<Receipt<Ended>>, limit: Duration| {
            // A limit too long for the clock is no limit.
            let deadline = now().checked_add(limit);
            receipts.retain_mut(|receipt| {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
                receipt.wait(left.unwrap_or(Duration::MAX)).is_none()
            });
            receipts.len()
        };
        let open = wait(&mut receipts, grace);
        drained.in_grace = drained.sessions - author - open;
        if open > 0 {
            for receipt in &receipts {
                // Refused only where it has ended by now.
                let _ = self.tell(receipt.session(), &request.clone().at(When::Immediate));
            }
            drained.left = wait(&mut receipts, limit);
            drained.cut_short = open - drained.left;
        }
        drained.left += author;
        drained
    }
}
