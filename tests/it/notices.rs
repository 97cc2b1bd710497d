//! The notices of the SQL functions: when the session will end, whether it ends then, and the
//! sessions that they name.

use crate::common::{MODELS, Stage, each_model, locked, of, supervised};
use safepoint::audit::Event;
use safepoint::diagnose::PendingReason;
use safepoint::request::{InterruptKind, Target};
use safepoint::sql;
use safepoint::sql::{Command, SessionAddress};
use safepoint::{Requester, SessionManager, ThreadModel};
use std::sync::{Arc, Mutex};

/// What a session may be doing.
#[derive(Clone, Copy, Debug)]
enum State {
    Detached,
    Queued,
    Attached,
    Running,
}

/// Kills a session in that state, and returns what the author is told, and why it has not ended.
fn kill(
    stage: Stage,
    state: State,
    transaction: bool,
    how: &str,
) -> (String, Option<PendingReason>) {
    let Stage { manager, mut session, thread, id } = stage;
    let ids = match session.own_thread() {
        Some(own) => format!("{own}, {id}", own = own.id()),
        None => format!("0, {id}"),
    };
    let (verb, when) = how.split_once(' ').unwrap();
    let command = sql::parse(&format!("ALTER SYSTEM {verb} SESSION '{ids}' {when}"));
    let command: Command = command.unwrap().unwrap();
    let told = || {
        let answer = sql::execute(&manager, command, Requester::system()).unwrap();
        (answer.notice, answer.receipt.pending_reason())
    };
    let mut attached = session.attach(&thread).unwrap();
    attached.set_in_transaction(transaction);
    match state {
        State::Attached => told(),
        State::Running => {
            let statement = attached.begin().unwrap();
            let told = told();
            drop(statement);
            told
        }
        State::Detached => {
            attached.detach().unwrap();
            told()
        }
        State::Queued => {
            attached.detach_to_queue().unwrap();
            told()
        }
    }
}

#[test]
fn a_notice_says_when_the_session_ends() {
    supervised(|| {
        let soon = "; it ends at its next safe point";
        let after_statement = "; it ends when the statement does";
        let after_transaction = "; it ends when the transaction does";
        for state in [State::Detached, State::Queued, State::Attached, State::Running] {
            for transaction in [false, true] {
                for (how, waits) in [
                    ("KILL IMMEDIATE", None),
                    ("KILL ", Some(after_statement).filter(|_| matches!(state, State::Running))),
                    (
                        "DISCONNECT POST_TRANSACTION",
                        Some(after_transaction)
                            .filter(|_| transaction || matches!(state, State::Running)),
                    ),
                ] {
                    each_model(|stage| {
                        let (notice, why) = kill(stage, state, transaction, how);
                        let what =
                            format!("{how} of {state:?}, transaction {transaction}: {notice}");
                        assert!(notice.ends_with(waits.unwrap_or(soon)), "{what}");
                        let not_due = matches!(why, Some(PendingReason::Deferred { .. }));
                        assert_eq!(not_due, waits.is_some(), "{what}; {why:?}");
                    });
                }
            }
        }
    });
}

/// `n, n` names whichever session is attached to thread n, and its command that is not begun yet.
#[test]
fn a_cancel_by_the_thread_names_what_its_session_has_queued() {
    supervised(|| {
        let Stage { manager, mut session, thread, id } = Stage::new(ThreadModel::Pool);
        session.reserve_statement().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let number = i64::from(thread.id());
        let address = SessionAddress::try_from((number, number)).unwrap();
        let cancel = || sql::cancel_session(&manager, address, Requester::system(), None);
        let receipt = cancel().unwrap();
        assert_eq!(receipt.session(), id);
        assert!(!attached.begin().unwrap_err().is_terminate());
        assert!(receipt.try_get().unwrap().cancelled);
        assert_eq!(cancel().unwrap_err().sqlstate(), "55000", "nothing runs");
        drop(attached);
        assert_eq!(cancel().unwrap_err().sqlstate(), "42704", "nobody is there");
    });
}

#[test]
fn the_audit_hears_of_what_does_not_belong_together() {
    supervised(|| {
        for model in MODELS {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let hears = heard.clone();
            let audit = move |event: &Event<'_>| {
                if let Event::RequestRejected { target, kind, .. } = event {
                    locked(&hears).push((*target, *kind));
                }
            };
            let manager = SessionManager::builder(model).audit(audit).build();
            let session = manager.open(of("ann")).unwrap();
            let background = manager.register_background("checkpointer").unwrap();
            let (thread, id) = (background.id(), session.id());
            let address = SessionAddress::try_from((thread.into(), id.into())).unwrap();
            let terminate = sql::terminate_session(&manager, address, Requester::system(), None);
            let cancel = sql::cancel_session(&manager, address, Requester::system(), None);
            for sqlstate in [terminate.unwrap_err().sqlstate(), cancel.unwrap_err().sqlstate()] {
                assert_eq!(sqlstate, "22023");
            }
            let pair = Target::Pair(thread, id);
            let kinds = [InterruptKind::Terminate, InterruptKind::Cancel];
            assert_eq!(*locked(&heard), kinds.map(|kind| (pair, kind)));
        }
    });
}
