//! Leaked attachments, on an ended thread and on a running thread.

use crate::common::{
    Desk, ENDLESS, LONG, Stage, each_model, eventually, joined, kill_now, of, scope, supervised,
    thread_for, until,
};
use safepoint::request::{EndReason, RequestError, Target};
use safepoint::{Session, SessionManager, ThreadModel};
use std::sync::mpsc;
use std::time::Duration;

fn forget(stage: Stage) -> Stage {
    let Stage { manager, mut session, thread, id } = stage;
    let thread = scope(|scope| {
        let session = &mut session;
        let forgets = scope.spawn(move || {
            let mut attached = session.attach(&thread).unwrap();
            std::mem::forget(attached.begin().unwrap());
            std::mem::forget(attached);
            thread
        });
        joined("the thread ends", forgets)
    });
    Stage { manager, session, thread, id }
}

#[test]
fn whoever_has_the_session_finds_it_idle() {
    supervised(|| {
        each_model(|stage| {
            let Stage { manager, session, id, .. } = forget(stage);
            session.check().unwrap();
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            let desk = Desk::leave(session);
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            assert_eq!(crate::common::locked(&desk.told).len(), 1);
        });
    });
}

#[test]
fn it_can_be_attached_elsewhere() {
    supervised(|| {
        each_model(|stage| {
            let Stage { manager, mut session, id, thread } = forget(stage);
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            assert_eq!(attached.begin().unwrap().statement_id().get(), 2);
        });
    });
}

/// The place of its thread may be given to another.
#[test]
fn who_names_another_thread_does_not_hit_it() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = manager.open(crate::common::of("ann")).unwrap();
        let thread = thread_for(&manager, &session);
        let id = session.id();
        let Stage { session, thread, .. } =
            forget(Stage { manager: manager.clone(), session, thread, id });
        drop(thread);
        let second = manager.register_worker("two").unwrap();
        let refused = manager.terminate(Target::Pair(second.id(), id), kill_now());
        assert_eq!(
            refused.unwrap_err(),
            RequestError::NotAttached { thread: second.id(), session: id }
        );
        session.check().unwrap();
    });
}

// On a thread that goes on.

/// What its session does on another thread is none of its business.
#[test]
fn ambient_code_where_it_was_forgotten_does_not_reach_the_session_elsewhere() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let id = session.id();
        let [one, two] = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
        let (handed, taken) = mpsc::channel::<Session>();
        let (go, gone) = mpsc::channel::<()>();
        scope(|scope| {
            let manager = &manager;
            scope.spawn(move || {
                std::mem::forget(session.attach(&one).unwrap());
                session.check().unwrap();
                handed.send(session).unwrap();
                gone.recv_timeout(LONG).expect("the session sleeps elsewhere");
                assert_eq!(safepoint::current::session_id(), None);
                safepoint::current::set_in_transaction(false);
                safepoint::current::sleep(Duration::from_millis(1)).unwrap();
                manager.terminate(id, kill_now()).unwrap();
            });
            let mut session = taken.recv_timeout(LONG).expect("the session is handed on");
            let attached = session.attach(&two).unwrap();
            attached.set_in_transaction(true);
            scope.spawn(move || {
                eventually("it sleeps", || manager.session_info(id).unwrap().waiting);
                go.send(()).unwrap();
            });
            until("its killer wakes it", || attached.sleep(ENDLESS)).unwrap_err();
            assert!(attached.in_transaction());
        });
    });
}

#[test]
fn the_thread_where_it_was_forgotten_serves_others() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let thread = manager.register_worker("worker").unwrap();
        std::mem::forget(session.attach(&thread).unwrap());
        session.close();
        let mut other = manager.open(of("bob")).unwrap();
        let id = other.id();
        let attached = other.attach(&thread).unwrap();
        assert_eq!(safepoint::current::session_id(), Some(id));
        attached.check().unwrap();
    });
}
