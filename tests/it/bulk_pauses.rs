//! Bulk requests with pauses: changes during a pause, the sessions that count for a batch, and the
//! sessions that older rows name.

use crate::common::{
    ENDLESS, Fixture, MODELS, Raises, admin, assert_terminated, each_model, locked, of, scope,
    supervised, thread_for, until, user, wait_until,
};
use safepoint::audit::Event;
use safepoint::manager::{BulkOptions, BulkResult};
use safepoint::request::RequestError;
use safepoint::view::SessionInfo;
use safepoint::{
    Cancel, Receipt, Requester, Session, SessionId, SessionManager, Terminate, TerminateMode,
    ThreadModel,
};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(1);

fn now(by: &Requester) -> Terminate {
    Terminate::new(TerminateMode::Immediate, by.clone())
}

fn all(_: &SessionInfo) -> bool {
    true
}

fn is(name: &str, row: &SessionInfo) -> bool {
    row.client.user() == name
}

/// Opens sessions of these users, in the order in which a bulk request reads them.
fn opened<const N: usize>(model: ThreadModel, users: [&str; N]) -> (SessionManager, [Session; N]) {
    let manager = SessionManager::new(model);
    let sessions = users.map(|user| manager.open(of(user)).unwrap());
    let ids: Vec<_> = manager.sessions().map(|row| row.id).collect();
    assert_eq!(ids, sessions.each_ref().map(Session::id));
    (manager, sessions)
}

fn targets<T: Clone>(result: &BulkResult<T>) -> Vec<SessionId> {
    result.receipts.iter().map(Receipt::session).collect()
}

/// The counts of the other sessions: already ended, changed and rejected, and whether the
/// requester's own session was skipped.
fn others<T>(result: &BulkResult<T>) -> (usize, usize, usize, bool) {
    (result.already_ended, result.changed, result.rejected.len(), result.skipped_self)
}

/// A change of the session between its row and the end of the pause counts.
#[test]
fn the_predicate_is_called_again_after_a_pause() {
    supervised(|| {
        for model in MODELS {
            let (manager, [first, slow, last]) = opened(model, ["ann", "bob", "eve"]);
            let mut slow = slow;
            let (id, thread) = (slow.id(), thread_for(&manager, &slow));
            let attached = RefCell::new(slow.attach(&thread).unwrap());
            std::mem::forget(attached.borrow_mut().begin().unwrap().with_text("slow"));
            let looks = RefCell::new(Vec::new());
            let predicate = |row: &SessionInfo| {
                looks.borrow_mut().push(row.id);
                let holds = row.id != id || row.statement_text == "slow";
                if row.id == id && holds {
                    attached.borrow_mut().begin().unwrap().with_text("quick").finish().unwrap();
                }
                holds
            };
            let sweep = BulkOptions::new().batch(1, PAUSE);
            let result = manager.terminate_where(predicate, now(&admin("root")), sweep);
            assert_eq!(targets(&result), [first.id(), last.id()]);
            assert_eq!(others(&result), (0, 0, 0, false));
            let expected = [first.id(), id, id, last.id()];
            assert_eq!(looks.into_inner(), expected, "the last one's turn has not been delayed");
            attached.borrow().check().expect("what it does now was not meant");
        }
    });
}

/// Its turn comes after the pause, when it is another's session, has ended, or does something else.
#[test]
fn a_session_that_changes_user_in_the_pause() {
    supervised(|| {
        for model in MODELS {
            for ends in [false, true] {
                let (manager, [first, second, third]) = opened(model, ["ann"; 3]);
                let (id, rest) = (second.id(), [first.id(), third.id()]);
                let second = RefCell::new(Some(second));
                let asked = Cell::new(0);
                let predicate = |row: &SessionInfo| {
                    let holds = is("ann", row);
                    if row.id == id {
                        asked.set(asked.get() + 1);
                        let session = second.borrow_mut().take();
                        if let Some(session) = session {
                            session.update_client_info(|about| about.with_user("bob"));
                            *second.borrow_mut() = Some(session).filter(|_| !ends);
                        }
                    }
                    holds
                };
                let sweep = BulkOptions::new().batch(1, PAUSE);
                let result = manager.terminate_where(predicate, now(&admin("root")), sweep);
                assert_eq!(targets(&result), rest);
                assert_eq!(others(&result), (usize::from(ends), 0, 0, false));
                assert_eq!(asked.get(), if ends { 1 } else { 2 });
                if let Some(bobs) = second.into_inner() {
                    bobs.check().expect("bob was not meant");
                }
            }
        }
    });
}

