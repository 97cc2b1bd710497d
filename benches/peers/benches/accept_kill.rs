//! The cost of accepting a kill by id, for growing numbers of open sessions. Targets are random, so
//! all registries miss the caches equally. `cargo bench --manifest-path benches/peers/Cargo.toml --bench accept_kill`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use safepoint_benches::quick;
use safepoint_benches::registries::{
    Dash, Locked, Ours, Papaya, Pgwire, Registry, Sharded, TokensById,
};
use safepoint_benches::shuffle::Random;
use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Killed in one go, then replaced by new ones off the clock.
const BATCH: usize = 256;

fn measure<R: Registry>(
    c: &mut Criterion,
    label: &str,
    live: usize,
    kill: impl Fn(&R, R::Id) -> bool,
) {
    let open = |registry: &R| {
        let session = registry.open();
        (R::id(&session), session)
    };
    let mut random = Random::default();
    // Created on first use, because criterion may skip it.
    let mut made = None;
    let mut group = c.benchmark_group("accept_kill");
    group.bench_function(BenchmarkId::new(label, live), |b| {
        // The ids apart: a look at a session would bring its record into the cache.
        let (all, registry) = made.get_or_insert_with(|| {
            let registry = R::default();
            ((0..live).map(|_| open(&registry)).collect::<Vec<_>>(), registry)
        });
        b.iter_custom(|times| {
            let (mut spent, mut killed) = (Duration::ZERO, 0);
            while killed < times {
                random.draw(all, BATCH);
                let ids: Vec<_> = all[..BATCH].iter().map(|(id, _)| *id).collect();
                let start = Instant::now();
                for id in ids {
                    assert!(black_box(kill(registry, id)), "it is there");
                }
                spent += start.elapsed();
                for place in &mut all[..BATCH] {
                    let (_, session) = std::mem::replace(place, open(registry));
                    registry.close(session);
                }
                killed += BATCH as u64;
            }
            spent.mul_f64(times as f64 / killed as f64)
        });
    });
    group.finish();
}

fn accept_kill(c: &mut Criterion) {
    const LIVE: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];
    fn peer<R: Registry>(c: &mut Criterion) {
        for live in LIVE {
            measure(c, R::LABEL, live, R::kill);
        }
    }
    for live in LIVE {
        measure::<Dash>(c, "floor: a DashMap get", live, |dash, id| {
            dash.map.get(&id).is_some_and(|record| !record.killed.load(Ordering::Relaxed))
        });
    }
    peer::<Ours>(c);
    peer::<Dash>(c);
    peer::<Papaya>(c);
    peer::<Sharded>(c);
    peer::<Locked>(c);
    peer::<TokensById>(c);
    peer::<Pgwire>(c);
}

criterion_group! { name = benches; config = quick(); targets = accept_kill }
criterion_main!(benches);
