//! The orderly end of all sessions.

mod common;

use common::{LONG, MODELS, eventually, kill, of, thread_for};
use safepoint::{
    Drained, Interrupt, OpenError, Session, SessionManager, Terminate, Thread, ThreadModel, When,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Runs a statement in a transaction until `done`, or until it has to end.
fn busy<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    mut session: Session,
    thread: Thread,
    done: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Result<(), Interrupt>> {
    scope.spawn(move || {
        let mut attached = session.attach(&thread).unwrap();
        attached.set_transaction(true);
        let statement = attached.begin()?;
        while !done.load(Ordering::SeqCst) {
            statement.sleep(Duration::from_millis(1))?;
        }
        statement.finish()?;
        attached.set_transaction(false);
        attached.check()
    })
}

fn opened(model: ThreadModel) -> (SessionManager, Session, Thread) {
    let manager = SessionManager::new(model);
    let session = manager.open(of("ann")).unwrap();
    let thread = thread_for(&manager, &session);
    (manager, session, thread)
}

#[test]
fn who_finishes_within_the_grace_is_left_to_finish() {
    for model in MODELS {
        let (manager, session, thread) = opened(model);
        let (id, done) = (session.id(), AtomicBool::new(false));
        let drained = std::thread::scope(|scope| {
            let runs = busy(scope, session, thread, &done);
            eventually("it runs", || manager.session(id).unwrap().statement.is_some());
            let drain = scope.spawn(|| manager.drain(&kill(When::AfterTransaction), LONG, LONG));
            eventually("it is told", || manager.session(id).unwrap().told.is_some());
            assert_eq!(manager.open(of("bob")).unwrap_err(), OpenError::Closed);
            done.store(true, Ordering::SeqCst);
            assert!(runs.join().unwrap().unwrap_err().is_terminate());
            drain.join().unwrap()
        });
        let all_in_grace = Drained { sessions: 1, in_grace: 1, ..Drained::default() };
        assert_eq!(drained, all_in_grace);
    }
}

#[test]
fn who_does_not_is_cut_short() {
    for model in MODELS {
        let (manager, session, thread) = opened(model);
        let (id, never) = (session.id(), AtomicBool::new(false));
        let drained = std::thread::scope(|scope| {
            let runs = busy(scope, session, thread, &never);
            eventually("it runs", || manager.session(id).unwrap().statement.is_some());
            let request = kill(When::AfterTransaction);
            let drained = manager.drain(&request, Duration::from_millis(20), LONG);
            let told = runs.join().unwrap().unwrap_err();
            assert_eq!(told.request().text.as_deref(), Some("because"));
            drained
        });
        let cut_short = Drained { sessions: 1, cut_short: 1, ..Drained::default() };
        assert_eq!(drained, cut_short);
    }
}

#[test]
fn who_never_looks_is_left_and_said_to_be() {
    for model in MODELS {
        let (manager, session, _thread) = opened(model);
        let request = kill(When::AfterTransaction);
        let drained = manager.drain(&request, Duration::ZERO, Duration::from_millis(1));
        assert_eq!(drained, Drained { sessions: 1, left: 1, ..Drained::default() });
        assert!(session.due().is_err(), "its request stands");
    }
}

#[test]
fn an_empty_manager_is_drained_at_once() {
    for model in MODELS {
        let manager = SessionManager::new(model);
        let drained = manager.drain(&kill(When::Immediate), Duration::MAX, Duration::MAX);
        assert_eq!(drained, Drained::default());
    }
}

#[test]
fn the_session_that_asks_is_not_waited_for() {
    for model in MODELS {
        let (manager, mut session, thread) = opened(model);
        let idle = manager.open(of("bob")).unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let request = Terminate::new(When::AfterStatement, statement.author());
        let drained = manager.drain(&request, Duration::ZERO, Duration::ZERO);
        assert_eq!(drained, Drained { sessions: 2, left: 2, ..Drained::default() });
        drop(idle);
        let drained = manager.drain(&request, Duration::MAX, Duration::MAX);
        assert_eq!(drained, Drained { sessions: 1, left: 1, ..Drained::default() });
        statement.finish().expect_err("it is told as well");
    }
}
