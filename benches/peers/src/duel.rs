//! The time from a kill to its observation, between two threads. The contestants take turns round
//! by round, so that other activity of the machine affects them equally.

use crate::figures::{self, Figure};
use crate::percentiles::Percentiles;
use crossbeam_utils::CachePadded;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One way to kill and to notice it.
pub trait Contestant: Sync {
    /// Returns the label: `role: name`.
    fn label(&self) -> &'static str;
    /// Runs the target's part: prepares, calls `ready`, and returns when it observed the kill.
    fn suffer(&self, ready: &dyn Fn()) -> Instant;
    /// Runs the requester's part: returns when it began.
    fn kill(&self) -> Instant;
}

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Between the victim's being ready and the kill.
    pub lead: Duration,
    /// Each contestant's in a stretch.
    pub rounds: u64,
    /// See [`Percentiles`].
    pub stretches: usize,
}

fn spin_until(word: &AtomicU64, value: u64) {
    while word.load(Ordering::Acquire) != value {
        spin_loop();
    }
}

/// Asks `question`, and keeps the figures.
///
/// # Panics
/// Where a contestant does.
pub fn fight(question: &str, contestants: &[&dyn Contestant], terms: Terms) {
    let epoch = Instant::now();
    let [ready, seen, over] = [(); 3].map(|()| CachePadded::new(AtomicU64::new(0)));
    let mut all: Vec<_> = contestants.iter().map(|_| Percentiles::default()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            for _ in 0..terms.rounds * terms.stretches as u64 {
                for contestant in contestants {
                    turn += 1;
                    let instant = contestant.suffer(&|| ready.store(turn, Ordering::Release));
                    seen.store((instant - epoch).as_nanos() as u64, Ordering::Relaxed);
                    over.store(turn, Ordering::Release);
                }
            }
        });
        let mut turn = 0;
        for _ in 0..terms.stretches {
            for _ in 0..terms.rounds {
                for (contestant, percentiles) in contestants.iter().zip(&mut all) {
                    turn += 1;
                    spin_until(&ready, turn);
                    let start = Instant::now();
                    while start.elapsed() < terms.lead {
                        spin_loop();
                    }
                    let killed = (contestant.kill() - epoch).as_nanos() as u64;
                    spin_until(&over, turn);
                    percentiles.add(seen.load(Ordering::Relaxed).saturating_sub(killed));
                }
            }
            all.iter_mut().for_each(Percentiles::end_stretch);
        }
    });
    let figures: Vec<Figure> = contestants
        .iter()
        .zip(all)
        .flat_map(|(contestant, percentiles)| percentiles.figures(contestant.label()))
        .collect();
    figures::save(question, &figures);
}
