//! Sessions as plain data, and the transitions of the table of kills.

use safepoint::id::{StatementId, ThreadId};
use safepoint::request::{
    EndReason, InterruptKind, InterruptReason, Request, RequestError, Target, TargetSnapshot,
};
use safepoint::view::SessionState;
use safepoint::{Requester, SessionId, TerminateMode};
use std::sync::Arc;

/// The expected fields of a [`TargetSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) state: SessionState,
    pub(crate) thread_id: Option<ThreadId>,
    pub(crate) statement_id: Option<StatementId>,
    pub(crate) in_transaction: bool,
    pub(crate) pending_mode: Option<TerminateMode>,
}

impl From<TargetSnapshot> for Found {
    fn from(snapshot: TargetSnapshot) -> Found {
        Found {
            state: snapshot.state,
            thread_id: snapshot.thread_id,
            statement_id: snapshot.statement_id,
            in_transaction: snapshot.in_transaction,
            pending_mode: snapshot.pending_mode,
        }
    }
}

/// The result of a safe point.
pub(crate) type Said = Result<(), (InterruptKind, Request)>;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    None,
    Queued { number: u64, cancel: Option<usize> },
    Running { number: u64, cancel: Option<usize>, forgotten: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Any,
    TerminateOnly,
    /// Begun inside a hold-off.
    HeldOff,
}

/// A request that a statement end, and what became of it.
#[derive(Debug)]
pub(crate) struct Cancelling {
    request: Request,
    seen: bool,
    pub(crate) over: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) own: Option<ThreadId>,
    pub(crate) user: Arc<str>,
    pub(crate) place: Option<ThreadId>,
    pub(crate) command: Command,
    pub(crate) given: u64,
    pub(crate) transaction: bool,
    pub(crate) pending: Option<(TerminateMode, Request)>,
    seen: Option<Request>,
    panicked: bool,
    /// How many hold-offs there are, and how many of them can still be let go of.
    pub(crate) held: usize,
    pub(crate) guards: usize,
    pub(crate) wait: Option<Wait>,
    pub(crate) ended: Option<EndReason>,
    pub(crate) cancels: Vec<Cancelling>,
    /// How often it was woken while detached, and in this sleep.
    pub(crate) woken: usize,
    pub(crate) assert_woken_by_the_end: usize,
    /// Whether a termination or a cancel is pending that has woken no waker yet.
    unwoken: (bool, bool),
}

impl Session {
    pub(crate) fn new(id: SessionId, own: Option<ThreadId>, user: Arc<str>) -> Session {
        Session {
            id,
            own,
            user,
            place: None,
            command: Command::None,
            given: 0,
            transaction: false,
            pending: None,
            seen: None,
            panicked: false,
            held: 0,
            guards: 0,
            wait: None,
            ended: None,
            cancels: Vec::new(),
            woken: 0,
            assert_woken_by_the_end: 0,
            unwoken: (false, false),
        }
    }

    fn running(&self) -> bool {
        matches!(self.command, Command::Running { .. })
    }

    pub(crate) fn asleep(&self) -> bool {
        self.wait.is_some()
    }

    fn cancel_of(&self) -> Option<usize> {
        match self.command {
            Command::None => None,
            Command::Queued { cancel, .. } | Command::Running { cancel, .. } => cancel,
        }
    }

    pub(crate) fn statement(&self) -> Option<StatementId> {
        match self.command {
            Command::None => None,
            Command::Queued { number, .. } | Command::Running { number, .. } => {
                Some(StatementId::try_from(number).unwrap())
            }
        }
    }

    pub(crate) fn doing(&self) -> SessionState {
        match (&self.command, self.place) {
            (Command::Running { .. }, _) if self.asleep() => SessionState::Waiting,
            (Command::Running { .. }, _) => SessionState::Running,
            (Command::Queued { .. }, None) => SessionState::Queued,
            _ if self.transaction => SessionState::IdleInTransaction,
            (_, Some(_)) if !self.asleep() => SessionState::BetweenStatements,
            _ => SessionState::Idle,
        }
    }

    fn found(&self) -> Found {
        Found {
            state: self.doing(),
            thread_id: self.place,
            statement_id: self.statement(),
            in_transaction: self.transaction,
            pending_mode: self.pending.as_ref().map(|(when, _)| *when),
        }
    }

    // Returns the due interrupt.

    fn terminate_due(&self) -> bool {
        match self.pending {
            None => false,
            Some((TerminateMode::Immediate, _)) => true,
            Some((TerminateMode::AfterStatement, _)) => !self.running(),
            Some((TerminateMode::AfterTransaction, _)) => !self.running() && !self.transaction,
        }
    }

