//! Requests to all sessions that a predicate selects.

use crate::common::{
    ENDLESS, MODELS, ParkedSession, Raises, admin, kill_now, locked, of, scope, supervised,
    thread_for, until, user, wait_until,
};
use safepoint::manager::BulkOptions;
use safepoint::request::EndReason;
use safepoint::view::{SessionInfo, SessionState};
use safepoint::{Cancel, Session, SessionManager, Terminate, TerminateMode, ThreadModel};
use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn all(_: &SessionInfo) -> bool {
    true
}

/// A slot and its session keep each other alive. Sessions that are not ended by the test end here.
struct ParkedSessions(Vec<Arc<ParkedSession>>);

impl Deref for ParkedSessions {
    type Target = [Arc<ParkedSession>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for ParkedSessions {
    fn drop(&mut self) {
        for parked in &self.0 {
            let session = locked(&parked.session).take();
            drop(session);
        }
    }
}

fn manager_with(model: ThreadModel, users: &[&str]) -> (SessionManager, ParkedSessions) {
    let manager = SessionManager::new(model);
    let parked_sessions =
        users.iter().map(|user| ParkedSession::leave(manager.open(of(user)).unwrap())).collect();
    (manager, ParkedSessions(parked_sessions))
}

#[test]
fn a_dry_run_requests_nothing_and_its_rows_can_be_ended() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann", "bob", "ann", "eve"]);
            let ann = |row: &SessionInfo| row.client.user() == "ann";
            let rows = manager.dry_run(ann, &admin("root"), BulkOptions::new());
            assert_eq!(rows.len(), 2);
            assert_eq!(manager.len(), 4);
            let mut result = manager.terminate_user("ann", kill_now(), BulkOptions::new());
            assert_eq!((result.accepted(), result.already_ended, result.changed), (2, 0, 0));
            assert!(
                result.rejected.is_empty() && result.interrupted.is_none() && !result.skipped_self
            );
            assert_eq!(until("all have ended", || result.wait_timeout(ENDLESS)), 0);
            for receipt in &result.receipts {
                assert!(rows.iter().any(|row| row.id == receipt.session()));
                assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            }
            assert_eq!(manager.len(), 2);
            // The sessions have ended, so their rows name no session.
            let result = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((result.accepted(), result.already_ended), (0, 2));
            assert_eq!(manager.len(), 2);
        }
    });
}

#[test]
fn rows_of_closed_sessions_reach_no_later_session() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let first: Vec<Session> = (0..8).map(|_| manager.open(of("ann")).unwrap()).collect();
            let rows = manager.dry_run(all, &admin("root"), BulkOptions::new());
            drop(first);
            let second: Vec<Session> = (0..8).map(|_| manager.open(of("ann")).unwrap()).collect();
            let result = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((result.accepted(), result.already_ended), (0, 8));
            for session in second {
                session.check().expect("nobody asked for its end");
            }
        }
    });
}

#[test]
fn the_requesters_session_is_skipped_by_default() {
    supervised(|| {
        for model in MODELS {
            let (manager, parked_sessions) = manager_with(model, &["ann", "ann"]);
            let own = crate::common::locked(&parked_sessions[0].session).as_ref().unwrap().id();
            let requester = user("ann").with_session(own);
            let request = || Terminate::new(TerminateMode::Immediate, requester.clone());
            let rows = manager.dry_run(all, &requester, BulkOptions::new());
            assert!(rows.len() == 1 && rows[0].id != own);
            let result = manager.terminate_where(all, request(), BulkOptions::new());
            assert!(result.accepted() == 1 && result.skipped_self);
            assert!(manager.session_info(own).is_some());
            let result = manager.terminate_where(all, request(), BulkOptions::new().include_self());
            assert!(result.accepted() == 1 && !result.skipped_self);
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn rejections_are_reported_and_the_rest_continues() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann", "bob", "ann", "bob"]);
            let request = Terminate::new(TerminateMode::Immediate, user("ann"));
            assert_eq!(manager.dry_run(all, &user("ann"), BulkOptions::new()).len(), 2);
            let result = manager.terminate_where(all, request, BulkOptions::new());
            assert_eq!((result.accepted(), result.rejected.len()), (2, 2));
            for (session, refused) in result.rejected {
                assert_eq!(refused.sqlstate(), "42501");
                assert_eq!(manager.session_info(session).unwrap().client.user(), "bob");
            }
        }
    });
}

