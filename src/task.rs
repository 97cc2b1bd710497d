//! Sessions as tasks of an async runtime, each attached for the length of a poll.
//!
//! A task that waits is the sleeper of `record/asleep.rs`, off its thread: it leaves its waker,
//! takes the step to "suspended", and looks at what that step returned. A killer takes its own step
//! and looks at what that returned. The two are ordered, so the task is polled at once or it is
//! woken. What a suspended session runs, its number, its cancel and its hold-offs stay in its
//! record, and go on with it to whichever thread polls it next.

use crate::attached::Attached;
use crate::current::hidden;
use crate::home::Home;
use crate::interrupt::{Interrupt, Reason};
use crate::registry::OpenError;
use crate::session::{AttachError, Session};
use crate::sync::per_thread;
use crate::thread::Thread;
use crate::why::Place;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

impl Session {
    /// Waits until it must end, while no thread runs it: what a task waits for beside its
    /// client's next command. To be told is to end: tell the client, and close the session.
    ///
    /// It takes the place of a waker that [`set_detached_waker`](Self::set_detached_waker) has
    /// left. Whoever has lost interest drops it. A session has one waker, and so one of these at a
    /// time.
    #[must_use = "futures do nothing unless polled"]
    #[track_caller]
    pub fn interrupted(&mut self) -> Interrupted<'_> {
        self.record.leave_forgotten();
        Interrupted { session: self, at: Location::caller(), polled: false }
    }

    /// Runs a future as the session's next statement, on whichever threads poll it: the session
    /// is attached to each for the length of the poll, and to none while the future waits. In it
    /// [`check`](crate::check), [`hold_off`](crate::hold_off), [`current_thread`] and all else
    /// that asks for the calling thread's session find this one. Each poll is a safe point.
    ///
    /// When an interrupt is due that is not held off, the future is dropped, wherever it waits,
    /// with the session attached: what must not be cut there belongs into a hold-off. To drop
    /// `Run` itself before it is ready ends the statement as well.
    ///
    /// A termination that falls due as the statement ends does not take its output away; ask
    /// [`interrupted`](Self::interrupted) or [`due`](Self::due), or begin the next.
    ///
    /// Threads are [registered](crate::SessionManager::register_worker) when they first poll a
    /// session of a manager, under their own name, until they end. Threads that the future
    /// starts, such as by `spawn_blocking`, do not run the session: code that blocks stays with
    /// it by tokio's `block_in_place`, or by what the runtime has of that kind.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] carries the interrupt; after a cancel the session goes on. The
    /// others say why the session could not be attached, which ends the statement too, and drops
    /// the future.
    ///
    /// # Panics
    /// A `Run` that is polled after it was ready panics.
    ///
    /// [`current_thread`]: crate::current_thread
    #[track_caller]
    pub fn run<F: Future>(&mut self, future: F) -> Run<'_, F> {
        let at = Location::caller();
        Run { session: self, text: None, stage: Stage::Fresh, at, future: Some(future) }
    }
}

/// The future that [`Session::interrupted`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct Interrupted<'s> {
    session: &'s mut Session,
    at: Place,
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

