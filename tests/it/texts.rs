//! The texts of the library's types in an application's log.

use crate::common::{Fixture, MODELS, kill, kill_now, supervised};
use safepoint::diagnose::{ProbeResult, Progress, StalledSession, Watchdog};
use safepoint::id::{InvalidIdError, StatementId, ThreadId};
use safepoint::manager::{OpenError, StartError};
use safepoint::request::{InterruptKind, InterruptReason, Request, RequestError, Target};
use safepoint::session::AttachError;
use safepoint::sql::SqlError;
use safepoint::view::SessionState;
use safepoint::{
    Cancel, Requester, SessionId, SessionManager, Terminate, TerminateMode, Thread, ThreadModel,
};
use std::error::Error;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::time::Duration;

#[test]
fn each_request_error_has_a_message() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(crate::common::of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, thread) = (session.id(), worker.id());
        let mut attached = session.attach(&worker).unwrap();
        let statement: StatementId = attached.begin().unwrap().statement_id();
        for (refused, text, sqlstate) in [
            (RequestError::NoSuchSession(id), format!("no such session: {id}"), "42704"),
            (RequestError::AlreadyEnded(id), format!("session {id} has already ended"), "42704"),
            (RequestError::NoSuchThread(thread), format!("no such thread: {thread}"), "42704"),
            (
                RequestError::ThreadIdle(thread),
                format!("thread {thread} runs no session now"),
                "42704",
            ),
            (
                RequestError::BackgroundThread { thread, name: "listener".into() },
                format!("thread {thread} (listener) is a background thread, not a session"),
                "42809",
            ),
            (
                RequestError::NotAttached { thread, session: id },
                format!("thread {thread} and session {id} don't belong together"),
                "22023",
            ),
            (
                RequestError::PermissionDenied(id),
                format!("permission denied to end session {id} or its statement"),
                "42501",
            ),
            (
                RequestError::NoActiveStatement(id),
                format!("session {id} runs no statement"),
                "55000",
            ),
            (
                RequestError::StatementEnded { session: id, statement },
                format!("statement {statement} of session {id} is over"),
                "55000",
            ),
            (
                RequestError::NoSuchStatement { session: id, statement },
                format!("session {id} has no statement {statement} yet"),
                "42704",
            ),
            (
                RequestError::SessionChanged(id),
                format!("session {id} has changed since it was listed"),
                "55000",
            ),
            (
                RequestError::TimerUnavailable(id),
                format!("session {id} can't be given a grace: there is no thread for the timer"),
                "53000",
            ),
        ] {
            assert_eq!((refused.to_string(), refused.sqlstate()), (text, sqlstate));
        }
    });
}

#[test]
fn enums_by_their_names() {
    let (session, thread) = (SessionId::try_from(7).unwrap(), ThreadId::try_from(3).unwrap());
    for (value, text) in [
        (&ThreadModel::PerSession as &dyn Display, "thread per session"),
        (&ThreadModel::Pool, "thread pool"),
        (&InterruptKind::Cancel, "cancel"),
        (&InterruptKind::Terminate, "terminate"),
        (&TerminateMode::Immediate, "immediate"),
        (&TerminateMode::AfterStatement, "after statement"),
        (&TerminateMode::AfterTransaction, "after transaction"),
        (&Target::Session(session), "session 7"),
        (&Target::AttachedTo(thread), "the session on thread 3"),
        (&Target::Pair(thread, session), "session 7 on thread 3"),
        (&StartError::WrongModel, "a pool needs a manager with the model ThreadModel::Pool"),
    ] {
        assert_eq!(value.to_string(), text);
    }
}

/// The text of an error, and the text of its cause.
#[test]
fn errors_keep_their_causes() {
    let full = StartError::from(OpenError::Full);
    assert_eq!(full.to_string(), "the thread cannot be registered");
    assert_eq!(full.source().expect("its cause").to_string(), OpenError::Full.to_string());
    let failed = StartError::from(std::io::Error::other("no thread"));
    assert_eq!(failed.to_string(), "the thread cannot be started");
    assert_eq!(failed.source().expect("its cause").to_string(), "no thread");
    assert!(StartError::WrongModel.source().is_none());

    let rejection = RequestError::NoSuchSession(SessionId::try_from(7).unwrap());
    let error = SqlError::from(rejection.clone());
    let cause = error.source().expect("its cause").downcast_ref();
    assert_eq!(cause, Some(&rejection));
    let syntax = safepoint::sql::parse("ALTER SYSTEM KILL SESSION 7").unwrap_err();
    assert!(syntax.source().is_none());
}

