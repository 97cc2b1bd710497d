//! A manager that closes opens no more sessions, and tells all that it has opened: whoever comes
//! meanwhile is told, or refused. Sessions are in two shards here, and each is closed by itself.

mod common;

use common::{immediate, model};
use safepoint_under_loom::manager::DrainOptions;
use safepoint_under_loom::manager::OpenError;
use safepoint_under_loom::model::{set_near, set_session_shards};
use safepoint_under_loom::{
    ClientInfo, Requester, Session, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::future::pending;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(1);

fn manager() -> SessionManager {
    set_session_shards(2);
    SessionManager::new(ThreadModel::PerSession)
}

/// Opens a session in a shard, on a thread of its own.
fn opener(manager: &SessionManager, shard: usize) -> loom::thread::JoinHandle<Option<Session>> {
    let manager = manager.clone();
    loom::thread::spawn(move || {
        set_near(shard);
        let opened = manager.open(ClientInfo::default());
        assert!(opened.as_ref().is_ok() || opened.as_ref().is_err_and(|e| *e == OpenError::Closed));
        opened.ok()
    })
}

fn shut_down_against_open() {
    let manager = manager();
    let openers = [0, 1].map(|shard| opener(&manager, shard));
    let receipts = manager.shutdown(immediate());
    let opened: Vec<_> = openers.into_iter().filter_map(|opener| opener.join().unwrap()).collect();
    assert_eq!(receipts.len(), opened.len(), "one that came meanwhile was not told");
    for session in opened {
        session.check().expect_err("one that came meanwhile was not told");
    }
    assert!(receipts.iter().all(|receipt| receipt.try_get().is_some()));
    assert!(manager.is_empty());
    for shard in [0, 1] {
        set_near(shard);
        assert_eq!(manager.open(ClientInfo::default()).unwrap_err(), OpenError::Closed);
    }
}

#[test]
fn who_comes_as_all_are_told_to_end() {
    model("who_comes_as_all_are_told_to_end", false, shut_down_against_open);
}

/// What `close` promises: those that are open are seen when it returns.
fn close_against_open() {
    let manager = manager();
    let openers = [0, 1].map(|shard| opener(&manager, shard));
    manager.close();
    let seen: Vec<_> = manager.sessions().map(|row| row.id).collect();
    let opened = openers.into_iter().filter_map(|opener| opener.join().unwrap());
    let opened: Vec<_> = opened.collect();
    assert!(opened.iter().all(|session| seen.contains(&session.id())), "one came after that");
    assert_eq!(seen.len(), opened.len());
}

#[test]
fn who_comes_as_the_manager_closes() {
    model("who_comes_as_the_manager_closes", false, close_against_open);
}

/// A drain waits for all that it has told, and for nobody else.
fn drain_against_open() {
    let manager = manager();
    let opener = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            set_near(1);
            let Ok(mut session) = manager.open(ClientInfo::default()) else { return 0 };
            let thread = session.own_thread().unwrap();
            let attached = session.attach(&thread).unwrap();
            // A session that nobody tells is a deadlock, and loom reports it.
            attached.block_on(pending::<()>()).expect_err("it is told");
            1
        })
    };
    let request = Terminate::new(TerminateMode::AfterStatement, Requester::system());
    let drained = manager.drain(DrainOptions::new(request.clone()).grace(LONG).timeout(LONG));
    let opened = opener.join().unwrap();
    assert_eq!((drained.sessions, drained.graceful, drained.remaining), (opened, opened, 0));
    assert!(manager.is_empty());
}

#[test]
fn who_comes_as_all_are_drained() {
    model("who_comes_as_all_are_drained", true, drain_against_open);
}
