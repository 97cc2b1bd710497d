//! Sessions of a pool: in their slots, in the queue, and on a worker.

use crate::audit_ends::recorder::Requesting;
use crate::common::{ENDLESS, admin, of, supervised, until, wait_until};
use safepoint::manager::DrainOptions;
use safepoint::pool::{Action, CloseReason, Connection, Pool, PoolBuilder};
use safepoint::view::SessionState;
use safepoint::{
    Attached, Cancel, Interrupt, Requester, Session, SessionManager, Terminate, TerminateMode,
    ThreadModel,
};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A connection that runs the command of each byte.
struct Obeys {
    socket: UnixStream,
    manager: SessionManager,
}

impl AsFd for Obeys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection for Obeys {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        let mut byte = [0];
        if !matches!(self.socket.read(&mut byte), Ok(1)) {
            return Ok(Action::Close);
        }
        match byte[0] {
            b's' => session.begin()?.sleep(ENDLESS)?,
            b't' => session.set_in_transaction(true),
            // After its last safe point.
            b'k' => {
                let request =
                    Terminate::new(TerminateMode::Immediate, admin("root")).comment("late");
                self.manager.terminate(session.id(), request).unwrap();
            }
            b'p' => panic!("on purpose"),
            // No command after all.
            b'n' => {}
            _ => return Ok(Action::Close),
        }
        Ok(Action::WaitReadable)
    }

    fn on_close(&mut self, _: &Session, _: CloseReason) {}
}

struct Served {
    /// There until this is dropped.
    pool: Option<Pool<Obeys>>,
    requester: Requesting,
    client: UnixStream,
}

impl Drop for Served {
    fn drop(&mut self) {
        until("the pool is gone", || drop(self.pool.take()));
    }
}

impl Served {
    /// Ann's session, which has just been opened, in a pool of one worker.
    fn new() -> Served {
        let (requester, session) = Requesting::new(ThreadModel::Pool);
        let pool = PoolBuilder::new(1).max_workers(1).start(requester.manager.clone()).unwrap();
        let client = serve(&pool, &requester.manager, session);
        Served { pool: Some(pool), requester, client }
    }

    fn serves(&self, session: Session) -> UnixStream {
        serve(self.pool.as_ref().unwrap(), &self.requester.manager, session)
    }

    fn says(&mut self, byte: u8) {
        self.client.write_all(&[byte]).unwrap();
    }

    /// Sends the command, and waits until the session has that state, and no thread unless it waits.
    #[track_caller]
    fn says_until(&mut self, byte: u8, doing: SessionState) {
        self.says(byte);
        let manager = &self.requester.manager;
        wait_until("it does that", || {
            let row = manager.session_info(self.requester.id).unwrap();
            row.state == doing && row.thread_id.is_some() == (doing == SessionState::Waiting)
        });
    }

    /// The events so far. The last of them may come from a worker that has just put the session aside.
    #[track_caller]
    fn hears(&self, expected: &[&str]) {
        wait_until("all are heard", || self.requester.count() >= expected.len());
        self.requester.heard(expected);
    }

    /// The events after the end of the session.
    #[track_caller]
    fn ends_with(self, expected: &[&str]) {
        self.hears(expected);
    }
}

fn serve(pool: &Pool<Obeys>, manager: &SessionManager, session: Session) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    pool.serve(session, Obeys { socket: ours, manager: manager.clone() }).unwrap();
    theirs
}

#[test]
fn a_session_ended_in_its_slot() {
    supervised(|| {
        let served = Served::new();
        served.requester.kill(TerminateMode::AfterTransaction, "idle");
        served.requester.heard(&[
            "Terminate AfterTransaction for ann, idle: idle",
            "ann saw Terminate: idle",
            "ann killed: idle",
        ]);
        served.ends_with(&[]);
    });
}

#[test]
fn a_session_ended_in_its_slot_by_the_second_request() {
    supervised(|| {
        let mut served = Served::new();
        served.says_until(b't', SessionState::IdleInTransaction);
        served.requester.kill(TerminateMode::AfterTransaction, "later");
        served.requester.kill(TerminateMode::AfterStatement, "now");
        served.hears(&[
            "Terminate AfterTransaction for ann, idle in transaction: later",
            "Terminate AfterStatement for ann, idle in transaction after AfterTransaction: now",
            "ann saw Terminate: now",
            "ann killed: now",
        ]);
        served.ends_with(&[]);
    });
}

