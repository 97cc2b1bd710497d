//! The session word: its layout, its transitions, and every memory ordering there is.
//!
//! | bits | name | set by | meaning |
//! |---|---|---|---|
//! | 0 | `ATTENTION` | all | an interrupt is due, or a probe is set |
//! | 1 | `IN_STATEMENT` | runner | a statement runs |
//! | 2 | `IN_TRANSACTION` | runner | a transaction is open |
//! | 3 | `WAITING` | runner | a waker is stored and the runner may be blocked; if no thread runs the session, its task waits |
//! | 4 | `KILLABLE` | runner | the wait ends for a termination only |
//! | 5 | `QUEUED` | owner, runner | the statement id is reserved for a command that has not begun |
//! | 6 | `CANCEL` | requester | the statement with that id is cancelled |
//! | 7–8 | `TERMINATE` | requester | 0, or the mode of the pending termination |
//! | 9 | `ENDED` | owner | the session has ended; no transition follows |
//! | 10 | `PROBE` | probe | the next safe point stores its time and location |
//! | 11 | `STOP_HELPERS` | all | the helpers of the running statement must stop |
//! | 12–27 | `SLOT` | runner | 0 while detached, else the slot of the thread that it is attached to |
//! | 28–63 | `STATEMENT` | owner, runner | the id of the statement that runs, ran last, or is queued |
//!
//! The *owner* has the `Session`, the *runner* is the thread that it is attached to, and a *requester* is any
//! thread. Rules:
//!
//! 1. Each transition is a pure function of the word, applied by one read-modify-write. So all transitions
//!    have one order, the same for every thread.
//! 2. Only requesters set `CANCEL` and `TERMINATE`. The timer is a requester, as is a runner that cannot
//!    continue (`Record::fail`). No transition clears `TERMINATE`. The transition that ends the statement, or
//!    drops the queued command, clears `CANCEL`. Only a probe sets `PROBE`, of a session that runs, or waits in a hold-off.
//!    A safe point clears it, as do the transitions that begin or end a wait, or leave the thread.
//! 3. `ATTENTION` is computed from the other bits in each transition that changes one of those bits. `attach`
//!    changes `SLOT` and `WAITING`, on which it does not depend. A safe point reads no other bit.
//! 4. `SLOT` names a thread exactly as long as there is a reference to that thread's record. A slot is given to
//!    another thread only after the last reference is gone.
//!
//! 5. `STOP_HELPERS` is computed with `ATTENTION`. It is set while a statement runs that is cancelled, or whose
//!    session must end immediately. In `KILLABLE` a cancel is due for the helpers, and not for the runner. A
//!    probe is for the runner alone.
//!
//! `word.rs` applies the transitions, and its head has the reason for each memory ordering.

mod snapshot;
mod transitions;
mod word;

pub(crate) use snapshot::{RunningStatement, Slot, Snapshot};
pub(crate) use transitions::{BeginError, TransitionError};
pub(crate) use word::{State, Transition};

#[cfg(test)]
mod tests;
