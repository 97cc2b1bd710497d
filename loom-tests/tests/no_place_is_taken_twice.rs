//! The bound on sessions: never more than there are places, ordinary users never on those that
//! are reserved, and no place is lost.

mod common;

use common::model;
use safepoint_under_loom::{Description, Session, SessionManager, ThreadModel};

fn manager(max: usize, reserved: usize) -> SessionManager {
    let builder = SessionManager::builder(ThreadModel::PerSession);
    builder.max_sessions(max).reserved_for_admins(reserved).build()
}

/// Of two that come at once one takes the last place, and it is there again when that one has
/// gone.
#[test]
fn two_take_the_last_place() {
    model("two_take_the_last_place", false, open_against_open);
}

fn open_against_open() {
    let manager = manager(1, 0);
    let other = {
        let manager = manager.clone();
        loom::thread::spawn(move || manager.open(Description::default()).ok())
    };
    let mine = manager.open(Description::default()).ok();
    let other = other.join().unwrap();
    assert_eq!([&mine, &other].into_iter().flatten().count(), 1, "there is one place");
    drop((mine, other));
    manager.open(Description::default()).expect("the place came back");
}

/// Of two that log in at once one gets the last place that is not reserved.
#[test]
fn two_take_the_last_ordinary_place() {
    let name = "two_take_the_last_ordinary_place";
    model(name, false, admission_against_admission);
}

fn admission_against_admission() {
    let manager = manager(2, 1);
    let [mut mine, mut other] = [(); 2].map(|()| manager.open(Description::default()).unwrap());
    let other = loom::thread::spawn(move || (is_admitted(&mut other), other));
    let admitted = is_admitted(&mut mine);
    let (other_admitted, other) = other.join().unwrap();
    assert!(admitted != other_admitted, "{admitted} and {other_admitted}");
    drop(other);
    drop(mine);
    let mut next = manager.open(Description::default()).unwrap();
    assert!(is_admitted(&mut next), "the place came back");
}

fn is_admitted(session: &mut Session) -> bool {
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    attached.admit().is_ok()
}