/// With `only_if_unchanged` the row after the pause counts.
#[test]
fn a_session_that_changes_in_the_pause_and_still_matches() {
    supervised(|| {
        for model in MODELS {
            for cancels in [false, true] {
                let (manager, [mut first, mut second]) = opened(model, ["ann"; 2]);
                let ids = [first.id(), second.id()];
                let threads = [&first, &second].map(|session| thread_for(&manager, session));
                let over = AtomicBool::new(false);
                scope(|scope| {
                    // Each has a thread of the system to itself.
                    let over = &over;
                    let [thread, other] = threads;
                    let manager = &manager;
                    let raises = Raises(over);
                    scope.spawn(move || {
                        let thread = thread;
                        let mut attached = first.attach(&thread).unwrap();
                        let statement = attached.begin().unwrap();
                        let over = || over.load(Ordering::SeqCst);
                        wait_until("the sweep is over", over);
                        assert!(statement.check().is_err());
                    });
                    let begun = || manager.session_info(ids[0]).unwrap().statement_id.is_some();
                    wait_until("the first one runs a statement", begun);
                    let mut attached = second.attach(&other).unwrap();
                    std::mem::forget(attached.begin().unwrap());
                    let (attached, looks) = (RefCell::new(attached), Cell::new(0));
                    let predicate = |row: &SessionInfo| {
                        if row.id == ids[1] {
                            looks.set(looks.get() + 1);
                            if looks.get() == 1 {
                                std::mem::forget(attached.borrow_mut().begin().unwrap());
                            }
                        }
                        true
                    };
                    let sweep = BulkOptions::new().batch(1, PAUSE).only_if_unchanged();
                    let outcome = if cancels {
                        let cancel = Cancel::running(admin("root"));
                        let result = manager.cancel_where(predicate, cancel, sweep);
                        (targets(&result), others(&result))
                    } else {
                        let result = manager.terminate_where(predicate, now(&admin("root")), sweep);
                        (targets(&result), others(&result))
                    };
                    assert_eq!(outcome, (ids.to_vec(), (0, 0, 0, false)));
                    assert_eq!(looks.get(), 2, "before the pause, and after it");
                    assert!(attached.borrow().check().is_err());
                    drop(raises);
                });
            }
        }
    });
}

/// The rows of a dry run. Among them are the requester's own session, a session that the requester
/// may not end, and a session that has ended. Only accepted requests count for a batch.
#[test]
fn rows_of_all_kinds() {
    supervised(|| {
        for model in MODELS {
            let users = ["own", "bob", "own", "gone", "own", "bob", "own"];
            for own in [0, 2, 6] {
                let (manager, sessions) = opened(model, users);
                let mut sessions = Vec::from(sessions);
                let requester = user("own").with_session(sessions[own].id());
                let rows: Vec<_> = manager.sessions().collect();
                let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
                drop(sessions.remove(3));
                let refused = [1, 5].map(|at| (ids[at], RequestError::PermissionDenied(ids[at])));
                let meant = [0, 2, 4, 6].into_iter().filter(|at| *at != own);
                let meant: Vec<_> = meant.map(|at| ids[at]).collect();
                // Three requests are accepted, and no fourth.
                let sweep = BulkOptions::new().batch(4, ENDLESS);
                let sweeps = || manager.terminate_rows(&rows, now(&requester), sweep);
                let result = until("it is through, without a pause", sweeps);
                assert_eq!(targets(&result), meant);
                assert_eq!(result.rejected, refused);
                assert_eq!(others(&result), (1, 0, 2, true));
                assert!(result.interrupted.is_none());
                for session in &sessions {
                    assert_eq!(session.check().is_err(), meant.contains(&session.id()));
                }
                let own_too = BulkOptions::new().include_self();
                let result = manager.terminate_rows(&rows, now(&requester), own_too);
                assert_eq!(targets(&result).len(), 4);
                assert!(targets(&result).contains(&ids[own]));
                assert_eq!(others(&result), (1, 0, 2, false));
            }
        }
    });
}

