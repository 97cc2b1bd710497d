//! Promise 7: a receipt tells the truth, and a waiter on it is always woken.

mod common;

use common::{immediate, model};
use safepoint_under_loom::{Description, HowEnded, SessionManager, ThreadModel, Twin};
use std::time::Duration;

/// "OK" although nothing happened, and waiters that poll ten times a second.
#[test]
fn ok_although_nothing_happened() {
    let twins = [Twin::TicketInTwoSteps, Twin::ReceiptsBeforeEnd];
    model("ok_although_nothing_happened", true, wait_against_end, &twins);
}

fn wait_against_end() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let id = session.id();
    let waiter = {
        let manager = manager.clone();
        loom::thread::spawn(move || {
            let mut receipt = manager.terminate(id, immediate()).ok()?;
            // Time does not pass in a model: a waiter that is not woken is a deadlock.
            let ended = receipt.wait(Duration::from_secs(1));
            assert!(manager.session(id).is_none(), "said to have ended, and still there");
            ended
        })
    };
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let seen = attached.check().is_err();
    drop(attached);
    let ended = session.close();
    match waiter.join().unwrap() {
        Some(waited) => {
            assert_eq!(waited, ended);
            let said = matches!(ended.how, HowEnded::Killed(_));
            assert_eq!(said, seen, "killed is who has seen it");
        }
        None => assert!(!seen, "refused, and yet it was seen"),
    }
}
