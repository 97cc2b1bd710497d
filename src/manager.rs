//! The manager: sessions are opened, found, told to end and looked at here.

use crate::about::Description;
use crate::activity::{SessionRow, Sessions, ThreadRow, threads};
use crate::audit::{Audit, Event, Hooks};
use crate::home::{Home, Way};
use crate::id::{MAX_SERIAL, SessionId, StatementId, THREAD_SHARD};
use crate::interrupt::{Author, InterruptKind, Reason, Request, When};
use crate::kill::{Found, Receipt, Refused, Target};
use crate::outcome::{Ended, StatementOver};
use crate::places::Places;
use crate::policy::{Policy, SameUserOrAdmin};
use crate::record::{Accepted, Probe, Record};
use crate::registry::{OpenError, Registry};
use crate::session::Session;
use crate::sync::{near, session_shards};
use crate::thread::{Thread, ThreadModel, ThreadRecord};
use crate::timer::{self, Timers};
use crate::why::WhyNotYet;
use crate::word::Snapshot;
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Opens sessions, and lets anyone who may end them or their statements.
///
/// Clones are the same manager.
#[derive(Clone)]
pub struct SessionManager(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) home: Arc<Home>,
    ways: Box<[Way]>,
    pub(crate) threads: Arc<Registry<ThreadRecord>>,
    pub(crate) policy: Box<dyn Policy>,
}

/// A request for the end of a session.
///
/// ```
/// use safepoint::{Author, Terminate, When};
/// let request = Terminate::new(When::Immediate, Author::system()).text("disk full");
/// ```
#[derive(Clone, Debug)]
pub struct Terminate {
    when: When,
    grace: Option<Duration>,
    author: Author,
    text: Option<Arc<str>>,
}

impl Terminate {
    /// Asked for by `author`, falling due `when`.
    #[must_use]
    pub fn new(when: When, author: Author) -> Terminate {
        Terminate { when, grace: None, author, text: None }
    }

    /// The same, falling due at another time.
    #[must_use]
    pub fn at(self, when: When) -> Terminate {
        Terminate { when, ..self }
    }

    /// A deferred termination becomes [`When::Immediate`] this long after it was accepted, by
    /// the same author and with the same text, whatever weaker requests came meanwhile. The
    /// session still ends at a safe point of its own. One that is immediate anyway has no
    /// grace.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Terminate {
        Terminate { grace: Some(grace), ..self }
    }

    /// What the author has to say; it reaches the target's error detail.
    #[must_use]
    pub fn text(mut self, text: impl Into<Arc<str>>) -> Terminate {
        self.text = Some(text.into());
        self
    }

    pub(crate) fn author(&self) -> &Author {
        &self.author
    }
}

/// A request for the end of a statement. The session lives on.
#[derive(Clone, Debug)]
pub struct Cancel {
    statement: Option<StatementId>,
    author: Author,
    text: Option<Arc<str>>,
}

impl Cancel {
    /// Asked for by `author`, for this statement and no other.
    #[must_use]
    pub fn statement(statement: StatementId, author: Author) -> Cancel {
        Cancel { statement: Some(statement), author, text: None }
    }

    /// Asked for by `author`, for whatever statement runs when the request arrives. A command
    /// that is queued has to be named: [`SessionRow::statement`] has its number.
    #[must_use]
    pub fn running(author: Author) -> Cancel {
        Cancel { statement: None, author, text: None }
    }

    /// What the author has to say; it reaches the target's error detail.
    #[must_use]
    pub fn text(mut self, text: impl Into<Arc<str>>) -> Cancel {
        self.text = Some(text.into());
        self
    }

    pub(crate) fn author(&self) -> &Author {
        &self.author
    }

    pub(crate) fn naming(self, statement: StatementId) -> Cancel {
        Cancel { statement: Some(statement), ..self }
    }
}

/// What a manager is to be like. See [`SessionManager::builder`].
pub struct SessionManagerBuilder {
    model: ThreadModel,
    policy: Box<dyn Policy>,
    audit: Option<Box<dyn Audit>>,
    max: Option<usize>,
    reserved: usize,
    first_serial: u64,
}