/// Why a future did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The session was told to end, or the statement.
    Interrupted(Interrupt),
    /// The thread that polled may not run the session: it was running another, or the manager
    /// was made for threads of the sessions' own.
    NotAttached(AttachError),
    /// The thread that polled could not be registered.
    NotRegistered(OpenError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Interrupted(interrupt) => interrupt.fmt(f),
            RunError::NotAttached(error) => error.fmt(f),
            RunError::NotRegistered(error) => write!(f, "the thread was not registered: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    /// It waits, off the thread.
    Suspended,
    /// On a thread, or at its end.
    Over,
}

pin_project! {
    /// The future that [`Session::run`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'s, F> {
        session: &'s mut Session,
        text: Option<&'s str>,
        stage: Stage,
        at: Place,
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
    /// As [`Statement::with_text`](crate::Statement::with_text): keeps the statement's text for
    /// those who look, and the time.
    pub fn with_text(mut self, text: &'s str) -> Self {
        self.text = Some(text);
        self
    }

    /// Nobody waits for it any more, or it can't go on.
    fn give_up(self: Pin<&mut Self>) {
        let mut this = self.project();
        match std::mem::replace(this.stage, Stage::Over) {
            Stage::Fresh => {
                // The command that was queued for it does not begin.
                this.session.record.void_queued();
                return hidden(|| this.future.set(None));
            }
            Stage::Suspended => {}
            // The future has panicked, or there is none any more.
            Stage::Over if this.future.is_some() => return hidden(|| this.future.set(None)),
            Stage::Over => return,
        }
        let described = this.text.is_some();
        let thread = worker(&this.session.ties.home).ok();
        if let Some(attached) = thread.as_ref().and_then(|t| this.session.go_on(t).ok()) {
            this.future.set(None);
            return over(attached, described);
        }
        // The thread runs another session, which has nothing to do with it, or is about to end.
        let dropped = catch_unwind(AssertUnwindSafe(|| hidden(|| this.future.set(None))));
        let record = &this.session.record;
        if dropped.is_err() {
            record.fail(Reason::InternalError);
        }
        if described {
            record.about(|about| about.statement_ends());
        }
        record.leave_forgotten();
        if let Err(panic) = dropped {
            resume_unwind(panic);
        }
    }
}

impl<F: Future> Run<'_, F> {
    /// Polls the future on the calling thread. The error ends it.
    fn go_on(self: Pin<&mut Self>, context: &mut Context<'_>) -> Result<Poll<F::Output>, RunError> {
        let mut this = self.project();
        let (at, described) = (*this.at, this.text.is_some());
        assert!(*this.stage != Stage::Over, "polled after its end");
        loop {
            let thread = worker(&this.session.ties.home).map_err(RunError::NotRegistered)?;
            let fresh = *this.stage == Stage::Fresh;
            let attached =
                if fresh { this.session.attach(&thread) } else { this.session.go_on(&thread) };
            let attached = attached.map_err(RunError::NotAttached)?;
            let record = attached.record;
            *this.stage = Stage::Over;
            if fresh {
                if let Err(interrupt) = record.begin_at(at) {
                    this.future.set(None);
                    return Err(RunError::Interrupted(interrupt));
                }
                if let Some(text) = *this.text {
                    let id = record.look().last_statement();
                    record.about(|about| about.statement_begins(id, text));
                }
            }
            if let Err(interrupt) = record.check_at(at) {
                this.future.set(None);
                over(attached, described);
                return Err(RunError::Interrupted(interrupt));
            }
            let future = this.future.as_mut().as_pin_mut().expect("it is not over");
            if let Poll::Ready(output) = future.poll(context) {
                this.future.set(None);
                over(attached, described);
                return Ok(Poll::Ready(output));
            }
            *this.stage = Stage::Suspended;
            if !attached.suspend(context.waker(), at) {
                return Ok(Poll::Pending);
            }
        }
    }
}

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, RunError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().go_on(context) {
            Ok(polled) => polled.map(Ok),
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

/// The statement has ended. What falls due by that is the holder's to find.
fn over(attached: Attached<'_>, described: bool) {
    if described {
        attached.record.about(|about| about.statement_ends());
    }
    attached.record.finish();
}

per_thread! {
    /// What this thread is to the managers whose sessions it has polled.
    static WORKERS: RefCell<Vec<(Weak<Home>, Rc<Thread>)>> = RefCell::new(Vec::new());
}

fn worker(home: &Arc<Home>) -> Result<Rc<Thread>, OpenError> {
    let registered = |workers: &RefCell<Vec<(Weak<Home>, Rc<Thread>)>>| {
        let workers = workers.borrow();
        let mine = workers.iter().find(|(of, _)| of.as_ptr() == Arc::as_ptr(home));
        mine.map(|(_, thread)| thread.clone())
    };
    // A thread that has dropped its thread-locals is registered for this one poll.
    if let Some(thread) = WORKERS.try_with(registered).ok().flatten() {
        return Ok(thread);
    }
    let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let thread = Rc::new(home.register(&name, true)?);
    let entry = (Arc::downgrade(home), thread.clone());
    let gone = WORKERS.try_with(|workers| {
        let mut workers = workers.borrow_mut();
        let of_the_gone = |(home, _): &mut (Weak<Home>, _)| home.strong_count() == 0;
        let gone: Vec<_> = workers.extract_if(.., of_the_gone).collect();
        workers.push(entry);
        gone
    });
    drop(gone);
    Ok(thread)
}
