//! The contents of a session's row: times, statement text, sections of code, and no more than is
//! known.

use crate::common::{
    Fixture, TEST_TIMEOUT, admin, each_model, kill, kill_now, locked, supervised, wait_until,
};
use safepoint::diagnose::{PendingReason, ProbeResult, Progress};
use safepoint::session::WaitMode;
use safepoint::view::STATEMENT_TEXT_BYTES;
use safepoint::{
    Cancel, ClientInfo, Requester, SessionManager, TerminateMode, ThreadModel, session_local,
};
use std::cell::RefCell;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// Takes the time before and after something is done.
fn timed<T>(act: impl FnOnce() -> T) -> (T, std::ops::RangeInclusive<SystemTime>) {
    let before = SystemTime::now();
    let result = act();
    // The shown times are truncated to microseconds.
    let before = before.checked_sub(Duration::from_micros(1)).unwrap();
    (result, before..=SystemTime::now())
}

/// So that the next event has another time.
fn later() {
    let now = SystemTime::now();
    wait_until("the clock goes on", || {
        SystemTime::now().duration_since(now).is_ok_and(|past| past > Duration::from_millis(1))
    });
}

#[test]
fn when_a_session_was_opened() {
    supervised(|| {
        let (fixture, range) = timed(|| Fixture::new(crate::common::MODELS[0]));
        let row = fixture.manager.session_info(fixture.id).unwrap();
        // That clock ticks a few hundred times a second.
        assert!(*range.start() <= row.opened_at + Duration::from_millis(100));
        assert!(row.opened_at <= *range.end());
        assert_eq!(row.changed_at, row.opened_at);
    });
}

#[test]
fn when_a_thread_was_registered() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let (worker, range) = timed(|| manager.register_worker("worker").unwrap());
        let (background, later) = timed(|| manager.register_background("writer").unwrap());
        let rows = manager.threads();
        let shown: Vec<_> =
            rows.iter().map(|row| (row.id, &*row.name, row.is_worker, row.session_id)).collect();
        let expected =
            [(worker.id(), "worker", true, None), (background.id(), "writer", false, None)];
        assert_eq!(shown, expected);
        assert!(range.contains(&rows[0].registered_at) && later.contains(&rows[1].registered_at));
    });
}

#[test]
fn when_a_transaction_began() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let start = || manager.session_info(id).unwrap().transaction_started_at;
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(start(), None);
            let ((), first) = timed(|| attached.set_in_transaction(true));
            let began = start().unwrap();
            assert!(first.contains(&began));
            later();
            // Set once more, and with statements within the transaction.
            attached.set_in_transaction(true);
            attached.begin().unwrap().with_text("select 1").finish().unwrap();
            assert_eq!(start(), Some(began));
            attached.set_in_transaction(false);
            assert_eq!(start(), None);
            let ((), second) = timed(|| safepoint::current::set_in_transaction(true));
            assert!(second.contains(&start().unwrap()));
            attached.detach().unwrap();
            assert!(second.contains(&start().unwrap()), "idle in it");
        });
    });
}

#[test]
fn when_a_statement_began_and_what_it_was() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let row = || manager.session_info(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let (statement, range) = timed(|| attached.begin().unwrap().with_text("select 1"));
            let began = row().statement_started_at.unwrap();
            assert!(range.contains(&began));
            assert_eq!((row().changed_at, &*row().statement_text), (began, "select 1"));
            later();
            let (finished, range) = timed(|| statement.finish());
            finished.unwrap();
            let ended = row().changed_at;
            assert!(range.contains(&ended));
            assert_eq!(
                (row().statement_started_at, &*row().statement_text),
                (Some(began), "select 1")
            );
            later();
            // A statement without a text is not taken for the previous one.
            let statement = attached.begin().unwrap();
            assert_eq!((row().statement_started_at, &*row().statement_text), (None, ""));
            statement.finish().unwrap();
            assert_eq!((row().changed_at, &*row().statement_text), (ended, "select 1"));
            assert_eq!(row().statement_started_at, Some(began));
            later();
            // The next has its own.
            let statement = attached.begin().unwrap().with_text("");
            assert!(row().statement_started_at.unwrap() > began && row().statement_text.is_empty());
            drop(statement);
            assert!(row().changed_at > ended);
        });
    });
}