impl SessionManagerBuilder {
    /// Who may end whose sessions and statements, instead of [`SameUserOrAdmin`].
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// Who hears of what happens: what is opened, asked for, refused, seen and ended.
    #[must_use]
    pub fn audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// How many sessions may be open at once, administrators' and newcomers' included. Without
    /// this there is no limit.
    #[must_use]
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    /// How many of the [`max_sessions`](Self::max_sessions) are kept for administrators: see
    /// [`Session::admit`](crate::Session::admit). Where all of them are, nobody else gets in.
    #[must_use]
    pub fn reserved_for_admins(mut self, reserved: usize) -> Self {
        self.reserved = reserved;
        self
    }

    /// From which serial on ids are made, instead of a random one: for tests and transcripts that
    /// need the same ids each time. It is taken modulo 2<sup>37</sup>, and 0 counts as 1.
    ///
    /// Without this each manager starts somewhere else, so that a number copied from an old screen,
    /// or from another run of the server, names nobody: if each of two runs opens a million
    /// sessions, the chance that any id of one is an id of the other is below one in 50,000. It
    /// is no secret and no protection. Ids follow each other, so who has seen one can guess
    /// others; whether a request is permitted is for the [policy](Self::policy) to say.
    #[must_use]
    pub fn first_serial(mut self, serial: u64) -> Self {
        self.first_serial = serial;
        self
    }

    /// The manager.
    #[must_use]
    pub fn build(self) -> SessionManager {
        let SessionManagerBuilder { model, policy, audit, max, reserved, first_serial } = self;
        let first = (first_serial % FIRST_SERIALS).max(1);
        let threads = Arc::new(Registry::new(THREAD_SHARD, 1, first));
        let home = Home::listed(Home {
            model,
            sessions: Registry::new(0, session_shards(), first),
            hooks: Arc::new(Hooks(audit)),
            slots: Arc::default(),
            threads: threads.clone(),
            timers: Timers::new(),
            places: max.map(|max| Places::new(max, reserved)),
        });
        let way = |_| Arc::new(CachePadded::new(home.clone()));
        let ways = (0..session_shards()).map(way).collect();
        SessionManager(Arc::new(Inner { home, ways, threads, policy }))
    }
}

impl fmt::Debug for SessionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("model", &self.model)
            .field("max_sessions", &self.max)
            .field("reserved_for_admins", &self.reserved)
            .finish_non_exhaustive()
    }
}

impl SessionManager {
    /// A manager whose policy is [`SameUserOrAdmin`], with no limit on its sessions.
    #[must_use]
    pub fn new(model: ThreadModel) -> SessionManager {
        SessionManager::builder(model).build()
    }

    /// A manager with a policy of the embedder's, or with a limit on its sessions.
    #[must_use]
    pub fn builder(model: ThreadModel) -> SessionManagerBuilder {
        let policy = Box::new(SameUserOrAdmin);
        let first_serial = any_serial();
        SessionManagerBuilder { model, policy, audit: None, max: None, reserved: 0, first_serial }
    }

    /// Which model it was made for.
    #[must_use]
    pub fn model(&self) -> ThreadModel {
        self.0.home.model
    }

    /// Opens a session. It belongs to the caller, detached.
    ///
    /// # Errors
    /// [`OpenError`] once the manager is closed, full, or has used up its numbers.
    pub fn open(&self, description: Description) -> Result<Session, OpenError> {
        let home = &self.0.home;
        home.places.as_ref().map_or(Ok(()), Places::take)?;
        let record =
            Arc::new(Record::new(description, home.hooks.hear().then(|| home.hooks.clone())));
        let near = near();
        let record = home.sessions.insert(near, record).inspect_err(|_| {
            if let Some(places) = &home.places {
                places.give_back(false);
            }
        })?;
        let session = Session::new(record, self.0.ways[near % self.0.ways.len()].clone());
        if home.hooks.hear() {
            session.say_opened();
        }
        Ok(session)
    }

    /// Registers the thread of a pool that will run sessions.
    ///
    /// # Errors
    /// [`OpenError`] once the manager is out of numbers, or with 65,534 such threads registered.
    /// A manager that is closed opens no sessions, and registers threads all the same.
    pub fn register_worker(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.home.register(name, true)
    }

