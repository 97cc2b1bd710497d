//! What the SQL face says about a kill: when the session will end, and that it does then.

mod common;

use common::{Stage, each_model};
use safepoint::sql::{self, Command};
use safepoint::{Author, WhyNotYet};

/// What a session may be doing.
#[derive(Clone, Copy, Debug)]
enum State {
    Detached,
    Queued,
    Attached,
    Running,
}

/// Kills a session in that state, and returns what the author is told, and why it has not ended.
fn kill(stage: Stage, state: State, transaction: bool, how: &str) -> (String, Option<WhyNotYet>) {
    let Stage { manager, mut session, thread, id } = stage;
    let ids = match session.own_thread() {
        Some(own) => format!("{own}, {id}", own = own.id()),
        None => format!("0, {id}"),
    };
    let (verb, when) = how.split_once(' ').unwrap();
    let command = sql::parse(&format!("ALTER SYSTEM {verb} SESSION '{ids}' {when}"));
    let command: Command = command.unwrap().unwrap();
    let told = || {
        let answer = sql::execute(&manager, command, Author::system()).unwrap();
        (answer.notice, answer.receipt.why_not_yet())
    };
    let mut attached = session.attach(&thread).unwrap();
    attached.set_transaction(transaction);
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
            attached.detach_queued().unwrap();
            told()
        }
    }
}

#[test]
fn a_notice_says_when_the_session_ends() {
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
                    let what = format!("{how} of {state:?}, transaction {transaction}: {notice}");
                    assert!(notice.ends_with(waits.unwrap_or(soon)), "{what}");
                    let not_due = matches!(why, Some(WhyNotYet::NotDue { .. }));
                    assert_eq!(not_due, waits.is_some(), "{what}; {why:?}");
                });
            }
        }
    }
}
