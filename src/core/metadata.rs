//! The metadata of a session, for `SessionInfo`.

use crate::types::client_info::ClientInfo;
use crate::types::id::StatementId;
use crate::types::time::UnixMicros;
use std::sync::Arc;

/// The maximum number of bytes kept of a statement's text, which is the default of PostgreSQL's
/// `track_activity_query_size`.
pub const STATEMENT_TEXT_BYTES: usize = 1024;

/// The metadata of a session. Whether the user is an administrator is a flag of the record.
#[derive(Debug)]
pub(crate) struct Metadata {
    user: Arc<str>,
    database: Arc<str>,
    application: Arc<str>,
    client: Arc<str>,
    pub(crate) opened: UnixMicros,
    /// Created with the first described statement, so that an idle session stays small.
    activity: Option<Box<Activity>>,
}

/// The running statement, or the last one.
#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) transaction: UnixMicros,
    pub(crate) statement: UnixMicros,
    pub(crate) changed: UnixMicros,
    pub(crate) text: String,
    /// The statement to which the text belongs.
    pub(crate) of: Option<StatementId>,
}

impl Metadata {
    // Inlined, so that the value is constructed in its final location.
    #[inline(always)]
    pub(crate) fn new(description: ClientInfo) -> Metadata {
        let ClientInfo { user, admin: _, database, application, address: client } = description;
        Metadata {
            user,
            database,
            application,
            client,
            opened: UnixMicros::of_last_tick(),
            activity: None,
        }
    }

    pub(crate) fn description(&self, admin: bool) -> ClientInfo {
        ClientInfo {
            user: self.user.clone(),
            admin,
            database: self.database.clone(),
            application: self.application.clone(),
            address: self.client.clone(),
        }
    }

    /// Swaps in new client information. The caller drops the previous values.
    pub(crate) fn describe(&mut self, new: &mut ClientInfo) {
        std::mem::swap(&mut self.user, &mut new.user);
        std::mem::swap(&mut self.database, &mut new.database);
        std::mem::swap(&mut self.application, &mut new.application);
        std::mem::swap(&mut self.client, &mut new.address);
    }

    pub(crate) fn activity(&self) -> Option<&Activity> {
        self.activity.as_deref()
    }

    fn active(&mut self) -> &mut Activity {
        let opened = self.opened;
        self.activity.get_or_insert_with(|| {
            Box::new(Activity {
                transaction: UnixMicros::default(),
                statement: UnixMicros::default(),
                changed: opened,
                text: String::new(),
                of: None,
            })
        })
    }

    /// Stores the beginning of `text`, in a buffer that is reused.
    pub(crate) fn statement_begins(&mut self, statement: StatementId, text: &str) {
        let activity = self.active();
        activity.of = Some(statement);
        let mut end = text.len().min(STATEMENT_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        activity.text.clear();
        activity.text.push_str(&text[..end]);
        activity.statement = UnixMicros::now();
        activity.changed = activity.statement;
    }

    pub(crate) fn statement_ends(&mut self) {
        self.active().changed = UnixMicros::now();
    }

    pub(crate) fn transaction_changes(&mut self, open: bool) {
        self.active().transaction = if open { UnixMicros::now() } else { UnixMicros::default() };
    }
}