    /// Registers a thread that never runs sessions, so that it can be seen.
    ///
    /// # Errors
    /// As [`register_worker`](Self::register_worker).
    pub fn register_background(&self, name: &str) -> Result<Thread, OpenError> {
        self.0.home.register(name, false)
    }

    /// Asks for the end of a session, as the request's author.
    ///
    /// A session that no thread runs is woken on the spot: what its holder left to be woken
    /// has run when this returns. A request that asks for no more than the session has been told
    /// already adds nothing, and wakes nobody who has been woken.
    ///
    /// # Errors
    /// [`Refused`] names the reason; then nothing has been done.
    pub fn terminate(
        &self,
        target: impl Into<Target>,
        request: Terminate,
    ) -> Result<Receipt<Ended>, Refused> {
        self.terminate_as_seen(target.into(), request, None)
    }

    /// The same, only if the session still does what it did as `seen` was taken.
    pub(crate) fn terminate_as_seen(
        &self,
        target: Target,
        request: Terminate,
        seen: Option<Snapshot>,
    ) -> Result<Receipt<Ended>, Refused> {
        let Terminate { when, grace, author, text } = request;
        let kind = InterruptKind::Terminate;
        let aim = self.aim(target, kind, &author)?;
        let request = aim.request(author, Reason::AdministratorCommand, text);
        let grace = grace.filter(|_| when != When::Immediate);
        let timer = || match timer::running(&self.0.home) {
            Ok(timer) => Ok(timer),
            Err(_) => {
                let refused = Refused::NoTimer(aim.record.id());
                Err(self.say_refused(kind, target, &request.author, refused))
            }
        };
        let timer = grace.map(|grace| Ok((grace, timer()?))).transpose()?;
        let step = |only| aim.record.terminate_as_seen(when, request.clone(), only, seen);
        match aim.only().and_then(step) {
            Ok(accepted) => {
                if let Some((grace, timer)) = timer {
                    aim.record.escalate(timer, grace, request.clone());
                }
                self.say_requested(&aim.record, kind, Some(when), &request, &accepted);
                Ok(receipt(&aim.record, accepted))
            }
            Err(void) => {
                Err(self.say_refused(kind, target, &request.author, aim.refusal(void, None)))
            }
        }
    }

    /// Asks for the end of one statement. The session lives on, and so does every other
    /// statement.
    ///
    /// # Errors
    /// [`Refused`] names the reason; then nothing has been done.
    pub fn cancel(
        &self,
        target: impl Into<Target>,
        request: Cancel,
    ) -> Result<Receipt<StatementOver>, Refused> {
        let (target, kind) = (target.into(), InterruptKind::Cancel);
        let Cancel { statement, author, text } = request;
        let aim = self.aim(target, kind, &author)?;
        let request = aim.request(author, Reason::UserRequest, text);
        let step = |only| aim.record.cancel(statement, request.clone(), only);
        match aim.only().and_then(step) {
            Ok(accepted) => {
                self.say_requested(&aim.record, kind, None, &request, &accepted);
                Ok(receipt(&aim.record, accepted))
            }
            Err(void) => {
                let refused = aim.refusal(void, statement);
                Err(self.say_refused(kind, target, &request.author, refused))
            }
        }
    }

    fn say_requested<T>(
        &self,
        record: &Record,
        kind: InterruptKind,
        when: Option<When>,
        request: &Request,
        accepted: &Accepted<T>,
    ) {
        let found = Found::new(accepted.before, accepted.thread);
        let session = record.id();
        self.0.home.hooks.emit(&Event::Requested { session, kind, when, request, found });
    }

    pub(crate) fn say_refused(
        &self,
        kind: InterruptKind,
        target: Target,
        author: &Author,
        refused: Refused,
    ) -> Refused {
        self.0.home.hooks.emit(&Event::Refused { target, kind, author, refused: &refused });
        refused
    }

