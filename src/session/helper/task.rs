//! What jobs and tasks have in common: the slot that they leave, and the time that they are on a thread.

use crate::core::record::helpers::helper::{Helper, Task};
use crate::core::record::helpers::set::HelperSet;
use crate::session::current::{self, Outer, wake_all};
use crate::sync::catch::catch_panic;
use crate::sync::panicking;
use std::sync::Arc;

/// A task or a job that is a helper until this is dropped.
pub(super) struct ActiveTask {
    pub(super) task: Task,
    left: bool,
}

impl ActiveTask {
    pub(super) fn new(set: &Arc<HelperSet>, name: u16) -> ActiveTask {
        ActiveTask { task: Task::new(set, name), left: false }
    }

    /// Makes the calling thread this helper, until the returned guard is dropped.
    pub(super) fn run_here(&mut self) -> OnThread<'_> {
        self.task.begin_poll();
        let Helper { set, place, turn } = self.task.helper();
        let outer = current::begin_help(set, place, *turn);
        OnThread { task: &self.task, outer, panicking: panicking() }
    }

    /// Leaves the statement, after everything that the job or the task owned was dropped.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            let (wakers, waker) = self.task.leave();
            wake_all(wakers);
            // A waker may panic when it is dropped.
            let _ = catch_panic(|| drop(waker));
        }
    }
}

impl Drop for ActiveTask {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The time that a task is polled, or that a job runs.
pub(super) struct OnThread<'t> {
    pub(super) task: &'t Task,
    outer: Option<Outer>,
    panicking: bool,
}

impl Drop for OnThread<'_> {
    fn drop(&mut self) {
        let mine = self.task.helper();
        if panicking() && !self.panicking {
            super::fail(&mine.set);
        }
        current::end_help(&mine.set, &mine.place, mine.turn, self.outer.take());
    }
}

#[cfg(all(test, feature = "async", not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::{ClientInfo, SessionManager, ThreadModel};
    use std::task::{Wake, Waker};

    struct Ignored;
    impl Wake for Ignored {
        fn wake(self: Arc<Self>) {}
    }

    /// A requester may still have the slot, and must not drop the waker later.
    #[test]
    fn the_waker_goes_with_the_task() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("task");
        let mut task = ActiveTask::new(&handle.set, handle.name);
        let slot = task.task.helper().clone();
        drop(task.run_here());
        let waker = Arc::new(Ignored);
        assert!(!task.task.end_poll(&Waker::from(waker.clone())));
        assert_eq!(Arc::strong_count(&waker), 2);
        drop(task);
        assert_eq!(Arc::strong_count(&waker), 1);
        drop(slot);
    }
}
