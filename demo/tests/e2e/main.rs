//! The programs from outside, by real clients over sockets.

mod support;

mod activity;
mod authorizer;
mod authorizer_fuzz;
mod cancel;
mod disconnects;
mod drivers;
mod growth;
mod helpers;
#[cfg(unix)]
mod incident;
mod intruders;
mod kill;
mod limits;
mod malformed;
mod operator;
mod overload;
mod pool;
mod portals;
mod protocol;
#[cfg(unix)]
mod psql;
mod refused;
mod server;
#[cfg(unix)]
mod slow_readers;
mod soak;
mod sweep;
mod top;
mod transactions;
mod transcript;
#[cfg(unix)]
mod truth;
mod watchdog;
mod why;
