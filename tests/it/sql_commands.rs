//! The arguments and the results of the SQL functions.

use crate::common::{
    Fixture, MODELS, ParkedSession, admin, each_model, kill, locked, of, supervised, thread_for,
    user,
};
use safepoint::diagnose::PendingReason;
use safepoint::id::StatementId;
use safepoint::policy::Roles;
use safepoint::request::RequestError;
use safepoint::session::WaitMode;
use safepoint::sql;
use safepoint::sql::{Command, RESULT_COLUMN, SessionAddress, SqlError};
use safepoint::{Requester, SessionManager, TerminateMode, ThreadModel};
use std::task::Waker;

fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap()
}

fn root() -> Requester {
    admin("root")
}

fn address(thread: i64, session: i64) -> Result<SessionAddress, SqlError> {
    SessionAddress::try_from((thread, session))
}

/// Returns the error of the two functions, and of the command with these numbers: the SQLSTATE and
/// the message.
#[track_caller]
fn refused(manager: &SessionManager, thread: i64, session: i64) -> (&'static str, String) {
    let terminate = address(thread, session)
        .and_then(|address| sql::terminate_session(manager, address, root(), None))
        .unwrap_err();
    let cancel = address(thread, session)
        .and_then(|address| sql::cancel_session(manager, address, root(), None))
        .unwrap_err();
    assert_eq!(terminate, cancel, "{thread}, {session}");
    let command = Command::parse(&format!("{thread}, {session}"), TerminateMode::Immediate)
        .and_then(|command| sql::execute(manager, command, root()));
    assert_eq!(terminate, command.unwrap_err(), "{thread}, {session}");
    (terminate.sqlstate(), terminate.message().to_owned())
}

const INVALID: (&str, &str) = ("42704", "missing or invalid session ID");

#[test]
fn numbers_that_are_not_ids() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            let id = number(id.get());
            for (thread, session) in [
                (id, 0),
                (0, 0),
                (0, -1),
                (0, -id),
                (0, i64::MIN),
                (id, -id),
                (-id, id),
                (-1, id),
                (i64::MIN, id),
                (-1, -1),
            ] {
                let (sqlstate, message) = refused(&manager, thread, session);
                assert_eq!((sqlstate, &*message), INVALID, "{thread}, {session}");
            }
            session.check().unwrap();
        });
    });
}

#[test]
fn the_numbers_of_an_address() {
    for (thread, session, text) in [(0, 7, "0, 7"), (5, 7, "5, 7"), (7, 7, "7, 7")] {
        let named = address(thread, session).unwrap();
        assert_eq!(named.thread().map_or(0, |thread| number(thread.get())), thread);
        assert_eq!(number(named.session().get()), session);
        assert_eq!(named.to_string(), text);
    }
}

#[test]
fn without_a_pool_both_numbers_are_the_session_s() {
    supervised(|| {
        let Fixture { manager, session, id, .. } = Fixture::new(ThreadModel::PerSession);
        let other = manager.open(of("bob")).unwrap();
        let background = manager.register_background("writer").unwrap();
        let (n, o, b) = (number(id.get()), number(other.id().get()), number(background.id().get()));
        for thread in [0, o, b, 1, i64::MAX] {
            let (sqlstate, message) = refused(&manager, thread, n);
            let expected = format!("thread {thread} and session {n} don't belong together");
            assert_eq!((sqlstate, message), ("22023", expected));
        }
        let (sqlstate, message) = refused(&manager, i64::MAX, i64::MAX);
        assert_eq!((sqlstate, &*message), ("42704", &*format!("no such session: {}", i64::MAX)));
        let (sqlstate, message) = refused(&manager, b, b);
        let expected = format!("thread {b} (writer) is a background thread, not a session");
        assert_eq!((sqlstate, message), ("42809", expected));
        session.check().unwrap();
        sql::terminate_session(&manager, address(n, n).unwrap(), root(), None).unwrap();
        session.check().unwrap_err();
        other.check().unwrap();
    });
}

