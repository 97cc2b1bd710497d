//! Does one operation of a helper again and again, as `count` does for those of a session. A program of its own,
//! so that the code of `count` is compiled as before.
#![forbid(unsafe_code)]

use safepoint::session::{HelperGuard, StatementHandle};
use safepoint::{SessionManager, ThreadModel, current};
use safepoint_benches::registries::about;
use std::hint::black_box;

/// One operation, so many times.
type Run = fn(&StatementHandle, u64);

const OPERATIONS: [(&str, Run); 3] = [
    ("handle_check", handle_checks),
    ("helper_check", |handle, times| helper_checks(&handle.enter().expect("it runs"), times)),
    ("enter_leave", enter_leave),
];

#[inline(never)]
fn handle_checks(handle: &StatementHandle, times: u64) {
    for round in 0..times {
        if handle.check().is_err() {
            return;
        }
        black_box(round);
    }
}

#[inline(never)]
fn helper_checks(helper: &HelperGuard<'_>, times: u64) {
    for round in 0..times {
        if helper.check().is_err() {
            return;
        }
        black_box(round);
    }
}

#[inline(never)]
fn enter_leave(handle: &StatementHandle, times: u64) {
    for _ in 0..times {
        drop(black_box(handle.enter().expect("nothing is due")));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = &arguments[..] else {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let times = times.parse().expect("a number of times");
    let (_, run) = OPERATIONS.iter().find(|(known, _)| known == name).expect("an operation");
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").expect("room");
    let mut session = manager.open(about()).expect("room");
    let mut attached = session.attach(&worker).expect("a worker");
    let statement = attached.begin().expect("nothing is due");
    let handle = statement.handle("count");
    current::without_session(|| run(&handle, times));
}
