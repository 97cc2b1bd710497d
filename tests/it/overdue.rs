//! The requests that the watchdog reports since their sessions or statements have not ended.

use crate::common::{
    Fixture, TEST_TIMEOUT, admin, each_model, kill, kill_now, of, scope, supervised, thread_for,
    wait_until,
};
use crate::watchdog::{NONE, next};
use safepoint::diagnose::{OverdueInterrupt, PendingReason, Watchdog};
use safepoint::request::InterruptKind;
use safepoint::session::WaitMode;
use safepoint::view::SessionState;
use safepoint::{Cancel, Session, SessionId, SessionManager, Terminate, TerminateMode, Thread};
use std::sync::mpsc::channel;
use std::task::Waker;
use std::time::Duration;

/// Returns what a watchdog reports in many rounds. Another session has five stalls in that time, and each of
/// them takes two rounds.
fn overdue(manager: &SessionManager) -> Vec<OverdueInterrupt> {
    scope(|s| {
        let rounds = s.spawn(|| {
            let mut other = manager.open(of("bob")).unwrap();
            let (id, thread) = (other.id(), thread_for(manager, &other));
            let attached = other.attach(&thread).unwrap();
            let ((report, reports), (stall, stalls)) = (channel(), channel());
            let watchdog = Watchdog::builder()
                .overdue(NONE, move |overdue| report.send(overdue).unwrap())
                .stalled(NONE, move |stalled| stall.send(stalled).unwrap());
            let watchdog = watchdog.start(manager).unwrap();
            let mut stretches = 0;
            while stretches < 5 {
                if next(&stalls).session == id {
                    stretches += 1;
                    attached.check().unwrap();
                }
            }
            watchdog.stop();
            reports.iter().collect()
        });
        rounds.join().unwrap()
    })
}

#[track_caller]
fn only(reported: Vec<OverdueInterrupt>) -> OverdueInterrupt {
    let [only] = <[_; 1]>::try_from(reported).unwrap_or_else(|all| panic!("{all:?}"));
    only
}

fn cancel(manager: &SessionManager, id: SessionId) {
    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
}

/// What a session does when its request comes, and how that looks from outside.
struct Case {
    kind: InterruptKind,
    state: SessionState,
    is_reason: fn(&PendingReason) -> bool,
    /// Brings the session into that state, calls the function, and leaves the state.
    run: fn(&SessionManager, &mut Session, &Thread, &dyn Fn()),
}

fn case(
    kind: InterruptKind,
    state: SessionState,
    is_reason: fn(&PendingReason) -> bool,
    run: fn(&SessionManager, &mut Session, &Thread, &dyn Fn()),
) -> Case {
    Case { kind, state, is_reason, run }
}

const TERMINATE: InterruptKind = InterruptKind::Terminate;
const CANCEL: InterruptKind = InterruptKind::Cancel;

fn helper_is_left(why: &PendingReason) -> bool {
    matches!(why, PendingReason::ActiveHelpers { count: 1, first, .. } if first.name == "sort")
}

fn cases() -> [Case; 12] {
    [
        case(
            TERMINATE,
            SessionState::Idle,
            |why| matches!(why, PendingReason::Detached),
            |_, _, _, request| request(),
        ),
        case(
            TERMINATE,
            SessionState::Queued,
            |why| matches!(why, PendingReason::Queued),
            |_, session, _, request| {
                session.reserve_statement().unwrap();
                request();
            },
        ),
        case(
            CANCEL,
            SessionState::Running,
            |why| matches!(why, PendingReason::NoSafePoint { .. }),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let _statement = attached.begin().unwrap();
                request();
            },
        ),
        case(
            TERMINATE,
            SessionState::BetweenStatements,
            |why| matches!(why, PendingReason::NoSafePoint { .. }),
            |_, session, thread, request| {
                let _attached = session.attach(thread).unwrap();
                request();
            },
        ),
        case(
            CANCEL,
            SessionState::Waiting,
            |why| matches!(why, PendingReason::NoSafePoint { .. }),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                // It is woken, and does not return.
                statement.wait(WaitMode::Interruptible, Waker::noop(), request).unwrap();
            },
        ),
        case(
            CANCEL,
            SessionState::Waiting,
            |why| matches!(why, PendingReason::UninterruptibleWait(_)),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                statement.wait(WaitMode::Killable, Waker::noop(), request).unwrap();
            },
        ),
        case(
            TERMINATE,
            SessionState::Running,
            |why| matches!(why, PendingReason::UninterruptibleWait(_)),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                attached.begin().unwrap().block_in_place(request);
            },
        ),
        case(
            CANCEL,
            SessionState::Running,
            |why| matches!(why, PendingReason::HeldOff(held) if held.name == "commit"),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                let _held = statement.hold_off("commit");
                request();
            },
        ),
        case(
            CANCEL,
            SessionState::Running,
            |why| matches!(why, PendingReason::RollingBack { .. }),
            |_, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                let _rollback = statement.begin_rollback();
                request();
            },
        ),
        case(
            CANCEL,
            SessionState::BetweenStatements,
            helper_is_left,
            |manager, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                let _job = statement.handle("sort").wrap_fn(|| ());
                cancel(manager, statement.id());
                let _ = statement.finish();
                request();
            },
        ),
        case(CANCEL, SessionState::Running, helper_is_left, |manager, session, thread, request| {
            let mut attached = session.attach(thread).unwrap();
            let statement = attached.begin().unwrap();
            let _job = statement.handle("sort").wrap_fn(|| ());
            cancel(manager, statement.id());
            let _ = statement.finish();
            let _next = attached.begin().unwrap();
            request();
        }),
        case(
            TERMINATE,
            SessionState::Ended,
            helper_is_left,
            |manager, session, thread, request| {
                let mut attached = session.attach(thread).unwrap();
                let statement = attached.begin().unwrap();
                let _job = statement.handle("sort").wrap_fn(|| ());
                manager.terminate(statement.id(), kill_now()).unwrap();
                let _ = statement.finish();
                drop(attached);
                let own = std::mem::replace(session, manager.open(of("carol")).unwrap());
                own.close();
                request();
            },
        ),
    ]
}

