//! A hold-off, as views and reasons show it.

use crate::types::location::CallSite;
use std::fmt;

/// A hold-off that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ActiveHoldOff {
    /// The name that the code gave to the hold-off.
    pub name: &'static str,
    /// The location at which the hold-off began, and the time.
    pub call_site: CallSite,
}

impl fmt::Display for ActiveHoldOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.call_site)
    }
}