/// The session begins another statement between the look at its row and the request.
#[test]
fn a_changed_session_is_skipped() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut session = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("slow");
            let slow = |row: &SessionInfo| {
                row.statement_text == "slow" && row.state == SessionState::Running
            };
            let rows = manager.dry_run(slow, &admin("root"), BulkOptions::new());
            assert_eq!(rows.len(), 1);
            statement.finish().unwrap();
            let strict = BulkOptions::new().only_if_unchanged();
            let result = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!((result.accepted(), result.changed), (0, 1), "idle by now");
            let statement = attached.begin().unwrap();
            // It has no text yet, and the last one's must not be taken for its own.
            assert_eq!(manager.dry_run(slow, &admin("root"), BulkOptions::new()).len(), 0);
            let statement = statement.with_text("slow");
            let result = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!(
                (result.accepted(), result.changed),
                (0, 1),
                "another statement, if the same text"
            );
            statement.check().unwrap();
            let result = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((result.accepted(), result.changed), (1, 0), "whatever it does");
            assert!(statement.check().is_err());
        }
    });
}

#[test]
fn the_predicate_decides_again_about_a_changed_session() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut session = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let mut attached = session.attach(&thread).unwrap();
            let strict = BulkOptions::new().only_if_unchanged();
            let looks = Cell::new(0);
            let attached = std::cell::RefCell::new(&mut attached);
            // It runs a statement after each of the first few looks.
            let restless = |until: u32| {
                let (looks, attached) = (&looks, &attached);
                move |_: &SessionInfo| {
                    looks.set(looks.get() + 1);
                    if looks.get() < until {
                        attached.borrow_mut().begin().unwrap().with_text("x").finish().unwrap();
                    }
                    true
                }
            };
            let result = manager.terminate_where(restless(u32::MAX), kill_now(), strict);
            assert_eq!((result.accepted(), result.changed), (0, 1));
            assert_eq!(looks.replace(0), 8);
            let result = manager.terminate_where(restless(3), kill_now(), strict);
            assert_eq!((result.accepted(), result.changed, looks.get()), (1, 0, 3));
        }
    });
}

#[test]
fn a_cancel_names_the_statement_of_its_row() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut session = manager.open(of("ann")).unwrap();
            let _idle = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("slow");
            let request = Cancel::running(user("ann"));
            let mut result = manager.cancel_user("ann", request, BulkOptions::new());
            assert_eq!((result.accepted(), result.changed), (1, 1));
            assert_eq!(result.wait_timeout(Duration::ZERO), 1);
            assert!(statement.check().is_err());
            drop(statement);
            assert_eq!(until("all have ended", || result.wait_timeout(ENDLESS)), 0);
            assert!(result.receipts[0].try_get().unwrap().cancelled);
            attached.check().unwrap();
        }
    });
}

#[test]
fn the_rate_limit_holds() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann"; 7]);
            let pause = Duration::from_millis(20);
            let start = Instant::now();
            let sweep =
                || manager.terminate_where(all, kill_now(), BulkOptions::new().batch(2, pause));
            assert_eq!(until("the sweep is through", sweep).accepted(), 7);
            assert!(start.elapsed() >= 3 * pause, "a pause after two, four and six");
            let (manager, _desks) = manager_with(model, &["ann"; 2]);
            let sweep =
                || manager.terminate_where(all, kill_now(), BulkOptions::new().batch(2, ENDLESS));
            assert_eq!(until("it is through, without a pause after the last", sweep).accepted(), 2);
        }
    });
}

#[test]
fn a_bulk_requester_can_be_interrupted_in_its_pause() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann"; 3]);
            let mut own = manager.open(of("root")).unwrap();
            let (id, thread) = (own.id(), thread_for(&manager, &own));
            let attached = own.attach(&thread).unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it pauses", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let request = Terminate::new(TerminateMode::Immediate, admin("root"));
                let ann = |row: &SessionInfo| row.client.user() == "ann";
                let result = until("its killer ends the pause", || {
                    manager.terminate_where(ann, request, BulkOptions::new().batch(1, ENDLESS))
                });
                assert_eq!(result.accepted(), 1);
                assert!(result.interrupted.unwrap().is_terminate());
            });
            assert!(attached.check().is_err());
            assert_eq!(manager.len(), 3);
        }
    });
}

#[test]
fn bulk_requests_against_churn_reach_no_other_session() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let over = AtomicBool::new(false);
            scope(|scope| {
                for user in ["ann", "bob"] {
                    let (manager, over) = (&manager, &over);
                    scope.spawn(move || {
                        while !over.load(Ordering::Relaxed) {
                            let session = manager.open(of(user)).unwrap();
                            std::thread::yield_now();
                            assert!(
                                user == "ann" || session.check().is_ok(),
                                "bob was never named"
                            );
                            drop(session);
                        }
                    });
                }
                let _over = Raises(&over);
                let mut requested = 0;
                until("fifty of ann's are told", || {
                    while requested < 50 {
                        let mut result =
                            manager.terminate_user("ann", kill_now(), BulkOptions::new());
                        let left = until("those that were told have ended", || {
                            result.wait_timeout(ENDLESS)
                        });
                        assert_eq!(left, 0);
                        requested += result.accepted();
                    }
                });
            });
            assert!(manager.is_empty());
        }
    });
}
