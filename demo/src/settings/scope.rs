//! The values of one session's settings, and how long each holds.
//!
//! A value is the session's, from `SET`, or the transaction's, from `SET LOCAL`. Without these it is the
//! startup message's, or else the default of the server, which may change during the session. An error or a rollback
//! brings back what was there when the unit, the block or the savepoint began. `RESET` goes back to the
//! value from the startup message.

use super::catalog::{ISOLATION, Known, REPORTED, Values, alias, find, first, unknown};
use super::parse::Modes;
use crate::types::SqlError;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The settings of one session.
#[derive(Default)]
pub(crate) struct Settings {
    now: Scopes,
    /// All values without those of statements: to these `RESET` goes back.
    first: Values,
    /// What the startup message has set, so that new defaults of the server do not replace it.
    given: BTreeSet<String>,
    /// What was there when the transaction began, and at each of its savepoints.
    marks: Vec<Scopes>,
    /// The values that the client knows of those that are reported.
    reported: Vec<String>,
    unit: Arc<Unit>,
}

/// What a session's transaction and its settings know of each other. Most transactions change no setting, and
/// this is cheaper to look at than the settings.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// When the transaction began, in microseconds since 1970.
    began: AtomicI64,
    /// Whether a value may have changed since the client was told of the values.
    changed: AtomicBool,
}

// Relaxed everywhere: only the thread that has the session uses a unit, and the session comes to its next
// thread by a lock.
impl Unit {
    /// Notes that the transaction begins.
    pub(crate) fn begins(&self) {
        self.began.store(Timestamp::now().as_microsecond(), Ordering::Relaxed);
    }

    fn changes(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Returns whether a value may have changed since the client was told of the values.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Default)]
struct Scopes {
    /// Values of `SET`.
    session: Arc<Values>,
    /// Values of `SET LOCAL`, which hide those of the session.
    local: Arc<Values>,
}

impl Settings {
    pub(crate) fn new(
        thread_pool: bool,
        max_connections: usize,
        user: &str,
        admin: bool,
    ) -> Settings {
        let mut first = first(&Values::new());
        let mut given = BTreeSet::new();
        let switch = |on: bool| if on { "on" } else { "off" };
        for (name, value) in [
            ("enable_thread_pool", switch(thread_pool)),
            ("max_connections", &max_connections.to_string()),
            ("session_authorization", user),
            ("is_superuser", switch(admin)),
        ] {
            first.insert(name.into(), value.into());
            given.insert(name.to_string());
        }
        Settings { first, given, ..Settings::default() }
    }

    /// Makes the present values those to which `RESET` goes back.
    pub(crate) fn starts(&mut self) {
        for (name, value) in std::mem::take(&mut *Arc::make_mut(&mut self.now.session)) {
            self.given.insert(name.clone());
            self.first.insert(name, value);
        }
        self.reported = self.report();
        self.marks.clear();
    }

    /// Returns what the transaction of the session knows of the settings.
    pub(crate) fn unit(&self) -> Arc<Unit> {
        self.unit.clone()
    }

    /// Takes over the defaults of the server, for what neither the startup message nor a statement
    /// has set.
    pub(crate) fn follow(&mut self, values: &Values) {
        let mut first = first(values);
        for name in &self.given {
            if let Some(value) = self.first.remove(name) {
                first.insert(name.clone(), value);
            }
        }
        self.first = first;
        self.unit.changes();
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str, SqlError> {
        let lower = name.to_ascii_lowercase();
        let name = alias(&lower);
        if let Some(value) = self.now.local.get(name) {
            return Ok(value);
        }
        // Outside of a transaction that has its own, these are what the next transaction begins with.
        let name = match name {
            "transaction_isolation" => "default_transaction_isolation",
            "transaction_read_only" => "default_transaction_read_only",
            name => name,
        };
        let value = self.now.session.get(name).or_else(|| self.first.get(name));
        value.map(String::as_str).ok_or_else(|| unknown(&lower))
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|value| value == "on")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let names: BTreeSet<&String> = self.first.keys().chain(self.now.session.keys()).collect();
        names.into_iter().map(|name| (name.as_str(), self.get(name).unwrap_or_default()))
    }