/// The same for `terminate_where`. Sessions that do not match are neither skipped nor rejected.
#[test]
fn targets_of_all_kinds() {
    supervised(|| {
        for model in MODELS {
            let (manager, sessions) = opened(model, ["own", "bob", "own", "bob", "own"]);
            let ids = sessions.each_ref().map(Session::id);
            let requester = user("own").with_session(ids[2]);
            let (all_but, sweep) = (all, BulkOptions::new().batch(2, ENDLESS));
            let dry = |sweep| {
                let rows = manager.dry_run(all_but, &requester, sweep);
                rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
            };
            assert_eq!(dry(sweep), [ids[0], ids[4]], "whom it would tell");
            assert_eq!(dry(sweep.include_self()), [ids[0], ids[2], ids[4]]);
            let bobs = |row: &SessionInfo| is("bob", row);
            let sweeps = || manager.terminate_where(bobs, now(&requester), sweep);
            let result = until("it is through", sweeps);
            assert_eq!((targets(&result), others(&result)), (vec![], (0, 0, 2, false)));
            let looks = Cell::new(0);
            let counts = |_: &SessionInfo| {
                looks.set(looks.get() + 1);
                true
            };
            let sweeps = || manager.terminate_where(counts, now(&requester), sweep);
            let result = until("it is through, without a pause", sweeps);
            assert_eq!(
                (targets(&result), others(&result)),
                (vec![ids[0], ids[4]], (0, 0, 2, true))
            );
            assert_eq!(
                result.rejected,
                [1, 3].map(|at| (ids[at], RequestError::PermissionDenied(ids[at])))
            );
            assert_eq!(looks.get(), 5, "each is looked at once");
            sessions[2].check().expect("it was spared");
            // None of them runs a statement.
            let cancel = Cancel::running(requester.clone());
            let result = manager.cancel_user("own", cancel, BulkOptions::new());
            assert_eq!((targets(&result), others(&result)), (vec![], (0, 2, 0, true)));
        }
    });
}

/// After an interrupt the remaining sessions are neither checked nor requested to end.
#[test]
fn a_bulk_request_stopped_in_its_pause() {
    supervised(|| {
        for by_rows in [false, true] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let others = [(); 4].map(|()| manager.open(of("bob")).unwrap());
                let attached = session.attach(&thread).unwrap();
                let rows: Vec<_> = manager.sessions().filter(|row| is("bob", row)).collect();
                let looks = Cell::new(0);
                let result = scope(|scope| {
                    let manager = &manager;
                    scope.spawn(move || {
                        wait_until("it pauses", || manager.session_info(id).unwrap().waiting);
                        manager.terminate(id, now(&admin("dba"))).unwrap();
                    });
                    let bobs = |row: &SessionInfo| {
                        looks.set(looks.get() + 1);
                        is("bob", row)
                    };
                    let (request, sweep) =
                        (now(&admin("root")), BulkOptions::new().batch(2, ENDLESS));
                    until("its killer ends the pause", || match by_rows {
                        true => manager.terminate_rows(&rows, request, sweep),
                        false => manager.terminate_where(bobs, request, sweep),
                    })
                });
                let told_two = [others[0].id(), others[1].id()];
                assert_eq!(targets(&result), told_two);
                assert_eq!(self::others(&result), (0, 0, 0, false));
                let stopped = result.interrupted.expect("it says so");
                assert_terminated(&stopped);
                assert_eq!(*stopped.request().requester(), admin("dba"));
                // Its own session, two accepted targets, and the session before which it paused.
                assert_eq!(looks.get(), if by_rows { 0 } else { 4 });
                for other in &others {
                    assert_eq!(other.check().is_err(), told_two.contains(&other.id()));
                }
                attached.check().unwrap_err();
            });
        }
    });
}