    /// Asks a session that runs to say when and where it passes its next safe point, and how it
    /// stands with the last time that anyone asked; `None` where it has ended. The answer is the
    /// [`SessionRow::safe_point`] of a later look. A `Watchdog` asks them all.
    #[must_use]
    pub fn probe(&self, id: SessionId) -> Option<Probe> {
        Some(self.0.home.sessions.get(id.get())?.probe())
    }

    /// Why a session that was told to end, or whose statement was, has not ended yet, as
    /// [`Receipt::why_not_yet`] says it; of two requests, for the termination. `None` where it
    /// was told nothing, or has ended.
    #[must_use]
    pub fn why_not_yet(&self, id: SessionId) -> Option<WhyNotYet> {
        let record = self.0.home.sessions.get(id.get())?;
        record.why_not_yet(record.pending()?.kind)
    }

    /// One session's row.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<SessionRow> {
        let record = self.0.home.sessions.get(id.get())?;
        Some(SessionRow::of(&record, self.0.home.model == ThreadModel::PerSession))
    }

    /// All sessions, those told to end included until they have ended.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.0.home.clone())
    }

    /// Those of all sessions that the policy shows to `author`.
    pub fn sessions_shown_to(&self, author: &Author) -> impl Iterator<Item = SessionRow> {
        self.sessions().filter(|row| self.shows(author, row.session, &row.description))
    }

    /// All registered threads.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadRow> {
        threads(&self.0.threads)
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.home.sessions.len()
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens no more sessions; those that are open are in [`sessions`](Self::sessions) when
    /// this returns.
    pub fn close(&self) {
        self.0.home.sessions.close();
    }

    /// Closes the manager, tells every session to end, and returns their receipts: once all of
    /// them are complete, the manager is empty. The policy is not asked: it is the embedder
    /// who does this, in whoever's name.
    pub fn shut_down(&self, request: &Terminate) -> Vec<Receipt<Ended>> {
        self.close();
        self.sessions().filter_map(|row| self.tell(row.session, request)).collect()
    }

    /// Tells a session to end, the policy unasked. `None` where it has ended.
    pub(crate) fn tell(&self, id: SessionId, request: &Terminate) -> Option<Receipt<Ended>> {
        let record = self.0.home.sessions.get(id.get())?;
        let Terminate { when, grace, author, text } = request.clone();
        let request = Request::new(author, Reason::AdministratorCommand, text);
        match record.terminate(when, request.clone(), None) {
            Ok(accepted) => {
                let grace = grace.filter(|_| when != When::Immediate);
                // Without a timer the session is told all the same, and has as long as it takes.
                if let Some(grace) = grace
                    && let Ok(timer) = timer::running(&self.0.home)
                {
                    record.escalate(timer, grace, request.clone());
                }
                let kind = InterruptKind::Terminate;
                self.say_requested(&record, kind, Some(when), &request, &accepted);
                Some(receipt(&record, accepted))
            }
            // It is about to leave the registry.
            Err(_) => {
                let ticket = record.ending(request)?;
                Some(Receipt::new(record.clone(), ticket, Found::new(record.look(), None)))
            }
        }
    }
}

#[cfg(safepoint_loom)]
impl SessionManager {
    /// Has the timer look once, as if this long had passed since the manager was made.
    pub fn limits_run_out(&self, now: Duration) {
        self.0.home.timers.timer.look(&self.0.home, timer::nanos(now));
    }

    /// How many sessions the timer is to look at.
    #[must_use]
    pub fn timed(&self) -> usize {
        self.0.home.timers.timer.len()
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("model", &self.0.home.model)
            .field("sessions", &self.len())
            .finish_non_exhaustive()
    }
}

fn receipt<T: Clone>(record: &Arc<Record>, accepted: Accepted<T>) -> Receipt<T> {
    record.wake_if_due();
    let found = Found::new(accepted.before, accepted.thread);
    Receipt::new(record.clone(), accepted.ticket, found)
}

/// Half of all serials: whichever is the first, there are as many after it.
const FIRST_SERIALS: u64 = MAX_SERIAL / 2 + 1;

/// A serial that no other manager is likely to start with.
fn any_serial() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // A model must be the same each time.
    if cfg!(any(safepoint_loom, safepoint_shuttle)) { 1 } else { RandomState::new().hash_one(0) }
}