#[test]
fn in_a_pool_the_session_s_number_decides() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let worker = manager.register_worker("worker").unwrap();
        let gone = manager.register_worker("gone").unwrap().id();
        let background = manager.register_background("writer").unwrap();
        let other = manager.open(of("bob")).unwrap();
        let (w, g, b) = (worker.id().get(), gone.get(), background.id().get());
        // Any thread that a row could have shown with the session.
        for thread in [0, w, g] {
            let session = manager.open(of("ann")).unwrap();
            let id = number(session.id().get());
            sql::terminate_session(&manager, address(number(thread), id).unwrap(), root(), None)
                .unwrap();
            session.check().unwrap_err();
        }
        let session = manager.open(of("ann")).unwrap();
        let id = session.id().get();
        for thread in [b, other.id().get(), 1, i64::MAX as u64] {
            let (sqlstate, message) = refused(&manager, number(thread), number(id));
            let expected = format!("thread {thread} and session {id} don't belong together");
            assert_eq!((sqlstate, message), ("22023", expected));
        }
        // One number twice names a thread.
        for (n, sqlstate, message) in [
            (id, "42704", format!("no such thread: {id}")),
            (w, "42704", format!("thread {w} runs no session now")),
            (g, "42704", format!("no such thread: {g}")),
            (b, "42809", format!("thread {b} (writer) is a background thread, not a session")),
        ] {
            assert_eq!(refused(&manager, number(n), number(n)), (sqlstate, message));
        }
        // A thread's number where a session's belongs.
        for (n, sqlstate, message) in [
            (w, "42809", format!("thread {w} (worker) is a worker, not a session")),
            (g, "42704", format!("no such session: {g}")),
            (b, "42809", format!("thread {b} (writer) is a background thread, not a session")),
            (1, "42704", "no such session: 1".to_string()),
        ] {
            assert_eq!(refused(&manager, 0, number(n)), (sqlstate, message));
        }
        session.check().unwrap();
        other.check().unwrap();
    });
}

#[test]
fn two_equal_numbers_name_the_session_on_that_thread() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::Pool);
        let at = number(thread.id().get());
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let receipt =
            sql::cancel_session(&manager, address(at, at).unwrap(), root(), None).unwrap();
        assert_eq!(receipt.session(), id);
        statement.check().unwrap_err();
        drop(statement);
        let command =
            Command::parse(&format!("{at}, {at}"), TerminateMode::AfterStatement).unwrap();
        let answer = sql::execute(&manager, command, root()).unwrap();
        assert_eq!(answer.receipt.session(), id);
        attached.check().unwrap_err();
    });
}

/// A command that has no thread yet is cancelled by the function as a running one is.
#[test]
fn the_function_cancels_a_queued_command() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let n = number(id.get());
            let at = if manager.model() == ThreadModel::Pool { 0 } else { n };
            let queued = session.reserve_statement().unwrap();
            let receipt =
                sql::cancel_session(&manager, address(at, n).unwrap(), root(), None).unwrap();
            assert_eq!(receipt.target().statement_id, Some(queued));
            let mut attached = session.attach(&thread).unwrap();
            assert!(!attached.begin().unwrap_err().is_terminate());
            assert!(receipt.try_get().unwrap().cancelled);
        });
    });
}

/// Neither function names the session of a thread whose session is hidden from the requester.
#[test]
fn a_hidden_session_is_not_named() {
    supervised(|| {
        let policy = Roles::new().hide_others();
        let manager = SessionManager::builder(ThreadModel::Pool).policy(policy).build();
        let mut hidden = manager.open(of("ann")).unwrap();
        let thread = thread_for(&manager, &hidden);
        let n = number(thread.id().get());
        let mut attached = hidden.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let terminate = sql::terminate_session(&manager, address(n, n).unwrap(), user("bob"), None)
            .unwrap_err();
        let cancel =
            sql::cancel_session(&manager, address(n, n).unwrap(), user("bob"), None).unwrap_err();
        assert_eq!(terminate.message(), format!("thread {n} runs no session now"));
        assert_eq!(cancel, terminate);
        statement.check().unwrap();
    });
}

