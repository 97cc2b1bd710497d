//! Handles of statements, by which other threads and tasks help.

#[cfg(feature = "async")]
pub(crate) mod future;
#[cfg(feature = "async")]
pub(crate) mod interrupted;
pub(crate) mod job;
mod statement;
mod task;

use crate::core::attention;
use crate::core::record::Record;
use crate::core::record::helpers::HelperSlot;
use crate::core::record::helpers::helper::Helper;
use crate::core::record::helpers::set::{Entered, HelperSet, Place};
use crate::session::current::{self, Current, Outer, wake_all};
use crate::session::hold_off::HoldOff;
use crate::session::wait::{WaitMode, stop};
use crate::sync::panicking;
use crate::types::id::{SessionId, StatementId};
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crate::types::reason::InterruptReason;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// A handle of a statement, for threads and tasks that help with it.
///
/// A statement ends by [`finish`](crate::Statement::finish) on the thread that runs it. Its *helpers* are other threads and
/// tasks that work for it. A cancel of the statement and a termination of the session reach all of them:
/// each safe point of a helper reports the interrupt. Once the statement has ended, the safe points of its
/// helpers report [`InterruptReason::StatementEnded`](crate::request::InterruptReason::StatementEnded).
/// They never report a request for another statement.
///
/// The statement's end waits for no helper: its client has the answer. The receipt of a cancel completes
/// when the last helper of the statement has left. A terminated session stays in the registry until the last
/// helper of all its statements has left, and then the receipt completes.
/// [`Receipt::pending_reason`](crate::Receipt::pending_reason) names a helper that is still active.
///
/// | work | by |
/// |---|---|
/// | a thread, or a closure on a pool that ends within the statement | [`enter`](Self::enter) |
/// | a closure that a pool may run later | [`wrap_fn`](Self::wrap_fn) |
/// | a task, with the feature `async` | `wrap_future` |
/// | hooks of an engine that may not change the output | [`track_fn`](Self::track_fn), `track_future` |
/// | code that asks often, and is no helper, such as a callback | [`check`](Self::check) |
/// | a task that waits until it must stop, with the feature `async` | `interrupted` |
///
/// See [`Statement::handle`](crate::Statement::handle) for an example.
#[derive(Clone)]
#[must_use = "a handle does nothing by itself"]
pub struct StatementHandle {
    set: Arc<HelperSet>,
    name: u16,
}

// No lock is held while application code runs, so a panic of it leaves nothing half done.
impl UnwindSafe for StatementHandle {}
impl RefUnwindSafe for StatementHandle {}

impl StatementHandle {
    /// Returns a handle of the statement that the calling thread runs. `own` returns the record itself.
    pub(crate) fn of_runner(
        record: &Record,
        own: impl FnOnce() -> Arc<Record>,
        name: &'static str,
        at: CallerLocation,
    ) -> StatementHandle {
        let set = record.helper_set(wake_all, own);
        StatementHandle { name: set.name(name, at), set }
    }

    /// Returns a handle of the same statement with another name, which describes other work.
    #[track_caller]
    pub fn named(&self, name: &'static str) -> StatementHandle {
        StatementHandle { name: self.set.name(name, Location::caller()), set: self.set.clone() }
    }

    /// Checks whether the statement must stop. Costs one load and one masked comparison if it need not.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off. After the end of the statement its reason
    /// is [`StatementEnded`](crate::request::InterruptReason::StatementEnded).
    #[inline(always)]
    #[track_caller]
    pub fn check(&self) -> Result<(), Interrupt> {
        self.set.check(Location::caller())
    }