    /// Returns the modes of the transaction.
    pub(crate) fn modes(&self) -> Modes {
        let isolation = self.get("transaction_isolation").unwrap_or_default();
        let isolation = ISOLATION.iter().find(|level| **level == isolation).copied();
        Modes { isolation, read_only: Some(self.is_on("transaction_read_only")) }
    }

    /// Sets a value for the session, or for the transaction. `None` is the value from the startup
    /// message. Returns the value as it is shown.
    pub(crate) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
    ) -> Result<String, SqlError> {
        let lower = name.to_ascii_lowercase();
        let name = alias(&lower);
        let resets = value.is_none();
        let first = self.first.get(name).cloned();
        if find(name).is_some_and(Known::is_for_administrators) && !self.is_on("is_superuser") {
            let text = format!("permission denied to set parameter \"{name}\"");
            return Err(SqlError::new("42501", text));
        }
        let value = match (find(name), value) {
            (Some(known), Some(value)) => known.check(value)?,
            (Some(known), None) => {
                let first = first.unwrap_or_else(|| known.initial());
                // What may not be changed may not be reset either.
                known.check(&first)?;
                first
            }
            (None, Some(value)) if name.contains('.') => value.to_string(),
            (None, None) if name.contains('.') => first.unwrap_or_default(),
            (None, _) => return Err(unknown(&lower)),
        };
        self.changes();
        // These are the transaction's in any case.
        if local || matches!(name, "transaction_isolation" | "transaction_read_only") {
            // A free name is known from now on.
            if self.get(name).is_err() {
                Arc::make_mut(&mut self.now.session).insert(name.into(), String::new());
            }
            Arc::make_mut(&mut self.now.local).insert(name.into(), value.clone());
        } else {
            let session = Arc::make_mut(&mut self.now.session);
            if resets && self.first.contains_key(name) {
                session.remove(name);
            } else {
                session.insert(name.into(), value.clone());
            }
            if self.now.local.contains_key(name) {
                Arc::make_mut(&mut self.now.local).remove(name);
            }
        }
        Ok(value)
    }

    /// Goes back to the values from the startup message.
    pub(crate) fn reset(&mut self) {
        self.changes();
        self.now = Scopes::default();
    }

    fn changes(&mut self) {
        self.unit.changes();
        self.mark();
    }

    /// Notes the values at the beginning of the transaction, before the first change in it.
    fn mark(&mut self) {
        if self.marks.is_empty() {
            self.marks.push(self.now.clone());
        }
    }

    /// Returns when the transaction began, by its first statement.
    pub(crate) fn unit_began(&self) -> Timestamp {
        let micros = self.unit.began.load(Ordering::Relaxed);
        Timestamp::from_microsecond(micros).unwrap_or_default()
    }

    /// Notes the values at a savepoint: the first has the number 0.
    pub(crate) fn savepoint(&mut self) {
        self.mark();
        self.marks.push(self.now.clone());
    }

    /// Forgets the savepoints from this number on.
    pub(crate) fn release(&mut self, savepoint: usize) {
        self.marks.truncate(savepoint + 1);
    }

    /// Goes back to what was there at the innermost savepoint, or else at the beginning.
    pub(crate) fn undo(&mut self) {
        if let Some(mark) = self.marks.last() {
            self.now = mark.clone();
            self.unit.changes();
        }
    }

    /// Goes back to a savepoint, which stays.
    pub(crate) fn roll_back_to(&mut self, savepoint: usize) {
        self.marks.truncate(savepoint + 2);
        self.undo();
    }

    /// Ends the transaction.
    pub(crate) fn ends(&mut self, commits: bool) {
        if let (false, Some(first)) = (commits, self.marks.first()) {
            self.now = first.clone();
            self.unit.changes();
        }
        self.marks.clear();
        if !self.now.local.is_empty() {
            self.now.local = Arc::default();
            self.unit.changes();
        }
    }

    /// Returns the reported settings that have changed since the client heard of them.
    pub(crate) fn take_changes(&mut self) -> Vec<(&'static str, String)> {
        self.unit.changed.store(false, Ordering::Relaxed);
        let now = self.report();
        let changes = REPORTED.iter().zip(&now).zip(&self.reported);
        let changes = changes
            .filter(|((_, now), before)| now != before)
            .map(|((name, now), _)| (*name, now.clone()))
            .collect();
        self.reported = now;
        changes
    }

    fn report(&self) -> Vec<String> {
        REPORTED.iter().map(|name| self.get(name).unwrap_or_default().to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_rejected() {
        let mut settings = Settings::new(true, 100, "omm", true);
        settings.starts();
        assert_eq!(settings.get("Enable_Thread_Pool").unwrap(), "on");
        let refused = |settings: &mut Settings, name: &str, value: &str| {
            settings.set(name, Some(value), false).unwrap_err().sqlstate
        };
        assert_eq!(refused(&mut settings, "enable_thread_pool", "off"), "55P02");
        assert_eq!(refused(&mut settings, "nothing", "1"), "42704");
        assert_eq!(refused(&mut settings, "client_encoding", "LATIN1"), "22023");
        assert_eq!(refused(&mut settings, "statement_timeout", "5 x"), "22023");
        assert_eq!(settings.set("session_timeout", Some("600s"), false).unwrap(), "10min");
        assert_eq!(settings.get("idle_session_timeout").unwrap(), "10min");
        assert_eq!(settings.set("my.own", Some("1"), false).unwrap(), "1");
        settings.reset();
        assert!(settings.get("my.own").is_err());
    }

    #[test]
    fn new_defaults_replace_no_value_of_the_session() {
        let mut settings = Settings::new(true, 100, "omm", true);
        settings.set("lock_timeout", Some("1s"), false).unwrap();
        settings.starts();
        settings.set("statement_timeout", Some("2s"), false).unwrap();
        settings.ends(true);
        let names = ["lock_timeout", "statement_timeout", "idle_session_timeout"];
        let shown = |settings: &Settings| names.map(|name| settings.get(name).unwrap().to_string());
        let seven = names.map(|name| (name.to_string(), "7s".to_string()));
        settings.follow(&seven.into_iter().collect());
        settings.ends(false);
        assert_eq!(shown(&settings), ["1s", "2s", "7s"]);
        settings.reset();
        assert_eq!(shown(&settings), ["1s", "7s", "7s"]);
        settings.follow(&Values::new());
        assert_eq!(shown(&settings), ["1s", "0", "0"]);
        assert_eq!(settings.get("enable_thread_pool").unwrap(), "on");
    }

    #[test]
    fn values_hold_as_long_as_their_scope() {
        let mut settings = Settings::new(true, 100, "omm", true);
        settings.set("lock_timeout", Some("1s"), false).unwrap();
        settings.starts();
        let lock = |settings: &Settings| settings.get("lock_timeout").unwrap().to_string();
        settings.set("lock_timeout", Some("2s"), false).unwrap();
        settings.savepoint();
        settings.set("lock_timeout", Some("3s"), true).unwrap();
        settings.savepoint();
        settings.set("lock_timeout", Some("4s"), false).unwrap();
        settings.roll_back_to(1);
        assert_eq!(lock(&settings), "3s");
        settings.roll_back_to(0);
        assert_eq!(lock(&settings), "2s");
        settings.set("lock_timeout", Some("5s"), true).unwrap();
        settings.ends(true);
        assert_eq!(lock(&settings), "2s", "the local value is over");
        settings.set("lock_timeout", None, false).unwrap();
        assert_eq!(lock(&settings), "1s");
        settings.ends(false);
        assert_eq!(lock(&settings), "2s");
        settings.set("application_name", Some("new"), false).unwrap();
        assert_eq!(settings.take_changes(), [("application_name", "new".to_string())]);
        assert_eq!(settings.take_changes(), []);
    }
}