/// There is a pause after each batch, and no request is sent before its end.
#[test]
fn pauses_follow_full_batches() {
    supervised(|| {
        let pause = Duration::from_millis(10);
        for model in MODELS {
            for (batch, size) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
                let times = Arc::new(Mutex::new(Vec::new()));
                let hears = times.clone();
                let audit = move |event: &Event<'_>| {
                    if let Event::InterruptRequested { .. } = event {
                        locked(&hears).push(Instant::now());
                    }
                };
                let manager = SessionManager::builder(model).audit(audit).build();
                let _sessions = [(); 7].map(|()| manager.open(of("ann")).unwrap());
                let _theirs = [(); 3].map(|()| manager.open(of("bob")).unwrap());
                let (mut own, began) = (manager.open(of("root")).unwrap(), Instant::now());
                let thread = thread_for(&manager, &own);
                let attached = own.attach(&thread).unwrap();
                let sweep = BulkOptions::new().batch(batch, pause);
                let requester = attached.requester().with_admin(true);
                let sweeps = || manager.terminate_user("ann", now(&requester), sweep);
                assert_eq!(until("it is through", sweeps).accepted(), 7);
                let times = locked(&times);
                for at in (size..7).step_by(size) {
                    assert!(times[at] - times[at - 1] >= pause, "before target {at} of {batch}");
                }
                assert!(times[0] >= began);
            }
        }
    });
}

/// The wait covers all accepted requests, and returns the number of targets that have not ended.
#[test]
fn waiting_for_a_bulk_request() {
    supervised(|| {
        for model in MODELS {
            let (manager, [first, second, third]) = opened(model, ["ann", "bob", "eve"]);
            let mut result = manager.terminate_where(all, now(&admin("root")), BulkOptions::new());
            assert_eq!(until("its limit is over", || result.wait_timeout(Duration::ZERO)), 3);
            drop(second);
            assert_eq!(until("its limit is over", || result.wait_timeout(PAUSE)), 2);
            let (returns, returned) = mpsc::channel();
            scope(|scope| {
                scope.spawn(move || {
                    let returned = returned.recv_timeout(20 * PAUSE);
                    assert_eq!(returned, Err(RecvTimeoutError::Timeout), "two have not ended");
                    drop(third);
                    drop(first);
                });
                assert_eq!(until("all have ended", || result.wait_timeout(ENDLESS)), 0);
                let _ = returns.send(());
            });
            assert!(result.receipts.iter().all(|receipt| receipt.try_get().is_some()));
        }
    });
}

/// Names that begin alike are others.
#[test]
fn users_are_compared_by_their_whole_name() {
    supervised(|| {
        for model in MODELS {
            let (manager, sessions) = opened(model, ["an", "ann", "anna", "Ann", ""]);
            let id = sessions[1].id();
            let cancel = Cancel::running(admin("root"));
            let result = manager.cancel_user("ann", cancel, BulkOptions::new());
            assert_eq!((targets(&result), others(&result)), (vec![], (0, 1, 0, false)));
            let result = manager.terminate_user("ann", now(&admin("root")), BulkOptions::new());
            assert_eq!((targets(&result), others(&result)), (vec![id], (0, 0, 0, false)));
        }
    });
}

/// A cancel names the statement of the row; a statement in the request is ignored.
#[test]
fn a_cancel_reaches_no_other_statement() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = RefCell::new(session.attach(&thread).unwrap());
            std::mem::forget(attached.borrow_mut().begin().unwrap().with_text("slow"));
            for (text, expected) in [("slow", vec![]), ("quick", vec![id])] {
                let looks = Cell::new(0);
                let predicate = |row: &SessionInfo| {
                    looks.set(looks.get() + 1);
                    let holds = row.statement_text == text;
                    if looks.get() == 1 {
                        assert!(holds);
                        std::mem::forget(attached.borrow_mut().begin().unwrap().with_text("quick"));
                    }
                    holds
                };
                let request = Cancel::running(admin("root"));
                let result = manager.cancel_where(predicate, request, BulkOptions::new());
                assert_eq!(
                    (targets(&result), others(&result)),
                    (expected.clone(), (0, 0, 0, false))
                );
                assert_eq!(looks.get(), 2, "it is looked at again");
                assert_eq!(attached.borrow().check().is_err(), !expected.is_empty());
            }
        });
    });
}
