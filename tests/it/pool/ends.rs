//! The order of an end: the client is notified, its connection is closed, and only after that a
//! receipt completes. For each way in which a session ends.

use crate::common::{kill, kill_now, locked, of, supervised, wait_until};
use crate::pool::custom::{CustomConnection, is_closed, pool, stick};
use crossbeam_channel::Sender;
use safepoint::manager::DrainOptions;
use safepoint::pool::{Action, CloseReason, Pool, Priority};
use safepoint::request::{EndReason, SessionEnd};
use safepoint::view::{SessionInfo, SessionState};
use safepoint::{Receipt, SessionId, SessionManager, TerminateMode, ThreadModel};
use std::future::Future;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Wake};
use std::time::Duration;

/// The visible state at the moment at which a receipt completes, on the thread that completes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    closed: bool,
    steps: Vec<&'static str>,
    /// Whether the manager still finds the session.
    found: bool,
    /// How many the pool has; `None` where it is gone.
    sessions: Option<usize>,
}

struct Looks {
    manager: SessionManager,
    pool: Weak<Pool<CustomConnection>>,
    id: SessionId,
    peer: UnixStream,
    steps: Arc<Mutex<Vec<&'static str>>>,
    seen: Mutex<Option<Seen>>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let seen = Seen {
            closed: is_closed(&self.peer),
            steps: locked(&self.steps).clone(),
            found: self.manager.session_info(self.id).is_some(),
            sessions: self.pool.upgrade().map(|pool| pool.status()[0].sessions),
        };
        *locked(&self.seen) = Some(seen);
    }
}

/// A session with an open transaction and a termination after that transaction.
struct Scene {
    manager: SessionManager,
    pool: Option<Arc<Pool<CustomConnection>>>,
    id: SessionId,
    peer: UnixStream,
    receipt: Receipt<SessionEnd>,
    looks: Arc<Looks>,
    ends: Arc<Mutex<Vec<CloseReason>>>,
    /// Dropped to let the second command continue.
    release: Option<Sender<()>>,
}

/// The end of the second command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Commits,
    Closes,
    Panics,
    Checks,
    /// Has more to run.
    Again,
}

impl Scene {
    fn new(then: Then) -> Scene {
        Scene::with(then, false)
    }

    fn with(then: Then, in_lane: bool) -> Scene {
        let (manager, pool) = pool();
        let pool = Arc::new(pool);
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        let (id, ends) = (session.id(), client.ends.clone());
        let (release, wait) = crossbeam_channel::bounded::<()>(0);
        let mut begun = false;
        client.runs = Box::new(move |attached| {
            if !std::mem::replace(&mut begun, true) {
                attached.set_in_transaction(true);
                return Ok(Action::WaitReadable);
            }
            let _ = wait.recv();
            match then {
                Then::Commits => attached.set_in_transaction(false),
                Then::Closes => return Ok(Action::Close),
                Then::Panics => panic!("on purpose"),
                Then::Checks => attached.check()?,
                Then::Again => return Ok(Action::Yield),
            }
            Ok(Action::WaitReadable)
        });
        let steps = Arc::new(Mutex::new(Vec::new()));
        let (calls, dropped) = (steps.clone(), steps.clone());
        client.farewell = Box::new(move |_| locked(&calls).push("told"));
        client.dropped = Box::new(move |_| locked(&dropped).push("dropped"));
        client.goes = if in_lane { Priority::High } else { Priority::Normal };
        client.is_emergency = in_lane;
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).expect("a transaction is open");
        wait_until("it is idle", || {
            let row = manager.session_info(id).expect("it is open");
            row.thread_id.is_none() && row.state == SessionState::IdleInTransaction
        });
        let mut receipt = manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
        let looks = Arc::new(Looks {
            manager: manager.clone(),
            pool: Arc::downgrade(&pool),
            id,
            peer: peer.try_clone().unwrap(),
            steps,
            seen: Mutex::default(),
        });
        let waker = looks.clone().into();
        assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
        Scene { manager, pool: Some(pool), id, peer, receipt, looks, ends, release: Some(release) }
    }

    fn pool(&self) -> &Pool<CustomConnection> {
        self.pool.as_ref().expect("it is there")
    }

    /// Its second command arrives.
    fn goes_on(&mut self) {
        self.peer.write_all(b"x").unwrap();
    }

    /// It runs its second command.
    fn runs(then: Then) -> Scene {
        let mut scene = Scene::new(then);
        scene.goes_on();
        scene.is_seen_to("run", |row| row.thread_id.is_some());
        scene
    }

    fn is_seen_to(&self, what: &str, does: impl Fn(&SessionInfo) -> bool) {
        wait_until(what, || does(&self.manager.session_info(self.id).expect("it is open")));
    }

    /// As its receipt completes, so many others are in the pool.
    #[track_caller]
    fn has_ended(self, others: Option<usize>) -> (EndReason, CloseReason) {
        wait_until("its receipt completes", || locked(&self.looks.seen).is_some());
        let expected =
            Seen { closed: true, steps: vec!["told", "dropped"], found: false, sessions: others };
        assert_eq!(locked(&self.looks.seen).as_ref(), Some(&expected));
        let how = self.receipt.try_get().expect("it is complete").reason;
        let ends = locked(&self.ends).clone();
        assert_eq!(ends.len(), 1);
        (how, ends[0].clone())
    }
}

