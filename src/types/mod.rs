//! Plain data: ids, times, requests, errors, outcomes, states. No lock, no atomic, no thread.

pub(crate) mod client_info;
pub(crate) mod error;
pub(crate) mod helper;
pub(crate) mod hold_off;
pub(crate) mod id;
pub(crate) mod interrupt;
pub(crate) mod location;
pub(crate) mod model;
pub(crate) mod outcome;
pub(crate) mod pending;
pub(crate) mod reason;
pub(crate) mod reports;
pub(crate) mod request;
pub(crate) mod state;
pub(crate) mod time;
pub(crate) mod timeouts;
