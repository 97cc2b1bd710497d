//! The grace of a deferred termination. `timeouts_in_combination` of `loom-tests` has all
//! combinations; these tests use the real thread of the timer.

use crate::common::{Desk, LONG, MODELS, Stage, admin, eventually, kill, locked, of, supervised};
use safepoint::audit::Event;
use safepoint::request::EndReason;
use safepoint::{Interrupt, SessionManager, Terminate, TerminateMode, ThreadModel};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn graceful(when: TerminateMode) -> Terminate {
    kill(when).grace(SHORT)
}

#[track_caller]
fn assert_grace_over(interrupt: &Interrupt) {
    assert!(interrupt.is_terminate());
    assert_eq!(*interrupt.request().requester(), admin("root"));
    assert_eq!(interrupt.request().comment(), Some("because"));
}

#[test]
fn a_grace_turns_a_deferred_kill_into_an_immediate_one() {
    supervised(|| {
        for model in MODELS {
            for when in [TerminateMode::AfterStatement, TerminateMode::AfterTransaction] {
                let Stage { manager, mut session, thread, id } = Stage::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let asked = Instant::now();
                let receipt = manager.terminate(id, graceful(when)).unwrap();
                let told = manager.session_info(id).unwrap().pending_mode;
                assert!(told == Some(when) || asked.elapsed() >= SHORT, "early");
                assert_grace_over(&statement.sleep(LONG).unwrap_err());
                assert!(asked.elapsed() >= SHORT, "early");
                drop(statement);
                drop(attached);
                session.close();
                assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            }
        }
    });
}

/// It needs no timer, and a session that is told to end at once is not given one.
#[test]
fn an_immediate_termination_has_no_grace() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, session, id, .. } = Stage::new(model);
            manager.terminate(id, graceful(TerminateMode::Immediate)).unwrap();
            assert_eq!(manager.shutdown(graceful(TerminateMode::Immediate)).len(), 1);
            assert!(manager.threads().iter().all(|thread| &*thread.name != "timer"));
            drop(session);
        }
    });
}

/// However long the audit takes that hears of it, and whether one is told or all are.
#[test]
fn a_grace_counts_from_the_request() {
    supervised(|| {
        for model in MODELS {
            let over = Arc::new(std::sync::Mutex::new(None));
            // What an audit panics of is lost, so it says what it has found.
            let found = Arc::new(AtomicUsize::new(0));
            let (seen, finds) = (over.clone(), found.clone());
            let audit = move |event: &Event<'_>| {
                if let Event::InterruptRequested { session, .. } = event {
                    let manager: SessionManager = locked(&seen).clone().unwrap();
                    let told = || manager.session_info(*session).unwrap().pending_mode;
                    eventually("its grace is over", || told() == Some(TerminateMode::Immediate));
                    finds.fetch_add(1, Ordering::SeqCst);
                }
            };
            let manager = SessionManager::builder(model).audit(audit).build();
            *locked(&over) = Some(manager.clone());
            let session = manager.open(of("ann")).unwrap();
            manager.terminate(session.id(), graceful(TerminateMode::AfterTransaction)).unwrap();
            assert_eq!(found.load(Ordering::SeqCst), 1);
            session.close();
            let session = manager.open(of("ann")).unwrap();
            assert_eq!(manager.shutdown(graceful(TerminateMode::AfterTransaction)).len(), 1);
            assert_eq!(found.load(Ordering::SeqCst), 2);
            drop(session);
            *locked(&over) = None;
        }
    });
}

#[test]
fn a_grace_ends_an_idle_transaction() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, session, id, .. } = Stage::new(model);
            let mut session = session;
            let thread = crate::common::thread_for(&manager, &session);
            let attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            attached.detach().unwrap();
            let desk: Arc<Desk> = Desk::leave(session);
            manager.terminate(id, graceful(TerminateMode::AfterTransaction)).unwrap();
            eventually("it has ended", || manager.session_info(id).is_none());
            assert_grace_over(&locked(&desk.told)[0]);
        }
    });
}

/// The weaker request adds nothing now, and is the stronger one once its grace is over.
#[test]
fn a_grace_runs_out_under_another_request() {
    supervised(|| {
        let Stage { manager, mut session, thread, id } = Stage::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let other = Terminate::new(TerminateMode::AfterStatement, admin("other"));
        manager.terminate(id, other).unwrap();
        manager.terminate(id, graceful(TerminateMode::AfterTransaction)).unwrap();
        assert_grace_over(&statement.sleep(LONG).unwrap_err());
    });
}
