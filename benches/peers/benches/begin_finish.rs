//! The cost of a statement in addition to its work. `cargo bench --manifest-path benches/peers/Cargo.toml --bench
//! begin_finish`

use criterion::{Criterion, criterion_group, criterion_main};
use safepoint::{ClientInfo, SessionManager, ThreadModel};
use safepoint_benches::{quick, quietest};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operations between two looks at the clock.
const STRETCH: u64 = 2000;

fn begin_finish(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let mut attached = session.attach(&worker).unwrap();
    let word = AtomicU64::new(0);

    let mut group = c.benchmark_group("begin_finish");
    group.bench_function("floor: two read-modify-writes", |b| {
        quietest(b, STRETCH, || {
            word.fetch_add(1, Ordering::AcqRel);
            word.fetch_sub(1, Ordering::AcqRel)
        });
    });
    group.bench_function("ours: begin and finish", |b| {
        quietest(b, STRETCH, || attached.begin().unwrap().finish());
    });
    group.bench_function("ours: begin and finish, with text", |b| {
        quietest(b, STRETCH, || {
            attached.begin().unwrap().with_text(black_box("select 1")).finish()
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = begin_finish }
criterion_main!(benches);
