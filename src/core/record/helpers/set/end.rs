//! The end of a statement with helpers: how many are left, and what the last one completes.

use crate::core::record::helpers::set::HelperSet;
use crate::core::record::helpers::slot::SlotState;
use crate::core::record::request::FinishedCancel;
use crate::sync::Ordering;
use crate::sync::wake_list::WakeList;
use crate::types::pending::PendingInterrupt;
use crate::types::time::Timestamp;
use std::task::{Poll, Waker};

impl HelperSet {
    #[cold]
    pub(super) fn left_observed(&self, before: SlotState, counted: bool) -> WakeList {
        let closed = before.closed() && counted;
        let mut wakers = if closed { self.one_left() } else { WakeList::EMPTY };
        if before.watched() {
            wakers.append(self.waiter.lock().take().into());
        }
        wakers
    }

    /// Returns `Ready` if there is no helper. Otherwise the next helper that leaves wakes `waker`, which
    /// is stored before the slots are watched. A slot is watched and freed by changes of one variable.
    /// So this sees that the helper has left, or the helper sees that its slot is watched.
    pub(crate) fn poll_no_helpers(&self, waker: &Waker) -> Poll<()> {
        let spent = self.waiter.lock().replace(waker.clone());
        drop(spent);
        let active = self.all_now().iter().filter(|slot| slot.watch().active()).count();
        if active > 0 { Poll::Pending } else { Poll::Ready(()) }
    }

    fn one_left(&self) -> WakeList {
        if !self.take_one_off() {
            return WakeList::EMPTY;
        }
        let finished = self.on_last_helper.lock().take();
        let mut wakers = finished.map_or(WakeList::EMPTY, FinishedCancel::complete);
        wakers.append(self.session.one_done());
        wakers
    }

    /// Returns whether it was the last one. AcqRel: the thread that subtracts it sees all writes of the
    /// others before.
    fn take_one_off(&self) -> bool {
        self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns whether the statement has ended and all helpers have left. Acquire: then it sees what
    /// they did before.
    pub(in crate::core::record::helpers) fn is_done(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }

    /// Takes the steps `C1` to `C5`. Returns what the caller must complete.
    pub(in crate::core::record::helpers) fn close(
        &self,
        finished: FinishedCancel,
    ) -> FinishedCancel {
        *self.on_last_helper.lock() = Some(finished);
        let mut wakers = WakeList::EMPTY;
        let all = {
            let mut more = self.more.lock();
            more.closed = true;
            more.listeners.take(&mut wakers);
            self.all(&more)
        };
        // Relaxed: a helper subtracts from it after `L2`, which acquires `C4`, which releases this.
        self.remaining.store(1 + all.len() as u64, Ordering::Relaxed);
        for slot in all.iter() {
            let before = slot.close();
            if before.active() {
                self.notify(slot, before, true, &mut wakers);
            } else {
                self.take_one_off();
            }
        }
        if self.take_one_off() {
            let finished = self.on_last_helper.lock().take();
            wakers.append(self.session.one_done());
            return finished.unwrap_or(FinishedCancel::NOTHING).with_wakers(wakers);
        }
        FinishedCancel::NOTHING.with_wakers(wakers)
    }

    /// Returns the cancel of the statement, which has ended, and when it was requested, if helpers are
    /// left.
    pub(in crate::core::record::helpers) fn unfinished_cancel(
        &self,
    ) -> Option<(PendingInterrupt, Timestamp)> {
        self.on_last_helper.lock().as_ref()?.pending()
    }
}
