//! Bulk requests with pauses: changes during a pause, the sessions that count for a batch, and the
//! sessions that older rows name.

use crate::common::{
    ENDLESS, MODELS, Raises, Stage, admin, assert_told, each_model, eventually, locked, of, scope,
    supervised, thread_for, until, user,
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

/// Sessions of these users, in the order in which a sweep comes to them.
fn opened<const N: usize>(model: ThreadModel, users: [&str; N]) -> (SessionManager, [Session; N]) {
    let manager = SessionManager::new(model);
    let sessions = users.map(|user| manager.open(of(user)).unwrap());
    let ids: Vec<_> = manager.sessions().map(|row| row.id).collect();
    assert_eq!(ids, sessions.each_ref().map(Session::id));
    (manager, sessions)
}

fn told<T: Clone>(swept: &BulkResult<T>) -> Vec<SessionId> {
    swept.receipts.iter().map(Receipt::session).collect()
}

/// What became of those that were not told: gone, moved on, refused, and whether the author's own
/// was spared.
fn others<T>(swept: &BulkResult<T>) -> (usize, usize, usize, bool) {
    (swept.already_ended, swept.changed, swept.rejected.len(), swept.skipped_self)
}

/// What a session does between the look at its row and the end of the pause counts.
#[test]
fn after_a_pause_the_predicate_is_asked_again() {
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
            let swept = manager.terminate_where(predicate, now(&admin("root")), sweep);
            assert_eq!(told(&swept), [first.id(), last.id()]);
            assert_eq!(others(&swept), (0, 0, 0, false));
            let expected = [first.id(), id, id, last.id()];
            assert_eq!(looks.into_inner(), expected, "the last one's turn has not been delayed");
            attached.borrow().check().expect("what it does now was not meant");
        }
    });
}

/// Its turn comes after the pause, when it is another's session, has ended, or does something else.
#[test]
fn one_that_is_another_after_the_pause() {
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
                let swept = manager.terminate_where(predicate, now(&admin("root")), sweep);
                assert_eq!(told(&swept), rest);
                assert_eq!(others(&swept), (usize::from(ends), 0, 0, false));
                assert_eq!(asked.get(), if ends { 1 } else { 2 });
                if let Some(bobs) = second.into_inner() {
                    bobs.check().expect("bob was not meant");
                }
            }
        }
    });
}

