//! Promise 8: a hold-off holds, and what arrived within it is reported at the first safe point
//! after.

mod common;

use common::{immediate, model};
use safepoint_under_loom::{Description, SessionManager, ThreadModel, Twin};
use std::future::poll_fn;
use std::task::Poll;

#[test]
fn a_kill_gets_into_a_hold_off() {
    model("a_kill_gets_into_a_hold_off", false, kill_against_hold, &[Twin::HoldNotAsked]);
}

fn kill_against_hold() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let id = session.id();
    let killer = {
        let manager = manager.clone();
        loom::thread::spawn(move || manager.terminate(id, immediate()).unwrap())
    };
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let held = attached.hold_off("a test");
    attached.check().expect("a hold-off holds");
    // A wait that needs one wake-up of its own.
    let mut polled = false;
    let wait = poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    attached.block_on(wait).expect("a hold-off holds in a wait");
    attached.check().expect("a hold-off holds");
    drop(held);

    killer.join().unwrap();
    attached.check().expect_err("the first safe point after");
}
