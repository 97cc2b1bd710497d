//! The helpers of a statement: threads and tasks that work for a statement that another thread runs.
//!
//! A statement with a handle has one *helper set*. The runner creates it with the first handle. Each helper has a
//! slot of its set. A thread takes one of a few slots at fixed addresses. Tasks, jobs, and threads that find no
//! other slot, have one in `more`.
//!
//! The names of steps belong to this folder. The runner, for the first handle of a statement:
//!
//! - `N1` adds the set to the session's sets, under their lock;
//! - `N2` takes a transition that changes nothing.
//!
//! A helper that enters:
//!
//! - `E1` takes a slot;
//! - `E2` loads the word, and checks that the statement still runs and need not stop.
//!
//! A requester, after its transition:
//!
//! - `K1` finds the set of the statement that must stop, under the lock of the session's sets;
//! - `K2` finds the slots of the set, under the lock of `more`;
//! - `K3` raises each slot, free or taken, and the attention flag of each helper on a thread;
//! - `K4` wakes each helper that sleeps.
//!
//! A helper that waits takes the steps of `wait.rs`, with its slot in place of the word: it stores its waker, sets
//! `ASLEEP`, and loads the word. A task takes these steps at the end of each poll.
//!
//! A listener waits until the statement must stop or has ended, and is no helper:
//!
//! - `I1` stores its waker under the lock of `more`;
//! - `I2` loads the word.
//!
//! After `K3` a requester takes the wakers of all listeners under that lock, unless a hold-off of the runner is in
//! force. The thread that ends a hold-off takes the steps of a requester. In `C2` the thread that ends the statement
//! takes the wakers.
//!
//! The thread that ends the statement:
//!
//! - `C1` stores the receipts of the statement in `on_last_helper`;
//! - `C2` closes `more` and finds the slots of the set, under the lock of `more`;
//! - `C3` stores the number of slots plus one in `remaining`;
//! - `C4` closes each slot, and subtracts one for each slot that was free;
//! - `C5` subtracts one for itself.
//!
//! A helper that leaves:
//!
//! - `L1` restores the earlier work of its thread, and raises its own attention flag;
//! - `L2` frees its slot;
//! - `L3` subtracts one from `remaining` if `L2` found the slot closed.
//!
//! *No helper misses the request.* `E1` and `K3` are read-modify-writes of one slot, so one is first. If `E1` is
//! first, `K3` finds the helper. If `K3` is first, `E1` acquires it together with the requester's transition, which
//! `E2` then sees. The same holds for parts that are created later. A requester that finds no set, or no cold part of
//! the record, came before `N2`. `N2` acquires its transition, so every user of the handle sees it. A requester that
//! finds no slots in `K2` came before another thread created them under the same lock.
//!
//! *No listener sleeps on.* `I1` and the requester use one lock, so one is first. If `I1` is first, the requester finds
//! the waker. If the requester is first, `I1` acquires its transition, which `I2` then sees. The same holds for `C2`. A
//! requester that finds a hold-off leaves the wakers to the thread that ends it. Before it takes them, that thread has
//! stored that no hold-off is in force, so a listener that stores its waker later sees that in `I2`.
//!
//! *No other statement is hit.* Each safe point compares the number of the statement, as do `E2` and `K1`. A helper
//! reports the request that it finds under the record's lock, and compares the number under that lock.
//!
//! *Receipts complete once, after the last helper.* `C4` and `L2` change one variable. So each helper is counted by
//! `C4` or by `L3`, and never by both. `C3` comes before the first slot is closed. The thread that subtracts the last
//! one completes the receipts of `C1`.
//!
//! A session may have several sets with active helpers. Each counts in `open`, and the session counts one until its
//! end. The thread that subtracts the last one ends the session.

pub(crate) mod helper;
mod listeners;
mod rows;
pub(crate) mod set;
mod slot;

pub(crate) use rows::UnansweredHelper;
pub(crate) use slot::HelperSlot;

