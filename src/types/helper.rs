//! The row of a helper.

use crate::types::hold_off::ActiveHoldOff;
use crate::types::location::CallSite;
use std::fmt;

/// The row of a helper: a thread or a task that works for a statement that another thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HelperInfo {
    /// The name of the handle by which it helps.
    pub name: &'static str,
    /// The location at which the handle was named, and since when the helper is known. A task and a
    /// job are known from their creation. A thread is known since its row was first read, because
    /// it reads no clock.
    pub known_since: CallSite,
    /// Whether the helper is on a thread. A task between two polls is on none. The same holds for a
    /// job that has not begun.
    pub is_on_thread: bool,
    /// Whether the helper is in a wait that an interrupt ends. A task waits between two polls.
    pub is_waiting: bool,
    /// The last safe point that answered a probe.
    pub last_safe_point: Option<CallSite>,
    /// The hold-off of the helper that is in force, if any.
    pub hold_off: Option<ActiveHoldOff>,
}

impl fmt::Display for HelperInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.known_since)?;
        if !self.is_on_thread {
            f.write_str(", on no thread")?;
        } else if self.is_waiting {
            f.write_str(", waiting")?;
        }
        if let Some(held) = &self.hold_off {
            write!(f, ", held off by {held}")?;
        }
        match &self.last_safe_point {
            Some(last) => write!(f, ", the last safe point known at {last}"),
            None => Ok(()),
        }
    }
}
