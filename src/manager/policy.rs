//! Policies: which requester may end which session, and which may see it.

use crate::types::client_info::ClientInfo;
use crate::types::request::Requester;
use std::collections::HashSet;
use std::sync::Arc;

/// Decides which requester may end which session or statement.
///
/// The manager calls the policy without locks held, before the request has any effect. A session
/// may always see and end itself: for that the policy is not called.
///
/// # Examples
///
/// ```
/// use safepoint::{ClientInfo, Requester, SessionManager, ThreadModel, policy::Policy};
///
/// struct AdminsOnly;
/// impl Policy for AdminsOnly {
///     fn permits(&self, requester: &Requester, _target: &ClientInfo) -> bool {
///         requester.is_admin()
///     }
/// }
/// let manager = SessionManager::builder(ThreadModel::PerSession).policy(AdminsOnly).build();
/// ```
pub trait Policy: Send + Sync {
    /// Returns whether `requester` may end `target` or one of its statements.
    fn permits(&self, requester: &Requester, target: &ClientInfo) -> bool;

    /// Returns whether `requester` may know that `target` exists. The default is `true`. The
    /// manager calls this only if `requester` may not end `target`.
    ///
    /// A request for a hidden session is rejected as if the session did not exist: with
    /// [`NoSuchSession`](crate::request::RequestError::NoSuchSession), or, if a thread was named,
    /// with [`NoSuchThread`](crate::request::RequestError::NoSuchThread) or
    /// [`ThreadIdle`](crate::request::RequestError::ThreadIdle). The session is in no bulk request
    /// of that requester, and not in
    /// [`sessions_visible_to`](crate::SessionManager::sessions_visible_to). The duration of a
    /// rejection is not hidden.
    fn is_visible(&self, requester: &Requester, target: &ClientInfo) -> bool {
        let _ = (requester, target);
        true
    }

    /// Returns whether `requester` may know the activity of `target`. The activity is the text of its
    /// statement, its client's address, its times, its waits, and its pending requests. The default is
    /// [`permits`](Self::permits). The manager calls this only for a session that `requester` may
    /// see.
    ///
    /// The rows of [`sessions_visible_to`](crate::SessionManager::sessions_visible_to) and of bulk
    /// requests leave out what is not disclosed:
    /// [`SessionInfo::is_disclosed`](crate::view::SessionInfo::is_disclosed) is `false` then.
    fn discloses_activity(&self, requester: &Requester, target: &ClientInfo) -> bool {
        self.permits(requester, target)
    }

    /// Returns whether `requester` is disclosed to `target`, whose session or statement it ends.
    /// The default is `true`. The comment of the request is disclosed in any case.
    fn discloses_requester(&self, requester: &Requester, target: &ClientInfo) -> bool {
        let _ = (requester, target);
        true
    }
}

/// A policy in which administrators may end all sessions, and each user may end the user's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameUserOrAdmin;

impl Policy for SameUserOrAdmin {
    fn permits(&self, requester: &Requester, target: &ClientInfo) -> bool {
        // Two clients without a user are not the same user.
        let known = requester.user.as_ref().filter(|user| !user.is_empty());
        requester.admin || known.is_some_and(|user| *user == target.user)
    }
}

/// openGauss's policy, which permits more than [`SameUserOrAdmin`]. The owner of a database may end
/// the sessions in it, even sessions of administrators. A user with the signalling role may end all
/// sessions except sessions of administrators.
///
/// As in PostgreSQL, none of these may read what others do. An administrator may, and so may a user
/// with the reading role.
///
/// ```
/// use safepoint::{SessionManager, ThreadModel};
/// use safepoint::policy::Roles;
/// let policy = Roles::new().owner("shop", "ann").signaller("monitor").reader("monitor");
/// let manager = SessionManager::builder(ThreadModel::Pool).policy(policy).build();
/// # drop(manager);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Databases and their owners.
    owners: HashSet<(Arc<str>, Arc<str>)>,
    signallers: HashSet<Arc<str>>,
    readers: HashSet<Arc<str>>,
    hides: bool,
}

impl Roles {
    /// Creates a policy without owners of databases, and without users that have the signalling or
    /// the reading role. It decides as [`SameUserOrAdmin`] does.
    #[must_use]
    pub fn new() -> Roles {
        Roles::default()
    }

    /// Makes `user` an owner of `database`. A database may have several owners.
    #[must_use]
    pub fn owner(mut self, database: impl Into<Arc<str>>, user: impl Into<Arc<str>>) -> Roles {
        self.owners.insert((database.into(), user.into()));
        self
    }

    /// Gives `user` the signalling role.
    #[must_use]
    pub fn signaller(mut self, user: impl Into<Arc<str>>) -> Roles {
        self.signallers.insert(user.into());
        self
    }

    /// Gives `user` the reading role, which is PostgreSQL's `pg_read_all_stats`: it may know what all
    /// sessions do.
    #[must_use]
    pub fn reader(mut self, user: impl Into<Arc<str>>) -> Roles {
        self.readers.insert(user.into());
        self
    }

    /// Hides each session from the users that may not end it.
    #[must_use]
    pub fn hide_others(mut self) -> Roles {
        self.hides = true;
        self
    }
}

impl Policy for Roles {
    fn permits(&self, requester: &Requester, target: &ClientInfo) -> bool {
        let by_role = |user: &Arc<str>| {
            let owns = || self.owners.contains(&(target.database.clone(), user.clone()));
            // A client without a user may turn out to be an administrator.
            let signals = !target.admin && !target.user.is_empty();
            signals && self.signallers.contains(user) || !target.database.is_empty() && owns()
        };
        SameUserOrAdmin.permits(requester, target)
            || requester.user.as_ref().filter(|user| !user.is_empty()).is_some_and(by_role)
    }

    fn is_visible(&self, requester: &Requester, target: &ClientInfo) -> bool {
        !self.hides || self.permits(requester, target)
    }

    fn discloses_activity(&self, requester: &Requester, target: &ClientInfo) -> bool {
        SameUserOrAdmin.permits(requester, target)
            || requester.user.as_ref().is_some_and(|user| self.readers.contains(user))
    }
}