#[test]
fn ids_as_numbers_and_back() {
    let largest = i64::MAX as u64;
    for number in [1, 42, largest] {
        let session = SessionId::try_from(number).unwrap();
        assert_eq!((u64::from(session), i64::from(session)), (number, number as i64));
        assert_eq!(NonZeroU64::from(session).get(), number);
        let statement: StatementId = number.to_string().parse().unwrap();
        assert_eq!((u64::from(statement), statement.to_string()), (number, number.to_string()));
        assert_eq!(StatementId::try_from(number), Ok(statement));
    }
    for wrong in [0, largest + 1, u64::MAX] {
        assert_eq!(StatementId::try_from(wrong), Err(InvalidIdError));
        assert_eq!(wrong.to_string().parse::<StatementId>(), Err(InvalidIdError));
    }
}

#[test]
fn each_other_error_has_a_message() {
    supervised(|| {
        let attach = [
            (AttachError::ThreadBusy, "runs another session"),
            (AttachError::BackgroundThread, "background thread"),
            (AttachError::WrongThread, "its own thread, or in a pool on a registered worker"),
        ];
        let open = [
            (OpenError::Closed, "closed"),
            (OpenError::Full, "no room"),
            (OpenError::IdsExhausted, "used up"),
        ];
        let said = attach.map(|(error, part)| (error.to_string(), part)).into_iter();
        for (text, part) in said.chain(open.map(|(error, part)| (error.to_string(), part))) {
            assert!(text.contains(part), "{text}");
        }
    });
}

#[test]
fn session_states_have_names() {
    supervised(|| {
        let names = [
            (SessionState::Idle, "idle"),
            (SessionState::IdleInTransaction, "idle in transaction"),
            (SessionState::Queued, "queued"),
            (SessionState::BetweenStatements, "between statements"),
            (SessionState::Running, "running"),
            (SessionState::Waiting, "waiting"),
        ];
        for (doing, name) in names {
            assert_eq!(doing.to_string(), name);
        }
    });
}

#[test]
fn debug_output_names_the_session() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let number = id.to_string();
            let shown = |thread: &Thread| format!("{thread:?}").contains(&thread.id().to_string());
            assert!(shown(&thread));
            assert!(format!("{session:?}").contains(&number));
            assert!(format!("{manager:?}").contains("sessions: 1"));
            let mut attached = session.attach(&thread).unwrap();
            assert!(format!("{attached:?}").contains(&number));
            attached.set_in_transaction(true);
            let statement = attached.begin().unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            let text = format!("{receipt:?}");
            assert!(text.contains(&number) && text.contains("Running"), "{text}");
            drop(statement);
            drop(attached);
            let word = format!("{session:?}");
            assert!(word.contains("in-transaction") && word.contains("Immediate"), "{word}");
        }
    });
}

/// The texts for a session that has not ended, and for a session without safe points.
#[test]
fn reasons_are_sentences() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let here = |call_site: safepoint::diagnose::CallSite| {
            format!("{}:{}:", file!(), call_site.location.line())
        };
        let deferred = manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
        let say = || deferred.pending_reason().unwrap().to_string();
        assert_eq!(say(), "its holder has not ended it yet");
        session.reserve_statement().unwrap();
        assert_eq!(say(), "queued for a worker");
        let attached = session.attach(&thread).unwrap();
        attached.set_in_transaction(true);
        assert_eq!(say(), "it may finish its transaction");
        assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
        attached.check().unwrap();
        attached.set_in_transaction(false);
        let last = manager.session_info(id).unwrap().last_safe_point.unwrap();
        let text = say();
        assert!(
            text.starts_with("no safe point for at least 0 ms, the last one known at "),
            "{text}"
        );
        assert!(text.contains(&here(last)), "{text}");
        let held = attached.hold_off("commit");
        let call_site = manager.session_info(id).unwrap().hold_off.unwrap().call_site;
        assert!(
            say().starts_with(&format!("held off by commit at {}", here(call_site))),
            "{}",
            say()
        );
        drop(held);
        let line = line!() + 1;
        let text = attached.block_in_place(say);
        assert!(
            text.starts_with(&format!(
                "in a wait that can't be interrupted, at {}:{line}:",
                file!()
            )),
            "{text}"
        );
        for (progress, said) in [
            (None, ""),
            (Some(Progress::new(3)), ", 3 rolled back"),
            (Some(Progress::new(3).of(10)), ", 3 of 10 rolled back"),
        ] {
            let line = line!() + 1;
            let rollback = attached.begin_rollback();
            progress.into_iter().for_each(|progress| rollback.report(progress));
            let text = say();
            drop(rollback);
            let start = format!("rolling back since {}:{line}:", file!());
            assert!(text.starts_with(&start) && text.ends_with(said), "{text}");
            assert_eq!(text.contains("rolled back"), progress.is_some(), "{text}");
        }
    });
}