#[test]
fn the_length_of_a_text() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(STATEMENT_TEXT_BYTES, 1024);
            for (ascii, wide, kept) in [
                (0, "", 0),
                (1023, "", 1023),
                (1024, "", 1024),
                (1025, "", 1024),
                (100_000, "", 1024),
                // No character is cut in two.
                (1022, "\u{e9}", 1024),
                (1023, "\u{e9}", 1023),
                (1020, "\u{1f600}", 1024),
                (1021, "\u{1f600}", 1021),
                (1023, "\u{1f600}", 1023),
            ] {
                let text = "x".repeat(ascii) + wide;
                let _statement = attached.begin().unwrap().with_text(&text);
                assert_eq!(
                    manager.session_info(id).unwrap().statement_text,
                    text[..kept],
                    "{ascii} and {wide}"
                );
            }
        });
    });
}

#[test]
fn the_client_info() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let all = ClientInfo::new("bob")
                .with_admin(true)
                .with_database("shop")
                .with_application("psql")
                .with_address("10.0.0.9");
            session.update_client_info(|_| all.clone());
            assert_eq!(manager.session_info(id).unwrap().client, all);
            assert_eq!(session.client_info(), all);
            // One field is changed, and the others are not.
            session.update_client_info(|about| about.with_admin(false));
            let changed = all.with_admin(false);
            assert_eq!(manager.session_info(id).unwrap().client, changed);
            // As the author of a request it is the same.
            for (admin, client) in [(false, "10.0.0.9"), (true, "10.0.0.9"), (false, "")] {
                session.update_client_info(|about| about.with_admin(admin).with_address(client));
                let requester = Requester::new("bob").with_session(id).with_admin(admin);
                let address = Some(client).filter(|_| !client.is_empty());
                let requester = address.into_iter().fold(requester, Requester::with_address);
                let attached = session.attach(&thread).unwrap();
                assert_eq!(attached.requester(), requester);
                assert_eq!(safepoint::current::requester(), Some(requester));
            }
        });
    });
}

/// If several are in force, the outermost lasts longest.
#[test]
fn the_outermost_section_is_shown() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            let row = || manager.session_info(id).unwrap();
            let at = |location: &Location<'_>| (location.file().to_owned(), location.line());
            let line = line!() + 1;
            let (outer, waits) = attached.block_in_place(|| {
                let inner = attached.block_in_place(row).uninterruptible_wait.unwrap();
                (inner, row().uninterruptible_wait.unwrap())
            });
            assert_eq!(at(outer.location), (file!().into(), line));
            assert_eq!((outer.location, outer.reached_at), (waits.location, waits.reached_at));
            let line = line!() + 1;
            let rollback = attached.begin_rollback();
            rollback.report(Progress::new(1));
            let inner = attached.begin_rollback();
            inner.report(Progress::new(2).of(3));
            let why = receipt.pending_reason();
            drop((inner, rollback));
            let Some(PendingReason::RollingBack { call_site, progress, .. }) = why else {
                panic!("{why:?}")
            };
            assert_eq!(at(call_site.location), (file!().into(), line));
            assert_eq!(progress, Some(Progress::new(1)));
            // The inner one is over before the outer one, and takes nothing else along.
            let held = attached.hold_off("outer");
            drop(attached.hold_off("inner"));
            attached.block_in_place(|| {
                drop(attached.begin_rollback());
                assert_eq!(row().hold_off.unwrap().name, "outer");
                assert!(row().uninterruptible_wait.is_some());
            });
            attached.check().unwrap();
            drop(held);
            attached.check().unwrap_err();
        });
    });
}

/// Only a wait that not every interrupt ends is shown as one: a cancel is for a statement.
#[test]
fn uninterruptible_waits() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let row = || manager.session_info(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                let between = attached.wait(by, Waker::noop(), row).unwrap();
                assert!(between.waiting && between.uninterruptible_wait.is_none());
                let statement = attached.begin().unwrap();
                let (within, line) = (statement.wait(by, Waker::noop(), row), line!());
                let within = within.unwrap();
                assert!(within.waiting);
                let expected = (by == WaitMode::Killable).then_some(line);
                assert_eq!(
                    within.uninterruptible_wait.map(|call_site| call_site.location.line()),
                    expected
                );
                drop(statement);
            }
        });
    });
}