#[test]
fn a_session_ended_in_the_queue() {
    supervised(|| {
        let mut served = Served::new();
        let bob = served.requester.manager.open(of("bob")).unwrap();
        let bobs = bob.id();
        let mut other = served.serves(bob);
        other.write_all(b"s").unwrap();
        let waiting = || served.requester.manager.session_info(bobs).unwrap().waiting;
        wait_until("bob's has the worker", waiting);
        served.says_until(b's', SessionState::Queued);
        served.requester.cancel("slow");
        served.requester.kill(TerminateMode::Immediate, "now");
        served.hears(&[
            "bob opened",
            "Cancel for ann, queued: slow",
            "Terminate Immediate for ann, queued: now",
            "ann's statement over: slow",
            "ann saw Terminate: now",
            "ann killed: now",
        ]);
        served
            .requester
            .manager
            .terminate(bobs, Terminate::new(TerminateMode::Immediate, admin("root")))
            .unwrap();
        served.ends_with(&[
            "Terminate Immediate for bob, waiting: AdministratorCommand",
            "bob saw Terminate: AdministratorCommand",
            "bob killed: AdministratorCommand",
        ]);
    });
}

/// The queued command is discarded, so its statement ends. The audit receives that, and ends the
/// session, which is back in its slot at that time.
#[test]
fn a_session_ended_by_the_audit() {
    supervised(|| {
        let mut served = Served::new();
        let bob = served.requester.manager.open(of("bob")).unwrap();
        let bobs = bob.id();
        let mut other = served.serves(bob);
        other.write_all(b"s").unwrap();
        let waiting = || served.requester.manager.session_info(bobs).unwrap().waiting;
        wait_until("bob's has the worker", waiting);
        served.says_until(b'n', SessionState::Queued);
        served.requester.cancel("slow");
        served.requester.audit_ends_it();
        served.requester.heard(&["bob opened", "Cancel for ann, queued: slow"]);
        let request = Cancel::running(admin("root")).comment("go on");
        served.requester.manager.cancel(bobs, request).unwrap();
        served.ends_with(&[
            "Cancel for bob, waiting: go on",
            "bob saw Cancel: go on",
            "bob's statement cancelled: go on",
            "bob Closed",
            "ann's statement over: slow",
            "Terminate Immediate for ann, idle: audit",
            "ann saw Terminate: audit",
            "ann killed: audit",
        ]);
    });
}

#[test]
fn a_session_ended_by_its_worker() {
    supervised(|| {
        let mut served = Served::new();
        served.says_until(b's', SessionState::Waiting);
        served.requester.kill(TerminateMode::Immediate, "now");
        served.ends_with(&[
            "Terminate Immediate for ann, waiting: now",
            "ann saw Terminate: now",
            "ann killed: now",
        ]);
    });
}

/// The session has passed its last safe point, and is not in its slot yet.
#[test]
fn a_session_ended_before_it_is_in_its_slot() {
    supervised(|| {
        let mut served = Served::new();
        served.says(b'k');
        served.ends_with(&[
            "Terminate Immediate for ann, between statements: late",
            "ann saw Terminate: late",
            "ann killed: late",
        ]);
    });
}

#[test]
fn a_client_that_disconnects_and_one_that_panics() {
    supervised(|| {
        let mut served = Served::new();
        served.says(b'c');
        served.ends_with(&["ann Closed"]);
        let mut served = Served::new();
        served.client = UnixStream::pair().unwrap().0;
        served.ends_with(&["ann Closed"]);
        let mut served = Served::new();
        served.says(b'p');
        served.ends_with(&["ann saw Terminate: InternalError", "ann Panicked"]);
    });
}

#[test]
fn a_pool_that_is_shut_down() {
    supervised(|| {
        let served = Served::new();
        let request =
            Terminate::new(TerminateMode::AfterStatement, Requester::system()).comment("over");
        let drained = until("all have ended", || {
            served
                .pool
                .as_ref()
                .unwrap()
                .shutdown(DrainOptions::new(request.clone()).timeout(ENDLESS))
        });
        assert_eq!((drained.sessions, drained.remaining), (1, 0));
        served.ends_with(&[
            "Terminate AfterStatement for ann, idle: over",
            "ann saw Terminate: over",
            "ann killed: over",
        ]);
    });
}
