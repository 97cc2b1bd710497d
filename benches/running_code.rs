//! What sessions cost the code that they run: a safe point, an attachment, a statement; each
//! beside the least that any implementation must do, in the same run.

use criterion::{Criterion, criterion_group, criterion_main};
use safepoint::{Description, SessionManager, ThreadModel};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Iterations of the loop that a safe point stands in.
const ROUNDS: u64 = 1000;

fn safe_point(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let word = AtomicU64::new(0);
    let mut group = c.benchmark_group("safe point, 1000 times");
    group.bench_function("floor: relaxed load, mask, branch", |b| {
        b.iter(|| {
            for round in 0..ROUNDS {
                if word.load(Ordering::Relaxed) & 1 != 0 {
                    return round;
                }
                black_box(round);
            }
            ROUNDS
        });
    });
    group.bench_function("check", |b| {
        b.iter(|| {
            for round in 0..ROUNDS {
                if attached.check().is_err() {
                    return round;
                }
                black_box(round);
            }
            ROUNDS
        });
    });
    group.bench_function("ambient check", |b| {
        b.iter(|| {
            for round in 0..ROUNDS {
                if safepoint::check().is_err() {
                    return round;
                }
                black_box(round);
            }
            ROUNDS
        });
    });
    group.finish();
}

fn turns(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut session = manager.open(Description::default()).unwrap();
    let word = AtomicU64::new(0);
    let mut group = c.benchmark_group("turns");
    group.bench_function("floor: two read-modify-writes", |b| {
        b.iter(|| {
            word.fetch_add(1, Ordering::AcqRel);
            word.fetch_sub(1, Ordering::AcqRel)
        });
    });
    group.bench_function("attach and detach", |b| {
        b.iter(|| session.attach(&worker).unwrap().detach());
    });
    let mut attached = session.attach(&worker).unwrap();
    group.bench_function("begin and finish", |b| {
        b.iter(|| attached.begin().unwrap().finish());
    });
    group.bench_function("begin and finish, with text", |b| {
        b.iter(|| attached.begin().unwrap().with_text("select 1").finish());
    });
    group.finish();
}

fn lives(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let about = Description::default();
    let others: Vec<_> = (0..10_000).map(|_| manager.open(about.clone()).unwrap()).collect();
    let mut group = c.benchmark_group("lives, among 10,000");
    group.bench_function("open and close", |b| {
        b.iter(|| manager.open(about.clone()).unwrap().close());
    });
    group.bench_function("look at all", |b| b.iter(|| manager.sessions().count()));
    group.finish();
    drop(others);
}

criterion_group!(benches, safe_point, turns, lives);
criterion_main!(benches);
