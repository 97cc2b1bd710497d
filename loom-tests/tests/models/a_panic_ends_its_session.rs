//! A panic ends its session and no other.
//!
//! At the same time: a termination and a panic.

use crate::common::{immediate, model, spawn};
use safepoint_under_loom::model::unwinding;
use safepoint_under_loom::request::EndReason;
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};

#[test]
fn a_panic_is_survived_by_its_session() {
    let name = "a_panic_ends_its_session::a_panic_is_survived_by_its_session";
    model(name, false, kill_against_panic);
}

fn kill_against_panic() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let mut next = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let killer = {
        let manager = manager.clone();
        spawn(move || manager.terminate(id, immediate()).ok())
    };
    let attached = session.attach(&worker).unwrap();
    unwinding(|| drop(attached));
    let interrupt = session.check().expect_err("it can't go on");
    assert!(interrupt.is_terminate());
    assert_eq!(session.close().reason, EndReason::Panicked);

    let attached = next.attach(&worker).expect("the worker lives on");
    attached.check().expect("the next session");
    drop(attached);
    if let Some(receipt) = killer.join().unwrap() {
        assert_eq!(receipt.try_get().expect("receipts complete").reason, EndReason::Panicked);
    }
}