    fn cancel_due(&self) -> bool {
        self.running() && self.cancel_of().is_some() && self.wait != Some(Wait::TerminateOnly)
    }

    /// Returns the strongest due interrupt, and marks it as observed.
    pub(crate) fn due(&mut self) -> Said {
        if self.terminate_due() {
            let request = self.pending.as_ref().unwrap().1.clone();
            self.seen = Some(request.clone());
            Err((InterruptKind::Terminate, request))
        } else if self.cancel_due() {
            let index = self.cancel_of().unwrap();
            let cancelling = &mut self.cancels[index];
            cancelling.seen = true;
            Err((InterruptKind::Cancel, cancelling.request.clone()))
        } else {
            Ok(())
        }
    }

    pub(crate) fn check(&mut self) -> Said {
        if self.held > 0 { Ok(()) } else { self.due() }
    }

    /// The statement that runs or is queued is over.
    fn over(&mut self) {
        if let Some(index) = self.cancel_of() {
            let cancelling = &mut self.cancels[index];
            cancelling.over = Some(cancelling.seen);
            self.unwoken.1 = false;
        }
        self.command = Command::None;
    }

    // The actions of the owner.

    pub(crate) fn attach(&mut self, thread: ThreadId) {
        self.place = Some(thread);
    }

    pub(crate) fn queue(&mut self) -> Option<StatementId> {
        if self.command == Command::None {
            self.given += 1;
            self.command = Command::Queued { number: self.given, cancel: None };
        }
        self.statement()
    }

    pub(crate) fn begin(&mut self) -> Result<StatementId, (InterruptKind, Request)> {
        if self.running() {
            self.over();
        }
        if self.held == 0 {
            self.due()?;
        }
        let (number, cancel) = match self.command {
            Command::Queued { number, cancel } => (number, cancel),
            _ => {
                self.given += 1;
                (self.given, None)
            }
        };
        self.command = Command::Running { number, cancel, forgotten: false };
        self.check().inspect_err(|_| self.over())?;
        Ok(StatementId::try_from(number).unwrap())
    }

    pub(crate) fn finish(&mut self) -> Said {
        self.over();
        self.check()
    }

    pub(crate) fn drop_statement(&mut self) {
        self.over();
    }

    pub(crate) fn forget_statement(&mut self) {
        if let Command::Running { forgotten, .. } = &mut self.command {
            *forgotten = true;
        }
    }

    /// `None` means that it waits now.
    pub(crate) fn wait(&mut self, deaf: bool) -> Option<Said> {
        self.assert_woken_by_the_end = 0;
        if self.held > 0 {
            self.wait = Some(Wait::HeldOff);
            return None;
        }
        self.wait = Some(if deaf { Wait::TerminateOnly } else { Wait::Any });
        if self.terminate_due() || self.cancel_due() {
            self.wait = None;
            return Some(self.due());
        }
        None
    }

    /// The wait is over, and has brought what it has brought.
    pub(crate) fn wake(&mut self) -> Said {
        self.wait = None;
        Ok(())
    }

    fn leave_thread(&mut self) {
        self.place = None;
        (self.held, self.guards) = (0, 0);
    }

    pub(crate) fn drop_attached(&mut self) {
        self.leave_thread();
        self.over();
    }

    pub(crate) fn detach(&mut self) -> Said {
        self.drop_attached();
        self.due()
    }

    pub(crate) fn detach_queued(&mut self) -> Said {
        if self.running() {
            self.over();
        }
        self.leave_thread();
        self.queue();
        self.due()
    }

    pub(crate) fn panic(&mut self) {
        let request = Request::new(Requester::system(), InterruptReason::InternalError);
        self.wait = None;
        self.unwoken.0 |= self.pending.is_none();
        self.pending = Some((TerminateMode::Immediate, request));
        self.panicked = true;
        self.drop_attached();
    }

    pub(crate) fn close(&mut self) -> EndReason {
        self.over();
        let how = match self.seen.take() {
            _ if self.panicked => EndReason::Panicked,
            Some(request) => EndReason::Terminated(Arc::new(request)),
            None if self.terminate_due() => {
                let (_, request) = self.pending.clone().expect("it is due");
                EndReason::Terminated(Arc::new(request))
            }
            None => EndReason::Closed,
        };
        self.ended.insert(how).clone()
    }

    // What its killers do.