fn by_its_killer((how, end): &(EndReason, CloseReason)) -> bool {
    matches!((how, end), (EndReason::Terminated(_), CloseReason::Interrupted(_)))
}

#[test]
fn an_idle_session_is_ended_by_its_requester() {
    supervised(|| {
        let scene = Scene::new(Then::Commits);
        let receipt = scene.manager.terminate(scene.id, kill_now()).unwrap();
        assert!(receipt.try_get().is_some());
        assert!(by_its_killer(&scene.has_ended(Some(0))));
    });
}

#[test]
fn a_queued_session_is_ended_by_its_requester() {
    supervised(|| {
        let mut scene = Scene::new(Then::Commits);
        let stuck = stick(&scene.manager, scene.pool());
        scene.goes_on();
        scene.is_seen_to("wait", |row| row.state == SessionState::Queued);
        let receipt = scene.manager.terminate(scene.id, kill_now()).unwrap();
        assert!(receipt.try_get().is_some());
        assert!(by_its_killer(&scene.has_ended(Some(1))));
        drop(stuck);
    });
}

/// As it leaves its thread, or at a safe point.
#[test]
fn a_running_session_is_ended_by_its_worker() {
    supervised(|| {
        for then in [Then::Commits, Then::Checks] {
            let mut scene = Scene::runs(then);
            if then == Then::Checks {
                scene.manager.terminate(scene.id, kill_now()).unwrap();
            }
            drop(scene.release.take());
            assert!(by_its_killer(&scene.has_ended(Some(0))), "{then:?}");
        }
    });
}

#[test]
fn a_session_in_the_lane_is_ended_there() {
    supervised(|| {
        let mut scene = Scene::with(Then::Commits, true);
        let stuck = stick(&scene.manager, scene.pool());
        scene.goes_on();
        scene.is_seen_to("run in the lane", |row| row.thread_id.is_some());
        drop(scene.release.take());
        assert!(by_its_killer(&scene.has_ended(Some(1))));
        drop(stuck);
    });
}

#[test]
fn a_session_whose_client_panics_is_ended_by_its_worker() {
    supervised(|| {
        let mut scene = Scene::runs(Then::Panics);
        drop(scene.release.take());
        assert_eq!(scene.has_ended(Some(0)), (EndReason::Panicked, CloseReason::Panicked));
    });
}

