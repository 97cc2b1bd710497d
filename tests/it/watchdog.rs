//! The watchdog: the sessions that it reports, how often, and with which durations.

use crate::common::{
    Fixture, MODELS, TEST_TIMEOUT, admin, each_model, kill_now, locked, of, scope, supervised,
    thread_for, wait_until,
};
use safepoint::diagnose::{ProbeResult, StalledSession, Watchdog, assert_responsive};
use safepoint::session::WaitMode;
use safepoint::{Attached, Cancel, SessionId, SessionManager};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

/// With a limit of zero, a session that has left one probe unanswered is reported at the next
/// round.
pub(crate) const NONE: Duration = Duration::ZERO;

pub(crate) fn watch(
    manager: &SessionManager,
    limit: Duration,
) -> (Watchdog, Receiver<StalledSession>) {
    let (report, reports) = channel();
    let watchdog = Watchdog::start(manager, limit, move |stalled| {
        let _ = report.send(stalled);
    });
    (watchdog.unwrap(), reports)
}

#[track_caller]
pub(crate) fn next(reports: &Receiver<StalledSession>) -> StalledSession {
    reports.recv_timeout(TEST_TIMEOUT).expect("it runs on and on")
}

/// Runs `act` while another session has one stall after the other, until five of them are reported.
/// Then the watchdog has probed all sessions many times. Returns the other reported sessions.
pub(crate) fn reported_meanwhile(
    manager: &SessionManager,
    act: impl FnOnce(&dyn Fn()),
) -> Vec<StalledSession> {
    let mut other = manager.open(of("bob")).unwrap();
    let (id, thread) = (other.id(), thread_for(manager, &other));
    let (others, from_others) = channel();
    scope(|scope| {
        let (start, may_start) = channel::<()>();
        let (done, is_done) = channel();
        let looks = scope.spawn(move || {
            let attached = other.attach(&thread).unwrap();
            may_start.recv_timeout(TEST_TIMEOUT).unwrap();
            let (_watchdog, reports) = watch(manager, NONE);
            let mut stretches = 0;
            while stretches < 5 {
                let stalled = next(&reports);
                if stalled.session == id {
                    stretches += 1;
                    attached.check().unwrap();
                } else {
                    others.send(stalled).unwrap();
                }
            }
            done.send(()).unwrap();
        });
        act(&|| {
            start.send(()).unwrap();
            is_done.recv_timeout(TEST_TIMEOUT).unwrap();
        });
        looks.join().unwrap();
    });
    from_others.try_iter().collect()
}

#[test]
fn each_stall_counts_from_its_own_start() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (_watchdog, reports) = watch(&manager, NONE);
            let mut attached = session.attach(&thread).unwrap();
            let first = next(&reports);
            assert_eq!(first.session, id);
            wait_until(
                "that was long",
                || matches!(manager.probe(id), Some(ProbeResult::Unanswered { elapsed: since, .. }) if since > Duration::from_millis(50)),
            );
            // The next stall begins after the end of the last one, for each way to end it.
            for route in 0..6 {
                let before = Instant::now();
                match route {
                    0 => attached.check().unwrap(),
                    1 => safepoint::check().unwrap(),
                    2 => attached.sleep(Duration::ZERO).unwrap(),
                    3 => attached.begin().unwrap().finish().unwrap(),
                    4 => {
                        attached.wait(WaitMode::Killable, Waker::noop(), || ()).unwrap();
                    }
                    _ => {
                        attached.detach().unwrap();
                        attached = session.attach(&thread).unwrap();
                    }
                }
                let stalled = next(&reports);
                let so_far = before.elapsed();
                assert_eq!(stalled.session, id);
                assert!(stalled.elapsed <= so_far, "way {route}: {stalled}, within {so_far:?}");
            }
        });
    });
}

/// The first requester counts.
#[test]
fn a_stall_counts_from_the_first_probe() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let long = Duration::from_millis(30);
            let _attached = session.attach(&thread).unwrap();
            let asked = || manager.probe(id).unwrap();
            assert!(matches!(asked(), ProbeResult::Requested { .. }));
            wait_until(
                "that was long",
                || matches!(asked(), ProbeResult::Unanswered { elapsed: since, .. } if since > long),
            );
            let (_watchdog, reports) = watch(&manager, NONE);
            assert!(next(&reports).elapsed > long);
        });
    });
}