    fn wake_if_due(&mut self) {
        let due = self.terminate_due() || self.cancel_due();
        if !due || self.unwoken == (false, false) {
            return;
        }
        if self.place.is_none() {
            self.woken += 1;
            self.unwoken = (false, false);
        } else if self.wait.is_some_and(|wait| wait != Wait::HeldOff) {
            self.assert_woken_by_the_end += 1;
            self.unwoken = (false, false);
        }
    }

    pub(crate) fn terminate(&mut self, when: TerminateMode, request: Request) -> Found {
        let found = self.found();
        if found.pending_mode < Some(when) {
            self.pending = Some((when, request));
            self.unwoken.0 = true;
        }
        self.wake_if_due();
        found
    }

    /// The second value is the index among `cancels`.
    fn cancel(
        &mut self,
        named: Option<StatementId>,
        request: Request,
    ) -> Result<(Found, usize), RequestError> {
        let found = self.found();
        match named {
            None if !self.running() => return Err(RequestError::NoActiveStatement(self.id)),
            Some(id) if id.get() == 0 || id.get() > self.given => {
                return Err(RequestError::NoSuchStatement { session: self.id, statement: id });
            }
            Some(id) if self.statement() != Some(id) => {
                return Err(RequestError::StatementEnded { session: self.id, statement: id });
            }
            _ => {}
        }
        let next = self.cancels.len();
        let (Command::Queued { cancel, .. } | Command::Running { cancel, .. }) = &mut self.command
        else {
            unreachable!("a statement was found");
        };
        let index = *cancel.get_or_insert(next);
        if index == next {
            self.cancels.push(Cancelling { request, seen: false, over: None });
            self.unwoken.1 = true;
        }
        self.wake_if_due();
        Ok((found, index))
    }
}

/// All sessions that ever were.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sessions: Vec<Session>,
    pub(crate) workers: Vec<ThreadId>,
    pub(crate) background: (ThreadId, Arc<str>),
}

impl World {
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.sessions.len()).filter(|index| self.sessions[*index].ended.is_none())
    }

    pub(crate) fn on(&self, thread: ThreadId) -> Option<usize> {
        self.open().find(|index| self.sessions[*index].place == Some(thread))
    }

    fn thread(&self, thread: ThreadId) -> Result<(), RequestError> {
        if thread == self.background.0 {
            return Err(RequestError::BackgroundThread { thread, name: self.background.1.clone() });
        }
        let own = self.open().any(|index| self.sessions[index].own == Some(thread));
        let known = own || self.workers.contains(&thread);
        if known { Ok(()) } else { Err(RequestError::NoSuchThread(thread)) }
    }

    fn session(&self, id: SessionId) -> Result<usize, RequestError> {
        let found = self.open().find(|index| self.sessions[*index].id == id);
        found.ok_or(RequestError::NoSuchSession(id))
    }

    /// Whom the request hits.
    pub(crate) fn aim(&self, target: Target, requester: &Requester) -> Result<usize, RequestError> {
        let (index, not_there) = match target {
            Target::Session(id) => (self.session(id)?, None),
            Target::AttachedTo(thread) => {
                self.thread(thread)?;
                let own = self.open().find(|index| self.sessions[*index].own == Some(thread));
                let index = own.or_else(|| self.on(thread));
                let refused = RequestError::ThreadIdle(thread);
                (index.ok_or(refused.clone())?, Some((thread, refused)))
            }
            Target::Pair(thread, id) => {
                self.thread(thread)?;
                let index = self.session(id)?;
                let refused = RequestError::NotAttached { thread, session: id };
                if self.sessions[index].own.is_some_and(|own| own != thread) {
                    return Err(refused);
                }
                (index, Some((thread, refused)))
            }
            _ => unreachable!("there is no other target"),
        };
        let session = &self.sessions[index];
        let same_user = !session.user.is_empty() && requester.user() == Some(&*session.user);
        if !requester.is_admin() && !same_user && requester.session() != Some(session.id) {
            return Err(RequestError::PermissionDenied(session.id));
        }
        match not_there {
            Some((thread, refused)) if session.place != Some(thread) => Err(refused),
            _ => Ok(index),
        }
    }

    pub(crate) fn cancel(
        &mut self,
        target: Target,
        named: Option<StatementId>,
        request: Request,
    ) -> Result<(usize, Found, usize), RequestError> {
        let index = self.aim(target, request.requester())?;
        let (found, cancel) = self.sessions[index].cancel(named, request)?;
        Ok((index, found, cancel))
    }
}