/// The functions terminate at once, and the comment reaches the target.
#[test]
fn requests_of_the_sql_functions() {
    supervised(|| {
        for text in [None, Some("It blocks a vacuum.")] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let n = number(id.get());
                let at = if manager.model() == ThreadModel::Pool { 0 } else { n };
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let requester = root().with_address("10.0.0.7");
                let cancel =
                    sql::cancel_session(&manager, address(at, n).unwrap(), requester.clone(), text)
                        .unwrap();
                assert_eq!(cancel.target().statement_id, Some(StatementId::try_from(1).unwrap()));
                let interrupt = statement.check().unwrap_err();
                assert!(!interrupt.is_terminate());
                assert_eq!(interrupt.request().comment(), text);
                assert_eq!(*interrupt.request().requester(), requester);
                drop(statement);
                assert!(cancel.try_get().unwrap().cancelled);
                let statement = attached.begin().unwrap();
                sql::terminate_session(&manager, address(at, n).unwrap(), requester.clone(), text)
                    .unwrap();
                let interrupt = statement.check().unwrap_err();
                assert!(interrupt.is_terminate(), "in the middle of its statement");
                assert_eq!(interrupt.request().comment(), text);
                assert_eq!(*interrupt.request().requester(), requester);
                drop(statement);
                let eve =
                    sql::terminate_session(&manager, address(at, n).unwrap(), user("eve"), text);
                assert_eq!(eve.unwrap_err().sqlstate(), "42501");
            });
        }
        assert_eq!(RESULT_COLUMN, "pg_terminate_session");
    });
}

/// The whole of it: where the session was found, and when it ends.
#[test]
fn a_notice_in_each_state() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let n = id.get();
            let pool = manager.model() == ThreadModel::Pool;
            let ids = if pool { format!("0, {n}") } else { format!("{n}, {n}") };
            let tell = |when| {
                let command = Command::parse(&ids, when).unwrap();
                let answer = sql::execute(&manager, command, root()).unwrap();
                let ended = answer.receipt.pending_reason();
                (answer.notice, ended)
            };
            let said = |when| tell(when).0;
            let mut attached = session.attach(&thread).unwrap();
            let on = format!(" on thread {}", attached.thread_id());
            attached.set_in_transaction(true);
            let statement = attached.begin().unwrap();
            let running = format!("session {n} was running statement 1{on}");
            assert_eq!(
                said(TerminateMode::AfterTransaction),
                format!("{running}; it ends when the transaction does")
            );
            assert_eq!(
                said(TerminateMode::AfterTransaction),
                format!("{running}; it ends when the transaction does, as it had been told before")
            );
            assert_eq!(
                said(TerminateMode::AfterStatement),
                format!("{running}; it ends when the statement does")
            );
            // A weaker one adds nothing, and what was asked for before comes to pass.
            assert_eq!(
                said(TerminateMode::AfterTransaction),
                format!("{running}; it ends when the statement does, as it had been told before")
            );
            let waits = statement
                .wait(WaitMode::Killable, Waker::noop(), || said(TerminateMode::AfterStatement))
                .unwrap();
            assert_eq!(
                waits,
                format!(
                    "session {n} was waiting in statement 1{on}; it ends when the statement does, \
                     as it had been told before"
                )
            );
            assert_eq!(
                said(TerminateMode::Immediate),
                format!("{running}; it ends at its next safe point")
            );
            assert_eq!(
                said(TerminateMode::AfterStatement),
                format!("{running}; it ends at its next safe point, as it had been told before")
            );
            drop(statement);
            let found = format!("session {n} was idle in transaction{on}");
            let again = "; it ends at its next safe point, as it had been told before";
            assert_eq!(said(TerminateMode::Immediate), format!("{found}{again}"));
            attached.set_in_transaction(false);
            let found = format!("session {n} was between statements{on}");
            assert_eq!(said(TerminateMode::Immediate), format!("{found}{again}"));
            drop(attached);
            let found = format!("session {n} was idle");
            assert_eq!(said(TerminateMode::Immediate), format!("{found}{again}"));
            session.reserve_statement().unwrap();
            let found = format!("session {n} was queued with statement 2");
            assert_eq!(said(TerminateMode::Immediate), format!("{found}{again}"));
            assert_eq!(tell(TerminateMode::Immediate).1, Some(PendingReason::Queued));
        });
        // An idle session with a waker has ended.
        for model in MODELS {
            let manager = SessionManager::new(model);
            let session = manager.open(of("ann")).unwrap();
            let n = session.id().get();
            let parked = ParkedSession::leave(session);
            let ids =
                if model == ThreadModel::Pool { format!("0, {n}") } else { format!("{n}, {n}") };
            let command = Command::parse(&ids, TerminateMode::AfterStatement).unwrap();
            let answer = sql::execute(&manager, command, root()).unwrap();
            assert_eq!(answer.notice, format!("session {n} was idle; it has ended"));
            assert!(answer.receipt.try_get().is_some());
            assert_eq!(locked(&parked.interrupts).len(), 1);
        }
    });
}

