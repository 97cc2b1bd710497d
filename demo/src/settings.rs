//! The settings of sessions: what there is, how a client changes it, and how long that holds.

mod catalog;
mod defaults;
mod lengths;
mod parse;
mod scope;

pub(crate) use catalog::{NAME_BYTES, REPORTED};
pub(crate) use defaults::Defaults;
pub(crate) use lengths::{kilobytes, milliseconds};
pub(crate) use parse::{Modes, Setting, options, parse};
pub(crate) use scope::{Settings, Unit};

use safepoint::session_local;
use std::cell::RefCell;

session_local! {
    /// The settings of the session that the calling thread runs. They are created when the startup
    /// message names the user.
    pub(crate) static SETTINGS: RefCell<Settings> = RefCell::default();
}