#[test]
fn when_a_request_was_made() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let row = || manager.session_info(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (held, range) = timed(|| statement.hold_off("commit"));
            assert!(range.contains(&row().hold_off.unwrap().call_site.reached_at));
            drop(held);
            let (waits, range) =
                timed(|| statement.block_in_place(|| row().uninterruptible_wait.unwrap()));
            assert!(range.contains(&waits.reached_at));
            manager.probe(id).unwrap();
            let (checked, range) = timed(|| statement.check());
            checked.unwrap();
            assert!(range.contains(&row().last_safe_point.unwrap().reached_at));
            let (receipt, range) = timed(|| manager.terminate(id, kill_now()).unwrap());
            later();
            assert!(range.contains(&row().pending.unwrap().requested_at));
            let (seen, range) = timed(|| statement.check());
            seen.unwrap_err();
            later();
            // The first safe point that has seen it.
            statement.check().unwrap_err();
            assert!(range.contains(&row().pending.unwrap().observed_at.unwrap().reached_at));
            let Some(PendingReason::RollingBack { call_site, .. }) = receipt.pending_reason()
            else {
                panic!()
            };
            assert!(range.contains(&call_site.reached_at));
        });
    });
}

/// How long it has passed no safe point: not since a probe that was answered long ago.
#[test]
fn the_lower_bound_without_a_safe_point() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let probe = || manager.probe(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            assert!(matches!(probe(), ProbeResult::Requested { last_safe_point: None, .. }));
            wait_until(
                "that was long",
                || matches!(probe(), ProbeResult::Unanswered { elapsed: since, .. } if since > Duration::from_millis(50)),
            );
            let (checked, line) = (statement.check(), line!());
            checked.unwrap();
            let before = Instant::now();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let why = |most: Duration| match receipt.pending_reason() {
                Some(PendingReason::NoSafePoint {
                    elapsed: at_least,
                    last_safe_point: Some(last),
                    ..
                }) => {
                    assert!(at_least <= most, "{at_least:?}");
                    assert_eq!((last.location.file(), last.location.line()), (file!(), line));
                }
                other => panic!("{other:?}"),
            };
            why(TEST_TIMEOUT);
            let most = || before.elapsed();
            let Some(PendingReason::NoSafePoint { elapsed: at_least, .. }) =
                receipt.pending_reason()
            else {
                panic!()
            };
            assert!(at_least <= most(), "{at_least:?}");
            // A probe that is older than the request counts, if it is unanswered.
            drop(statement);
            let statement = attached.begin().unwrap();
            let ProbeResult::Requested { last_safe_point: Some(last), .. } = probe() else {
                panic!()
            };
            assert_eq!(last.location.line(), line);
            let long = Duration::from_millis(30);
            wait_until(
                "that was long",
                || matches!(probe(), ProbeResult::Unanswered { elapsed: since, .. } if since > long),
            );
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let Some(PendingReason::NoSafePoint { elapsed: at_least, .. }) =
                receipt.pending_reason()
            else {
                panic!()
            };
            assert!(at_least > long);
            drop(statement);
        });
    });
}

/// A safe point is noted where it answers a probe, and not where it reports an interrupt.
#[test]
fn the_last_safe_point() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let last = || {
                manager
                    .session_info(id)
                    .unwrap()
                    .last_safe_point
                    .map(|call_site| call_site.location.line())
            };
            let attached = session.attach(&thread).unwrap();
            attached.check().unwrap();
            assert_eq!(last(), None, "nobody has asked");
            manager.probe(id).unwrap();
            let (checked, line) = (attached.check(), line!());
            checked.unwrap();
            attached.check().unwrap();
            assert_eq!(last(), Some(line));
            manager.terminate(id, kill_now()).unwrap();
            attached.check().unwrap_err();
            assert_eq!(last(), Some(line));
        });
    });
}

