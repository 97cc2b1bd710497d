//! A helper's time without a safe point counts from the first probe that it has not answered.
//!
//! At the same time: two probes; a probe, and a wait, a poll or the end of a helper.

use crate::common::helpers::{Gate, in_statement, manager};
use crate::common::{JoinHandle, model, spawn};
use safepoint_under_loom::model::{set_clock, set_helper_slots};
use safepoint_under_loom::session::WaitMode;
use safepoint_under_loom::{SessionId, SessionManager, current};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn prober(manager: &SessionManager, id: SessionId) -> JoinHandle<Vec<Duration>> {
    let manager = manager.clone();
    spawn(move || manager.probe_helpers(id))
}

/// The stall has begun now, long after an earlier probe.
fn counts_from_now(unanswered: &[Duration]) {
    assert!(unanswered.iter().all(Duration::is_zero), "{unanswered:?}");
}

/// Two probes at once, long after an earlier probe was answered: neither takes the time of the
/// earlier probe for that of the other.
#[test]
fn a_probe_counts_from_an_answered_one() {
    let name = "helpers_answer_probes::a_probe_counts_from_an_answered_one";
    model(name, false, || {
        set_clock(Duration::ZERO);
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (id, handle) = (statement.id(), statement.handle("help"));
            let (probed, may_leave) = (Gate::new(), Gate::new());
            let helper = {
                let (manager, probed, may_leave) =
                    (manager.clone(), probed.clone(), may_leave.clone());
                spawn(move || {
                    let helper = handle.enter().expect("nobody has cancelled it");
                    assert!(manager.probe_helpers(id).is_empty(), "it is the first");
                    helper.check().expect("nobody has cancelled it");
                    set_clock(Duration::from_secs(10));
                    probed.open();
                    may_leave.wait();
                })
            };
            probed.wait();
            let other = prober(&manager, id);
            counts_from_now(&manager.probe_helpers(id));
            counts_from_now(&other.join().unwrap());
            may_leave.open();
            helper.join().unwrap();
        });
    });
}

/// A probe during a safe point. That safe point or the next one answers it.
#[test]
fn a_probe_against_a_safe_point() {
    let name = "helpers_answer_probes::a_probe_against_a_safe_point";
    model(name, false, || {
        set_clock(Duration::ZERO);
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (id, handle) = (statement.id(), statement.handle("help"));
            let helpers = manager.clone();
            let helper = spawn(move || {
                let helper = handle.enter().expect("nobody has cancelled it");
                let prober = prober(&helpers, id);
                current::try_check().expect("it helps").expect("nobody has cancelled it");
                assert!(prober.join().unwrap().is_empty(), "it is the first");
                helper.check().expect("nobody has cancelled it");
                let last = helpers.helpers(id)[0].last_safe_point;
                assert!(last.is_some(), "the probe was lost");
                set_clock(Duration::from_secs(10));
                assert!(helpers.probe_helpers(id).is_empty(), "it was answered");
            });
            helper.join().unwrap();
        });
    });
}

/// A probe as the helper begins to wait. The wait is no stall, and the next one begins after it.
#[test]
fn a_probe_against_a_wait() {
    model("helpers_answer_probes::a_probe_against_a_wait", true, || {
        set_clock(Duration::ZERO);
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (id, handle) = (statement.id(), statement.handle("help"));
            let helpers = manager.clone();
            let helper = spawn(move || {
                let _helper = handle.enter().expect("nobody has cancelled it");
                let prober = prober(&helpers, id);
                let waits = || {
                    prober.join().unwrap();
                    set_clock(Duration::from_secs(10));
                    assert!(helpers.probe_helpers(id).is_empty(), "it waits");
                };
                current::wait(WaitMode::Interruptible, Waker::noop(), waits).unwrap();
                counts_from_now(&helpers.probe_helpers(id));
            });
            helper.join().unwrap();
        });
    });
}

/// A probe at the end of a poll. The time until the next poll is no stall.
#[test]
fn a_probe_against_a_poll() {
    model("helpers_answer_probes::a_probe_against_a_poll", true, || {
        set_clock(Duration::ZERO);
        set_helper_slots(0);
        let manager = manager();
        in_statement(&manager, |statement| {
            let id = statement.id();
            let (probers, mut running) = (manager.clone(), None);
            let (started, starts) = loom::sync::mpsc::channel();
            let mut task = Box::pin(statement.handle("help").wrap_future(poll_fn(move |_| {
                if running.replace(()).is_none() {
                    started.send(prober(&probers, id)).unwrap();
                } else {
                    counts_from_now(&probers.probe_helpers(id));
                }
                Poll::<()>::Pending
            })));
            let mut context = Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(&mut context).is_pending());
            starts.recv().unwrap().join().unwrap();
            set_clock(Duration::from_secs(10));
            assert!(manager.probe_helpers(id).is_empty(), "it is on no thread");
            assert!(task.as_mut().poll(&mut context).is_pending());
        });
    });
}

/// A probe as the helper leaves. The next helper with this slot was not probed.
#[test]
fn a_probe_against_the_next_helper() {
    model("helpers_answer_probes::a_probe_against_the_next_helper", true, || {
        set_clock(Duration::ZERO);
        set_helper_slots(1);
        let manager = manager();
        in_statement(&manager, |statement| {
            let (id, handle) = (statement.id(), statement.handle("help"));
            let helpers = manager.clone();
            let helper = spawn(move || {
                let first = handle.enter().expect("nobody has cancelled it");
                let prober = prober(&helpers, id);
                drop(first);
                prober.join().unwrap();
                set_clock(Duration::from_secs(10));
                let _next = handle.enter().expect("nobody has cancelled it");
                counts_from_now(&helpers.probe_helpers(id));
            });
            helper.join().unwrap();
        });
    });
}
