//! The wakers of tasks that wait until the statement must stop, or has ended. A listener is no helper.

use crate::sync::wake_list::WakeList;
use slab::Slab;
use std::task::Waker;

/// The listeners of a set, under its lock of `more`. Here no waker is cloned, woken or dropped.
#[derive(Default)]
pub(super) struct Listeners(Slab<Option<Waker>>);

impl Listeners {
    /// Stores the waker of a listener, whose `key` is set by its first call. Returns the waker before.
    #[cfg(feature = "async")]
    pub(super) fn store(&mut self, key: &mut Option<usize>, waker: Waker) -> Option<Waker> {
        match *key {
            Some(key) => self.0[key].replace(waker),
            None => {
                *key = Some(self.0.insert(Some(waker)));
                None
            }
        }
    }

    #[cfg(feature = "async")]
    pub(super) fn remove(&mut self, key: usize) -> Option<Waker> {
        self.0.remove(key)
    }

    /// Takes the wakers of all listeners. A listener that must wait on stores its waker again.
    pub(super) fn take(&mut self, wakers: &mut WakeList) {
        for (_, waker) in &mut self.0 {
            wakers.append(waker.take().into());
        }
    }
}
