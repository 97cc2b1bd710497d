//! The scenes: the library with its pool under shuttle, at random.
//!
//! All tests of the program share its process, and run on several threads. They stay independent:
//! `common::explore` explores each on its own thread, and the library's statics under shuttle belong
//! to one execution. Descriptors are in a list of the process, by a number that is unique while the
//! descriptor is open.

#![cfg(target_os = "linux")]

mod common;
mod helpers;
mod slow_readers;
mod whole_pool;
mod workers;
