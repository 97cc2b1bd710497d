//! Tests of the public API, in one program, so that only one is linked.

mod common;

mod admission;
mod ambient;
mod audit;
mod audit_ends;
mod auto_traits;
mod bulk;
mod bulk_pauses;
mod complaints;
mod deadlines;
#[cfg(target_os = "linux")]
mod disconnects;
mod drain;
mod graces;
mod helper_stack;
mod helper_stalls;
mod helper_waits;
mod helpers;
mod hidden;
mod hold_offs;
mod kill_table;
mod kill_targets;
mod leaked;
mod notices;
mod overdue;
mod panicking_wakers;
mod pending_reason;
mod policy;
#[cfg(target_os = "linux")]
mod pool;
mod races;
mod rayon_pool;
mod reference_model;
mod regressions;
mod session_local;
#[cfg(target_os = "linux")]
mod socket_waits;
mod sql_commands;
mod stops;
mod suspended;
#[cfg(feature = "async")]
mod tasks;
#[cfg(feature = "async")]
mod tasks_and_killers;
#[cfg(feature = "async")]
mod tasks_counted;
#[cfg(feature = "async")]
mod tasks_given_up;
#[cfg(feature = "async")]
mod tasks_with;
mod texts;
mod timeouts;
mod unwinding;
mod waits;
mod wakers;
mod watchdog;
mod what_is_shown;
