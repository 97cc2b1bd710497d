//! Code that the scenes share: explores a scene at random, replays a schedule of it, and checks that
//! the scene refutes each mistake of the table that names it.
//!
//! shuttle does not find:
//! 1. Weak orderings. It runs one thread at a time, with every access as if it were `SeqCst`.
//!    `loom-tests` explores the orderings.
//! 2. Schedules that it did not try. It samples. loom explores every transition of the state and
//!    the short races completely.
//! 3. Panics that unwind through a session: shuttle would switch threads during the unwinding.
//! 4. Real time and sockets. A wait with a timeout expires after a few turns of the other threads,
//!    and the descriptors are those of `src/pool/poller/shuttle.rs`.
//!
//! A schedule that fails is printed. `TEST` is `module::test`, and `SCHEDULE` is the text of the
//! schedule, or a file that contains it. This command runs the schedule again:
//!
//! ```sh
//! SHUTTLE_REPLAY=SCHEDULE cargo test -p shuttle-tests -- --exact TEST
//! ```
//!
//! `SHUTTLE_TIMES=N` tries N times as many schedules, and `SHUTTLE_RANDOM_SEED=N` other ones.

use safepoint_under_shuttle::mutation::Mutation;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::cell::Cell;
use std::process::Command;
use std::thread;

/// The seed of the schedules, which are the same in each run.
const SEED: u64 = 1;

/// How many preemptions the second scheduler aims at.
const DEPTH: usize = 3;

/// Names the mistake that a child process runs with.
const MUTATION: &str = "SAFEPOINT_MUTATION";

/// With how many seeds a mistake is tried before it counts as passed.
const SEEDS: u64 = 16;

/// What a child process prints before the number of the schedule that failed.
const FAILED: &str = "failed, schedule ";

std::thread_local! {
    // All threads of a scene run on the thread that explores it.
    static SCHEDULES: Cell<usize> = const { Cell::new(0) };
}

/// Explores the scene of the test `test` in twice so many schedules, and then once more with each
/// mistake for which `mutation-tests/table.rs` names this test. Fails if a mistake passes. `test`
/// is the full name, `module::test`.
///
/// Runs on a new thread: the scene's clock and the number of schedules are thread-locals of the
/// thread that explores it. So no test meets what another test has set, with any number of test
/// threads. Each mistake runs in its own process, because of what a failed scene leaves behind.
pub(crate) fn explore(test: &'static str, schedules: usize, scene: fn()) {
    // libtest names its threads after the tests, except with `--test-threads=1`.
    if let Some(name) = thread::current().name().filter(|name| *name != "main") {
        assert_eq!(name, test, "the scene must be given the name of its test");
    }
    let explorer = thread::Builder::new().name(test.to_owned());
    let explorer = explorer.spawn(move || explore_here(test, schedules, scene));
    if let Err(panic) = explorer.expect("a thread starts").join() {
        std::panic::resume_unwind(panic);
    }
}

fn explore_here(test: &str, schedules: usize, scene: fn()) {
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
    Mutation::of_scene(test).for_each(|mutation| refute(test, &format!("{mutation:?}")));
}

fn refute(test: &str, mistake: &str) {
    let first = std::env::var("SHUTTLE_RANDOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or(SEED);
    let refuted = (first..first.saturating_add(SEEDS)).any(|seed| fails(test, mistake, seed));
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
