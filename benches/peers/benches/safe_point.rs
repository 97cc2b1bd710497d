//! What a safe point costs in a loop, beside the least that one can do.
//! `cargo bench -p safepoint-benches --bench safe_point`

use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use safepoint::{Description, SessionManager, ThreadModel};
use safepoint_benches::quick;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Iterations of the loop that a safe point stands in.
const ROUNDS: u64 = 1000;

/// The same loop for everyone. `black_box` stands for work: nothing that memory holds is known
/// to be what it was in the round before.
#[inline(always)]
fn until(mut stop: impl FnMut() -> bool) -> u64 {
    for round in 0..ROUNDS {
        if stop() {
            return round;
        }
        black_box(round);
    }
    ROUNDS
}

/// What salsa has in place of a session: a flag that is taken before the inputs change, behind
/// the `Arc` that all handles of a database share, and is looked at as each query begins.
struct Salsa(Arc<SalsaShared>);

struct SalsaShared {
    _revision: AtomicU32,
    cancelled: AtomicU32,
}

fn safe_point(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(Description::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();

    let word = AtomicU64::new(0);
    let token = CancellationToken::new();
    let shared = token.child_token();
    let _other_holder = shared.clone();
    let flags: DashMap<u64, Arc<AtomicBool>> = DashMap::from_iter([(1, Arc::default())]);
    let flag = flags.get(&1).unwrap().clone();
    let revision = SalsaShared { _revision: AtomicU32::new(1), cancelled: AtomicU32::new(0) };
    let salsa = Salsa(Arc::new(revision));

    let mut group = c.benchmark_group("safe_point");
    group.bench_function("floor: relaxed load, mask, branch", |b| {
        b.iter(|| until(|| word.load(Ordering::Relaxed) & 1 != 0));
    });
    group.bench_function("ours: check", |b| b.iter(|| until(|| attached.check().is_err())));
    group.bench_function("ours: ambient check", |b| {
        b.iter(|| until(|| safepoint::check().is_err()));
    });
    group.bench_function("peer: Arc<AtomicBool> from a DashMap", |b| {
        b.iter(|| until(|| flag.load(Ordering::Relaxed)));
    });
    group.bench_function("peer: salsa-style word", |b| {
        b.iter(|| until(|| salsa.0.cancelled.load(Ordering::Acquire) != 0));
    });
    group.bench_function("peer: CancellationToken, own", |b| {
        b.iter(|| until(|| token.is_cancelled()));
    });
    group.bench_function("peer: CancellationToken, shared child", |b| {
        b.iter(|| until(|| shared.is_cancelled()));
    });
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = safe_point }
criterion_main!(benches);
