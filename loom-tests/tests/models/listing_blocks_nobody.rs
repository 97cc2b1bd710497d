//! A list of the sessions blocks an open or a close for one bounded batch at most, and contains
//! each session that is open throughout exactly once.
//!
//! At the same time: a list of sessions, and opens and closes.

use crate::common::{model, spawn};
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};

#[test]
fn a_snapshot_misses_a_session() {
    let name = "listing_blocks_nobody::a_snapshot_misses_a_session";
    model(name, false, list_against_open_and_close);
}

fn list_against_open_and_close() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let open = || manager.open(ClientInfo::default()).unwrap();
    // A batch has two entries here. One of them becomes empty, and one is filled again.
    let (first, second, third, last) = (open(), open(), open(), open());
    let there = [second.id(), last.id()];
    let other = {
        let manager = manager.clone();
        spawn(move || {
            drop(first);
            drop(third);
            drop(manager.open(ClientInfo::default()).unwrap());
        })
    };
    let seen: Vec<_> = manager.sessions().map(|row| row.id).collect();
    for id in there {
        assert_eq!(seen.iter().filter(|seen| **seen == id).count(), 1, "exactly once");
    }
    other.join().unwrap();
    assert_eq!(manager.len(), 2);
}