#[test]
fn pending_requests_name_the_requester() {
    supervised(|| {
        for (when, name) in [
            (TerminateMode::Immediate, "terminate (immediate)"),
            (TerminateMode::AfterStatement, "terminate (after statement)"),
            (TerminateMode::AfterTransaction, "terminate (after transaction)"),
        ] {
            let Fixture { manager, session, id, .. } = Fixture::new(ThreadModel::Pool);
            let nobody = Requester::system();
            let by_session = nobody.clone().with_session(id);
            let by_both = by_session.clone().with_user("root");
            for (requester, by) in [
                (nobody, String::new()),
                (by_session, format!(" by session {id}")),
                (by_both, " by root".to_string()),
            ] {
                let session = manager.open(crate::common::of("ann")).unwrap();
                manager.terminate(session.id(), Terminate::new(when, requester)).unwrap();
                let pending = manager.session_info(session.id()).unwrap().pending.unwrap();
                assert_eq!(pending.to_string(), format!("{name}{by}"));
            }
            drop(session);
        }
    });
}

#[test]
fn a_stall_is_reported_in_one_line() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().with_text("select endless");
        let stall = || {
            let (report, reports) = std::sync::mpsc::channel();
            let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                let _ = report.send(stalled);
            });
            let stalled = reports.recv_timeout(crate::common::TEST_TIMEOUT).unwrap();
            drop(watchdog);
            stalled
        };
        let start = |stalled: &StalledSession| {
            let ms = stalled.elapsed.as_millis();
            format!("session {id} passed no safe point for {ms} ms")
        };
        let stalled = stall();
        assert_eq!(stalled.to_string(), start(&stalled) + ": select endless");
        assert!(matches!(manager.probe(id), Some(ProbeResult::Unanswered { .. })));
        statement.check().unwrap();
        let _held = statement.hold_off("commit");
        let stalled = statement.block_in_place(stall);
        let expected = format!(
            "{}, the last one known at {}, held off by commit at {}, in a wait at {}: select endless",
            start(&stalled),
            stalled.last_safe_point.unwrap().location,
            stalled.hold_off.unwrap().call_site.location,
            stalled.wait.unwrap().location,
        );
        assert_eq!(stalled.to_string(), expected);
    });
}

#[test]
fn a_stall_of_a_helper_names_the_helper() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().with_text("select parallel");
        let handle = &statement.handle("sort");
        let (report, reports) = std::sync::mpsc::channel();
        let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
            let _ = report.send(stalled);
        });
        crate::common::scope(|s| {
            s.spawn(move || {
                let helper = handle.enter().unwrap();
                let _held = helper.hold_off("page");
                let stalled = loop {
                    let stalled: StalledSession =
                        reports.recv_timeout(crate::common::TEST_TIMEOUT).unwrap();
                    if stalled.helper.is_some_and(|helper| helper.hold_off.is_some()) {
                        break stalled;
                    }
                    // It was reported before its hold-off.
                    helper.check().unwrap();
                };
                let expected = format!(
                    "a helper of session {id} passed no safe point for {} ms, sort of {}, held off by page at {}",
                    stalled.elapsed.as_millis(),
                    stalled.helper.unwrap().known_since,
                    stalled.hold_off.unwrap().call_site,
                );
                let text = stalled.to_string();
                assert!(text.starts_with(&expected), "{text}");
                assert!(text.ends_with(": select parallel"), "{text}");
            });
        });
        drop(watchdog);
    });
}

