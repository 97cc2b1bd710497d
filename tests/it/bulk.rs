//! Requests to all sessions that a predicate selects.

use crate::common::{
    Desk, ENDLESS, MODELS, Raises, admin, eventually, kill_now, locked, of, scope, supervised,
    thread_for, until, user,
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

/// A desk and the session on it hold each other; those that nobody has ended end here.
struct Desks(Vec<Arc<Desk>>);

impl Deref for Desks {
    type Target = [Arc<Desk>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Desks {
    fn drop(&mut self) {
        for desk in &self.0 {
            let session = locked(&desk.session).take();
            drop(session);
        }
    }
}

fn manager_with(model: ThreadModel, users: &[&str]) -> (SessionManager, Desks) {
    let manager = SessionManager::new(model);
    let desks = users.iter().map(|user| Desk::leave(manager.open(of(user)).unwrap())).collect();
    (manager, Desks(desks))
}

#[test]
fn a_dry_run_tells_nobody_and_the_sweep_tells_just_these() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann", "bob", "ann", "eve"]);
            let ann = |row: &SessionInfo| row.client.user() == "ann";
            let rows = manager.dry_run(ann, &admin("root"), BulkOptions::new());
            assert_eq!(rows.len(), 2);
            assert_eq!(manager.len(), 4);
            let mut swept = manager.terminate_user("ann", kill_now(), BulkOptions::new());
            assert_eq!((swept.accepted(), swept.already_ended, swept.changed), (2, 0, 0));
            assert!(
                swept.rejected.is_empty() && swept.interrupted.is_none() && !swept.skipped_self
            );
            assert_eq!(until("all have ended", || swept.wait_timeout(ENDLESS)), 0);
            for receipt in &swept.receipts {
                assert!(rows.iter().any(|row| row.id == receipt.session()));
                assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
            }
            assert_eq!(manager.len(), 2);
            // Now that they are gone their rows name nobody.
            let swept = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((swept.accepted(), swept.already_ended), (0, 2));
            assert_eq!(manager.len(), 2);
        }
    });
}

#[test]
fn rows_of_the_closed_do_not_hit_their_successors() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let first: Vec<Session> = (0..8).map(|_| manager.open(of("ann")).unwrap()).collect();
            let rows = manager.dry_run(all, &admin("root"), BulkOptions::new());
            drop(first);
            let second: Vec<Session> = (0..8).map(|_| manager.open(of("ann")).unwrap()).collect();
            let swept = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((swept.accepted(), swept.already_ended), (0, 8));
            for session in second {
                session.check().expect("nobody asked for its end");
            }
        }
    });
}

#[test]
fn the_authors_own_session_is_spared_unless_asked_for() {
    supervised(|| {
        for model in MODELS {
            let (manager, desks) = manager_with(model, &["ann", "ann"]);
            let own = crate::common::locked(&desks[0].session).as_ref().unwrap().id();
            let author = user("ann").with_session(own);
            let request = || Terminate::new(TerminateMode::Immediate, author.clone());
            let rows = manager.dry_run(all, &author, BulkOptions::new());
            assert!(rows.len() == 1 && rows[0].id != own);
            let swept = manager.terminate_where(all, request(), BulkOptions::new());
            assert!(swept.accepted() == 1 && swept.skipped_self);
            assert!(manager.session_info(own).is_some());
            let swept = manager.terminate_where(all, request(), BulkOptions::new().include_self());
            assert!(swept.accepted() == 1 && !swept.skipped_self);
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn what_the_policy_refuses_is_said_and_the_rest_goes_on() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann", "bob", "ann", "bob"]);
            let request = Terminate::new(TerminateMode::Immediate, user("ann"));
            assert_eq!(manager.dry_run(all, &user("ann"), BulkOptions::new()).len(), 2);
            let swept = manager.terminate_where(all, request, BulkOptions::new());
            assert_eq!((swept.accepted(), swept.rejected.len()), (2, 2));
            for (session, refused) in swept.rejected {
                assert_eq!(refused.sqlstate(), "42501");
                assert_eq!(manager.session_info(session).unwrap().client.user(), "bob");
            }
        }
    });
}

/// The session begins another statement between the look at its row and the request.
#[test]
fn one_that_has_moved_on_is_not_hit_for_what_it_did() {
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
            let swept = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!((swept.accepted(), swept.changed), (0, 1), "idle by now");
            let statement = attached.begin().unwrap();
            // It has no text yet, and the last one's must not be taken for its own.
            assert_eq!(manager.dry_run(slow, &admin("root"), BulkOptions::new()).len(), 0);
            let statement = statement.with_text("slow");
            let swept = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!(
                (swept.accepted(), swept.changed),
                (0, 1),
                "another statement, if the same text"
            );
            statement.check().unwrap();
            let swept = manager.terminate_rows(&rows, kill_now(), BulkOptions::new());
            assert_eq!((swept.accepted(), swept.changed), (1, 0), "whatever it does");
            assert!(statement.check().is_err());
        }
    });
}

#[test]
fn the_predicate_is_asked_again_about_one_that_moves_on() {
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
            let swept = manager.terminate_where(restless(u32::MAX), kill_now(), strict);
            assert_eq!((swept.accepted(), swept.changed), (0, 1));
            assert_eq!(looks.replace(0), 8);
            let swept = manager.terminate_where(restless(3), kill_now(), strict);
            assert_eq!((swept.accepted(), swept.changed, looks.get()), (1, 0, 3));
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
            let mut swept = manager.cancel_user("ann", request, BulkOptions::new());
            assert_eq!((swept.accepted(), swept.changed), (1, 1));
            assert_eq!(swept.wait_timeout(Duration::ZERO), 1);
            assert!(statement.check().is_err());
            drop(statement);
            assert_eq!(until("all have ended", || swept.wait_timeout(ENDLESS)), 0);
            assert!(swept.receipts[0].try_get().unwrap().cancelled);
            attached.check().unwrap();
        }
    });
}

#[test]
fn a_rate_is_kept_and_nobody_is_told_before_their_turn() {
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
fn a_sweeper_can_be_killed_in_its_pause() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann"; 3]);
            let mut own = manager.open(of("root")).unwrap();
            let (id, thread) = (own.id(), thread_for(&manager, &own));
            let attached = own.attach(&thread).unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    eventually("it pauses", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let request = Terminate::new(TerminateMode::Immediate, admin("root"));
                let ann = |row: &SessionInfo| row.client.user() == "ann";
                let swept = until("its killer ends the pause", || {
                    manager.terminate_where(ann, request, BulkOptions::new().batch(1, ENDLESS))
                });
                assert_eq!(swept.accepted(), 1);
                assert!(swept.interrupted.unwrap().is_terminate());
            });
            assert!(attached.check().is_err());
            assert_eq!(manager.len(), 3);
        }
    });
}

#[test]
fn sweeps_against_churn_hit_nobody_else() {
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
                let mut told = 0;
                until("fifty of ann's are told", || {
                    while told < 50 {
                        let mut swept =
                            manager.terminate_user("ann", kill_now(), BulkOptions::new());
                        let left = until("those that were told have ended", || {
                            swept.wait_timeout(ENDLESS)
                        });
                        assert_eq!(left, 0);
                        told += swept.accepted();
                    }
                });
            });
            assert!(manager.is_empty());
        }
    });
}
