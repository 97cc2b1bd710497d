//! Does one operation again and again, to be counted by callgrind: `scripts/instructions.sh`.
//! `count NAME TIMES`; without arguments it prints the names.
#![forbid(unsafe_code)]

use safepoint::{Attached, SessionManager, Thread, ThreadModel};
use safepoint_benches::registries::about;
use std::hint::black_box;

/// The number of sessions in addition to those being opened and closed.
const OTHERS: usize = 1000;

/// One operation, so many times.
type Run = fn(u64);

const OPERATIONS: [(&str, Run); 6] = [
    ("safe_point", |times| attached(|session| safe_points(session, times))),
    ("ambient_check", |times| attached(|_| ambient_checks(times))),
    ("attach_detach", attach_detach),
    ("begin_finish", |times| attached(|session| begin_finish(session, times))),
    ("begin_finish_text", |times| attached(|session| begin_finish_text(session, times))),
    ("open_close", open_close),
];

fn pool() -> (SessionManager, Thread) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").expect("room");
    (manager, worker)
}

fn attached(run: impl FnOnce(&mut Attached<'_>)) {
    let (manager, worker) = pool();
    let mut session = manager.open(about()).expect("room");
    run(&mut session.attach(&worker).expect("a worker"));
}

/// The loop that the docs show the assembly of.
#[inline(never)]
fn safe_points(session: &Attached<'_>, times: u64) {
    for round in 0..times {
        if session.check().is_err() {
            return;
        }
        black_box(round);
    }
}

#[inline(never)]
fn ambient_checks(times: u64) {
    for round in 0..times {
        if safepoint::check().is_err() {
            return;
        }
        black_box(round);
    }
}

#[inline(never)]
fn attach_detach(times: u64) {
    let (manager, worker) = pool();
    let mut session = manager.open(about()).expect("room");
    for _ in 0..times {
        session.attach(&worker).expect("a worker").detach().expect("nothing is due");
    }
}

#[inline(never)]
fn begin_finish(session: &mut Attached<'_>, times: u64) {
    for _ in 0..times {
        session.begin().expect("nothing is due").finish().expect("nothing is due");
    }
}

#[inline(never)]
fn begin_finish_text(session: &mut Attached<'_>, times: u64) {
    for _ in 0..times {
        let statement = session.begin().expect("nothing is due").with_text(black_box("select 1"));
        statement.finish().expect("nothing is due");
    }
}

#[inline(never)]
fn open_close(times: u64) {
    let (manager, _) = pool();
    let others: Vec<_> = (0..OTHERS).map(|_| manager.open(about()).expect("room")).collect();
    for _ in 0..times {
        black_box(manager.open(about()).expect("room")).close();
    }
    drop(others);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = &arguments[..] else {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let times = times.parse().expect("a number of times");
    let (_, run) = OPERATIONS.iter().find(|(known, _)| known == name).expect("an operation");
    run(times);
}
