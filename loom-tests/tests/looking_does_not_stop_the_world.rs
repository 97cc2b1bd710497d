//! Promise 10: a snapshot holds up an open or a close by one bounded batch at most, and still
//! meets each session that is open all the while exactly once.

mod common;

use common::model;
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};

#[test]
fn a_snapshot_misses_a_session() {
    let name = "a_snapshot_misses_a_session";
    model(name, false, look_against_open_and_close);
}

fn look_against_open_and_close() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let open = || manager.open(ClientInfo::default()).unwrap();
    // Two places make a batch here. One of them falls empty, one is filled again.
    let (first, second, third, last) = (open(), open(), open(), open());
    let there = [second.id(), last.id()];
    let other = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
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
