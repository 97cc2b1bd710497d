//! The notices of the SQL functions: when the session will end, whether it ends then, and the
//! sessions that they name.

use crate::common::{Fixture, MODELS, each_model, locked, of, supervised};
use safepoint::audit::Event;
use safepoint::diagnose::PendingReason;
use safepoint::request::{InterruptKind, Target};
use safepoint::sql;
use safepoint::sql::{Command, SessionAddress};
use safepoint::{Requester, SessionManager, ThreadModel};
use std::sync::{Arc, Mutex};

/// The states of a session.
#[derive(Clone, Copy, Debug)]
enum State {
    Detached,
    Queued,
    Attached,
    Running,
}

/// Terminates a session in that state. Returns the notice for the requester, and the pending
/// reason.
fn kill(
    fixture: Fixture,
    state: State,
    transaction: bool,
    how: &str,
) -> (String, Option<PendingReason>) {
    let Fixture { manager, mut session, thread, id } = fixture;
    let ids = match session.own_thread() {
        Some(own) => format!("{own}, {id}", own = own.id()),
        None => format!("0, {id}"),
    };
    let (verb, when) = how.split_once(' ').unwrap();
    let command = sql::parse(&format!("ALTER SYSTEM {verb} SESSION '{ids}' {when}"));
    let command: Command = command.unwrap().unwrap();
    let pending = || {
        let answer = sql::execute(&manager, command, Requester::system()).unwrap();
        (answer.notice, answer.receipt.pending_reason())
    };
    let mut attached = session.attach(&thread).unwrap();
    attached.set_in_transaction(transaction);
    match state {
        State::Attached => pending(),
        State::Running => {
            let statement = attached.begin().unwrap();
            let pending = pending();
            drop(statement);
            pending
        }
        State::Detached => {
            attached.detach().unwrap();
            pending()
        }
        State::Queued => {
            attached.detach_to_queue().unwrap();
            pending()
        }
    }
}

#[test]
fn a_notice_states_when_the_session_ends() {
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
                    each_model(|fixture| {
                        let (notice, why) = kill(fixture, state, transaction, how);
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

/// `n, n` names the session that is attached to thread n, including its queued command.
#[test]
fn a_cancel_by_thread_reaches_the_queued_command() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::Pool);
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
fn the_audit_receives_mismatched_pairs() {
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
