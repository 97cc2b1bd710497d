//! Sessions as tasks of an async runtime, each attached during a poll.
//!
//! A waiting task takes the steps `W1` to `W3` of `core/record/wait.rs` while it is detached. In
//! `W4` it returns `Pending`: it is polled again at once, or woken. The statement of a suspended
//! session, its cancel and its hold-offs stay in the record, and move with it to the thread that
//! polls it next.

use crate::core::shared::Shared;
use crate::session::attached::{Attached, begin_at};
use crate::session::current::{complete, without_session};
use crate::session::grace::Stops;
use crate::session::session::Session;
use crate::session::thread::Thread;
use crate::sync::per_thread;
use crate::types::error::{AttachError, OpenError};
use crate::types::id::StatementId;
use crate::types::interrupt::Interrupt;
use crate::types::location::CallerLocation;
use crate::types::reason::InterruptReason;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

impl Session {
    /// Waits until the session must end, while no thread runs it. A task waits for this and for its
    /// client's next command at the same time. When it is ready, notify the client and close the
    /// session.
    ///
    /// It replaces a waker that [`set_detached_waker`](Self::set_detached_waker) has set. Drop the
    /// future to stop waiting. A session has one waker, and so one of these futures at a time.
    #[must_use = "futures do nothing unless polled"]
    #[track_caller]
    pub fn interrupted(&mut self) -> Interrupted<'_> {
        complete(self.record.end_leaked_attachment());
        Interrupted { session: self, at: Location::caller(), polled: false }
    }

    /// Runs a future as the session's next statement, on the threads that poll it. The session is
    /// attached during each poll, and detached while the future waits. In the future
    /// [`check`](crate::check), [`hold_off`](crate::current::hold_off), [`current::thread_id`] and
    /// the other functions of the module use this session. Each poll is a safe point.
    ///
    /// If an interrupt is due and not held off, the future is dropped at the `await` where it
    /// waits, with the session attached. Code that must not be interrupted there needs a hold-off.
    /// [`run_with`](Self::run_with) notifies the future instead, which may then clean up. Dropping `Run`
    /// before it is ready ends the statement too.
    ///
    /// If a termination falls due when the statement ends, the output is still returned. Call
    /// [`interrupted`](Self::interrupted) or [`check`](Self::check) next, or begin the next
    /// statement.
    ///
    /// A thread is [registered](crate::SessionManager::register_worker) under its own name when it
    /// first polls a session of a manager, until the thread ends. Threads and tasks that the future starts,
    /// such as by `spawn_blocking`, do not run the session: they help with its statement by
    /// [`current::statement`](crate::current::statement()).
    ///
    /// # Errors
    /// Returns [`RunError::Interrupted`] with the interrupt; after a cancel the session continues.
    /// The other errors mean that the session could not be attached. Then the statement ends and
    /// the future is dropped.
    ///
    /// # Panics
    /// Polling a `Run` after it was ready panics.
    ///
    /// [`current::thread_id`]: crate::current::thread_id
    #[track_caller]
    pub fn run<F: Future>(&mut self, future: F) -> Run<'_, F> {
        let at = Location::caller();
        Run::new(self, future, Stops::AtOnce, at)
    }
}

/// The future that [`Session::interrupted`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct Interrupted<'s> {
    session: &'s mut Session,
    at: CallerLocation,
    polled: bool,
}

impl Future for Interrupted<'_> {
    type Output = Interrupt;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Interrupt> {
        self.polled = true;
        let record = &self.session.record;
        record.set_detached_waker(Some(context.waker().clone()));
        record.due(self.at).map_or_else(Poll::Ready, |()| Poll::Pending)
    }
}

impl Drop for Interrupted<'_> {
    fn drop(&mut self) {
        if self.polled {
            self.session.set_detached_waker(None);
        }
    }
}

impl fmt::Debug for Interrupted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupted").field(&self.session.id()).finish()
    }
}

/// The error of a future that did not run to its end. The text of `Interrupted` is the interrupt's
/// message, which a server sends to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// A termination or a cancel was due.
    Interrupted(Interrupt),
    /// The polling thread may not run the session: it runs another one, or the manager's model is
    /// [`ThreadModel::PerSession`](crate::ThreadModel::PerSession).
    NotAttached(AttachError),
    /// The polling thread could not be registered.
    NotRegistered(OpenError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Interrupted(interrupt) => interrupt.fmt(f),
            RunError::NotAttached(_) => f.write_str("the session cannot be attached"),
            RunError::NotRegistered(_) => f.write_str("the thread cannot be registered"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Interrupted(interrupt) => interrupt.source(),
            RunError::NotAttached(error) => Some(error),
            RunError::NotRegistered(error) => Some(error),
        }
    }
}

/// An output, with the interrupt that the statement has observed. `None` if interrupts drop the future at once.
type Observed<T> = (T, Option<Interrupt>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    /// The future waits, and the session is detached.
    Suspended,
    /// The future is being polled, or has ended.
    Over,
}

pin_project! {
    /// The future that [`Session::run`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'s, F> {
        session: &'s mut Session,
        text: Option<&'s str>,
        stage: Stage,
        stops: Stops,
        at: CallerLocation,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Run<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            this.give_up();
        }
    }
}