    /// Makes the calling thread a helper, until the guard is dropped. Until then
    /// [`check`](crate::check) and the other functions of [`current`](crate::current) find this statement
    /// on this thread, as far down as the call goes.
    ///
    /// Guards nest. Drop them in the reverse order. On the thread that runs the statement, and on a thread
    /// that already helps with it, the guard does nothing.
    ///
    /// A thread that has entered and then waits for jobs of its pool, such as in rayon's `join`, may run
    /// jobs of other sessions during the wait. Put [`without_session`](crate::current::without_session) around
    /// such a call.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off, also after the end of the statement. Then
    /// no work must begin.
    #[inline]
    #[track_caller]
    pub fn enter(&self) -> Result<HelperGuard<'_>, Interrupt> {
        if current::is_free()
            && let Some((slot, index, turn)) =
                self.set.enter_first_slot(attention::own(), self.name)
        {
            current::begin_only_help(&self.set, index, turn);
            return Ok(self.guard(Some(slot), index, turn, None));
        }
        self.enter_cold(Location::caller())
    }

    #[inline]
    fn guard<'h>(
        &'h self,
        fixed: Option<&'h HelperSlot>,
        index: u16,
        turn: u16,
        rare: Option<Box<Rare>>,
    ) -> HelperGuard<'h> {
        let (set, panicking) = (&self.set, panicking());
        HelperGuard { set, fixed, index, turn, panicking, rare, not_send: PhantomData }
    }

    /// Enters where the thread has other work, or its first slot is not free, or the statement must stop.
    #[cold]
    fn enter_cold(&self, at: CallerLocation) -> Result<HelperGuard<'_>, Interrupt> {
        if current::works_for(&self.set) {
            self.set.check(at)?;
            return Ok(self.guard(None, 0, 0, None));
        }
        let Entered { fixed, place, turn } = self.set.enter(attention::own(), self.name, at)?;
        let index = place.index();
        let outer = current::begin_help(&self.set, &place, turn);
        let extra = fixed.is_none().then_some(place);
        let rare = (extra.is_some() || outer.is_some()).then(|| Box::new(Rare { extra, outer }));
        Ok(self.guard(fixed, index, turn, rare))
    }

    /// Returns the id of the session.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.set.record().id()
    }

    /// Returns the id of the statement.
    #[must_use]
    pub fn statement_id(&self) -> StatementId {
        self.set.statement_id()
    }

    /// Returns the number of helpers that the statement has now.
    #[must_use]
    pub fn helper_count(&self) -> usize {
        self.set.count()
    }
}

impl fmt::Debug for StatementHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementHandle")
            .field("session", &self.session_id())
            .field("statement", &self.statement_id())
            .finish_non_exhaustive()
    }
}

/// Returns a handle of the statement that the calling thread runs, or helps with. Returns `None` if it
/// does neither. For code that was handed no statement, such as hooks that spawn threads.
#[must_use]
#[track_caller]
pub fn statement(name: &'static str) -> Option<StatementHandle> {
    statement_at(name, Location::caller())
}

pub(crate) fn statement_at(name: &'static str, at: CallerLocation) -> Option<StatementHandle> {
    match current::current()? {
        Current::Runs(record) => record
            .snapshot()
            .in_statement()
            .then(|| StatementHandle::of_runner(&record, || record.clone(), name, at)),
        Current::Helps(helper) => {
            Some(StatementHandle { name: helper.set.name(name, at), set: helper.set })
        }
    }
}

/// A thread that helps with a statement. It stops helping when the guard is dropped.
///
/// If a panic unwinds through the guard, the session ends with an internal error.
#[must_use = "dropping a `HelperGuard` ends the help"]
pub struct HelperGuard<'h> {
    set: &'h Arc<HelperSet>,
    /// The slot, unless it is one of `more`, or the thread already worked for the statement.
    fixed: Option<&'h HelperSlot>,
    /// The index of `fixed`.
    index: u16,
    turn: u16,
    panicking: bool,
    rare: Option<Box<Rare>>,
    not_send: PhantomData<*const ()>,
}

/// What most guards do not have.
struct Rare {
    /// The slot, if it is one of `more`.
    extra: Option<Place>,
    outer: Option<Outer>,
}

