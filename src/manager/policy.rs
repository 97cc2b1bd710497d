//! Who may end whose sessions, and who may know of them.

use crate::types::client_info::ClientInfo;
use crate::types::request::Requester;
use std::collections::HashSet;
use std::sync::Arc;

/// Who may end whose sessions and statements.
///
/// It is asked with no lock held, before anything is done to the target. A session may always
/// see and end itself, and the policy is not asked.
///
/// # Examples
///
/// ```
/// use safepoint::{ClientInfo, Requester, SessionManager, ThreadModel, policy::Policy};
///
/// struct AdminsOnly;
/// impl Policy for AdminsOnly {
///     fn permits(&self, author: &Requester, _target: &ClientInfo) -> bool {
///         author.is_admin()
///     }
/// }
/// let manager = SessionManager::builder(ThreadModel::PerSession).policy(AdminsOnly).build();
/// ```
pub trait Policy: Send + Sync {
    /// Returns whether `author` may end `target` or one of its statements.
    fn permits(&self, author: &Requester, target: &ClientInfo) -> bool;

    /// Returns whether `author` may know that `target` exists. The default is `true`. The manager
    /// asks only if `author` may not end `target`.
    ///
    /// A request for a hidden session is rejected as if there were no such session:
    /// [`NoSuchSession`](crate::request::RequestError::NoSuchSession), or
    /// [`NoSuchThread`](crate::request::RequestError::NoSuchThread) and
    /// [`ThreadIdle`](crate::request::RequestError::ThreadIdle) if a thread was named. It is in no
    /// bulk request of that requester, and not in
    /// [`sessions_visible_to`](crate::SessionManager::sessions_visible_to). The duration of a
    /// rejection is not hidden.
    fn is_visible(&self, author: &Requester, target: &ClientInfo) -> bool {
        let _ = (author, target);
        true
    }

    /// Returns whether `target` learns who ends it or its statement. The default is `true`. The
    /// comment of the request reaches `target` in any case.
    fn discloses_requester(&self, author: &Requester, target: &ClientInfo) -> bool {
        let _ = (author, target);
        true
    }
}

/// A policy in which administrators may end all sessions, and users their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameUserOrAdmin;

impl Policy for SameUserOrAdmin {
    fn permits(&self, author: &Requester, target: &ClientInfo) -> bool {
        // Two clients without a user are not the same user.
        let known = author.user.as_ref().filter(|user| !user.is_empty());
        author.admin || known.is_some_and(|user| *user == target.user)
    }
}

/// openGauss's policy. In addition to administrators and the same user, the owner of a database may
/// end the sessions in it, also those of administrators, and a user with the signalling role may
/// end all sessions but those of administrators.
///
/// ```
/// use safepoint::{SessionManager, ThreadModel};
/// use safepoint::policy::Roles;
/// let policy = Roles::new().owner("shop", "ann").signaller("monitor");
/// let manager = SessionManager::builder(ThreadModel::Pool).policy(policy).build();
/// # drop(manager);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Databases and their owners.
    owners: HashSet<(Arc<str>, Arc<str>)>,
    signallers: HashSet<Arc<str>>,
    hides: bool,
}

impl Roles {
    /// Creates a policy in which nobody owns a database and no user has the signalling role. So far
    /// it decides as [`SameUserOrAdmin`] does.
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

    /// Hides each session from the users that may not end it.
    #[must_use]
    pub fn hide_others(mut self) -> Roles {
        self.hides = true;
        self
    }
}

impl Policy for Roles {
    fn permits(&self, author: &Requester, target: &ClientInfo) -> bool {
        let by_role = |user: &Arc<str>| {
            let owns = || self.owners.contains(&(target.database.clone(), user.clone()));
            // A client without a user may turn out to be an administrator.
            let signals = !target.admin && !target.user.is_empty();
            signals && self.signallers.contains(user) || !target.database.is_empty() && owns()
        };
        SameUserOrAdmin.permits(author, target)
            || author.user.as_ref().filter(|user| !user.is_empty()).is_some_and(by_role)
    }

    fn is_visible(&self, author: &Requester, target: &ClientInfo) -> bool {
        !self.hides || self.permits(author, target)
    }
}