impl<'s, F> Run<'s, F> {
    pub(super) fn new(
        session: &'s mut Session,
        future: F,
        stops: Stops,
        at: CallerLocation,
    ) -> Run<'s, F> {
        Run { session, text: None, stage: Stage::Fresh, stops, at, future: Some(future) }
    }

    /// Lets an interrupt drop the future after a grace.
    pub(super) fn with_grace(mut self, grace: Duration) -> Self {
        self.stops = Stops::Within(grace);
        self
    }

    /// Stores the statement's text and the time for the activity view, as
    /// [`Statement::with_text`](crate::Statement::with_text) does.
    pub fn with_text(mut self, text: &'s str) -> Self {
        self.text = Some(text);
        self
    }

    /// Drops the future and ends the statement, because `Run` was dropped or cannot continue.
    pub(super) fn give_up(self: Pin<&mut Self>) {
        let mut this = self.project();
        match std::mem::replace(this.stage, Stage::Over) {
            Stage::Fresh => {
                // The reserved statement does not begin.
                complete(this.session.record.discard_reserved());
                return without_session(|| this.future.set(None));
            }
            Stage::Suspended => {}
            // The future has panicked.
            Stage::Over if this.future.is_some() => {
                return without_session(|| this.future.set(None));
            }
            Stage::Over => return,
        }
        let described = this.text.is_some();
        let thread = worker(&this.session.owner.shared).ok();
        if let Some(attached) = thread.as_ref().and_then(|t| this.session.resume(t).ok()) {
            this.future.set(None);
            return over(attached, described);
        }
        // The session cannot be attached: this thread runs another session, or is about to end.
        let dropped = catch_unwind(AssertUnwindSafe(|| without_session(|| this.future.set(None))));
        let record = &this.session.record;
        if dropped.is_err() {
            record.fail(InterruptReason::InternalError);
        }
        if described {
            record.metadata(|metadata| metadata.statement_ends());
        }
        complete(record.end_leaked_attachment());
        if let Err(panic) = dropped {
            resume_unwind(panic);
        }
    }
}

impl<F: Future> Run<'_, F> {
    /// Polls the future on the calling thread. After an error the future cannot continue.
    pub(super) fn resume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Result<Poll<Observed<F::Output>>, RunError> {
        let mut this = self.project();
        let (at, described) = (*this.at, this.text.is_some());
        assert!(*this.stage != Stage::Over, "polled after its end");
        loop {
            let thread = worker(&this.session.owner.shared).map_err(RunError::NotRegistered)?;
            let fresh = *this.stage == Stage::Fresh;
            let attached =
                if fresh { this.session.attach(&thread) } else { this.session.resume(&thread) };
            let attached = attached.map_err(RunError::NotAttached)?;
            let record = attached.record;
            *this.stage = Stage::Over;
            if fresh {
                if let Err(interrupt) = begin_at(record, at) {
                    this.future.set(None);
                    return Err(RunError::Interrupted(interrupt));
                }
                if let Some(text) = *this.text {
                    let id = StatementId::of(record.snapshot().last_statement());
                    record.metadata(|metadata| metadata.statement_begins(id, text));
                }
            }
            if let Err(interrupt) = this.stops.check(record, &attached.owner.shared, at) {
                this.future.set(None);
                over(attached, described);
                return Err(RunError::Interrupted(interrupt));
            }
            let future = this.future.as_mut().as_pin_mut().expect("it is not over");
            if let Poll::Ready(output) = future.poll(context) {
                this.future.set(None);
                let interrupt = this.stops.observed(record);
                over(attached, described);
                return Ok(Poll::Ready((output, interrupt)));
            }
            *this.stage = Stage::Suspended;
            if !attached.suspend(context.waker(), at)
                || this.stops.may_wait(&this.session.owner.shared)
            {
                return Ok(Poll::Pending);
            }
        }
    }
}

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, RunError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().resume(context) {
            Ok(polled) => polled.map(|(output, _)| Ok(output)),
            Err(error) => {
                self.give_up();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F> fmt::Debug for Run<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("session", &self.session.id()).finish_non_exhaustive()
    }
}

/// Ends the statement. The owner checks for a termination that falls due by this.
fn over(attached: Attached<'_>, described: bool) {
    if described {
        attached.record.metadata(|metadata| metadata.statement_ends());
    }
    complete(attached.record.finish());
}

per_thread! {
    /// The registrations of this thread with the managers whose sessions it has polled.
    static WORKERS: RefCell<Vec<(Weak<Shared>, Rc<Thread>)>> = RefCell::new(Vec::new());
}

fn worker(shared: &Arc<Shared>) -> Result<Rc<Thread>, OpenError> {
    let registered = |workers: &RefCell<Vec<(Weak<Shared>, Rc<Thread>)>>| {
        let workers = workers.borrow();
        let mine = workers.iter().find(|(of, _)| of.as_ptr() == Arc::as_ptr(shared));
        mine.map(|(_, thread)| thread.clone())
    };
    // If the thread-local is already destroyed, the thread is registered for this poll only.
    if let Some(thread) = WORKERS.try_with(registered).ok().flatten() {
        return Ok(thread);
    }
    let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let thread = Rc::new(shared.register(&name, true)?);
    let entry = (Arc::downgrade(shared), thread.clone());
    let gone = WORKERS.try_with(|workers| {
        let mut workers = workers.borrow_mut();
        let of_the_gone = |(shared, _): &mut (Weak<Shared>, _)| shared.strong_count() == 0;
        let gone: Vec<_> = workers.extract_if(.., of_the_gone).collect();
        workers.push(entry);
        gone
    });
    drop(gone);
    Ok(thread)
}