#[test]
fn an_overdue_request_is_reported_in_one_line() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().with_text("select endless");
        let overdue = || {
            let (report, reports) = std::sync::mpsc::channel();
            let watchdog = Watchdog::builder()
                .overdue(Duration::ZERO, move |overdue| report.send(overdue).unwrap())
                .start(&manager);
            let overdue = reports.recv_timeout(crate::common::TEST_TIMEOUT).unwrap();
            drop(watchdog.unwrap());
            overdue
        };
        let root = Requester::system().with_user("root");
        let held = statement.hold_off("commit");
        manager.cancel(id, Cancel::running(root)).unwrap();
        let found = overdue();
        let ms = found.elapsed.as_millis();
        assert_eq!(
            found.to_string(),
            format!(
                "a statement of session {id} (running) has not ended {ms} ms after cancel by root: {}: \
                 select endless",
                found.reason
            )
        );
        drop(held);
        let _ = statement.finish();
        manager.terminate(id, crate::common::kill_now()).unwrap();
        let found = overdue();
        let ms = found.elapsed.as_millis();
        assert_eq!(
            found.to_string(),
            format!(
                "session {id} (between statements) has not ended {ms} ms after terminate (immediate) by \
                 root: {}: select endless",
                found.reason
            )
        );
    });
}

/// The requester, its address and its comment, as far as each is known.
#[test]
fn details_name_the_requester_if_known() {
    supervised(|| {
        let Fixture { manager, session, id, .. } = Fixture::new(ThreadModel::Pool);
        let other = manager.open(crate::common::of("bob")).unwrap();
        let by = other.id();
        let from = |requester: &Requester| requester.clone().with_address("10.0.0.7");
        let nobody = Requester::system();
        let named = nobody.clone().with_user("root");
        let in_session = nobody.clone().with_session(by);
        let both = named.clone().with_session(by);
        let own = named.clone().with_session(id);
        for (requester, who) in [
            (&nobody, None),
            (&from(&nobody), None),
            (&named, Some("user \"root\"".to_string())),
            (&from(&named), Some("user \"root\" from 10.0.0.7".to_string())),
            (&in_session, Some(format!("session {by}"))),
            (&from(&in_session), Some(format!("session {by} from 10.0.0.7"))),
            (&both, Some(format!("user \"root\" in session {by}"))),
            (&from(&both), Some(format!("user \"root\" in session {by} from 10.0.0.7"))),
            (&own, None),
        ] {
            for text in [None, Some("It blocks a vacuum.")] {
                let target = manager.open(crate::common::of("ann")).unwrap();
                let own_id = if requester.session() == Some(id) { id } else { target.id() };
                let request = Terminate::new(TerminateMode::Immediate, requester.clone());
                let request = match text {
                    Some(text) => request.comment(text),
                    None => request,
                };
                manager.terminate(target.id(), request).unwrap();
                let interrupt = target.check().unwrap_err();
                let at = interrupt.request().requested_at();
                let detail = interrupt.detail(own_id);
                let since = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                // The time is looked at elsewhere.
                let second = format!(":{:02} UTC.", since % 60);
                match (&who, text) {
                    (None, text) => assert_eq!(detail.as_deref(), text),
                    (Some(who), text) => {
                        let detail = detail.unwrap();
                        assert!(
                            detail.starts_with(&format!("Requested by {who} at 2")),
                            "{detail}"
                        );
                        let end = text.map_or(second.clone(), |text| format!("{second} {text}"));
                        assert!(detail.ends_with(&end), "{detail}");
                    }
                }
            }
        }
        drop(session);
    });
}

#[test]
fn progress_with_and_without_a_total() {
    let some = Progress::new(3);
    assert_eq!((some.completed(), some.total(), some.to_string()), (3, None, "3".into()));
    let of = some.of(9);
    assert_eq!((of.completed(), of.total(), of.to_string()), (3, Some(9), "3 of 9".into()));
}

#[test]
fn requests_are_equal_if_their_contents_are() {
    supervised(|| {
        let requester = Requester::new("root").with_admin(true);
        let one =
            Request::new(requester.clone(), InterruptReason::UserRequest).with_comment("because");
        std::thread::sleep(Duration::from_millis(1));
        let same =
            Request::new(requester.clone(), InterruptReason::UserRequest).with_comment("because");
        assert_ne!(one.requested_at(), same.requested_at());
        assert_eq!(one, same);
        for other in [
            Request::new(Requester::system(), InterruptReason::UserRequest).with_comment("because"),
            Request::new(requester.clone(), InterruptReason::StatementTimeout)
                .with_comment("because"),
            Request::new(requester.clone(), InterruptReason::UserRequest).with_comment("why not"),
            Request::new(requester, InterruptReason::UserRequest),
        ] {
            assert_ne!(one, other);
        }
    });
}