use crate::core::record::request::FinishedCancel;
use crate::core::record::{Cold, HAS_HELPERS, Record};
use crate::core::state::{RunningStatement, Snapshot};
use crate::sync::wake_list::WakeList;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::types::helper::HelperInfo;
use crate::types::id::StatementId;
use crate::types::pending::PendingInterrupt;
use crate::types::time::Timestamp;
use set::HelperSet;
use std::fmt;
use std::sync::Arc;

/// The code that the last helper of a session runs.
type Ending = Box<dyn FnOnce() -> WakeList + Send>;

/// The helper sets of a session.
pub(crate) struct SessionHelpers {
    /// The sets whose helpers have not all left, and the newest set.
    sets: Mutex<Vec<Arc<HelperSet>>>,
    /// The number of sets that are not done, and one for the session until its end.
    open: AtomicU64,
    /// The rest of the end of a session that has ended.
    ending: Mutex<Option<Ending>>,
}

impl SessionHelpers {
    fn new() -> SessionHelpers {
        SessionHelpers {
            sets: Mutex::new(Vec::new()),
            open: AtomicU64::new(1),
            ending: Mutex::new(None),
        }
    }

    fn newest(&self, of: RunningStatement) -> Option<Arc<HelperSet>> {
        let sets = self.sets.lock();
        sets.last().filter(|set| set.statement == of).cloned()
    }

    fn unfinished(&self) -> Vec<Arc<HelperSet>> {
        let mut sets = self.sets.lock().clone();
        sets.retain(|set| !set.is_done());
        sets
    }

    /// Subtracts one from `open`. AcqRel: the thread that subtracts the last one sees all writes of the
    /// others before.
    pub(super) fn one_done(&self) -> WakeList {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return WakeList::EMPTY;
        }
        let ending = self.ending.lock().take();
        // The sets refer to the record, and the record to the sets.
        let sets = std::mem::take(&mut *self.sets.lock());
        let wakers = ending.map_or(WakeList::EMPTY, |end| end());
        drop(sets);
        wakers
    }
}

impl fmt::Debug for SessionHelpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHelpers").finish_non_exhaustive()
    }
}

impl Record {
    /// Returns the helper set of the running statement. Takes the steps `N1` and `N2` if it is the
    /// first handle. `own` returns this record. Only the runner calls this.
    pub(crate) fn helper_set(
        &self,
        wake: fn(WakeList),
        own: impl FnOnce() -> Arc<Record>,
    ) -> Arc<HelperSet> {
        let statement = self.word.load().running_statement();
        let helpers = self.cold().helpers.get_or_init(|| Arc::new(SessionHelpers::new()));
        if let Some(set) = helpers.newest(statement) {
            return set;
        }
        let set = Arc::new(HelperSet::new(own(), helpers.clone(), statement, wake));
        // Relaxed: the session's own one is counted until its end, so this is never the first.
        helpers.open.fetch_add(1, Ordering::Relaxed);
        let done: Vec<_> = {
            let mut sets = helpers.sets.lock();
            let done = sets.extract_if(.., |set| set.is_done()).collect();
            sets.push(set.clone());
            done
        };
        drop(done);
        self.set(HAS_HELPERS, true);
        self.transition(|word| word);
        set
    }

    /// Ends the statement's helper set, if it has one, after the transition that ended the statement.
    /// Returns what the caller must complete.
    #[cold]
    pub(super) fn close_helpers(
        &self,
        cold: &Cold,
        before: Snapshot,
        finished: FinishedCancel,
    ) -> FinishedCancel {
        self.set(HAS_HELPERS, false);
        match cold.helpers.get().and_then(|helpers| helpers.newest(before.running_statement())) {
            Some(set) => set.close(finished),
            None => finished,
        }
    }

    /// Returns whether the session has had helpers. Then its end has to wait for the last of them.
    pub(crate) fn has_had_helpers(&self) -> bool {
        self.session_helpers().is_some()
    }

