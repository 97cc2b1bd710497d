//! A probe is answered by its own session or not at all, and takes no request away.
//!
//! At the same time: a probe and a detach; its answer and a termination; two probes.

use crate::common::{immediate, killed, killer, model, spawn};
use safepoint_under_loom::diagnose::ProbeResult;
use safepoint_under_loom::model::set_clock;
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel};
use std::time::Duration;

#[test]
fn a_probe_sticks_or_strays() {
    model("probe_against_detach::a_probe_sticks_or_strays", false, probe_against_detach);
}

fn probe_against_detach() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let [one, two] = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let mut bystander = manager.open(ClientInfo::default()).unwrap();
    let (id, other) = (session.id(), bystander.id());
    let (running, runs) = loom::sync::mpsc::channel();
    let runner = spawn(move || {
        let attached = session.attach(&one).unwrap();
        running.send(()).unwrap();
        attached.detach().unwrap();
        // The worker's next session passes safe points of its own.
        let next = bystander.attach(&one).unwrap();
        next.check().unwrap();
        next.detach().unwrap();
        (session, bystander)
    });
    runs.recv().unwrap();
    let probed = manager.probe(id);
    let (mut session, _bystander) = runner.join().unwrap();
    assert!(matches!(
        probed,
        Some(ProbeResult::NotRunning | ProbeResult::Requested { last_safe_point: None, .. })
    ));

    assert_eq!(manager.probe(id), Some(ProbeResult::NotRunning), "no thread runs it");
    let last_safe_point = |id| manager.session_info(id).unwrap().last_safe_point;
    assert_eq!(last_safe_point(other), None, "no probe was sent to it");
    let attached = session.attach(&two).unwrap();
    assert!(was_requested(manager.probe(id)), "no probe was left");
    attached.check().unwrap();
    assert!(last_safe_point(id).is_some());
    drop(attached);
    session.close();
    assert_eq!(manager.probe(id), None);
}

fn was_requested(probed: Option<ProbeResult>) -> bool {
    matches!(probed, Some(ProbeResult::Requested { last_safe_point: None, .. }))
}

/// The safe point clears the probe and leaves a kill that arrives at that moment where it is.
#[test]
fn a_probe_is_answered_before_a_kill() {
    let name = "probe_against_detach::a_probe_is_answered_before_a_kill";
    model(name, true, answer_against_kill);
}

fn answer_against_kill() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    assert!(was_requested(manager.probe(id)));
    let killer = killer(&manager, id);
    let interrupted = attached.check().is_err();
    assert!(manager.session_info(id).unwrap().last_safe_point.is_some(), "it was answered");
    let receipt = killer.join().unwrap().expect("it is alive");
    assert!(interrupted || attached.check().is_err(), "the kill was lost");
    drop(attached);
    session.close();
    assert!(killed(&receipt));
    manager.terminate(id, immediate()).expect_err("it has ended");
}

/// Two probes at once, long after an earlier probe was answered: neither takes the time of the
/// earlier probe for that of the other.
#[test]
fn a_probe_counts_from_an_answered_one() {
    model("probe_against_detach::a_probe_counts_from_an_answered_one", false, probe_against_probe);
}

fn probe_against_probe() {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    assert!(was_requested(manager.probe(id)));
    attached.check().unwrap();
    set_clock(Duration::from_secs(10));
    let other = {
        let manager = manager.clone();
        spawn(move || manager.probe(id))
    };
    for probed in [manager.probe(id), other.join().unwrap()] {
        match probed {
            Some(ProbeResult::Requested { .. }) => {}
            Some(ProbeResult::Unanswered { elapsed, .. }) => assert_eq!(elapsed, Duration::ZERO),
            other => panic!("a thread runs it: {other:?}"),
        }
    }
}
