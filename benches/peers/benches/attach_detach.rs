//! The cost of attaching a session to a thread, and of detaching it. `cargo bench --manifest-path
//! benches/peers/Cargo.toml --bench attach_detach`

use criterion::{Criterion, criterion_group, criterion_main};
use parking_lot::Mutex;
use safepoint::{ClientInfo, SessionManager, ThreadModel};
use safepoint_benches::registries::{Dash, Registry};
use safepoint_benches::{quick, quietest};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of sessions in addition to the measured one.
const OTHERS: u64 = 10_000;

/// Operations between two looks at the clock.
const STRETCH: u64 = 2000;

fn attach_detach(c: &mut Criterion) {
    let pool = SessionManager::new(ThreadModel::Pool);
    let worker = pool.register_worker("worker").unwrap();
    let mut session = pool.open(ClientInfo::default()).unwrap();
    let own = SessionManager::new(ThreadModel::PerSession);
    let mut lone = own.open(ClientInfo::default()).unwrap();
    let thread = lone.own_thread().unwrap();

    let word = AtomicU64::new(0);
    let records = Dash::default();
    let idle: HashMap<_, _> = (0..=OTHERS).map(|_| records.open()).collect();
    let idle = Mutex::new(idle);

    let mut group = c.benchmark_group("attach_detach");
    group.bench_function("floor: two read-modify-writes", |b| {
        quietest(b, STRETCH, || {
            word.fetch_add(1, Ordering::AcqRel);
            word.fetch_sub(1, Ordering::AcqRel)
        });
    });
    group.bench_function("ours: in a pool", |b| {
        quietest(b, STRETCH, || session.attach(&worker).unwrap().detach());
    });
    group.bench_function("ours: on its own thread", |b| {
        quietest(b, STRETCH, || lone.attach(&thread).unwrap().detach());
    });
    group.bench_function("peer: take and return an Arc, Mutex<HashMap>", |b| {
        quietest(b, STRETCH, || {
            let taken = black_box(idle.lock().remove(&black_box(7)).unwrap());
            idle.lock().insert(black_box(7), taken)
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = attach_detach }
criterion_main!(benches);
