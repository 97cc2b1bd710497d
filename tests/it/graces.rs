//! The grace of a deferred termination. `timeouts_in_combination` of `loom-tests` has all
//! combinations; these tests use the real thread of the timer.

use crate::common::{
    Fixture, MODELS, ParkedSession, TEST_TIMEOUT, admin, kill, locked, of, supervised, wait_until,
};
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
fn a_grace_escalates_a_deferred_termination() {
    supervised(|| {
        for model in MODELS {
            for when in [TerminateMode::AfterStatement, TerminateMode::AfterTransaction] {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let asked = Instant::now();
                let receipt = manager.terminate(id, graceful(when)).unwrap();
                let pending_mode = manager.session_info(id).unwrap().pending_mode;
                assert!(pending_mode == Some(when) || asked.elapsed() >= SHORT, "early");
                assert_grace_over(&statement.sleep(TEST_TIMEOUT).unwrap_err());
                assert!(asked.elapsed() >= SHORT, "early");
                drop(statement);
                drop(attached);
                session.close();
                assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            }
        }
    });
}

/// An immediate request starts no timer.
#[test]
fn an_immediate_termination_has_no_grace() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            manager.terminate(id, graceful(TerminateMode::Immediate)).unwrap();
            assert_eq!(manager.shutdown(graceful(TerminateMode::Immediate)).len(), 1);
            assert!(manager.threads().iter().all(|thread| &*thread.name != "timer"));
            drop(session);
        }
    });
}

/// The grace does not depend on the duration of the audit, for one request and for a shutdown.
#[test]
fn a_grace_counts_from_the_request() {
    supervised(|| {
        for model in MODELS {
            let over = Arc::new(std::sync::Mutex::new(None));
            // A panic in an audit is caught, so the audit stores its finding.
            let found = Arc::new(AtomicUsize::new(0));
            let (seen, finds) = (over.clone(), found.clone());
            let audit = move |event: &Event<'_>| {
                if let Event::InterruptRequested { session, .. } = event {
                    let manager: SessionManager = locked(&seen).clone().unwrap();
                    let pending_mode = || manager.session_info(*session).unwrap().pending_mode;
                    wait_until("its grace is over", || {
                        pending_mode() == Some(TerminateMode::Immediate)
                    });
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
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let mut session = session;
            let thread = crate::common::thread_for(&manager, &session);
            let attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            attached.detach().unwrap();
            let parked: Arc<ParkedSession> = ParkedSession::leave(session);
            manager.terminate(id, graceful(TerminateMode::AfterTransaction)).unwrap();
            wait_until("it has ended", || manager.session_info(id).is_none());
            assert_grace_over(&locked(&parked.interrupts)[0]);
        }
    });
}

/// The weaker request adds nothing now, and is the stronger one once its grace is over.
#[test]
fn a_grace_expires_under_another_request() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let other = Terminate::new(TerminateMode::AfterStatement, admin("other"));
        manager.terminate(id, other).unwrap();
        manager.terminate(id, graceful(TerminateMode::AfterTransaction)).unwrap();
        assert_grace_over(&statement.sleep(TEST_TIMEOUT).unwrap_err());
    });
}
