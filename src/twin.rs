//! Wrong variants of the shipped code, one at a time and only under loom: each is a model's
//! broken twin, which the model must refute.

use std::cell::Cell;

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// A step loads and stores instead of one read-modify-write.
    LoadThenStore,
    /// A cancel does not compare the statement's number.
    StatementNotCompared,
    /// The waker is left after the word says "asleep".
    WakerAfterAsleep,
    /// The sleeper does not look at what the step to sleep returned.
    NoRecheckBeforeSleep,
    /// Going idle puts the session into its seat after its word says "detached". The mistake
    /// is the scene's own, which stands for the pool's worker.
    SeatedAfterDetach,
}

std::thread_local! {
    // A model's threads all run on the thread that explores it.
    static ON: Cell<Option<Twin>> = const { Cell::new(None) };
}

impl Twin {
    /// Whether this mistake is built in now.
    #[must_use]
    pub fn is_on(self) -> bool {
        ON.get() == Some(self)
    }

    /// Runs `model` with this mistake built in.
    pub fn during(self, model: impl FnOnce()) {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(None);
            }
        }
        let _off = Off;
        ON.set(Some(self));
        model();
    }
}