impl HelperGuard<'_> {
    /// Checks for a due interrupt, as [`StatementHandle::check`] does. It reads only what belongs to this
    /// helper, so helpers share no cache line.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off.
    #[inline]
    #[track_caller]
    pub fn check(&self) -> Result<(), Interrupt> {
        match self.fixed {
            Some(slot) if slot.is_quiet() => Ok(()),
            _ => self.check_cold(Location::caller()),
        }
    }

    #[cold]
    fn check_cold(&self, at: CallerLocation) -> Result<(), Interrupt> {
        // By reference: a count of references would be written by all helpers of the statement.
        let extra = self.rare.as_ref().and_then(|rare| rare.extra.as_ref());
        match self.fixed.or_else(|| extra.map(|place| self.set.slot(place))) {
            Some(slot) if slot.is_quiet() => Ok(()),
            Some(_) => self.helper().expect("it has a slot").check_raised(at),
            // A probe of the helper, or of the session that this thread runs, has raised the flag.
            None if attention::is_raised() && current::works_for(self.set) => {
                current::check_cold(at)
            }
            None => self.set.check(at),
        }
    }

    fn helper(&self) -> Option<Helper> {
        Some(Helper { set: self.set.clone(), place: self.place()?, turn: self.turn })
    }

    /// Returns where the slot of the helper is, or `None` if the thread already worked for the statement.
    #[inline]
    fn place(&self) -> Option<Place> {
        match self.fixed {
            Some(_) => Some(Place::fixed(self.index)),
            None => self.rare.as_ref()?.extra.clone(),
        }
    }

    /// Begins a section in which the safe points of this helper report nothing and its waits are not
    /// interrupted. It lasts until the guard is dropped. Other helpers, and the thread that runs the
    /// statement, are not affected. On the thread that runs the statement it is a
    /// [`hold_off`](crate::current::hold_off) of the session.
    #[track_caller]
    pub fn hold_off(&self, name: &'static str) -> HoldOff<'_> {
        match self.helper() {
            Some(helper) => HoldOff::of_helper(helper, name, Location::caller()),
            None => crate::session::hold_off::hold_off(name),
        }
    }

    /// Runs `work` of an engine that looks at its own flag, as
    /// [`Attached::with_interrupt_waker`](crate::Attached::with_interrupt_waker) does. The end of the statement calls
    /// `stop` too.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off when the work begins. Then neither `work` nor `stop` is
    /// called.
    #[track_caller]
    pub fn with_interrupt_waker<T>(
        &self,
        mode: WaitMode,
        stop: impl FnOnce() + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> Result<T, Interrupt> {
        match self.helper() {
            Some(helper) => stop::run(&helper, mode, stop, work, Location::caller()),
            None => stop::with_interrupt_waker(mode, stop, work),
        }
    }
}

impl Drop for HelperGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        match (self.fixed, &self.rare) {
            (Some(slot), None) if !panicking() => {
                current::end_only_help(self.set, &Place::fixed(self.index), self.turn);
                wake_all(self.set.leave_fixed(slot));
            }
            _ => self.leave(),
        }
    }
}

impl HelperGuard<'_> {
    #[cold]
    fn leave(&mut self) {
        let Some(place) = self.place() else { return };
        if panicking() && !self.panicking {
            fail(self.set);
        }
        let (set, turn) = (self.set, self.turn);
        let outer = self.rare.as_mut().and_then(|rare| rare.outer.take());
        current::end_help(set, &place, turn, outer);
        wake_all(set.leave(&place));
    }
}

impl fmt::Debug for HelperGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperGuard")
            .field("session", &self.set.record().id())
            .field("statement", &self.set.statement_id())
            .finish_non_exhaustive()
    }
}

/// Ends the session of a helper that a panic unwinds.
#[cold]
fn fail(set: &HelperSet) {
    set.record().fail(InterruptReason::InternalError);
    wake_all(set.record().take_wakers());
}
