//! How sessions share threads.

/// How sessions and threads belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadModel {
    /// Each session has its own thread for its whole life, and the two ids are equal.
    PerSession,
    /// Sessions share threads, and are attached to one only while they have something to run.
    Pool,
}