#[test]
fn a_request_is_reported_once_in_each_state() {
    supervised(|| {
        for (number, Case { kind, state, is_reason, run }) in cases().into_iter().enumerate() {
            each_model(|Fixture { manager, mut session, thread, id }| {
                run(&manager, &mut session, &thread, &|| {
                    match kind {
                        // Requested before.
                        _ if !manager.helpers(id).is_empty() => {}
                        InterruptKind::Cancel => cancel(&manager, id),
                        _ => drop(manager.terminate(id, kill_now()).unwrap()),
                    }
                    let found = only(overdue(&manager));
                    assert_eq!((found.session, found.pending.kind), (id, kind), "case {number}");
                    assert_eq!(found.state, state, "case {number}");
                    assert!(is_reason(&found.reason), "case {number}: {found}");
                    let requester = &found.pending.request.requester();
                    assert_eq!(requester.user(), Some("root"), "case {number}");
                });
            });
        }
    });
}

/// A stronger request is another one.
#[test]
fn each_request_is_reported_for_itself() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let (report, reports) = channel();
            let watchdog = Watchdog::builder()
                .overdue(NONE, move |overdue: OverdueInterrupt| {
                    report.send(overdue.pending.mode).unwrap();
                })
                .start(&manager);
            let watchdog = watchdog.unwrap();
            for mode in [TerminateMode::AfterStatement, TerminateMode::Immediate] {
                // A request that is no stronger changes nothing.
                for _ in 0..2 {
                    manager.terminate(id, kill(mode)).unwrap();
                }
                assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(Some(mode)));
            }
            drop(attached);
            watchdog.stop();
            assert_eq!(reports.iter().count(), 0);
        });
    });
}

/// The statement of a deferred termination may go on for as long as it likes.
#[test]
fn a_request_that_is_not_due_is_not_reported() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select 1");
            let requested = Terminate::new(TerminateMode::AfterStatement, admin("root"));
            manager.terminate(id, requested).unwrap();
            assert_eq!(overdue(&manager), []);
            statement.finish().unwrap_err();
            let found = only(overdue(&manager));
            assert_eq!(found.pending.mode, Some(TerminateMode::AfterStatement));
            assert_eq!(found.text, "select 1");
        });
    });
}

#[test]
fn a_request_is_not_reported_within_the_limit() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            manager.terminate(id, kill_now()).unwrap();
            let (report, reports) = channel();
            let watchdog = Watchdog::builder()
                .overdue(TEST_TIMEOUT, move |overdue| report.send(overdue).unwrap())
                .start(&manager);
            // It looks once more as it is dropped.
            drop(watchdog.unwrap());
            assert_eq!(reports.iter().count(), 0);

            // The time counts from the request, and not from the first round.
            let limit = Duration::from_millis(30);
            let old = manager.session_info(id).unwrap().pending.unwrap().requested_at;
            wait_until("it is old enough", || old.elapsed().is_ok_and(|since| since > limit * 2));
            let (report, reports) = channel();
            let watchdog = Watchdog::builder()
                .overdue(limit, move |overdue| report.send(overdue).unwrap())
                .start(&manager);
            drop(watchdog.unwrap());
            let found = only(reports.iter().collect());
            assert!(found.elapsed >= limit, "{found}");
            session.close();
            assert_eq!(overdue(&manager), [], "it has ended");
        });
    });
}

/// The cancel of a statement that has ended has the text of that statement.
#[test]
fn an_overdue_cancel_has_the_text_of_its_statement() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select parallel");
            let job = statement.handle("sort").wrap_fn(|| ());
            cancel(&manager, id);
            assert_eq!(only(overdue(&manager)).text, "select parallel");
            let _ = statement.finish();
            assert_eq!(only(overdue(&manager)).text, "select parallel");
            let statement = attached.begin().unwrap().with_text("select 1");
            assert_eq!(only(overdue(&manager)).text, "");
            cancel(&manager, id);
            let mut texts: Vec<_> = overdue(&manager).into_iter().map(|one| one.text).collect();
            texts.sort();
            assert_eq!(texts, ["", "select 1"]);
            let _ = statement.finish();
            drop(job);
            assert_eq!(overdue(&manager), []);
        });
    });
}
