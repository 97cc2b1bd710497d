//! Information about the client of a session.

use std::sync::Arc;

/// Information about a session's client. The application sets it when the session opens, or later.
///
/// # Examples
///
/// ```
/// use safepoint::ClientInfo;
///
/// let client = ClientInfo::new("ann").with_database("shop").with_address("10.0.0.7");
/// assert_eq!(client.user(), "ann");
/// assert!(!client.is_admin());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClientInfo {
    pub(crate) user: Arc<str>,
    pub(crate) admin: bool,
    pub(crate) database: Arc<str>,
    pub(crate) application: Arc<str>,
    pub(crate) address: Arc<str>,
}

impl ClientInfo {
    /// Creates the information about a client of this user, who is not an administrator. The other
    /// fields are empty. Until a client has authenticated, use the default, whose user is empty
    /// too.
    #[must_use]
    pub fn new(user: impl Into<Arc<str>>) -> ClientInfo {
        ClientInfo::default().with_user(user)
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<Arc<str>>) -> ClientInfo {
        self.user = user.into();
        self
    }

    /// Sets whether the user is an administrator.
    #[must_use]
    pub fn with_admin(mut self, admin: bool) -> ClientInfo {
        self.admin = admin;
        self
    }

    /// Sets the database, if the server has several.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<Arc<str>>) -> ClientInfo {
        self.database = database.into();
        self
    }

    /// Sets the client's name for its application.
    #[must_use]
    pub fn with_application(mut self, application: impl Into<Arc<str>>) -> ClientInfo {
        self.application = application.into();
        self
    }

    /// Sets the client's address.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<Arc<str>>) -> ClientInfo {
        self.address = address.into();
        self
    }

    /// Returns the user. It is empty until the client has authenticated.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns whether the user is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Returns the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the client's name for its application.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Returns the client's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Default for ClientInfo {
    fn default() -> Self {
        // All fields share one allocation.
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