/// The same as the session is probed by hand.
#[test]
fn an_answer_resets_the_time_of_the_probe() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let probe = || manager.probe(id).unwrap();
            let attached = session.attach(&thread).unwrap();
            for _ in 0..3 {
                let before = Instant::now();
                assert!(matches!(probe(), ProbeResult::Requested { .. }));
                // Asked once more, it counts from the first time on.
                let since = || match probe() {
                    ProbeResult::Unanswered { elapsed: since, .. } => since,
                    other => panic!("{other:?}"),
                };
                assert!(since() <= before.elapsed());
                wait_until("that was long", || since() > Duration::from_millis(30));
                let (first, second) = (since(), since());
                assert!(first <= second, "{first:?}, then {second:?}");
                attached.check().unwrap();
            }
        });
    });
}

#[test]
fn a_stall_is_reported_once() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let _statement = attached.begin().unwrap();
            let reported = reported_meanwhile(&manager, |look| look());
            let [stalled] = &*reported else { panic!("{reported:?}") };
            assert_eq!(stalled.session, id);
        });
    });
}

#[test]
fn idle_and_interruptible_sessions_are_not_reported() {
    supervised(|| {
        fn idle(attached: Attached<'_>, look: &dyn Fn()) {
            attached.detach().unwrap();
            look();
        }
        fn idle_in_transaction(attached: Attached<'_>, look: &dyn Fn()) {
            attached.set_in_transaction(true);
            attached.detach().unwrap();
            look();
        }
        fn queued(attached: Attached<'_>, look: &dyn Fn()) {
            attached.detach_to_queue().unwrap();
            look();
        }
        fn waits_between_statements(attached: Attached<'_>, look: &dyn Fn()) {
            attached.wait(WaitMode::Interruptible, Waker::noop(), look).unwrap();
        }
        fn waits_in_a_statement(mut attached: Attached<'_>, look: &dyn Fn()) {
            let statement = attached.begin().unwrap();
            statement.wait(WaitMode::Interruptible, Waker::noop(), look).unwrap();
        }
        fn waits_for_a_termination(mut attached: Attached<'_>, look: &dyn Fn()) {
            let statement = attached.begin().unwrap();
            statement.wait(WaitMode::Killable, Waker::noop(), look).unwrap();
        }
        for leave in [
            idle,
            idle_in_transaction,
            queued,
            waits_between_statements,
            waits_in_a_statement,
            waits_for_a_termination,
        ] {
            each_model(|Fixture { manager, mut session, thread, .. }| {
                let attached = session.attach(&thread).unwrap();
                let reported = reported_meanwhile(&manager, |look| leave(attached, look));
                assert_eq!(reported, []);
            });
        }
    });
}

/// With locations and names, as far as the session has them.
#[test]
fn a_stalled_session_is_reported_with_its_diagnostics() {
    supervised(|| {
        fn between_statements(attached: &mut Attached<'_>, look: &dyn Fn()) {
            look();
            attached.check().unwrap();
        }
        fn in_a_statement(attached: &mut Attached<'_>, look: &dyn Fn()) {
            let _statement = attached.begin().unwrap().with_text("select endless");
            look();
        }
        fn held_off_and_asleep(attached: &mut Attached<'_>, look: &dyn Fn()) {
            let statement = attached.begin().unwrap().with_text("select endless");
            let _held = statement.hold_off("commit");
            statement.wait(WaitMode::Interruptible, Waker::noop(), look).unwrap();
        }
        fn blocking(attached: &mut Attached<'_>, look: &dyn Fn()) {
            let statement = attached.begin().unwrap().with_text("select endless");
            statement.block_in_place(look);
        }
        type Run = fn(&mut Attached<'_>, &dyn Fn());
        let all: [(Run, &str, Option<&str>, bool); 4] = [
            (between_statements, "", None, false),
            (in_a_statement, "select endless", None, false),
            (held_off_and_asleep, "select endless", Some("commit"), false),
            (blocking, "select endless", None, true),
        ];
        for (run, text, hold_off, waits) in all {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let mut attached = session.attach(&thread).unwrap();
                let at = attached.thread_id();
                assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                let (checked, line) = (attached.check(), line!());
                checked.unwrap();
                let reported = reported_meanwhile(&manager, |look| run(&mut attached, look));
                let [stalled] = &*reported else { panic!("{reported:?}") };
                assert_eq!((stalled.session, stalled.thread), (id, Some(at)));
                assert_eq!(stalled.text, text);
                assert_eq!(stalled.hold_off.map(|held| held.name), hold_off);
                assert_eq!(stalled.wait.is_some(), waits);
                let last = stalled.last_safe_point.unwrap().location;
                assert_eq!((last.file(), last.line()), (file!(), line));
            });
        }
    });
}

