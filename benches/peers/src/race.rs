//! Threads that start together.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Lets each of `threads` threads do `work` `times` times, from behind a barrier. From the start
/// of the first to the end of the last.
pub fn race(threads: usize, times: u64, work: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let run = || {
        barrier.wait();
        let start = Instant::now();
        for _ in 0..times {
            work();
        }
        (start, Instant::now())
    };
    let spans: Vec<_> = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        runners.into_iter().map(|runner| runner.join().expect("no panic")).collect()
    });
    let start = spans.iter().map(|span| span.0).min().expect("a thread");
    let end = spans.iter().map(|span| span.1).max().expect("a thread");
    end - start
}
