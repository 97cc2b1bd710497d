//! Locations in source code.

use std::fmt;
use std::panic::Location;
use std::time::SystemTime;

/// A location in the source.
pub(crate) type CallerLocation = &'static Location<'static>;

/// Serializes the location as `file:line:column`.
#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(at: &CallerLocation, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

/// A location in running code, and the time at which the session reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CallSite {
    /// The location in the source.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub location: &'static Location<'static>,
    /// The time at which the session reached it.
    pub reached_at: SystemTime,
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.location.fmt(f)
    }
}
