//! A receipt reports why its session has not ended yet. MySQL, TiDB, ClickHouse and SQL Server
//! report "killed" without a reason. Each reason occurs once.

use crate::common::{
    ENDLESS, Fixture, TEST_TIMEOUT, admin, each_model, kill, kill_now, of, scope, supervised,
    thread_for, until, wait_until,
};
use safepoint::diagnose::{
    ActiveHoldOff, CallSite, PendingReason, ProbeResult, Progress, StalledSession, Watchdog,
    assert_responsive,
};
use safepoint::request::InterruptKind;
use safepoint::session::WaitMode;
use safepoint::{Cancel, Requester, Terminate, TerminateMode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Whether a call_site is in this file, on this line.
#[track_caller]
fn assert_at(call_site: &CallSite, line: u32) {
    assert_eq!((call_site.location.file(), call_site.location.line()), (file!(), line));
}

#[test]
fn no_safe_point() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let probed = manager.probe(id);
            let is_first =
                matches!(probed, Some(ProbeResult::Requested { last_safe_point: None, .. }));
            assert!(is_first, "{probed:?}");
            let (checked, line) = (statement.check(), line!());
            checked.unwrap();

            let receipt = manager.terminate(id, kill_now()).unwrap();
            let why = |at_least_ms| match receipt.pending_reason() {
                Some(PendingReason::NoSafePoint {
                    elapsed: at_least,
                    last_safe_point: Some(last),
                    ..
                }) => {
                    assert_at(&last, line);
                    at_least >= Duration::from_millis(at_least_ms)
                }
                other => panic!("{other:?}"),
            };
            assert!(why(0));
            wait_until("that was so for a while", || why(5));

            statement.check().unwrap_err();
            assert!(!matches!(receipt.pending_reason(), Some(PendingReason::NoSafePoint { .. })));
        });
    });
}

/// How long a deferred request has been due is unknown, so it is not reported.
#[test]
fn no_safe_point_since_a_deferred_request_fell_due() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            assert_eq!(manager.pending_reason(id), None);
            let receipt = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let not_due = receipt.pending_reason().unwrap();
            let PendingReason::Deferred { mode, .. } = not_due else { panic!("{not_due:?}") };
            assert_eq!(mode, TerminateMode::AfterStatement);
            assert_eq!(manager.pending_reason(id), Some(not_due));
            assert_eq!(not_due.to_string(), "it may finish its statement");
            drop(statement);
            let why = receipt.pending_reason().unwrap();
            let PendingReason::NoSafePoint { elapsed, last_safe_point: None, .. } = why else {
                panic!("{why:?}")
            };
            assert_eq!(elapsed, Duration::ZERO);
        });
    });
}

#[test]
fn held_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (outer, line) = (statement.hold_off("commit"), line!());
            let inner = statement.hold_off("flush");
            let terminated = manager.terminate(id, kill_now()).unwrap();
            let cancelled = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            for why in [terminated.pending_reason(), cancelled.pending_reason()] {
                let Some(PendingReason::HeldOff(
                    held @ ActiveHoldOff { name: "commit", call_site, .. },
                )) = why
                else {
                    panic!("{why:?}");
                };
                assert_at(&call_site, line);
                assert_eq!(manager.session_info(id).unwrap().hold_off, Some(held));
            }
            // In any order of the guards' drops.
            drop(outer);
            let left = manager.session_info(id).unwrap().hold_off.map(|held| held.name);
            assert_eq!(left, Some("flush"));
            statement.check().unwrap();
            drop(inner);
            assert_eq!(manager.session_info(id).unwrap().hold_off, None);
            assert!(matches!(terminated.pending_reason(), Some(PendingReason::NoSafePoint { .. })));
            statement.check().unwrap_err();
        });
    });
}

