//! Wakers that are collected under a lock, and woken after it is released.

use std::task::Waker;

/// Wakers to wake once no lock is held: waking runs application code.
///
/// Most lists are empty, so an empty list is one pointer. After tokio's `util::WakeList`.
#[derive(Debug, Default)]
#[must_use = "wake after the lock is released"]
pub(crate) struct WakeList(Option<Box<Wakers>>);

#[derive(Debug)]
struct Wakers {
    first: Waker,
    rest: Vec<Waker>,
}

impl WakeList {
    pub(crate) const EMPTY: WakeList = WakeList(None);

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn push(&mut self, waker: Waker) {
        match &mut self.0 {
            None => self.0 = Some(Box::new(Wakers { first: waker, rest: Vec::new() })),
            Some(wakers) => wakers.rest.push(waker),
        }
    }

    pub(crate) fn append(&mut self, other: WakeList) {
        other.for_each(|waker| self.push(waker));
    }

    pub(crate) fn for_each(self, mut wake: impl FnMut(Waker)) {
        if let Some(wakers) = self.0 {
            let Wakers { first, rest } = *wakers;
            wake(first);
            rest.into_iter().for_each(wake);
        }
    }
}

impl From<Option<Waker>> for WakeList {
    fn from(waker: Option<Waker>) -> WakeList {
        let mut list = WakeList::EMPTY;
        waker.into_iter().for_each(|waker| list.push(waker));
        list
    }
}
