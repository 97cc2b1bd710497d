//! The cell in which an outcome is stored, and the wakers that wait for it.

use crate::sync::Mutex;
use crate::sync::catch::catch_panic;
use crate::sync::wake_list::WakeList;
use slab::Slab;
use std::task::{Poll, Waker};

/// A value that is written once, and the wakers of the tasks and threads that wait for it.
#[derive(Debug)]
pub(crate) struct Completion<T>(Mutex<CompletionState<T>>);

#[derive(Debug)]
struct CompletionState<T> {
    value: Option<T>,
    waiting: Slab<Waker>,
}

impl<T> Default for Completion<T> {
    fn default() -> Self {
        Completion(Mutex::new(CompletionState { value: None, waiting: Slab::new() }))
    }
}

impl<T: Clone> Completion<T> {
    pub(crate) fn complete(&self, value: T) -> WakeList {
        let waiting = {
            let mut state = self.0.lock();
            state.value = Some(value);
            std::mem::take(&mut state.waiting)
        };
        let mut wakers = WakeList::EMPTY;
        waiting.into_iter().for_each(|(_, waker)| wakers.push(waker));
        wakers
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.0.lock().value.clone()
    }

    /// Returns the value, or registers `waker`. `key` is the key of the caller's waker until it
    /// [leaves](Self::leave).
    pub(crate) fn poll(&self, key: &mut Option<usize>, waker: &Waker) -> Poll<T> {
        let mut state = self.0.lock();
        if let Some(value) = &state.value {
            return Poll::Ready(value.clone());
        }
        let spent = match key.and_then(|key| state.waiting.get_mut(key)) {
            Some(known) if known.will_wake(waker) => None,
            Some(known) => Some(std::mem::replace(known, waker.clone())),
            None => {
                *key = Some(state.waiting.insert(waker.clone()));
                None
            }
        };
        // Dropping a waker runs application code, so the lock is released first.
        drop(state);
        drop(spent);
        Poll::Pending
    }
}

impl<T> Completion<T> {
    /// Removes the waker with the key `key`.
    pub(crate) fn deregister(&self, key: usize) {
        let waker = self.0.lock().waiting.try_remove(key);
        let _ = catch_panic(|| drop(waker));
    }
}
