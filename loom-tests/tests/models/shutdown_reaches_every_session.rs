//! A manager that closes opens no more sessions, and a shutdown reaches each session that it has
//! opened.
//!
//! At the same time: opens in two shards, and a shutdown, a close or a drain.
//!
//! Each of the two shards is closed by itself.

use crate::common::{JoinHandle, immediate, model, spawn};
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
fn opener(manager: &SessionManager, shard: usize) -> JoinHandle<Option<Session>> {
    let manager = manager.clone();
    spawn(move || {
        set_near(shard);
        let opened = manager.open(ClientInfo::default());
        assert!(opened.as_ref().is_ok() || opened.as_ref().is_err_and(|e| *e == OpenError::Closed));
        opened.ok()
    })
}

fn open_against_shutdown_scene() {
    let manager = manager();
    let openers = [0, 1].map(|shard| opener(&manager, shard));
    let receipts = manager.shutdown(immediate());
    let opened: Vec<_> = openers.into_iter().filter_map(|opener| opener.join().unwrap()).collect();
    assert_eq!(receipts.len(), opened.len(), "a new session was missed");
    for session in opened {
        session.check().expect_err("a new session was missed");
    }
    assert!(receipts.iter().all(|receipt| receipt.try_get().is_some()));
    assert!(manager.is_empty());
    for shard in [0, 1] {
        set_near(shard);
        assert_eq!(manager.open(ClientInfo::default()).unwrap_err(), OpenError::Closed);
    }
}

#[test]
fn open_against_shutdown() {
    model(
        "shutdown_reaches_every_session::open_against_shutdown",
        false,
        open_against_shutdown_scene,
    );
}

/// What `close` promises: those that are open are seen when it returns.
fn open_against_close_scene() {
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
fn open_against_close() {
    model("shutdown_reaches_every_session::open_against_close", false, open_against_close_scene);
}

/// A drain waits for the sessions that it has reached, and for no others.
fn open_against_drain_scene() {
    let manager = manager();
    let opener = {
        let manager = manager.clone();
        spawn(move || {
            set_near(1);
            let Ok(mut session) = manager.open(ClientInfo::default()) else { return 0 };
            let thread = session.own_thread().unwrap();
            let attached = session.attach(&thread).unwrap();
            // A session that is missed is a deadlock, and loom reports it.
            attached.block_on(pending::<()>()).expect_err("the termination is due");
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
fn open_against_drain() {
    model("shutdown_reaches_every_session::open_against_drain", true, open_against_drain_scene);
}
