//! Helpers that the tests share.

#![allow(dead_code, reason = "no test file uses all of it")]

use safepoint::session::WaitMode;
use safepoint::{
    Cancel, ClientInfo, Interrupt, Receipt, Requester, Session, SessionId, SessionManager,
    Statement, Terminate, TerminateMode, Thread, ThreadModel,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

mod supervised;

#[allow(unused_imports, reason = "no test file uses all of it")]
pub(crate) use supervised::{
    Scope, is_supervised, joined, must_end_soon, scope, supervised, until,
};

pub(crate) const MODELS: [ThreadModel; 2] = [ThreadModel::Pool, ThreadModel::PerSession];
pub(crate) const MODES: [TerminateMode; 3] =
    [TerminateMode::AfterTransaction, TerminateMode::AfterStatement, TerminateMode::Immediate];

/// The maximum time of any wait in a test. Reaching it is a failure.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout for waits that must end by a wake and not by their deadline. The [supervised] test
/// fails long before this.
pub(crate) const ENDLESS: Duration = Duration::from_secs(24 * 60 * 60);

/// Waits for a condition that other threads bring about.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        if Instant::now() >= deadline {
            must_end_soon();
            panic!("waited too long until {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The numbers of so many rounds, each with turns of several threads. On a machine where a thread waits
/// long for its turn there are fewer: as many as a minute has, and at least ten.
pub(crate) fn rounds(count: usize) -> impl Iterator<Item = usize> {
    let end = Instant::now() + Duration::from_secs(60);
    (0..count).take_while(move |round| *round < 10 || Instant::now() < end)
}

/// Raises a flag when it is dropped, so that a thread that polls the flag stops after a panic.
pub(crate) struct Raises<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An administrator of that name, in no session.
pub(crate) fn admin(name: &str) -> Requester {
    Requester::system().with_user(name)
}

/// A user of that name, in no session.
pub(crate) fn user(name: &str) -> Requester {
    admin(name).with_admin(false)
}

pub(crate) fn of(user: &str) -> ClientInfo {
    ClientInfo::new(user)
}

pub(crate) fn kill(when: TerminateMode) -> Terminate {
    Terminate::new(when, admin("root")).comment("because")
}

pub(crate) fn kill_now() -> Terminate {
    kill(TerminateMode::Immediate)
}

/// A manager, one session of user "ann", and a thread that may run it.
pub(crate) struct Fixture {
    pub(crate) manager: SessionManager,
    pub(crate) session: Session,
    pub(crate) thread: Thread,
    pub(crate) id: SessionId,
}

impl Fixture {
    pub(crate) fn new(model: ThreadModel) -> Fixture {
        let manager = SessionManager::new(model);
        let session = manager.open(of("ann")).unwrap();
        let thread = thread_for(&manager, &session);
        let id = session.id();
        Fixture { manager, session, thread, id }
    }
}

/// A thread that may run the session.
pub(crate) fn thread_for(manager: &SessionManager, session: &Session) -> Thread {
    session.own_thread().unwrap_or_else(|| manager.register_worker("worker").unwrap())
}

pub(crate) fn each_model(test: impl Fn(Fixture)) {
    MODELS.into_iter().for_each(|model| test(Fixture::new(model)));
}

/// A waker that counts.
#[derive(Debug, Default)]
pub(crate) struct CountingWaker(AtomicUsize);

impl CountingWaker {
    pub(crate) fn waker() -> (Arc<CountingWaker>, Waker) {
        let count = Arc::new(CountingWaker::default());
        (count.clone(), Waker::from(count))
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lets the statement wait with this waker, calls `asks` meanwhile, and returns after the wait was woken. The
/// session cannot see what `asks` requests before the audit receives it, as a session that runs can.
pub(crate) fn sleep_until_woken(
    statement: &Statement<'_>,
    (woken, waker): (Arc<CountingWaker>, Waker),
    asks: impl FnOnce(),
) {
    let sleeps = || {
        asks();
        wait_until("it is woken", || woken.get() == 1);
    };
    statement.wait(WaitMode::Interruptible, &waker, sleeps).unwrap();
}

/// The slot of a detached session, from which its requester ends it.
#[derive(Debug, Default)]
pub(crate) struct ParkedSession {
    pub(crate) session: Mutex<Option<Session>>,
    pub(crate) interrupts: Mutex<Vec<Interrupt>>,
}

impl ParkedSession {
    pub(crate) fn leave(session: Session) -> Arc<ParkedSession> {
        let parked = Arc::new(ParkedSession::default());
        session.set_detached_waker(Some(Waker::from(parked.clone())));
        *locked(&parked.session) = Some(session);
        parked
    }
}

impl Wake for ParkedSession {
    fn wake(self: Arc<Self>) {
        let mut slot = locked(&self.session);
        if let Some(Err(interrupt)) = slot.as_ref().map(Session::check) {
            locked(&self.interrupts).push(interrupt);
            let ended = slot.take();
            drop(slot);
            drop(ended);
        }
    }
}

/// Returns the outcome of a receipt, in a [supervised] test.
#[track_caller]
pub(crate) fn outcome<T: Clone>(receipt: &mut Receipt<T>) -> T {
    until("its receipt is complete", || receipt.wait_timeout(ENDLESS)).unwrap()
}

#[track_caller]
pub(crate) fn assert_terminated(interrupt: &Interrupt) {
    assert!(interrupt.is_terminate());
    assert_eq!(interrupt.severity(), "FATAL");
    assert_eq!(interrupt.sqlstate(), "57P01");
    assert_eq!(interrupt.message(), "terminating connection due to administrator command");
}

#[track_caller]
pub(crate) fn assert_cancelled(interrupt: &Interrupt) {
    assert!(!interrupt.is_terminate());
    assert_eq!(interrupt.severity(), "ERROR");
    assert_eq!(interrupt.sqlstate(), "57014");
    assert_eq!(interrupt.message(), "canceling statement due to user request");
}

/// Runs `wait` inside a statement while another thread, once the session is seen to wait,
/// calls `act`.
fn while_waiting<T>(
    act: impl Fn(&SessionManager, SessionId) + Sync,
    wait: impl Fn(&Statement<'_>) -> T,
    check: impl Fn(T, &Statement<'_>),
) {
    for model in MODELS {
        let Fixture { manager, mut session, thread, id } = Fixture::new(model);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        scope(|scope| {
            scope.spawn(|| {
                wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                act(&manager, id);
            });
            let result = until("its interrupt ends the wait", || wait(&statement));
            check(result, &statement);
        });
        assert!(!manager.session_info(id).unwrap().waiting);
    }
}

fn cancel(manager: &SessionManager, id: SessionId) {
    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
}

fn terminate(manager: &SessionManager, id: SessionId) {
    manager.terminate(id, kill_now()).unwrap();
}

/// Both kinds of interrupt end this wait, and the next safe point repeats them. For [`supervised`]
/// tests.
pub(crate) fn assert_interruptible<T: std::fmt::Debug>(
    wait: impl Fn(&Statement<'_>) -> Result<T, Interrupt>,
) {
    while_waiting(cancel, &wait, |result, statement| {
        assert_cancelled(&result.expect_err("a cancel ends it"));
        assert_cancelled(&statement.check().unwrap_err());
        let slept = until("a cancel that is due lets no one sleep", || statement.sleep(ENDLESS));
        assert_cancelled(&slept.unwrap_err());
    });
    while_waiting(terminate, &wait, |result, statement| {
        assert_terminated(&result.expect_err("a termination ends it"));
        let parked = until("a termination that is due lets no one park", || statement.park());
        assert_terminated(&parked.unwrap_err());
    });
}