/// The guard is never dropped, so the next attachment starts without the hold-off.
#[test]
fn a_leaked_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            std::mem::forget(attached.hold_off("forgotten"));
            attached.detach().unwrap();
            assert_eq!(manager.session_info(id).unwrap().hold_off, None);
            let attached = session.attach(&thread).unwrap();
            assert_eq!(manager.session_info(id).unwrap().hold_off, None);
            manager.terminate(id, kill_now()).unwrap();
            attached.check().unwrap_err();
        });
    });
}

/// The same for a rollback.
#[test]
fn a_leaked_rollback_ends_with_its_attachment() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            // The second one.
            drop(attached.begin_rollback());
            std::mem::forget(attached.begin_rollback());
            attached.detach().unwrap();
            let attached = session.attach(&thread).unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            let reason = receipt.pending_reason();
            assert!(matches!(reason, Some(PendingReason::NoSafePoint { .. })), "{reason:?}");
            drop(attached);
        });
    });
}

#[test]
fn in_a_wait_that_is_not_interruptible() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let deaf = WaitMode::Killable;
            let cancel = || manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let cancelled = statement.wait(deaf, Waker::noop(), cancel).unwrap();
            // The wait has ended. During it, its location was reported.
            assert!(matches!(cancelled.pending_reason(), Some(PendingReason::NoSafePoint { .. })));
            let ask = || cancelled.pending_reason();
            let (why, line) = (statement.wait(deaf, Waker::noop(), ask), line!());
            let Ok(Some(PendingReason::UninterruptibleWait(call_site))) = why else {
                panic!("{why:?}")
            };
            assert_at(&call_site, line);

            let receipt = manager.terminate(id, kill_now()).unwrap();
            let (why, line) = (statement.block_in_place(|| receipt.pending_reason()), line!());
            let Some(PendingReason::UninterruptibleWait(call_site)) = why else {
                panic!("{why:?}")
            };
            assert_at(&call_site, line);
            assert_eq!(manager.session_info(id).unwrap().uninterruptible_wait, None);
        });
    });
}

#[test]
fn waiting_for_the_receipt_of_another_session() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut other = manager.open(of("bob")).unwrap();
            let others = thread_for(&manager, &other);
            let attached = session.attach(&thread).unwrap();
            let mut receipt = manager.terminate(other.id(), kill_now()).unwrap();
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    wait_until("it waits", || {
                        manager.session_info(id).unwrap().uninterruptible_wait.is_some()
                    });
                    let own = manager.terminate(id, kill_now()).unwrap();
                    assert!(matches!(
                        own.pending_reason(),
                        Some(PendingReason::UninterruptibleWait(_))
                    ));
                    other.attach(&others).unwrap().check().unwrap_err();
                    drop(other);
                });
                let ended = until("the other one ends", || receipt.wait_timeout(ENDLESS));
                assert!(ended.is_some());
            });
            attached.check().unwrap_err();
        });
    });
}

/// Safe points in a hold-off are passed, and report nothing.
#[test]
fn safe_points_in_a_hold_off() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let held = statement.hold_off("commit");
            let receipt = manager.terminate(id, kill_now()).unwrap();
            for _ in 0..10 {
                statement.check().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            let before = Instant::now();
            drop(held);
            let why = receipt.pending_reason();
            let Some(PendingReason::NoSafePoint { elapsed: at_least, .. }) = why else {
                panic!("{why:?}")
            };
            assert!(at_least <= before.elapsed(), "{at_least:?}");
        });
    });
}

#[test]
fn queued_for_a_worker() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let number = session.reserve_statement().unwrap();
            let cancel = Cancel::statement(number, admin("root"));
            let cancelled = manager.cancel(id, cancel).unwrap();
            assert_eq!(cancelled.pending_reason(), Some(PendingReason::Queued));
            let terminated = manager.terminate(id, kill_now()).unwrap();
            assert_eq!(terminated.pending_reason(), Some(PendingReason::Queued));
            session.close();
            assert_eq!((cancelled.pending_reason(), terminated.pending_reason()), (None, None));
        });
    });
}

#[test]
fn detached_and_not_ended_by_its_owner() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert_eq!(receipt.pending_reason(), Some(PendingReason::Detached));
            session.close();
            assert_eq!(receipt.pending_reason(), None);
        });
    });
}

