//! The effect of listing 1,000,000 sessions on threads that open and close sessions during it.
//! `cargo bench --manifest-path benches/peers/Cargo.toml --bench snapshot`

use safepoint_benches::figures::{self, Figure};
use safepoint_benches::percentiles::Percentiles;
use safepoint_benches::registries::{Dash, Locked, Ours, Papaya, Registry};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SESSIONS: usize = 1_000_000;
const STRETCHES: usize = 10;
const STRETCH: Duration = Duration::from_millis(150);

fn measure<R: Registry>() -> Vec<Figure> {
    let registry = R::default();
    let others: Vec<_> = (0..SESSIONS).map(|_| registry.open()).collect();
    let [walk, walks_now, done] = [(); 3].map(|()| AtomicBool::new(false));
    let (mut alone, mut beside) = (Percentiles::default(), Percentiles::default());
    let mut walks = Vec::new();
    std::thread::scope(|scope| {
        let walker = scope.spawn(|| {
            let mut walks = Vec::new();
            while !done.load(Ordering::Acquire) {
                if walk.load(Ordering::Acquire) {
                    let start = Instant::now();
                    // The opener's own session may be among them.
                    assert!(registry.walk(&walks_now) >= SESSIONS);
                    walks.push(start.elapsed().as_nanos() as f64);
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            walks
        });
        // Turn by turn, so that the machine's moods hit both alike.
        for turn in 0..2 * STRETCHES {
            let walks = turn % 2 == 1;
            walk.store(walks, Ordering::Release);
            while walks_now.load(Ordering::Acquire) != walks {
                std::hint::spin_loop();
            }
            let percentiles = if walks { &mut beside } else { &mut alone };
            let start = Instant::now();
            while start.elapsed() < STRETCH {
                // Between two walks there is a moment without one, long where the machine is busy.
                if walks_now.load(Ordering::Acquire) != walks {
                    continue;
                }
                let begun = Instant::now();
                registry.close(black_box(registry.open()));
                percentiles.add(begun.elapsed().as_nanos() as u64);
            }
            percentiles.end_stretch();
        }
        done.store(true, Ordering::Release);
        walks = walker.join().expect("no panic");
    });
    drop(others);
    walks.sort_by(f64::total_cmp);
    let mut all = alone.figures(R::LABEL);
    all.extend(beside.figures(R::LABEL).into_iter().map(|mut figure| {
        figure.at += ", walk";
        figure
    }));
    all.extend(Figure::new(R::LABEL, "the walk itself", walks[walks.len() / 2]));
    all
}

fn main() {
    let mut all = measure::<Ours>();
    all.extend(measure::<Locked>());
    all.extend(measure::<Dash>());
    all.extend(measure::<Papaya>());
    figures::save("snapshot", &all);
}
