//! Leaked attachments, on an ended thread and on a running thread.

use crate::common::{
    ENDLESS, Fixture, ParkedSession, TEST_TIMEOUT, each_model, joined, kill_now, of, scope,
    supervised, thread_for, until, wait_until,
};
use safepoint::request::{EndReason, RequestError, Target};
use safepoint::{Cancel, Session, SessionManager, ThreadModel};
use std::sync::mpsc;
use std::time::Duration;

fn forget(fixture: Fixture) -> Fixture {
    let Fixture { manager, mut session, thread, id } = fixture;
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
    Fixture { manager, session, thread, id }
}

#[test]
fn the_owner_finds_the_session_idle() {
    supervised(|| {
        each_model(|fixture| {
            let Fixture { manager, session, id, .. } = forget(fixture);
            session.check().unwrap();
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            let parked = ParkedSession::leave(session);
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            assert_eq!(crate::common::locked(&parked.interrupts).len(), 1);
        });
    });
}

#[test]
fn the_session_can_be_attached_to_another_thread() {
    supervised(|| {
        each_model(|fixture| {
            let Fixture { manager, mut session, id, thread } = forget(fixture);
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            assert_eq!(attached.begin().unwrap().statement_id().get(), 2);
        });
    });
}

/// The slot of its thread may belong to another thread now.
#[test]
fn a_request_with_another_thread_is_rejected() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = manager.open(crate::common::of("ann")).unwrap();
        let thread = thread_for(&manager, &session);
        let id = session.id();
        let Fixture { session, thread, .. } =
            forget(Fixture { manager: manager.clone(), session, thread, id });
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

// On a thread that continues.

/// What its session does on another thread is none of its business.
#[test]
fn ambient_code_does_not_reach_the_moved_session() {
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
                gone.recv_timeout(TEST_TIMEOUT).expect("the session sleeps elsewhere");
                assert_eq!(safepoint::current::session_id(), None);
                safepoint::current::set_in_transaction(false);
                safepoint::current::sleep(Duration::from_millis(1)).unwrap();
                manager.terminate(id, kill_now()).unwrap();
            });
            let mut session = taken.recv_timeout(TEST_TIMEOUT).expect("the session is handed on");
            let attached = session.attach(&two).unwrap();
            attached.set_in_transaction(true);
            scope.spawn(move || {
                wait_until("it sleeps", || manager.session_info(id).unwrap().waiting);
                go.send(()).unwrap();
            });
            until("its killer wakes it", || attached.sleep(ENDLESS)).unwrap_err();
            assert!(attached.in_transaction());
        });
    });
}

#[test]
fn the_thread_of_the_leak_serves_other_sessions() {
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

/// A queued command whose attachment is leaked before it begins: the receipt of its cancel completes as the
/// owner ends the attachment.
#[test]
fn the_cancel_of_a_queued_command_is_completed() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::Pool);
        let queued = session.reserve_statement().unwrap();
        let cancel = Cancel::statement(queued, crate::common::user("ann"));
        let receipt = manager.cancel(id, cancel).unwrap();
        scope(|scope| {
            let session = &mut session;
            let forgets = scope.spawn(move || {
                std::mem::forget(session.attach(&thread).unwrap());
            });
            joined("the thread ends", forgets);
        });
        assert_eq!(receipt.try_get(), None);
        session.check().unwrap();
        assert!(!receipt.try_get().unwrap().cancelled);
    });
}
