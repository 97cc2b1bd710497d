//! Information about the client of a session.

use std::sync::Arc;

/// Information about a session's client. The application sets it when the session opens, or later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClientInfo {
    /// The user; empty until the client has authenticated.
    pub user: Arc<str>,
    /// Whether the user is an administrator.
    pub admin: bool,
    /// The database, if the server has several.
    pub database: Arc<str>,
    /// The client's name for its application.
    pub application: Arc<str>,
    /// Where the client is.
    pub address: Arc<str>,
}

impl Default for ClientInfo {
    fn default() -> Self {
        // One allocation for all of them.
        let empty: Arc<str> = Arc::from("");
        ClientInfo {
            user: empty.clone(),
            admin: false,
            database: empty.clone(),
            application: empty.clone(),
            address: empty,
        }
    }
}