/// A session that looks all the time is not reported, however long it runs, held off or not.
#[test]
fn a_session_with_safe_points_is_not_reported() {
    supervised(|| {
        for hold_off in [false, true] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                // Longer than the machine may keep the thread waiting.
                let (watchdog, reports) = watch(&manager, TEST_TIMEOUT);
                let attached = session.attach(&thread).unwrap();
                let _held = hold_off.then(|| attached.hold_off("commit"));
                for _ in 0..3 {
                    assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                    attached.check().unwrap();
                }
                // Unanswered as the watchdog looks for the last time, but not for long.
                assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                drop(watchdog);
                assert_eq!(reports.try_iter().count(), 0);
            });
        }
    });
}

/// A stall that exceeds the limit when the watchdog is dropped is reported too.
#[test]
fn the_watchdog_probes_once_more_when_dropped() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let limit = Duration::from_millis(500);
            let _attached = session.attach(&thread).unwrap();
            let asked = || manager.probe(id).unwrap();
            assert!(matches!(asked(), ProbeResult::Requested { .. }));
            wait_until(
                "that was too long",
                || matches!(asked(), ProbeResult::Unanswered { elapsed: since, .. } if since >= limit),
            );
            // It would look for itself after half the limit.
            let (watchdog, reports) = watch(&manager, limit);
            drop(watchdog);
            let reported: Vec<SessionId> =
                reports.try_iter().map(|stalled| stalled.session).collect();
            assert_eq!(reported, [id]);
        });
    });
}

#[test]
fn ended_sessions_are_removed_from_the_reported_ones() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (_watchdog, reports) = watch(&manager, NONE);
            std::mem::forget(session.attach(&thread).unwrap());
            assert_eq!(next(&reports).session, id);
            drop(session);
            let mut others: Vec<_> = (0..40).map(|_| manager.open(of("bob")).unwrap()).collect();
            let mut ids: Vec<_> = others.iter().map(safepoint::Session::id).collect();
            let threads: Vec<_> = others.iter().map(|other| thread_for(&manager, other)).collect();
            scope(|scope| {
                let (done, is_done) = channel::<()>();
                let is_done = Arc::new(Mutex::new(is_done));
                for (other, thread) in others.iter_mut().zip(threads) {
                    let is_done = is_done.clone();
                    scope.spawn(move || {
                        let _attached = other.attach(&thread).unwrap();
                        // Until all have been reported.
                        let _ = locked(&is_done).recv_timeout(TEST_TIMEOUT);
                    });
                }
                let mut reported: Vec<_> = (0..ids.len()).map(|_| next(&reports).session).collect();
                reported.sort_unstable();
                ids.sort_unstable();
                drop(done);
                assert_eq!(reported, ids);
            });
        });
    });
}

#[test]
fn a_report_that_panics_stops_only_the_watchdog() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            let (reports, reported) = channel();
            let watchdog = Watchdog::start(&manager, NONE, move |_| {
                let _ = reports.send(());
                panic!("the report's own");
            });
            let watchdog = watchdog.unwrap();
            let attached = session.attach(&thread).unwrap();
            reported.recv_timeout(TEST_TIMEOUT).unwrap();
            wait_until("its thread has gone", || {
                manager.threads().iter().all(|row| &*row.name != "watchdog")
            });
            attached.check().unwrap();
            drop(watchdog);
            // Another can be started.
            let (_watchdog, reports) = watch(&manager, NONE);
            next(&reports);
        }
    });
}

/// Its findings do not outlive the assertion, with or without a panic.
#[test]
fn work_that_panics_stops_the_watchdog() {
    supervised(|| {
        each_model(|Fixture { manager, .. }| {
            let work = || panic!("the work's own");
            let run = AssertUnwindSafe(|| assert_responsive(&manager, TEST_TIMEOUT, work));
            let panic = catch_unwind(run).unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"the work's own"));
            assert!(manager.threads().iter().all(|row| &*row.name != "watchdog"));
        });
    });
}

/// A session that was requested to end is no exception.
#[test]
fn a_terminating_session_without_safe_points_is_reported() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            manager.terminate(id, kill_now()).unwrap();
            let reported = reported_meanwhile(&manager, |look| look());
            assert_eq!(reported.len(), 1);
            statement.check().unwrap_err();
        });
    });
}
