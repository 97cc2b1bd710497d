//! Timeouts: how late the timer is, the cost of a million sessions with timeouts while none is due,
//! and the cost that a timeout adds to a statement. `cargo bench --bench limits`

use safepoint::session::Timeouts;
use safepoint::{ClientInfo, Session, SessionManager, ThreadModel};
use std::fs::read_to_string;
use std::hint::black_box;
use std::time::{Duration, Instant};

const TIMERS: usize = 1000;
const SESSIONS: usize = 1_000_000;
const STATEMENTS: u32 = 2_000_000;
const NOTHING: Duration = Duration::from_secs(5);

/// Of this process, in ticks of a hundredth of a second.
fn processor_time() -> u64 {
    let stat = read_to_string("/proc/self/stat").expect("Linux's /proc");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
    // User's and system's are the fields 14 and 15; the name was the second.
    let fields = rest.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn about() -> ClientInfo {
    ClientInfo::new("ann")
}

fn main() {
    lateness();
    idle();
    for limits in [
        None,
        Some(Timeouts::new().with_statement(Duration::from_secs(3600))),
        Some(
            Timeouts::new()
                .with_statement(Duration::from_secs(3600))
                .with_idle(Duration::from_secs(3600)),
        ),
        Some(Timeouts::new().with_statement(Duration::from_millis(50))),
    ] {
        statements(limits);
    }
}

/// One statement after the other, each of which sleeps until its limit wakes it.
fn lateness() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(about()).expect("room");
    let thread = session.own_thread().expect("no pool");
    let mut attached = session.attach(&thread).expect("its own thread");
    let mut late: Vec<_> = (0..TIMERS)
        .map(|round| {
            let limit = Duration::from_micros(1000 + 37 * (round as u64 % 100));
            let limits = Timeouts::new().with_statement(limit);
            attached.set_timeouts(limits).expect("a timer");
            let begun = Instant::now();
            let statement = attached.begin().expect("nothing is due");
            statement.sleep(Duration::from_secs(60)).expect_err("its time runs out");
            begun.elapsed().saturating_sub(limit)
        })
        .collect();
    late.sort();
    let at = |percent: usize| late[(TIMERS - 1) * percent / 100];
    println!(
        "{TIMERS} limits, late by: {:?} (p50), {:?} (p99), {:?} (max)",
        at(50),
        at(99),
        at(100)
    );
}

fn idle() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let hour = Duration::from_secs(3600);
    let limits = Timeouts::new()
        .with_statement(hour)
        .with_transaction(hour)
        .with_lock(hour)
        .with_idle(hour)
        .with_idle_in_transaction(hour);
    let begun = Instant::now();
    let sessions: Vec<Session> = (0..SESSIONS)
        .map(|_| {
            let session = manager.open(about()).expect("room");
            session.set_timeouts(limits).expect("a timer");
            session
        })
        .collect();
    println!("{SESSIONS} sessions opened, with limits: {:?}", begun.elapsed());
    let before = processor_time();
    std::thread::sleep(NOTHING);
    let spent = processor_time() - before;
    println!("the same for {NOTHING:?} of nothing: {} ms of processor time", spent * 10);
    drop(sessions);
}

fn statements(limits: Option<Timeouts>) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(about()).expect("room");
    if let Some(limits) = limits {
        session.set_timeouts(limits).expect("a timer");
    }
    let thread = session.own_thread().expect("no pool");
    let mut attached = session.attach(&thread).expect("its own thread");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..STATEMENTS / 5 {
            let statement = attached.begin().expect("nothing is due");
            black_box(statement.statement_id());
            statement.finish().expect("nothing is due");
        }
        best = best.min(begun.elapsed());
    }
    let each = best / (STATEMENTS / 5);
    let what = match limits {
        None => "no limits".to_string(),
        Some(limits) => format!("statement {:?}, idle {:?}", limits.statement(), limits.idle()),
    };
    println!("begin and finish, {what}: {each:?}");
}