/// The reasons that depend on the other activity of the session.
#[test]
fn the_pending_reason_in_each_state() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let number = session.reserve_statement().unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let named = Cancel::statement(number, admin("root"));
            let cancelled = manager.cancel(id, named).unwrap();
            assert_eq!(cancelled.pending_reason(), Some(PendingReason::Queued), "it has not begun");
            assert!(!attached.begin().unwrap_err().is_terminate());
            assert_eq!(cancelled.pending_reason(), None);
            drop(attached);
            session.reserve_statement().unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let terminated = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let why = terminated.pending_reason();
            assert!(
                matches!(why, Some(PendingReason::NoSafePoint { .. })),
                "it has its thread: {why:?}"
            );
            let held = safepoint::current::hold_off("so that it begins");
            let statement = attached.begin().unwrap();
            drop(held);
            let cancelled = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let both = || (cancelled.pending_reason(), terminated.pending_reason());
            let (cancel, terminate) = both();
            assert!(matches!(cancel, Some(PendingReason::NoSafePoint { .. })), "{cancel:?}");
            let is_deferred = matches!(
                terminate,
                Some(PendingReason::Deferred { mode: TerminateMode::AfterStatement, .. })
            );
            assert!(is_deferred, "{terminate:?}");
            // A wait within `block_in_place` is ended by both kinds; a killable wait is not ended
            // by the cancel.
            manager.terminate(id, kill_now()).unwrap();
            let wait = |by| {
                let mut found = None;
                statement.block_in_place(|| {
                    statement.wait(by, Waker::noop(), || found = Some(both())).unwrap_err()
                });
                found
            };
            assert_eq!(wait(WaitMode::Interruptible), None, "it does not even begin");
            drop(statement);
        });
        for by in [WaitMode::Interruptible, WaitMode::Killable] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let mut found = None;
                statement
                    .block_in_place(|| {
                        statement.wait(by, Waker::noop(), || {
                            let cancelled =
                                manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                            let terminated = manager.terminate(id, kill_now()).unwrap();
                            found = Some((cancelled.pending_reason(), terminated.pending_reason()));
                        })
                    })
                    .ok();
                let (cancel, terminate) = found.unwrap();
                let waits = matches!(cancel, Some(PendingReason::UninterruptibleWait(_)));
                assert_eq!(waits, by == WaitMode::Killable, "{cancel:?}");
                assert!(
                    matches!(terminate, Some(PendingReason::NoSafePoint { .. })),
                    "{terminate:?}"
                );
                drop(statement);
            });
        }
    });
}

/// It has no transaction any more that it may finish.
#[test]
fn the_pending_reason_at_the_end() {
    type Ask = Mutex<Option<Box<dyn Fn() + Send>>>;
    struct Asks(Arc<Ask>);
    impl Drop for Asks {
        fn drop(&mut self) {
            if let Some(ask) = locked(&self.0).take() {
                ask();
            }
        }
    }
    session_local! {
        static ASKS: RefCell<Option<Asks>> = RefCell::new(None);
    }
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            let receipt =
                Arc::new(manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap());
            let when = TerminateMode::AfterTransaction;
            let why = receipt.pending_reason();
            let is_deferred =
                matches!(why, Some(PendingReason::Deferred { mode, .. }) if mode == when);
            assert!(is_deferred, "{why:?}");
            let ask = Arc::<Ask>::default();
            ASKS.with_borrow_mut(|asks| *asks = Some(Asks(ask.clone())));
            let why = Arc::new(Mutex::new(None));
            let (asked, answer) = (receipt.clone(), why.clone());
            *locked(&ask) = Some(Box::new(move || *locked(&answer) = Some(asked.pending_reason())));
            attached.detach().unwrap();
            session.close();
            assert_eq!(*locked(&why), Some(Some(PendingReason::Detached)));
            assert_eq!(receipt.pending_reason(), None);
        });
    });
}

/// A session that no thread runs has its own thread's id if each session has one, and none in a
/// pool. The list and the single row agree.
#[test]
fn the_thread_of_a_detached_session() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let own = session.own_thread().map(|thread| thread.id());
            assert_eq!(own.is_some(), manager.model() == ThreadModel::PerSession);
            assert_eq!(manager.session_info(id).unwrap().thread_id, own);
            let listed: Vec<_> = manager.sessions().map(|row| row.thread_id).collect();
            assert_eq!(listed, [own]);
        });
    });
}
