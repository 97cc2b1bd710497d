//! The cost of helping with a statement: entering and leaving, a handle, a job. `cargo bench --manifest-path
//! benches/peers/Cargo.toml --bench helper`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use safepoint::{ClientInfo, SessionManager, ThreadModel, current};
use safepoint_benches::race::race;
use safepoint_benches::{quick, quietest};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Operations between two looks at the clock.
const STRETCH: u64 = 2000;

fn helper(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let word = AtomicU64::new(0);
    let token = CancellationToken::new();

    let mut group = c.benchmark_group("helper");
    group.bench_function("floor: a compare-exchange and a fetch_and", |b| {
        quietest(b, STRETCH, || {
            let now = word.load(Ordering::Relaxed);
            let _ = word.compare_exchange(now, now | 1, Ordering::AcqRel, Ordering::Acquire);
            word.fetch_and(!1, Ordering::AcqRel)
        });
    });
    {
        let statement = attached.begin().unwrap();
        let handle = statement.handle("bench");
        current::without_session(|| {
            group.bench_function("ours: enter and leave", |b| {
                quietest(b, STRETCH, || drop(black_box(handle.enter().unwrap())));
            });
        });
        group.bench_function("ours: another handle", |b| {
            quietest(b, STRETCH, || statement.handle("bench"));
        });
        group.bench_function("ours: a job, run", |b| {
            quietest(b, STRETCH, || handle.wrap_fn(|| black_box(1))());
        });
    }
    group.bench_function("ours: statement with a handle", |b| {
        quietest(b, STRETCH, || {
            let statement = attached.begin().unwrap();
            drop(black_box(statement.handle("bench")));
            statement.finish().unwrap();
        });
    });
    group.bench_function("ours: statement without a handle", |b| {
        quietest(b, STRETCH, || attached.begin().unwrap().finish().unwrap());
    });
    group.bench_function("peer: a child token, made and dropped", |b| {
        quietest(b, STRETCH, || drop(black_box(token.child_token())));
    });
    group.finish();

    // The time of one thread's enter and leave, while so many threads help with one statement.
    let mut group = c.benchmark_group("helper_threads");
    let statement = attached.begin().unwrap();
    let handle = statement.handle("bench");
    for threads in [1, 2, 4] {
        group.bench_function(BenchmarkId::new("ours: enter and leave", threads), |b| {
            b.iter_custom(|times| {
                race(threads, times, || drop(black_box(handle.enter().unwrap())))
            });
        });
        group.bench_function(BenchmarkId::new("peer: a child token", threads), |b| {
            b.iter_custom(|times| race(threads, times, || drop(black_box(token.child_token()))));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = helper }
criterion_main!(benches);