/// With the same statement asked for, it is that of the look after the pause.
#[test]
fn one_that_moves_on_in_the_pause_and_is_meant_all_the_same() {
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
                        eventually("the sweep is over", over);
                        assert!(statement.check().is_err());
                    });
                    let begun = || manager.session_info(ids[0]).unwrap().statement_id.is_some();
                    eventually("the first one runs a statement", begun);
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
                        let swept = manager.cancel_where(predicate, cancel, sweep);
                        (told(&swept), others(&swept))
                    } else {
                        let swept = manager.terminate_where(predicate, now(&admin("root")), sweep);
                        (told(&swept), others(&swept))
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

/// The rows of a dry run, among them the author's own, one that the author may not end, and one that
/// has ended. Only those that are told count for a batch.
#[test]
fn rows_of_all_kinds() {
    supervised(|| {
        for model in MODELS {
            let users = ["own", "bob", "own", "gone", "own", "bob", "own"];
            for own in [0, 2, 6] {
                let (manager, sessions) = opened(model, users);
                let mut sessions = Vec::from(sessions);
                let author = user("own").with_session(sessions[own].id());
                let rows: Vec<_> = manager.sessions().collect();
                let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
                drop(sessions.remove(3));
                let refused = [1, 5].map(|at| (ids[at], RequestError::PermissionDenied(ids[at])));
                let meant = [0, 2, 4, 6].into_iter().filter(|at| *at != own);
                let meant: Vec<_> = meant.map(|at| ids[at]).collect();
                // Three are told, and no fourth.
                let sweep = BulkOptions::new().batch(4, ENDLESS);
                let sweeps = || manager.terminate_rows(&rows, now(&author), sweep);
                let swept = until("it is through, without a pause", sweeps);
                assert_eq!(told(&swept), meant);
                assert_eq!(swept.rejected, refused);
                assert_eq!(others(&swept), (1, 0, 2, true));
                assert!(swept.interrupted.is_none());
                for session in &sessions {
                    assert_eq!(session.check().is_err(), meant.contains(&session.id()));
                }
                let own_too = BulkOptions::new().include_self();
                let swept = manager.terminate_rows(&rows, now(&author), own_too);
                assert_eq!(told(&swept).len(), 4);
                assert!(told(&swept).contains(&ids[own]));
                assert_eq!(others(&swept), (1, 0, 2, false));
            }
        }
    });
}

/// The same of a sweep that looks for itself; who does not match is neither spared nor refused.
#[test]
fn targets_of_all_kinds() {
    supervised(|| {
        for model in MODELS {
            let (manager, sessions) = opened(model, ["own", "bob", "own", "bob", "own"]);
            let ids = sessions.each_ref().map(Session::id);
            let author = user("own").with_session(ids[2]);
            let (all_but, sweep) = (all, BulkOptions::new().batch(2, ENDLESS));
            let dry = |sweep| {
                let rows = manager.dry_run(all_but, &author, sweep);
                rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
            };
            assert_eq!(dry(sweep), [ids[0], ids[4]], "whom it would tell");
            assert_eq!(dry(sweep.include_self()), [ids[0], ids[2], ids[4]]);
            let bobs = |row: &SessionInfo| is("bob", row);
            let sweeps = || manager.terminate_where(bobs, now(&author), sweep);
            let swept = until("it is through", sweeps);
            assert_eq!((told(&swept), others(&swept)), (vec![], (0, 0, 2, false)));
            let looks = Cell::new(0);
            let counts = |_: &SessionInfo| {
                looks.set(looks.get() + 1);
                true
            };
            let sweeps = || manager.terminate_where(counts, now(&author), sweep);
            let swept = until("it is through, without a pause", sweeps);
            assert_eq!((told(&swept), others(&swept)), (vec![ids[0], ids[4]], (0, 0, 2, true)));
            assert_eq!(
                swept.rejected,
                [1, 3].map(|at| (ids[at], RequestError::PermissionDenied(ids[at])))
            );
            assert_eq!(looks.get(), 5, "each is looked at once");
            sessions[2].check().expect("it was spared");
            // None of them runs a statement.
            let cancel = Cancel::running(author.clone());
            let swept = manager.cancel_user("own", cancel, BulkOptions::new());
            assert_eq!((told(&swept), others(&swept)), (vec![], (0, 2, 0, true)));
        }
    });
}

/// Whoever stops it has the rest left alone: nobody is looked at or told any more.
#[test]
fn a_sweep_that_is_stopped_in_its_pause() {
    supervised(|| {
        for by_rows in [false, true] {
            each_model(|Stage { manager, mut session, thread, id }| {
                let others = [(); 4].map(|()| manager.open(of("bob")).unwrap());
                let attached = session.attach(&thread).unwrap();
                let rows: Vec<_> = manager.sessions().filter(|row| is("bob", row)).collect();
                let looks = Cell::new(0);
                let swept = scope(|scope| {
                    let manager = &manager;
                    scope.spawn(move || {
                        eventually("it pauses", || manager.session_info(id).unwrap().waiting);
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
                assert_eq!(told(&swept), told_two);
                assert_eq!(self::others(&swept), (0, 0, 0, false));
                let stopped = swept.interrupted.expect("it says so");
                assert_told(&stopped);
                assert_eq!(*stopped.request().requester(), admin("dba"));
                // Its own, two that were told, and the one before which it paused.
                assert_eq!(looks.get(), if by_rows { 0 } else { 4 });
                for other in &others {
                    assert_eq!(other.check().is_err(), told_two.contains(&other.id()));
                }
                attached.check().unwrap_err();
            });
        }
    });
}

/// There is a pause after each batch, and nobody is told before it is over.
#[test]
fn the_pauses_are_where_they_are_to_be() {
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
                let author = attached.requester().with_admin(true);
                let sweeps = || manager.terminate_user("ann", now(&author), sweep);
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

/// All that were told are waited for, and how many have not ended is said.
#[test]
fn whoever_waits_for_a_sweep() {
    supervised(|| {
        for model in MODELS {
            let (manager, [first, second, third]) = opened(model, ["ann", "bob", "eve"]);
            let mut swept = manager.terminate_where(all, now(&admin("root")), BulkOptions::new());
            assert_eq!(until("its limit is over", || swept.wait_timeout(Duration::ZERO)), 3);
            drop(second);
            assert_eq!(until("its limit is over", || swept.wait_timeout(PAUSE)), 2);
            let (returns, returned) = mpsc::channel();
            scope(|scope| {
                scope.spawn(move || {
                    let returned = returned.recv_timeout(20 * PAUSE);
                    assert_eq!(returned, Err(RecvTimeoutError::Timeout), "two have not ended");
                    drop(third);
                    drop(first);
                });
                assert_eq!(until("all have ended", || swept.wait_timeout(ENDLESS)), 0);
                let _ = returns.send(());
            });
            assert!(swept.receipts.iter().all(|receipt| receipt.try_get().is_some()));
        }
    });
}

/// Names that begin alike are others.
#[test]
fn users_by_their_whole_name() {
    supervised(|| {
        for model in MODELS {
            let (manager, sessions) = opened(model, ["an", "ann", "anna", "Ann", ""]);
            let id = sessions[1].id();
            let cancel = Cancel::running(admin("root"));
            let swept = manager.cancel_user("ann", cancel, BulkOptions::new());
            assert_eq!((told(&swept), others(&swept)), (vec![], (0, 1, 0, false)));
            let swept = manager.terminate_user("ann", now(&admin("root")), BulkOptions::new());
            assert_eq!((told(&swept), others(&swept)), (vec![id], (0, 0, 0, false)));
        }
    });
}

/// A cancel is meant for the statement of the row, whatever the request names.
#[test]
fn a_cancel_hits_no_other_statement() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
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
                let swept = manager.cancel_where(predicate, request, BulkOptions::new());
                assert_eq!((told(&swept), others(&swept)), (expected.clone(), (0, 0, 0, false)));
                assert_eq!(looks.get(), 2, "it is looked at again");
                assert_eq!(attached.borrow().check().is_err(), !expected.is_empty());
            }
        });
    });
}
