//! The thread model of a manager.

use std::fmt;

/// The relation between sessions and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ThreadModel {
    /// Each session has its own thread for its whole life, and the two ids are equal.
    PerSession,
    /// Sessions share threads, and are attached to one only while they have something to run.
    Pool,
}

impl fmt::Display for ThreadModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ThreadModel::PerSession => "thread per session",
            ThreadModel::Pool => "thread pool",
        })
    }
}
