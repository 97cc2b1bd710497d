//! The grace that a task has after an interrupt, until its future is dropped.
//!
//! A poll that finds a due interrupt begins the grace, wakes the listeners of the statement, and polls the
//! future once more. The grace ends as `core/record/timeouts/mod.rs` describes.

use crate::core::record::Record;
use crate::core::shared::Shared;
use crate::core::timer::{NEVER, nanos};
use crate::session::timer;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) enum Stops {
    /// The future is dropped by a due interrupt.
    AtOnce,
    /// A due interrupt notifies the future, which has this time to return.
    Within(Duration),
    /// The future was notified. It is dropped at this time of the timer's clock.
    At(u64),
}

impl Stops {
    /// Checks for a due interrupt before a poll. The error is the interrupt that drops the future.
    pub(super) fn check(
        &mut self,
        record: &Record,
        shared: &Arc<Shared>,
        at: CallerLocation,
    ) -> Result<(), Interrupt> {
        if let Stops::Within(grace) = *self {
            if !record.snapshot().due() || record.held() {
                return Ok(());
            }
            *self = Stops::At(begin(record, shared, grace));
            record.grace_begins();
            // The requester may be held back before it wakes the listeners.
            record.wake_helpers();
        }
        if self.may_wait(shared) { Ok(()) } else { record.check_at(at) }
    }

    /// Returns whether a future for which an interrupt is due may wait for the end of its grace. Called
    /// after the session was suspended.
    pub(super) fn may_wait(&self, shared: &Shared) -> bool {
        match *self {
            Stops::At(time) => shared.timers.timer.now() < time,
            Stops::AtOnce | Stops::Within(_) => false,
        }
    }

    /// Returns the interrupt that the statement has observed, before the statement ends.
    pub(super) fn observed(&self, record: &Record) -> Option<Interrupt> {
        if let Stops::AtOnce = self { None } else { record.observed() }
    }
}

/// Begins the grace. Returns the time when it ends. It has ended if the timer cannot be started.
fn begin(record: &Record, shared: &Arc<Shared>, grace: Duration) -> u64 {
    match nanos(grace) {
        // No timer is needed for these.
        now_or_never @ (0 | NEVER) => now_or_never,
        _ => timer::ensure_running(shared).map_or(0, |timer| record.stop_after(timer, grace)),
    }
}