#[test]
fn rolling_back() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let (checked, line) = (statement.check(), line!());
            checked.unwrap_err();
            let Some(PendingReason::RollingBack { call_site, progress: None, .. }) =
                receipt.pending_reason()
            else {
                panic!("{:?}", receipt.pending_reason());
            };
            assert_at(&call_site, line);
            let progress = Progress::new(3).of(10);
            let rollback = statement.begin_rollback();
            rollback.report(progress);
            let reason = receipt.pending_reason();
            drop(rollback);
            let Some(PendingReason::RollingBack { call_site: there, progress: shown, .. }) = reason
            else {
                panic!("{reason:?}")
            };
            assert_eq!((there, shown), (call_site, Some(progress)));
            assert!(reason.unwrap().to_string().ends_with(", 3 of 10 rolled back"));
            drop(statement);
            assert_eq!(receipt.pending_reason(), None);

            // A rollback without a request, in which a kill arrives.
            let (rollback, line) = (attached.begin_rollback(), line!());
            let reason = manager.terminate(id, kill_now()).unwrap().pending_reason();
            drop(rollback);
            let Some(PendingReason::RollingBack { call_site, progress: None, .. }) = reason else {
                panic!("{reason:?}")
            };
            assert_at(&call_site, line);
        });
    });
}

/// GreptimeDB takes a killed query off its list while it still runs.
#[test]
fn listed_with_its_pending_request_until_it_has_ended() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let row = || manager.session_info(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            assert_eq!(row().pending, None);
            manager.cancel(id, Cancel::running(admin("dba"))).unwrap();
            let pending = row().pending.unwrap();
            assert_eq!((pending.kind, pending.mode), (InterruptKind::Cancel, None));
            assert_eq!(pending.to_string(), "cancel by dba");

            let reason = |when| {
                manager.terminate(id, kill(when)).unwrap();
                row().pending.unwrap().to_string()
            };
            assert_eq!(
                reason(TerminateMode::AfterTransaction),
                "terminate (after transaction) by root"
            );
            assert_eq!(
                reason(TerminateMode::AfterStatement),
                "terminate (after statement) by root"
            );
            assert_eq!(reason(TerminateMode::Immediate), "terminate (immediate) by root");
            let pending = row().pending.unwrap();
            assert_eq!(pending.request.comment(), Some("because"));
            assert!(pending.requested_at >= row().opened_at && pending.observed_at.is_none());

            let (checked, line) = (statement.check(), line!());
            checked.unwrap_err();
            assert_at(&row().pending.unwrap().observed_at.unwrap(), line);
            drop(statement);
            attached.detach().unwrap_err();
            assert!(manager.sessions().any(|row| row.id == id && row.pending.is_some()));
            session.close();
            assert!(manager.session_info(id).is_none());
        });
    });
}

#[test]
fn a_request_of_the_server_names_no_requester() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            manager
                .terminate(id, Terminate::new(TerminateMode::Immediate, Requester::system()))
                .unwrap();
            let pending = manager.session_info(id).unwrap().pending.unwrap();
            assert_eq!(pending.to_string(), "terminate (immediate)");
            drop(session);
        });
    });
}

