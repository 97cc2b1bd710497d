//! The settings of a session as its connection follows them: the server's defaults, and the values that the client
//! must know.

use super::Connection;
use crate::keepalive::KeepAlive;
use crate::run::{Failure, apply};
use crate::settings::{SETTINGS, Settings};
use safepoint::Attached;

impl Connection {
    /// Takes over the defaults of the server, if they have changed.
    pub(super) fn follow_defaults(&mut self, session: &Attached<'_>) {
        let version = self.shared.defaults.version();
        if version != self.defaults {
            self.defaults = version;
            let values = self.shared.defaults.values();
            SETTINGS.with_borrow_mut(|own| own.follow(&values));
            // As in `report`.
            let _ = apply(session, &self.stream);
        }
    }

    /// Applies what the statements before in the message, or since the last `Sync`, have changed.
    pub(super) fn follow_settings(&self, session: &Attached<'_>) -> Result<(), Failure> {
        if self.transaction.has_changed_settings() {
            apply(session, &self.stream)?;
        }
        Ok(())
    }

    pub(super) fn keep_alive(&mut self) {
        let now = SETTINGS.with_borrow(KeepAlive::of);
        now.apply(&self.stream, self.keep_alive);
        self.keep_alive = now;
    }

    /// Tells the client of settings that have changed, by a statement or by the end of a transaction.
    pub(super) fn report(&mut self, session: &Attached<'_>) {
        if !self.transaction.has_changed_settings() {
            return;
        }
        // The system gives no thread for the timer: the statement that set the timeout has failed.
        let _ = apply(session, &self.stream);
        self.keep_alive();
        for (name, value) in SETTINGS.with_borrow_mut(Settings::take_changes) {
            self.outgoing.parameter_status(name, &value);
        }
    }
}
