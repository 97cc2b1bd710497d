//! Wrong variants of the shipped code, one at a time and only under loom or shuttle: each is the
//! broken twin of a model or a scene, which must refute it. In the code that ships none is ever
//! on, and the compiler leaves nothing of them.

#[cfg(any(safepoint_loom, safepoint_shuttle))]
use std::cell::Cell;

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "the models name them")]
pub enum Twin {
    /// A step loads and stores instead of one read-modify-write.
    LoadThenStore,
    /// Steps order nothing but themselves.
    RelaxedSteps,
    /// A cancel does not compare the statement's number.
    StatementNotCompared,
    /// The waker is left after the word says "asleep".
    WakerAfterAsleep,
    /// The sleeper does not look at what the step to sleep returned.
    NoRecheckBeforeSleep,
    /// A kill aims at whatever session is attached to the thread that its target was on.
    AimsAtThread,
    /// A number finds whatever stands in its place of the registry.
    NumberNotCompared,
    /// A request that upgrades another leaves the other's author in place.
    FirstAuthorStays,
    /// The thread that a session was on is read without a second look.
    ThreadNotChecked,
    /// A place is taken for the thread that has it now.
    PlaceTakenForThread,
    /// What has run out is not asked again as it is enforced.
    LimitNotAskedAgain,
    /// A kill that finds another takes its receipt's place.
    TicketReplaced,
    /// A killer wakes its target while it holds the record's lock.
    WakesUnderLock,
    /// Whoever waits on a receipt looks, and leaves its waker in a second step.
    TicketInTwoSteps,
    /// A session that ends completes its receipts before its word says so.
    ReceiptsBeforeEnd,
    /// A shutdown does not wait for those who have ended and are not out of the registry.
    LeaversForgotten,
    /// Nobody asks whether the session is held off.
    HoldNotAsked,
    /// A panic leaves the session as it was.
    PanicForgotten,
    /// A look at the registry counts the records that it took along, not their places.
    CursorCountsRecords,
    /// A worker arms the socket of a session before that lies in its seat.
    ArmedTooSoon,
    /// A worker that has been called leaves what else there is to those who are idle.
    CallNotPassedOn,
    /// A victim that is queued is left to whichever worker comes for it.
    QueuedLeftToWorkers,
    /// A worker that has heard that the pool stops keeps it to itself.
    StopNotPassedOn,
    /// A worker whose patience has run out does not ask whether it has been called.
    RetiresUnasked,
    /// A place is looked for and taken in two steps.
    PlaceInTwoSteps,
    /// A worker that puts a session back does not ask whether the pool has been stopped.
    ClosedNotAsked,
    /// A session that ends drops its session-local values once its receipts are complete.
    LocalsDroppedAfterReceipts,
    /// A sweep does not ask whether its target still does what its row says.
    RowNotCompared,
    /// A session-local value is kept for a session that has ended.
    LateLocalKept,
    /// A statement's limit, when it has run out, cancels whatever runs.
    LimitNamesNothing,
    /// When a statement began is noted after its word says that it runs.
    StampedAfterBegin,
    /// The timer that forgets a session takes no step to ask what it does now.
    DisarmedUnasked,
    /// The timer takes in sessions that have ended.
    EndedArmed,
    /// A termination that becomes immediate after its grace has no author any more.
    GraceForgetsAuthor,
    /// A task that goes off its thread is cleaned up as if its statement were over.
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "no task, no mistake"))]
    SuspendClearsCancel,
    /// A task that is polled again is attached as one that begins, and forgets its hold-offs.
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "no task, no mistake"))]
    GoesOnAfresh,
    /// A task that waits to be interrupted asks, and leaves its waker in a second step.
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "no task, no mistake"))]
    AsksBeforeWaker,
    /// A killer rings before it takes its step.
    RingsTooSoon,
    /// A safe point that was rung looks, and silences its bell in a second step.
    SilencesTooLate,
    /// A safe point that was rung looks at the word without a step.
    RungWordNotStepped,
    /// A hold-off that ends elsewhere is over before its end takes a step to ask who sleeps.
    RousedUnasked,
    /// A sleeper that is held off does not say that it sleeps.
    HeldSleepsUnseen,
    /// Going off its thread a session takes a probe along that no safe point has answered.
    ProbeOutlivesDetach,
    /// Going idle puts the session into its seat after its word says "detached". The mistake
    /// is the scene's own, which stands for the pool's worker.
    #[cfg(safepoint_loom)]
    SeatedAfterDetach,
}

#[cfg(any(safepoint_loom, safepoint_shuttle))]
std::thread_local! {
    // A model's or a scene's threads all run on the thread that explores it.
    static ON: Cell<Option<Twin>> = const { Cell::new(None) };
}

#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
impl Twin {
    #[inline(always)]
    pub(crate) const fn is_on(self) -> bool {
        false
    }
}

#[cfg(any(safepoint_loom, safepoint_shuttle))]
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
