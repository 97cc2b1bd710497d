//! There are never more sessions than admission slots, ordinary users never get reserved slots, and
//! no slot is lost.
//!
//! At the same time: two opens, two admissions, and each of these and an end.

use crate::common::{immediate, model, spawn};
use loom::sync::atomic::{AtomicUsize, Ordering};
use safepoint_under_loom::model::{set_near, set_session_shards};
use safepoint_under_loom::{ClientInfo, Session, SessionManager, ThreadModel};
use std::time::Duration;

fn manager(max: usize, reserved: usize) -> SessionManager {
    let builder = SessionManager::builder(ThreadModel::PerSession);
    builder.max_sessions(max).reserved_for_admins(reserved).build()
}

/// Of two that come at once one takes the last slot, and it is there again when that one has
/// gone.
#[test]
fn two_take_the_last_slot() {
    model("no_slot_is_taken_twice::two_take_the_last_slot", false, open_against_open);
}

fn open_against_open() {
    let manager = manager(1, 0);
    let other = {
        let manager = manager.clone();
        spawn(move || manager.open(ClientInfo::default()).ok())
    };
    let mine = manager.open(ClientInfo::default()).ok();
    let other = other.join().unwrap();
    assert_eq!([&mine, &other].into_iter().flatten().count(), 1, "there is one slot");
    drop((mine, other));
    let _ = manager.open(ClientInfo::default()).expect("the slot is free again");
}

/// Of two that log in at once one gets the last slot that is not reserved.
#[test]
fn two_take_the_last_ordinary_slot() {
    let name = "no_slot_is_taken_twice::two_take_the_last_ordinary_slot";
    model(name, false, admission_against_admission);
}

fn admission_against_admission() {
    let manager = manager(2, 1);
    let [mut mine, mut other] = [(); 2].map(|()| manager.open(ClientInfo::default()).unwrap());
    let other = spawn(move || (is_admitted(&mut other), other));
    let admitted = is_admitted(&mut mine);
    let (other_admitted, other) = other.join().unwrap();
    assert!(admitted != other_admitted, "{admitted} and {other_admitted}");
    drop(other);
    drop(mine);
    let mut next = manager.open(ClientInfo::default()).unwrap();
    assert!(is_admitted(&mut next), "the slot is free again");
}

fn is_admitted(session: &mut Session) -> bool {
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    attached.admit().is_ok()
}

/// Two end at once, and both slots are free again.
#[test]
fn two_release_their_slots() {
    model("no_slot_is_taken_twice::two_release_their_slots", false, end_against_end);
}

fn end_against_end() {
    let manager = manager(2, 1);
    let [mut mine, mut other] = [(); 2].map(|()| manager.open(ClientInfo::default()).unwrap());
    // One of them is admitted, and gives that back as well.
    assert!(is_admitted(&mut mine) && !is_admitted(&mut other));
    let other = spawn(move || drop(other));
    drop(mine);
    other.join().unwrap();
    let [mut first, _second] =
        [(); 2].map(|()| manager.open(ClientInfo::default()).expect("the slot is free again"));
    assert!(is_admitted(&mut first), "the slot is free again");
    manager.open(ClientInfo::default()).expect_err("no more than that");
}

loom::lazy_static! {
    /// What a session leaves behind. Relaxed: the order is for the library to see to.
    static ref LEFT: AtomicUsize = AtomicUsize::new(0);
}

/// A session that gets the slot of another one opens after the other has ended. The two share no lock
/// of a shard.
#[test]
fn a_slot_is_taken_before_it_is_released() {
    model("no_slot_is_taken_twice::a_slot_is_taken_before_it_is_released", false, open_against_end);
}

fn open_against_end() {
    set_session_shards(2);
    let manager = manager(1, 0);
    let session = manager.open(ClientInfo::default()).unwrap();
    let next = {
        let manager = manager.clone();
        spawn(move || {
            set_near(1);
            let opened = manager.open(ClientInfo::default());
            assert!(opened.is_err() || LEFT.load(Ordering::Relaxed) == 1, "before the other's end");
            assert!(manager.len() <= 1, "more sessions are listed than there are slots");
        })
    };
    LEFT.store(1, Ordering::Relaxed);
    session.close();
    next.join().unwrap();
}

/// A completed receipt implies that the slot of its session is free.
#[test]
fn a_slot_is_free_once_its_session_has_ended() {
    model(
        "no_slot_is_taken_twice::a_slot_is_free_once_its_session_has_ended",
        false,
        open_against_receipt,
    );
}

fn open_against_receipt() {
    let manager = manager(1, 0);
    let session = manager.open(ClientInfo::default()).unwrap();
    let mut receipt = manager.terminate(session.id(), immediate()).unwrap();
    let next = {
        let manager = manager.clone();
        spawn(move || {
            assert!(receipt.wait_timeout(Duration::from_secs(1)).is_some());
            let _ = manager.open(ClientInfo::default()).expect("the slot is free again");
        })
    };
    session.close();
    next.join().unwrap();
}

/// The same for an admission.
#[test]
fn an_admission_before_a_slot_is_released() {
    model(
        "no_slot_is_taken_twice::an_admission_before_a_slot_is_released",
        false,
        admission_against_end,
    );
}

fn admission_against_end() {
    set_session_shards(2);
    let manager = manager(2, 1);
    let mut first = manager.open(ClientInfo::default()).unwrap();
    assert!(is_admitted(&mut first));
    set_near(1);
    let mut next = manager.open(ClientInfo::default()).unwrap();
    let next = spawn(move || {
        let admitted = is_admitted(&mut next);
        assert!(!admitted || LEFT.load(Ordering::Relaxed) == 1, "before the other's end");
    });
    LEFT.store(1, Ordering::Relaxed);
    first.close();
    next.join().unwrap();
}
