//! Promise 4: a session that goes into a wait as a kill arrives is woken or never sleeps.

mod common;

use common::{killed, killer, model};
use safepoint_under_loom::{Author, Cancel, Description, SessionManager, ThreadModel, Twin};
use std::future;

/// MariaDB retries its wake-up for two seconds; openGauss checks once a second.
fn kill_against_sleep() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let id = session.id();
    let killers = [killer(&manager, id), killer(&manager, id)];
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    // A sleeper that is not woken is a deadlock, and loom reports it.
    let interrupt = attached.block_on(future::pending::<()>()).unwrap_err();
    assert!(interrupt.is_terminate());
    drop(attached);
    session.close();
    let receipts: Vec<_> = killers.into_iter().filter_map(|k| k.join().unwrap()).collect();
    assert!(!receipts.is_empty() && receipts.iter().all(killed));
}

#[test]
fn lost_wake_up() {
    let twins = [Twin::WakerAfterAsleep, Twin::NoRecheckBeforeSleep, Twin::LoadThenStore];
    model("lost_wake_up", true, kill_against_sleep, &twins);
}

fn cancel_against_sleep() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    let number = statement.statement();
    let canceller = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            manager.cancel(id, Cancel::statement(number, Author::system())).unwrap()
        })
    };
    let interrupt = statement.block_on(future::pending::<()>()).unwrap_err();
    assert!(!interrupt.is_terminate());
    statement.finish().unwrap();
    let receipt = canceller.join().unwrap();
    assert!(receipt.poll().unwrap().cancelled);
    attached.check().unwrap();
}

#[test]
fn lost_wake_up_of_a_cancel() {
    model("lost_wake_up_of_a_cancel", false, cancel_against_sleep, &[Twin::WakerAfterAsleep]);
}
