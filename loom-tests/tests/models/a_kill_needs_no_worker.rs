//! Ending a session needs no worker, and no lock that is held for long.
//!
//! At the same time: two requesters, and no thread for the target.

use crate::common::{ParkedSession, immediate, killed, killer, model};
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};

/// openGauss: with every worker busy, a detached victim waits for one.
#[test]
fn no_worker_free_so_no_kill() {
    model("a_kill_needs_no_worker::no_worker_free_so_no_kill", true, two_killers_and_no_worker);
}

fn two_killers_and_no_worker() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let parked = ParkedSession::new(session);
    let other = killer(&manager, id);
    let mine = manager.terminate(id, immediate());
    let theirs = other.join().unwrap();
    let accepted: Vec<_> = mine.into_iter().chain(theirs).collect();
    assert!(!accepted.is_empty(), "the first of them finds it alive");
    assert!(accepted.iter().all(killed), "ended, with no thread of its own");
    assert_eq!(parked.closed(), 1, "the session is closed once");
    assert!(manager.is_empty());
}