/// Each kind of safe point answers a probe with its location.
#[test]
fn a_probe_is_answered() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            assert_eq!(manager.probe(id), Some(ProbeResult::NotRunning));
            let mut attached = session.attach(&thread).unwrap();
            let asked = || {
                assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                assert!(matches!(manager.probe(id), Some(ProbeResult::Unanswered { .. })));
            };
            let answered =
                |line| assert_at(&manager.session_info(id).unwrap().last_safe_point.unwrap(), line);

            asked();
            let (statement, line) = (attached.begin(), line!());
            let statement = statement.unwrap();
            answered(line);
            asked();
            let (checked, line) = (safepoint::check(), line!());
            checked.unwrap();
            answered(line);
            asked();
            let held = statement.hold_off("test");
            let (checked, line) = (statement.check(), line!());
            checked.unwrap();
            drop(held);
            answered(line);
            asked();
            let (slept, line) = (statement.sleep(Duration::ZERO), line!());
            slept.unwrap();
            answered(line);
            asked();
            let probe = || manager.probe(id);
            let (probed, line) =
                (statement.wait(WaitMode::Interruptible, Waker::noop(), probe), line!());
            assert_eq!(probed.unwrap(), Some(ProbeResult::NotRunning));
            answered(line);
            asked();
            let (finished, line) = (statement.finish(), line!());
            finished.unwrap();
            answered(line);

            asked();
            attached.detach().unwrap();
            answered(line);
            assert_eq!(manager.probe(id), Some(ProbeResult::NotRunning));
            let attached = session.attach(&thread).unwrap();
            asked();
            attached.detach_to_queue().unwrap();
            assert_eq!(manager.probe(id), Some(ProbeResult::NotRunning));
            session.close();
            assert_eq!(manager.probe(id), None);
        });
    });
}

#[test]
fn the_watchdog_reports_only_stalled_sessions() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let limit = Duration::from_millis(10);
            let idle = manager.open(of("bob")).unwrap();
            let queued = manager.open(of("bob")).unwrap();
            queued.reserve_statement().unwrap();
            let mut asleep = manager.open(of("bob")).unwrap();
            let (waiter, waiters) = (asleep.id(), thread_for(&manager, &asleep));
            let (report, reports) = mpsc::channel::<StalledSession>();
            scope(|scope| {
                scope.spawn(move || {
                    let attached = asleep.attach(&waiters).unwrap();
                    until("it is killed at the end", || attached.sleep(ENDLESS)).unwrap_err();
                });
                wait_until("it sleeps", || manager.session_info(waiter).unwrap().waiting);
                let watchdog = Watchdog::start(&manager, limit, move |stalled| {
                    let _ = report.send(stalled);
                });
                let watchdog = watchdog.unwrap();
                assert!(manager.threads().iter().any(|row| &*row.name == "watchdog"));

                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap().with_text("select endless");
                let _held = statement.hold_off("commit");
                manager.probe(id).unwrap();
                let (checked, line) = (statement.check(), line!());
                checked.unwrap();
                let stalled = reports.recv_timeout(TEST_TIMEOUT).expect("it runs on and on");
                assert_eq!(stalled.session, id);
                assert!(stalled.elapsed >= limit, "{stalled}");
                assert_at(&stalled.last_safe_point.unwrap(), line);
                assert_eq!(stalled.hold_off.unwrap().name, "commit");
                assert_eq!(stalled.text, "select endless");

                // Once for each stretch.
                statement.check().unwrap();
                assert_eq!(
                    reports.recv_timeout(TEST_TIMEOUT).expect("another stretch").session,
                    id
                );
                watchdog.stop();
                assert!(!manager.threads().iter().any(|row| &*row.name == "watchdog"));
                manager.terminate(waiter, kill_now()).unwrap();
            });
            assert!(reports.try_iter().all(|stalled| stalled.session == id));
            drop((idle, queued));
        });
    });
}

#[test]
fn a_test_that_does_not_respond_fails() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let limit = Duration::from_millis(10);
            let attached = session.attach(&thread).unwrap();
            let stalls = || {
                wait_until(
                    "nobody answers",
                    || matches!(manager.probe(id), Some(ProbeResult::Unanswered { elapsed: since, .. }) if since > limit),
                );
            };
            let run = AssertUnwindSafe(|| assert_responsive(&manager, limit, stalls));
            let panic = catch_unwind(run).unwrap_err();
            let said = panic.downcast_ref::<String>().unwrap();
            assert!(said.starts_with(&format!("session {id} passed no safe point for ")), "{said}");

            attached.detach().unwrap();
            assert_eq!(assert_responsive(&manager, TEST_TIMEOUT, || 7), 7, "idle is responsive");
        });
    });
}
