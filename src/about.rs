//! What a record keeps about its session, beside its word.

use crate::id::StatementId;
use crate::sync::time_of_last_tick;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many bytes of a statement's text are kept, as PostgreSQL's
/// `track_activity_query_size` does by default.
pub const STATEMENT_TEXT_BYTES: usize = 1024;

/// Who a session belongs to. The embedder says it, at the start or as it learns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Description {
    /// The user. Empty while the client has not said who it is.
    pub user: Arc<str>,
    /// Whether the user is an administrator.
    pub admin: bool,
    /// The database, if the server has several.
    pub database: Arc<str>,
    /// What the client calls itself.
    pub application: Arc<str>,
    /// Where the client is.
    pub client: Arc<str>,
}

impl Default for Description {
    fn default() -> Self {
        // One allocation for all of them.
        let empty: Arc<str> = Arc::from("");
        Description {
            user: empty.clone(),
            admin: false,
            database: empty.clone(),
            application: empty.clone(),
            client: empty,
        }
    }
}

/// Microseconds since 1970; 0 is "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn now() -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp(since.as_micros() as u64)
    }

    /// Not later than now, and not much earlier.
    pub(crate) fn of_last_tick() -> Stamp {
        Stamp(time_of_last_tick().as_micros() as u64)
    }

    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[cfg(all(target_os = "linux", not(safepoint_loom)))]
    pub(crate) fn from_raw(raw: u64) -> Stamp {
        Stamp(raw)
    }

    pub(crate) fn time(self) -> Option<SystemTime> {
        (self.0 != 0).then(|| UNIX_EPOCH + Duration::from_micros(self.0))
    }
}

/// What a record keeps for its row. Whether the user is an administrator is one of its flags.
#[derive(Debug)]
pub(crate) struct About {
    user: Arc<str>,
    database: Arc<str>,
    application: Arc<str>,
    client: Arc<str>,
    pub(crate) opened: Stamp,
    /// Since it first did something that is shown. An idle session that never has is to be small.
    activity: Option<Box<Activity>>,
}

/// What a session does, or did last.
#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) transaction: Stamp,
    pub(crate) statement: Stamp,
    pub(crate) changed: Stamp,
    pub(crate) text: String,
    /// The statement that the text is of.
    pub(crate) of: Option<StatementId>,
}

impl About {
    // Inlined, so that it is made where it stays.
    #[inline(always)]
    pub(crate) fn new(description: Description) -> About {
        let Description { user, admin: _, database, application, client } = description;
        About { user, database, application, client, opened: Stamp::of_last_tick(), activity: None }
    }

    pub(crate) fn description(&self, admin: bool) -> Description {
        Description {
            user: self.user.clone(),
            admin,
            database: self.database.clone(),
            application: self.application.clone(),
            client: self.client.clone(),
        }
    }

    /// What was there before is the caller's to drop.
    pub(crate) fn describe(&mut self, new: &mut Description) {
        std::mem::swap(&mut self.user, &mut new.user);
        std::mem::swap(&mut self.database, &mut new.database);
        std::mem::swap(&mut self.application, &mut new.application);
        std::mem::swap(&mut self.client, &mut new.client);
    }

    pub(crate) fn activity(&self) -> Option<&Activity> {
        self.activity.as_deref()
    }

    fn active(&mut self) -> &mut Activity {
        let opened = self.opened;
        self.activity.get_or_insert_with(|| {
            Box::new(Activity {
                transaction: Stamp::default(),
                statement: Stamp::default(),
                changed: opened,
                text: String::new(),
                of: None,
            })
        })
    }

    /// Keeps as much of `text` as there is room for. The buffer is used again and again.
    pub(crate) fn statement_begins(&mut self, statement: StatementId, text: &str) {
        let activity = self.active();
        activity.of = Some(statement);
        let mut end = text.len().min(STATEMENT_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        activity.text.clear();
        activity.text.push_str(&text[..end]);
        activity.statement = Stamp::now();
        activity.changed = activity.statement;
    }

    pub(crate) fn statement_ends(&mut self) {
        self.active().changed = Stamp::now();
    }

    pub(crate) fn transaction_changes(&mut self, open: bool) {
        self.active().transaction = if open { Stamp::now() } else { Stamp::default() };
    }
}
