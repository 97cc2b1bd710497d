//! The mistakes. Each is a place of `src/` that is written wrongly on purpose, and must be seen.
//!
//! The build scripts of `loom-tests`, `shuttle-tests` and `mutation-tests` apply all of them to a
//! copy of the sources, each behind a switch, so that one build serves all mistakes and the
//! compiler checks both branches. A place that is not found exactly once fails the build.
//!
//! - A model or a scene finds its mistakes in this table. The build fails if a mistake names a model
//!   or a scene that does not exist.
//! - `scripts/mutations.sh [NAME ...]` runs the library's own tests that are named here.
//! - `cargo run -p mutation-tests -- --table` writes the numbers into `docs/verification.md`.

use super::format::{Edit, Mutation};

#[path = "table/audit.rs"]
mod audit;
#[path = "table/bulk.rs"]
mod bulk;
#[path = "table/core.rs"]
mod core;
#[path = "table/disconnects.rs"]
mod disconnects;
#[path = "table/grammar.rs"]
mod grammar;
#[path = "table/helpers.rs"]
mod helpers;
#[path = "table/limits.rs"]
mod limits;
#[path = "table/listeners.rs"]
mod listeners;
#[path = "table/numbers.rs"]
mod numbers;
#[path = "table/orderings.rs"]
mod orderings;
#[path = "table/overdue.rs"]
mod overdue;
#[path = "table/pool.rs"]
mod pool;
#[path = "table/pool_listening.rs"]
mod pool_listening;
#[path = "table/pool_outside.rs"]
mod pool_outside;
#[path = "table/pool_queue.rs"]
mod pool_queue;
#[path = "table/sessions.rs"]
mod sessions;
#[path = "table/shutdown.rs"]
mod shutdown;
#[path = "table/stalls.rs"]
mod stalls;
#[path = "table/steps.rs"]
mod steps;
#[path = "table/stops.rs"]
mod stops;
#[path = "table/suspended.rs"]
mod suspended;
#[path = "table/targets.rs"]
mod targets;
#[path = "table/telemetry.rs"]
mod telemetry;
#[path = "table/timing.rs"]
mod timing;
#[path = "table/unwind.rs"]
mod unwind;
#[path = "table/waits.rs"]
mod waits;
#[path = "table/wakers.rs"]
mod wakers;
#[path = "table/watch.rs"]
mod watch;

/// All of them.
pub(crate) fn mutations() -> impl Iterator<Item = &'static Mutation> {
    let parts = [
        core::MUTATIONS,
        steps::MUTATIONS,
        stops::MUTATIONS,
        suspended::MUTATIONS,
        targets::MUTATIONS,
        shutdown::MUTATIONS,
        orderings::MUTATIONS,
        numbers::MUTATIONS,
        wakers::MUTATIONS,
        sessions::MUTATIONS,
        pool::MUTATIONS,
        pool_queue::MUTATIONS,
        pool_listening::MUTATIONS,
        pool_outside::MUTATIONS,
        limits::MUTATIONS,
        listeners::MUTATIONS,
        watch::MUTATIONS,
        telemetry::MUTATIONS,
        disconnects::MUTATIONS,
        grammar::MUTATIONS,
        timing::MUTATIONS,
        unwind::MUTATIONS,
        audit::MUTATIONS,
        bulk::MUTATIONS,
        waits::MUTATIONS,
        helpers::MUTATIONS,
        stalls::MUTATIONS,
        overdue::MUTATIONS,
    ];
    parts.into_iter().flatten()
}
