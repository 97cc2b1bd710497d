//! Who may end whose sessions, and who may know of them.

use crate::about::Description;
use crate::interrupt::Author;
use std::collections::HashSet;
use std::sync::Arc;

/// Who may end whose sessions and statements.
///
/// It is asked with no lock held, before anything is done to the target. A session may always
/// see and end itself, and the policy is not asked.
pub trait Policy: Send + Sync {
    /// Whether `author` may end `target` or one of its statements.
    fn permits(&self, author: &Author, target: &Description) -> bool;

    /// Whether `author` may know that `target` is there; by default everyone may. Only asked
    /// where it is not permitted to end it.
    ///
    /// A request for one that is hidden is refused as if it were not there:
    /// [`NoSuchSession`](crate::Refused::NoSuchSession), or
    /// [`NoSuchThread`](crate::Refused::NoSuchThread) and
    /// [`NothingAttached`](crate::Refused::NothingAttached) where a thread was named. It is in
    /// no sweep of that author's and not in
    /// [`sessions_shown_to`](crate::SessionManager::sessions_shown_to). How long a refusal takes
    /// is not hidden.
    fn shows(&self, author: &Author, target: &Description) -> bool {
        let _ = (author, target);
        true
    }

    /// Whether `target` is told who ends it or its statement; by default it is. What the author
    /// has to say reaches it in any case.
    fn names_author(&self, author: &Author, target: &Description) -> bool {
        let _ = (author, target);
        true
    }
}

/// Administrators may end anyone's sessions, users their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameUserOrAdmin;

impl Policy for SameUserOrAdmin {
    fn permits(&self, author: &Author, target: &Description) -> bool {
        // Two that have not said who they are are not the same user.
        let known = author.user.as_ref().filter(|user| !user.is_empty());
        author.admin || known.is_some_and(|user| *user == target.user)
    }
}

/// As openGauss has it: beside administrators and the same user, the owner of a database may
/// end the sessions in it, an administrator's too, and those in the signalling role anyone's but
/// an administrator's.
///
/// ```
/// use safepoint::{Roles, SessionManager, ThreadModel};
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
    /// Nobody owns a database, and nobody is in the signalling role: so far the same as
    /// [`SameUserOrAdmin`].
    #[must_use]
    pub fn new() -> Roles {
        Roles::default()
    }

    /// `user` owns `database`. A database may have several owners.
    #[must_use]
    pub fn owner(mut self, database: impl Into<Arc<str>>, user: impl Into<Arc<str>>) -> Roles {
        self.owners.insert((database.into(), user.into()));
        self
    }

    /// `user` is in the signalling role.
    #[must_use]
    pub fn signaller(mut self, user: impl Into<Arc<str>>) -> Roles {
        self.signallers.insert(user.into());
        self
    }

    /// Hides from everyone the sessions that they may not end.
    #[must_use]
    pub fn hiding(mut self) -> Roles {
        self.hides = true;
        self
    }
}

impl Policy for Roles {
    fn permits(&self, author: &Author, target: &Description) -> bool {
        let by_role = |user: &Arc<str>| {
            let owns = || self.owners.contains(&(target.database.clone(), user.clone()));
            // One that has not said who it is may yet be an administrator.
            let signals = !target.admin && !target.user.is_empty();
            signals && self.signallers.contains(user) || !target.database.is_empty() && owns()
        };
        SameUserOrAdmin.permits(author, target)
            || author.user.as_ref().filter(|user| !user.is_empty()).is_some_and(by_role)
    }

    fn shows(&self, author: &Author, target: &Description) -> bool {
        !self.hides || self.permits(author, target)
    }
}
