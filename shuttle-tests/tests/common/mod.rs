//! What the scenes share: explore one at random, replay a schedule of it, and see that each mistake
//! of the table that names it is refuted.
//!
//! What shuttle can't see:
//! 1. Orderings. It runs one thread at a time, and every access as if it were `SeqCst`. What
//!    weaker ones allow is for `loom-tests` to find.
//! 2. What it did not happen to try. It samples; the word's every step and the short races are
//!    explored to the end elsewhere.
//! 3. Panics that unwind through a session: threads would change in the middle of one.
//! 4. Time and sockets. A wait with a limit runs out after a few turns of the others, and the
//!    descriptors are those of `src/pool/poller/shuttle.rs`.
//!
//! A schedule that fails is printed. With `TEST` and `SCHEDULE` (the text, or a file with it)
//!
//! ```sh
//! SHUTTLE_REPLAY=SCHEDULE cargo test -p shuttle-tests -- --exact TEST
//! ```
//!
//! runs it again. `SHUTTLE_TIMES=N` tries N times as many schedules, and
//! `SHUTTLE_RANDOM_SEED=N` others.

use safepoint_under_shuttle::mutation::Mutation;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::cell::Cell;
use std::process::Command;

/// Where the sequence of schedules starts; it is the same in each run.
const SEED: u64 = 1;

/// How many preemptions the second scheduler is to look for.
const DEPTH: usize = 3;

/// Which mistake a child process is to run with.
const MUTATION: &str = "SAFEPOINT_MUTATION";

/// With how many seeds a mistake may pass until it is refuted.
const PATIENCE: u64 = 16;

/// What a process says when a scene fails.
const FAILED: &str = "failed, schedule ";

std::thread_local! {
    // A scene's threads all run on the thread that explores it.
    static SCHEDULES: Cell<usize> = const { Cell::new(0) };
}

/// Explores the scene of the test called `test` in twice so many schedules, and then with each
/// of the mistakes switched on for which `mutation-tests/table.rs` names this test, as
/// `program::test`, and which have to show.
///
/// A mistake runs in a process of its own, so that nothing of what it leaves behind is met again.
pub(crate) fn explore(test: &str, schedules: usize, scene: fn()) {
    let wanted = std::env::var(MUTATION).ok();
    let mutation = wanted.map(|wanted| Mutation::named(&wanted).expect("a mistake of the table"));
    if let Ok(schedule) = std::env::var("SHUTTLE_REPLAY") {
        let schedule = std::fs::read_to_string(&schedule).unwrap_or(schedule);
        let replay = || run(ReplayScheduler::new_from_encoded(schedule.trim()), scene);
        return match mutation {
            Some(mutation) => mutation.during(replay),
            None => replay(),
        };
    }
    if let Some(mutation) = mutation {
        report_the_schedule();
        return mutation.during(|| both(schedules, scene));
    }
    let times = std::env::var("SHUTTLE_TIMES").ok().and_then(|times| times.parse().ok());
    both(schedules * times.unwrap_or(1), scene);
    println!("{test}: holds in {} schedules", SCHEDULES.get());
    let full_name = format!("{}::{test}", program());
    Mutation::of_scene(&full_name).for_each(|mutation| refute(test, &format!("{mutation:?}")));
}

/// The name of the test's program, without the hash that cargo adds.
fn program() -> String {
    let program = std::env::current_exe().expect("the test's own program");
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_string())
}

fn refute(test: &str, mistake: &str) {
    let first = std::env::var("SHUTTLE_RANDOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or(SEED);
    let refuted = (first..first.saturating_add(PATIENCE)).any(|seed| fails(test, mistake, seed));
    assert!(refuted, "{test}: {mistake} passes, so the scene proves nothing");
}

fn fails(test: &str, mistake: &str, seed: u64) -> bool {
    let child = Command::new(std::env::current_exe().expect("the test's own program"))
        .args(["--exact", test, "--nocapture"])
        .env(MUTATION, mistake)
        .env("SHUTTLE_RANDOM_SEED", seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test's own program runs");
    let said = String::from_utf8_lossy(&child.stderr);
    let schedule = said.lines().find_map(|line| line.strip_prefix(FAILED));
    let schedule = schedule.filter(|_| !child.status.success());
    if let Some(schedule) = schedule {
        println!("{test}: {mistake} refuted, seed {seed}, schedule {schedule}");
    }
    schedule.is_some()
}

fn report_the_schedule() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        let said: String = text.chars().take_while(|c| *c != '\n').take(60).collect();
        eprintln!("{FAILED}{}: {said}", SCHEDULES.get());
        report(info);
    }));
}

fn both(schedules: usize, scene: fn()) {
    run(RandomScheduler::new_from_seed(SEED, schedules), scene);
    run(PctScheduler::new_from_seed(SEED, DEPTH, schedules), scene);
}

fn run(scheduler: impl Scheduler + 'static, scene: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        SCHEDULES.set(SCHEDULES.get() + 1);
        scene();
    });
}
