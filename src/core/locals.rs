//! The values of one session for `session_local!` statics.

use crate::sync::Mutex;
use crate::sync::catch::catch_panic;
use std::any::Any;
use std::sync::Arc;

/// A value of a static. A thread that uses the value holds a reference, so the value may be dropped
/// late, but never too early.
pub(crate) type Value = Arc<dyn Any + Send + Sync>;

/// The values by the number of their static, oldest first. A session has few of them.
#[derive(Debug, Default)]
pub(crate) struct LocalValues(Mutex<List>);

type List = Vec<(usize, Value)>;

fn find(list: &List, number: usize) -> Option<Value> {
    list.iter().find(|(other, _)| *other == number).map(|(_, value)| value.clone())
}

impl LocalValues {
    pub(crate) fn get(&self, number: usize) -> Option<Value> {
        find(&self.0.lock(), number)
    }

    /// Stores `first`, unless there is a value, and returns the stored value. Returns `None` if the
    /// session has `ended`.
    ///
    /// `ended` is called under the lock, and takes a transition of the session's word. The thread
    /// that ends the session takes its transition first, and then the values under the same lock.
    /// So it either gets this value, or the value is rejected.
    pub(crate) fn keep(
        &self,
        number: usize,
        first: &Value,
        ended: impl FnOnce() -> bool,
    ) -> Option<Value> {
        let mut list = self.0.lock();
        if ended() {
            return None;
        }
        Some(find(&list, number).unwrap_or_else(|| {
            list.push((number, first.clone()));
            first.clone()
        }))
    }

    /// Takes all values. After the session has ended no more are stored.
    pub(crate) fn take(&self) -> DrainedValues {
        DrainedValues(std::mem::take(&mut *self.0.lock()))
    }
}

/// The values of a session that has ended.
pub(crate) struct DrainedValues(List);

impl DrainedValues {
    /// Drops the values, newest first. If a destructor panics, the other values are still dropped.
    pub(crate) fn drop_all(mut self) {
        while let Some((_, value)) = self.0.pop() {
            let _ = catch_panic(|| drop(value));
        }
    }
}
