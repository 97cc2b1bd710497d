//! The strongest request wins and keeps its requester.
//!
//! At the same time: an immediate termination and a deferred one.

use crate::common::{model, spawn};
use safepoint_under_loom::request::EndReason;
use safepoint_under_loom::{
    ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};

/// TiDB: the first reason wins, so a later kill is hidden.
#[test]
fn weaker_reason_hides_stronger() {
    model("the_strongest_request_wins::weaker_reason_hides_stronger", false, strong_against_weak);
}

fn strong_against_weak() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let kill = |when, text: &str| Terminate::new(when, Requester::system()).comment(text);
    let weak = {
        let (manager, kill) = (manager.clone(), kill(TerminateMode::AfterStatement, "weak"));
        spawn(move || manager.terminate(id, kill).unwrap())
    };
    let strong = manager.terminate(id, kill(TerminateMode::Immediate, "strong")).unwrap();
    let interrupt = statement.check().expect_err("the strong one is due");
    assert_eq!(interrupt.request().comment(), Some("strong"));

    let weak = weak.join().unwrap();
    let interrupt = statement.check().expect_err("it stays due");
    assert_eq!(interrupt.request().comment(), Some("strong"));
    drop(statement);
    drop(attached);
    session.close();
    for receipt in [weak, strong] {
        match receipt.try_get().expect("it has ended").reason {
            EndReason::Terminated(request) => {
                assert_eq!(request.comment(), Some("strong"))
            }
            other => panic!("{other:?}"),
        }
    }
}
