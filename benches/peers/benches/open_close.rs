//! The cost of opening and closing a session while 10,000 others are open, for growing numbers of
//! threads. The figure is the time of one thread's open and close. If it grows less than the number
//! of threads, throughput rises. `cargo bench --manifest-path benches/peers/Cargo.toml --bench open_close`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use safepoint_benches::quick;
use safepoint_benches::race::race;
use safepoint_benches::registries::{
    BareSlab, ChildTokens, Dash, Locked, Ours, Papaya, Pgwire, Registry, Sharded,
};
use std::hint::black_box;
use std::time::Duration;

const OTHERS: usize = 10_000;

trait Contestant {
    fn label(&self) -> &'static str;
    fn run(&self, threads: usize, times: u64) -> Duration;
}

struct Among<R: Registry> {
    // Dropped first.
    _others: Vec<R::Session>,
    registry: R,
}

fn among<R: Registry + 'static>() -> Box<dyn Contestant> {
    let registry = R::default();
    Box::new(Among { _others: (0..OTHERS).map(|_| registry.open()).collect(), registry })
}

impl<R: Registry> Contestant for Among<R> {
    fn label(&self) -> &'static str {
        R::LABEL
    }

    fn run(&self, threads: usize, times: u64) -> Duration {
        let registry = &self.registry;
        race(threads, times, || registry.close(black_box(registry.open())))
    }
}

fn open_close(c: &mut Criterion) {
    let contestants = [
        among::<BareSlab>(),
        among::<Ours>(),
        among::<Dash>(),
        among::<Papaya>(),
        among::<Sharded>(),
        among::<Locked>(),
        among::<ChildTokens>(),
        among::<Pgwire>(),
    ];
    let mut group = c.benchmark_group("open_close");
    for threads in [1, 2, 4, 8] {
        for contestant in &contestants {
            let id = BenchmarkId::new(contestant.label(), threads);
            group.bench_function(id, |b| b.iter_custom(|times| contestant.run(threads, times)));
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = open_close }
criterion_main!(benches);
