//! Blocking code in a pool, during which another worker takes over.

use crate::core::diagnostics::Section;
use crate::session::attached::Attached;
use crate::session::current::runs;
use crate::sync::per_thread;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

/// The hooks of a pool around a block: a worker releases its permit before it, and takes one again
/// after it.
pub(crate) trait BlockHooks {
    /// Releases the permit before the block, so that another worker may run.
    fn before_block(&self);
    /// Takes a permit again after the block.
    fn after_block(&self);
}

per_thread! {
    /// The hooks of the pool whose worker this thread is.
    static HOOKS: RefCell<Option<Arc<dyn BlockHooks>>> = RefCell::new(None);
}

#[cfg(all(target_os = "linux", not(safepoint_loom)))]
pub(crate) fn set_block_hooks(hooks: Arc<dyn BlockHooks>) {
    HOOKS.with(|mine| *mine.borrow_mut() = Some(hooks));
}

/// Runs code that blocks, as [`Attached::block_in_place`] does, for code that has no reference to
/// the session.
#[track_caller]
pub fn block_in_place<T>(run: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<dyn BlockHooks>>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(hooks) = self.0.take() {
                hooks.after_block();
                let _ = HOOKS.try_with(|mine| *mine.borrow_mut() = Some(hooks));
            }
        }
    }
    let (session, at) = (runs(), Location::caller());
    let _within = session.as_ref().map(|record| record.within(Section::Wait, at));
    // Taken out during the block, so that a nested block releases no second permit. A thread that
    // has dropped its thread-locals has none.
    let back = Back(HOOKS.try_with(|mine| mine.borrow_mut().take()).ok().flatten());
    if let Some(hooks) = &back.0 {
        hooks.before_block();
    }
    run()
}

impl Attached<'_> {
    /// Runs code that blocks without a wait of this library, possibly until another session has
    /// run. Examples are a wait for a lock that another session holds, or for the client in a
    /// transaction. During the block another worker of the pool takes over. On a thread that is no
    /// worker of a pool, only the code runs.
    ///
    /// The thread id of the session does not change. A request wakes the code only if it waits
    /// interruptibly, such as by [`wait`](Self::wait). Otherwise
    /// [`pending_reason`](crate::Receipt::pending_reason) returns this call as the reason.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let length = attached.block_in_place(|| std::fs::metadata("Cargo.toml").map(|file| file.len()))?;
    /// assert!(length > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn block_in_place<T>(&self, run: impl FnOnce() -> T) -> T {
        block_in_place(run)
    }
}