/// An idle transaction defers only a request that waits for its end.
#[test]
fn a_notice_for_an_idle_transaction() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let n = id.get();
            let attached = session.attach(&thread).unwrap();
            attached.set_in_transaction(true);
            let on = format!(" on thread {}", attached.thread_id());
            manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
            let pool = manager.model() == ThreadModel::Pool;
            let ids = if pool { format!("0, {n}") } else { format!("{n}, {n}") };
            let said = |when| {
                let command = Command::parse(&ids, when).unwrap();
                sql::execute(&manager, command, root()).unwrap().notice
            };
            let found = format!("session {n} was idle in transaction{on}");
            assert_eq!(
                said(TerminateMode::AfterTransaction),
                format!("{found}; it ends when the transaction does, as it had been told before")
            );
            assert_eq!(
                said(TerminateMode::AfterStatement),
                format!("{found}; it ends at its next safe point")
            );
        });
    });
}

#[test]
fn rejections_have_hints() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let thread = thread_for(&manager, &session);
        let (id, at) = (session.id(), thread.id());
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().statement_id();
        for (refused, hint) in [
            (RequestError::NoSuchSession(id), None),
            (RequestError::AlreadyEnded(id), None),
            (RequestError::NoSuchThread(at), Some("With a thread pool 'n, n' names the session")),
            (RequestError::ThreadIdle(at), None),
            (RequestError::BackgroundThread { thread: at, name: "writer".into() }, None),
            (
                RequestError::NotAttached { thread: at, session: id },
                Some("Take both numbers from one row"),
            ),
            (RequestError::PermissionDenied(id), Some("Administrators may end anyone's sessions")),
            (RequestError::NoActiveStatement(id), None),
            (RequestError::StatementEnded { session: id, statement }, None),
            (RequestError::NoSuchStatement { session: id, statement }, None),
            (RequestError::SessionChanged(id), None),
            (RequestError::TimerUnavailable(id), None),
        ] {
            let error = SqlError::from(refused.clone());
            assert_eq!(error.sqlstate(), refused.sqlstate());
            assert_eq!(error.message(), refused.to_string());
            assert_eq!(error.to_string(), refused.to_string());
            match (error.hint(), hint) {
                (None, None) => {}
                (Some(found), Some(start)) => assert!(found.starts_with(start), "{found}"),
                other => panic!("{refused:?}: {other:?}"),
            }
        }
    });
}
