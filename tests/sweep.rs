//! Kill by filter.

mod common;

use common::{
    Desk, ENDLESS, MODELS, Raises, admin, eventually, kill_now, locked, of, scope, supervised,
    thread_for, until, user,
};
use safepoint::{
    Author, Cancel, Doing, HowEnded, Session, SessionManager, SessionRow, Sweep, Terminate,
    ThreadModel, When,
};
use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn all(_: &SessionRow) -> bool {
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
            let ann = |row: &SessionRow| *row.description.user == *"ann";
            let rows = manager.dry_run(ann, &admin("root"), Sweep::new());
            assert_eq!(rows.len(), 2);
            assert_eq!(manager.len(), 4);
            let mut swept = manager.terminate_user("ann", kill_now(), Sweep::new());
            assert_eq!((swept.count(), swept.gone, swept.moved_on), (2, 0, 0));
            assert!(swept.refused.is_empty() && swept.stopped.is_none() && !swept.spared_own);
            assert_eq!(until("all have ended", || swept.wait(ENDLESS)), 0);
            for receipt in &swept.receipts {
                assert!(rows.iter().any(|row| row.session == receipt.session()));
                assert!(matches!(receipt.poll().unwrap().how, HowEnded::Killed(_)));
            }
            assert_eq!(manager.len(), 2);
            // Now that they are gone their rows name nobody.
            let swept = manager.terminate_rows(&rows, kill_now(), Sweep::new());
            assert_eq!((swept.count(), swept.gone), (0, 2));
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
            let rows = manager.dry_run(all, &admin("root"), Sweep::new());
            drop(first);
            let second: Vec<Session> = (0..8).map(|_| manager.open(of("ann")).unwrap()).collect();
            let swept = manager.terminate_rows(&rows, kill_now(), Sweep::new());
            assert_eq!((swept.count(), swept.gone), (0, 8));
            for session in second {
                session.due().expect("nobody asked for its end");
            }
        }
    });
}

#[test]
fn the_authors_own_session_is_spared_unless_asked_for() {
    supervised(|| {
        for model in MODELS {
            let (manager, desks) = manager_with(model, &["ann", "ann"]);
            let own = common::locked(&desks[0].session).as_ref().unwrap().id();
            let author = Author { session: Some(own), ..user("ann") };
            let request = || Terminate::new(When::Immediate, author.clone());
            let rows = manager.dry_run(all, &author, Sweep::new());
            assert!(rows.len() == 1 && rows[0].session != own);
            let swept = manager.terminate_where(all, request(), Sweep::new());
            assert!(swept.count() == 1 && swept.spared_own);
            assert!(manager.session(own).is_some());
            let swept = manager.terminate_where(all, request(), Sweep::new().own_too());
            assert!(swept.count() == 1 && !swept.spared_own);
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn what_the_policy_refuses_is_said_and_the_rest_goes_on() {
    supervised(|| {
        for model in MODELS {
            let (manager, _desks) = manager_with(model, &["ann", "bob", "ann", "bob"]);
            let request = Terminate::new(When::Immediate, user("ann"));
            assert_eq!(manager.dry_run(all, &user("ann"), Sweep::new()).len(), 2);
            let swept = manager.terminate_where(all, request, Sweep::new());
            assert_eq!((swept.count(), swept.refused.len()), (2, 2));
            for (session, refused) in swept.refused {
                assert_eq!(refused.sqlstate(), "42501");
                assert_eq!(*manager.session(session).unwrap().description.user, *"bob");
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
            let slow = |row: &SessionRow| row.text == "slow" && row.doing == Doing::Running;
            let rows = manager.dry_run(slow, &admin("root"), Sweep::new());
            assert_eq!(rows.len(), 1);
            statement.finish().unwrap();
            let strict = Sweep::new().same_statement();
            let swept = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!((swept.count(), swept.moved_on), (0, 1), "idle by now");
            let statement = attached.begin().unwrap();
            // It has no text yet, and the last one's must not be taken for its own.
            assert_eq!(manager.dry_run(slow, &admin("root"), Sweep::new()).len(), 0);
            let statement = statement.with_text("slow");
            let swept = manager.terminate_rows(&rows, kill_now(), strict);
            assert_eq!(
                (swept.count(), swept.moved_on),
                (0, 1),
                "another statement, if the same text"
            );
            statement.check().unwrap();
            let swept = manager.terminate_rows(&rows, kill_now(), Sweep::new());
            assert_eq!((swept.count(), swept.moved_on), (1, 0), "whatever it does");
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
            let strict = Sweep::new().same_statement();
            let looks = Cell::new(0);
            let attached = std::cell::RefCell::new(&mut attached);
            // It runs a statement after each of the first few looks.
            let restless = |until: u32| {
                let (looks, attached) = (&looks, &attached);
                move |_: &SessionRow| {
                    looks.set(looks.get() + 1);
                    if looks.get() < until {
                        attached.borrow_mut().begin().unwrap().with_text("x").finish().unwrap();
                    }
                    true
                }
            };
            let swept = manager.terminate_where(restless(u32::MAX), kill_now(), strict);
            assert_eq!((swept.count(), swept.moved_on), (0, 1));
            assert_eq!(looks.replace(0), 8);
            let swept = manager.terminate_where(restless(3), kill_now(), strict);
            assert_eq!((swept.count(), swept.moved_on, looks.get()), (1, 0, 3));
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
            let mut swept = manager.cancel_user("ann", request, Sweep::new());
            assert_eq!((swept.count(), swept.moved_on), (1, 1));
            assert_eq!(swept.wait(Duration::ZERO), 1);
            assert!(statement.check().is_err());
            drop(statement);
            assert_eq!(until("all have ended", || swept.wait(ENDLESS)), 0);
            assert!(swept.receipts[0].poll().unwrap().cancelled);
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
            let sweep = || manager.terminate_where(all, kill_now(), Sweep::new().batch(2, pause));
            assert_eq!(until("the sweep is through", sweep).count(), 7);
            assert!(start.elapsed() >= 3 * pause, "a pause after two, four and six");
            let (manager, _desks) = manager_with(model, &["ann"; 2]);
            let sweep = || manager.terminate_where(all, kill_now(), Sweep::new().batch(2, ENDLESS));
            assert_eq!(until("it is through, without a pause after the last", sweep).count(), 2);
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
                    eventually("it pauses", || manager.session(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let request = Terminate::new(When::Immediate, admin("root"));
                let ann = |row: &SessionRow| *row.description.user == *"ann";
                let swept = until("its killer ends the pause", || {
                    manager.terminate_where(ann, request, Sweep::new().batch(1, ENDLESS))
                });
                assert_eq!(swept.count(), 1);
                assert!(swept.stopped.unwrap().is_terminate());
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
                            assert!(user == "ann" || session.due().is_ok(), "bob was never named");
                            drop(session);
                        }
                    });
                }
                let _over = Raises(&over);
                let mut told = 0;
                until("fifty of ann's are told", || {
                    while told < 50 {
                        let mut swept = manager.terminate_user("ann", kill_now(), Sweep::new());
                        let left = until("those that were told have ended", || swept.wait(ENDLESS));
                        assert_eq!(left, 0);
                        told += swept.count();
                    }
                });
            });
            assert!(manager.is_empty());
        }
    });
}