    fn session_helpers(&self) -> Option<&Arc<SessionHelpers>> {
        self.cold.get()?.helpers.get()
    }

    /// Leaves the rest of the session's end to the last helper, after the transition that ended the
    /// session. If there is none, runs it at once. Returns the wakers to wake.
    #[cold]
    pub(crate) fn end_after_helpers(&self, ending: Ending) -> WakeList {
        let Some(helpers) = self.session_helpers() else { return ending() };
        *helpers.ending.lock() = Some(ending);
        helpers.one_done()
    }

    /// Takes the steps `K1` to `K3`, and returns the wakers for `K4`, if the helpers of the running
    /// statement must stop in this value of the word.
    pub(super) fn helper_wakers(&self, word: Snapshot) -> WakeList {
        let mut wakers = WakeList::EMPTY;
        if word.stops_helpers()
            && let Some(set) = self.set_of(word)
        {
            set.raise(&mut wakers);
        }
        wakers
    }

    /// Returns the helper set of the running statement, if it has one.
    pub(crate) fn helper_set_if_any(&self) -> Option<Arc<HelperSet>> {
        self.set_of(self.snapshot())
    }

    fn set_of(&self, word: Snapshot) -> Option<Arc<HelperSet>> {
        self.session_helpers()?.newest(word.running_statement())
    }

    /// Raises and wakes the helpers for a requester that the system holds back after its transition.
    #[cold]
    pub(crate) fn wake_helpers(&self) {
        let word = self.snapshot();
        if word.stops_helpers()
            && let Some(set) = self.set_of(word)
        {
            let mut wakers = WakeList::EMPTY;
            set.raise(&mut wakers);
            (set.wake)(wakers);
        }
    }

    /// Returns the rows of the helpers of all statements of the session, or of one.
    pub(crate) fn helpers(&self, of: Option<StatementId>) -> Vec<HelperInfo> {
        let mut rows = Vec::new();
        for set in self.unfinished_sets() {
            if of.is_none_or(|of| set.statement_id() == of) {
                set.rows(&mut rows);
            }
        }
        rows
    }

    /// Returns the number of helpers of all statements of the session.
    pub(crate) fn helper_count(&self) -> usize {
        self.unfinished_sets().iter().map(|set| set.count()).sum()
    }

    /// Returns the statements that were cancelled and have ended, and still have helpers, each with the
    /// cancel and when it was requested.
    pub(super) fn cancels_with_helpers(&self) -> Vec<(StatementId, (PendingInterrupt, Timestamp))> {
        let cancelled = |set: &Arc<HelperSet>| Some((set.statement_id(), set.unfinished_cancel()?));
        self.unfinished_sets().iter().filter_map(cancelled).collect()
    }

    fn unfinished_sets(&self) -> Vec<Arc<HelperSet>> {
        self.session_helpers().map(|helpers| helpers.unfinished()).unwrap_or_default()
    }

    /// Sets a probe for the helpers of all statements of the session. Returns the helpers that have
    /// not answered an earlier one.
    pub(crate) fn probe_helpers(&self) -> Vec<UnansweredHelper> {
        let mut unanswered = Vec::new();
        for set in self.unfinished_sets() {
            set.probe(&mut unanswered);
        }
        unanswered
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use crate::{ClientInfo, SessionManager, ThreadModel};

    #[test]
    fn nothing_is_left_of_helpers_and_statements_that_have_ended() {
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        for _ in 0..3 {
            let statement = attached.begin().unwrap();
            let jobs = [(); 2].map(|()| statement.handle("sort").wrap_fn(|| ()));
            let set = statement.record.helper_set_if_any().unwrap();
            assert_eq!((set.extra_slots(), set.names.lock().len()), (2, 1));
            drop(jobs);
            assert_eq!(set.extra_slots(), 0);
            statement.finish().unwrap();
        }
        let helpers = attached.record.session_helpers().unwrap();
        assert_eq!(helpers.sets.lock().len(), 1);
    }
}