#[test]
fn a_session_whose_client_is_done_is_ended_by_its_worker() {
    supervised(|| {
        let mut scene = Scene::runs(Then::Closes);
        drop(scene.release.take());
        assert_eq!(scene.has_ended(Some(0)), (EndReason::Closed, CloseReason::Closed));
        // It hangs up while it is idle.
        let scene = Scene::new(Then::Commits);
        scene.peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(scene.has_ended(Some(0)), (EndReason::Closed, CloseReason::Closed));
    });
}

#[test]
fn a_dropped_pool_closes_idle_and_queued_sessions() {
    supervised(|| {
        for waits in [false, true] {
            let mut scene = Scene::new(Then::Commits);
            let stuck = waits.then(|| stick(&scene.manager, scene.pool()));
            if waits {
                scene.goes_on();
                scene.is_seen_to("wait", |row| row.state == SessionState::Queued);
            }
            drop(scene.pool.take());
            assert_eq!(scene.has_ended(None), (EndReason::Closed, CloseReason::Closed));
            drop(stuck);
        }
    });
}

/// The client is notified of the request, although no worker runs the session any more.
#[test]
fn a_worker_of_a_dropped_pool_ends_its_session() {
    supervised(|| {
        for then in [Then::Commits, Then::Panics, Then::Closes, Then::Again] {
            let mut scene = Scene::runs(then);
            drop(scene.pool.take());
            drop(scene.release.take());
            let manager = scene.manager.clone();
            let ended = scene.has_ended(None);
            match then {
                Then::Commits => assert!(by_its_killer(&ended), "{ended:?}"),
                Then::Panics => assert_eq!(ended, (EndReason::Panicked, CloseReason::Panicked)),
                _ => assert_eq!(ended, (EndReason::Closed, CloseReason::Closed)),
            }
            wait_until("no thread is left", || manager.threads().is_empty());
        }
    });
}

/// The client of a session that was requested to end before the pool gets it is notified, although
/// the pool has ended too.
#[test]
fn a_session_added_after_the_end_gets_its_pending_interrupt() {
    supervised(|| {
        for calls in [true, false] {
            let (manager, pool) = pool();
            let (client, session, peer) = CustomConnection::new(&manager);
            let others = SessionManager::new(ThreadModel::Pool);
            let session = match calls {
                true => session,
                // A session of another manager: it is not requested to end.
                false => {
                    drop(session);
                    others.open(of("ann")).unwrap()
                }
            };
            let drained = pool.shutdown(DrainOptions::new(kill_now()).timeout(Duration::ZERO));
            assert_eq!(drained.remaining, usize::from(calls));
            let ends = client.ends.clone();
            pool.serve(session, client).unwrap();
            assert!(is_closed(&peer) && manager.is_empty() && others.is_empty());
            let ends = locked(&ends).clone();
            let told_so = matches!(ends[..], [CloseReason::Interrupted(_)]);
            assert!(if calls { told_so } else { ends == [CloseReason::Closed] }, "{ends:?}");
        }
    });
}

/// A requester that runs its own session ends another session on its thread. The connection's code
/// of that session must not run in the requester's session.
#[test]
fn on_close_does_not_run_in_the_requesters_session() {
    supervised(|| {
        let (manager, pool) = pool();
        let (mut client, session, _peer) = CustomConnection::new(&manager);
        let target = session.id();
        let at_a_safe_point = Arc::new(Mutex::new(Vec::new()));
        let (calls, dropped) = (at_a_safe_point.clone(), at_a_safe_point.clone());
        client.farewell = Box::new(move |_| locked(&calls).push(safepoint::check()));
        client.dropped = Box::new(move |_| locked(&dropped).push(safepoint::check()));
        pool.serve(session, client).unwrap();

        let mut requester = manager.open(of("root")).unwrap();
        let thread = manager.register_worker("killer").unwrap();
        let attached = requester.attach(&thread).unwrap();
        manager.terminate(attached.id(), kill_now()).unwrap();
        manager.terminate(target, kill_now()).unwrap();
        assert_eq!(*locked(&at_a_safe_point), [Ok(()), Ok(())]);
        assert!(safepoint::check().is_err(), "it is the killer's turn");
        drop(attached);
    });
}
