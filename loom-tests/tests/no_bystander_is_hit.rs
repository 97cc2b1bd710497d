//! Promise 2: a request lives in the session's own record, never in the worker's, and a late one
//! finds an ended session, not its successor.

mod common;

use common::{immediate, killed, model};
use safepoint_under_loom::{Description, SessionManager, ThreadModel};

/// openGauss, hole 2: "die" is a flag of the thread, and its next session dies.
#[test]
fn next_session_dies_instead() {
    model("next_session_dies_instead", false, kill_against_hand_over);
}

fn kill_against_hand_over() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut victim = manager.open(Description::default()).unwrap();
    let mut bystander = manager.open(Description::default()).unwrap();
    let (id, other) = (victim.id(), bystander.id());
    let attached = victim.attach(&worker).unwrap();
    let killer = {
        let manager = manager.clone();
        loom::thread::spawn(move || manager.terminate(id, immediate()).unwrap())
    };
    let told = attached.detach().is_err();
    let next = bystander.attach(&worker).unwrap();
    next.check().expect("the worker's next session");
    next.detach().expect("the worker's next session");

    let receipt = killer.join().unwrap();
    assert_eq!(receipt.session(), id);
    bystander.due().expect("the worker's next session");
    assert!(told || victim.due().is_err(), "the victim is told");
    assert!(manager.session(other).is_some());
    victim.close();
    assert!(killed(&receipt));
}

/// PostgreSQL reuses process ids, openGauss slots: a stranger is killed.
#[test]
fn wrong_session_through_a_reused_id() {
    let name = "wrong_session_through_a_reused_id";
    model(name, false, kill_against_reuse);
}

fn kill_against_reuse() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let first = manager.open(Description::default()).unwrap();
    let id = first.id();
    let killer = {
        let manager = manager.clone();
        loom::thread::spawn(move || manager.terminate(id, immediate()))
    };
    drop(first);
    let successor = manager.open(Description::default()).unwrap();
    assert_ne!(successor.id(), id);
    if let Ok(receipt) = killer.join().unwrap() {
        assert_eq!(receipt.session(), id);
        assert!(receipt.poll().is_some(), "it has ended, so the receipt is complete");
    }
    successor.due().expect("the successor in the same place");
}
