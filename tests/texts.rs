//! What an embedder's log shows of this library's types.

mod common;

use common::{MODELS, Stage, kill_now, supervised};
use safepoint::{
    AttachError, Doing, OpenError, Refused, SessionManager, StatementId, Thread, ThreadModel,
};

#[test]
fn each_refusal_says_who_and_why() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(common::of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, thread) = (session.id(), worker.id());
        let mut attached = session.attach(&worker).unwrap();
        let statement: StatementId = attached.begin().unwrap().statement();
        for (refused, text, sqlstate) in [
            (Refused::NoSuchSession(id), format!("no such session: {id}"), "42704"),
            (Refused::AlreadyEnded(id), format!("session {id} has already ended"), "42704"),
            (Refused::NoSuchThread(thread), format!("no such thread: {thread}"), "42704"),
            (
                Refused::NothingAttached(thread),
                format!("thread {thread} runs no session now"),
                "42704",
            ),
            (
                Refused::BackgroundThread(thread, "listener".into()),
                format!("thread {thread} (listener) is a background thread, not a session"),
                "42809",
            ),
            (
                Refused::NotAttached(thread, id),
                format!("thread {thread} and session {id} don't belong together"),
                "22023",
            ),
            (
                Refused::NotPermitted(id),
                format!("permission denied to end session {id} or its statement"),
                "42501",
            ),
            (Refused::NothingRuns(id), format!("session {id} runs no statement"), "55000"),
            (
                Refused::Stale(id, statement),
                format!("statement {statement} of session {id} is over"),
                "55000",
            ),
            (
                Refused::NoSuchStatement(id, statement),
                format!("session {id} has no statement {statement} yet"),
                "42704",
            ),
            (
                Refused::NoTimer(id),
                format!("session {id} can't be given a grace: there is no thread for the timer"),
                "53000",
            ),
        ] {
            assert_eq!((refused.to_string(), refused.sqlstate()), (text, sqlstate));
        }
    });
}

#[test]
fn each_other_error_says_what_is_wrong() {
    supervised(|| {
        let attach = [
            (AttachError::ThreadIsBusy, "runs another session"),
            (AttachError::BackgroundThread, "background thread"),
            (
                AttachError::OtherSessionsThread,
                "its own thread, or in a pool on a registered worker",
            ),
        ];
        let open = [
            (OpenError::Closed, "closed"),
            (OpenError::Full, "no room"),
            (OpenError::Exhausted, "used up"),
        ];
        let said = attach.map(|(error, part)| (error.to_string(), part)).into_iter();
        for (text, part) in said.chain(open.map(|(error, part)| (error.to_string(), part))) {
            assert!(text.contains(part), "{text}");
        }
    });
}

#[test]
fn what_a_session_does_has_a_name() {
    supervised(|| {
        let names = [
            (Doing::Idle, "idle"),
            (Doing::IdleInTransaction, "idle in transaction"),
            (Doing::Queued, "queued"),
            (Doing::BetweenStatements, "between statements"),
            (Doing::Running, "running"),
            (Doing::Waiting, "waiting"),
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
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let number = id.to_string();
            let shown = |thread: &Thread| format!("{thread:?}").contains(&thread.id().to_string());
            assert!(shown(&thread));
            assert!(format!("{session:?}").contains(&number));
            assert!(format!("{manager:?}").contains("sessions: 1"));
            let mut attached = session.attach(&thread).unwrap();
            assert!(format!("{attached:?}").contains(&number));
            attached.set_transaction(true);
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
