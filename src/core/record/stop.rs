//! Work that an interrupt stops by a function, such as an engine that looks at its own flag.
//!
//! The names of steps belong to this file. The runner of the session:
//!
//! - `I1` stores the stop function under the lock of `cold.stops`, and sets `HAS_STOPS`;
//! - `I2` takes a transition that changes nothing;
//! - `I3` checks the result of `I2`, and then works;
//! - `I4` removes the function after the work;
//! - `I5` takes the lock of the function, and drops what is left of it.
//!
//! A requester, after its transition:
//!
//! - `K1` loads the word and `HAS_STOPS`, and finds the functions of the work that must stop, under the lock
//!   of `cold.stops`;
//! - `K2` calls each of them with no other lock held.
//!
//! *No work continues.* `I2` and the requester's transition are read-modify-writes of one word, so one is first. If
//! the requester's is first, `I3` sees it. If `I2` is first, the requester has acquired `I1`, so `K1` finds the
//! function. In a hold-off both leave the work alone, and the thread that ends the hold-off takes `K1` and `K2`.
//!
//! *No other work is stopped.* A function is called under its own lock, and `I5` waits for that lock. So no call begins
//! or continues after the runner has gone on to other work, or to another statement.
//!
//! *It is called once.* The call takes the function. A thread that finds the lock taken leaves: another thread calls
//! the function, or the work is over.
//!
//! A helper takes the same steps with its slot. It sets the bit `HAS_STOPS` of the slot before it loads the word, and
//! the requester finds that bit as it raises the slot. These are read-modify-writes of the slot (`E1`, `E2` and `K3` of
//! `helpers/mod.rs`).

use crate::core::record::{Cold, HAS_STOPS, Record};
use crate::core::state::Snapshot;
use crate::sync::Mutex;
use crate::sync::wake_list::WakeList;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// A function that makes some work return soon. It is called at most once.
pub(crate) struct Stop {
    /// A cancel does not call it.
    killable: bool,
    /// Held while the function runs.
    call: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Stop {
    pub(crate) fn new(killable: bool, call: impl FnOnce() + Send + 'static) -> Arc<Stop> {
        Arc::new(Stop { killable, call: Mutex::new(Some(Box::new(call))) })
    }

    /// Returns whether the work must stop, where an interrupt is due that is a termination or not.
    pub(super) fn is_called_for(&self, termination: bool) -> bool {
        termination || !self.killable
    }

    /// Takes the step `I5`. Blocks while another thread runs the function.
    pub(super) fn disarm(&self) {
        let call = self.call.lock().take();
        drop(call);
    }
}

impl Wake for Stop {
    fn wake(self: Arc<Self>) {
        if let Some(mut call) = self.call.try_lock()
            && let Some(stop) = call.take()
        {
            stop();
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("killable", &self.killable).finish_non_exhaustive()
    }
}

/// The stop functions of work that is nested. The last one belongs to the innermost.
pub(crate) type Stops = Vec<Arc<Stop>>;

/// Removes a function, which the caller then disarms with no lock held.
pub(super) fn remove(stops: &mut Stops, stop: &Arc<Stop>) {
    stops.retain(|other| !Arc::ptr_eq(other, stop));
}

/// Returns the functions to call, as wakers.
pub(super) fn to_call(stops: &Stops, termination: bool, wakers: &mut WakeList) {
    for stop in stops.iter().filter(|stop| stop.is_called_for(termination)) {
        wakers.push(Waker::from(stop.clone()));
    }
}

impl Record {
    /// Takes the steps `I1` to `I3` for the runner. After an error the work must not begin.
    pub(crate) fn begin_work(&self, stop: &Arc<Stop>, at: CallerLocation) -> Result<(), Interrupt> {
        self.cold().stops.lock().push(stop.clone());
        self.set(HAS_STOPS, true);
        let word = self.transition(|word| word).after;
        let due = word.due() && stop.is_called_for(word.terminate_due()) && !self.held();
        let begins = if due { self.check_at(at) } else { Ok(()) };
        begins.inspect_err(|_| self.end_work(stop))
    }

    /// Takes the steps `I4` and `I5`.
    pub(crate) fn end_work(&self, stop: &Arc<Stop>) {
        let none_left = {
            let mut stops = self.cold().stops.lock();
            remove(&mut stops, stop);
            stops.is_empty()
        };
        self.set(HAS_STOPS, !none_left);
        stop.disarm();
    }

    /// Takes the step `K1` for the runner's work.
    pub(super) fn stops_to_call(&self, word: Snapshot, wakers: &mut WakeList) {
        #[cold]
        fn find(cold: &Cold, termination: bool, wakers: &mut WakeList) {
            to_call(&cold.stops.lock(), termination, wakers);
        }
        // In a wait within the work that no cancel ends, a cancel is due for the work, and not for the runner.
        let termination = word.terminate_due();
        let due = termination || word.cancelled() && word.in_statement();
        if due
            && self.has(HAS_STOPS)
            && !self.held()
            && let Some(cold) = self.cold.get()
        {
            find(cold, termination, wakers);
        }
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;
    use crate::types::client_info::ClientInfo;
    use std::panic::Location;

    #[test]
    fn nothing_is_left_of_work_that_has_ended() {
        let record = Record::new(ClientInfo::default(), None);
        let [outer, inner] = [(); 2].map(|()| Stop::new(false, || panic!("nothing is due")));
        record.begin_work(&outer, Location::caller()).unwrap();
        record.begin_work(&inner, Location::caller()).unwrap();
        record.end_work(&inner);
        assert!(record.has(HAS_STOPS));
        assert_eq!(record.cold().stops.lock().len(), 1);
        record.end_work(&outer);
        assert!(!record.has(HAS_STOPS));
        assert!(record.cold().stops.lock().is_empty());
    }
}
