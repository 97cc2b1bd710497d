//! Explores a scene in all interleavings of its threads, and checks that the scene refutes each
//! mistake of the table that names it.

use super::Mutation;
use std::cell::Cell;
use std::fmt::Write;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// How many preemptions a bounded model explores.
const PREEMPTIONS: usize = 3;

/// Names the mistake that a process explores with. It is empty where it explores without one.
const MUTATION: &str = "SAFEPOINT_MUTATION";

/// Explores the scene of the test `test`, completely or up to [`PREEMPTIONS`], and then once more
/// with each mistake for which `mutation-tests/table.rs` names this test. Fails if a mistake
/// passes. `test` is the full name, `module::test`.
///
/// Prints a row of a table: the module, the test, the number of interleavings, and at which one
/// each mistake failed.
#[allow(unreachable_pub, reason = "two programs include this file")]
pub fn model(test: &'static str, bounded: bool, scene: fn()) {
    let how = if bounded { "bounded" } else { "all" };
    with_mistakes(test, how, move |mistaken| explore(bounded || mistaken, scene));
}

/// Runs a scene of one thread with each number below `count`, and with the mistakes as [`model`]
/// does. The scene returns what is wrong instead of a panic, because the sessions of a model cannot
/// be unwound.
#[allow(dead_code, unreachable_pub, reason = "two programs include this file")]
pub fn sequences(test: &'static str, count: u64, scene: fn(u64) -> Option<String>) {
    let run = move |_| {
        for number in 0..count {
            WAYS.set(number as usize + 1);
            let wrong = Arc::<Mutex<Option<String>>>::default();
            let found = wrong.clone();
            let mut model = loom::model::Builder::new();
            // The one interleaving may be long.
            model.max_branches = 100_000;
            model.check(move || {
                *found.lock().expect("no thread panics with the lock") = scene(number)
            });
            if let Some(wrong) = wrong.lock().expect("no thread panics with the lock").take() {
                panic!("sequence {number}: {wrong}");
            }
        }
    };
    with_mistakes(test, "sequences", run);
}

/// Explores in processes of their own, one without a mistake and one with each. Several explorations
/// at once in one process would slow each other down: loom maps and unmaps a stack for each thread of
/// each interleaving, and each time the kernel interrupts all cores that the process runs on. And the
/// threads of a failed model cannot be unwound.
fn with_mistakes(test: &str, how: &str, run: impl Fn(bool)) {
    // libtest names its threads after the tests, except with `--test-threads=1`.
    if let Some(name) = std::thread::current().name().filter(|name| *name != "main") {
        assert_eq!(name, test, "the model must be given the name of its test");
    }
    if let Ok(wanted) = std::env::var(MUTATION) {
        return explore_here(&wanted, run);
    }
    let child = in_a_process(test, "");
    let printed = String::from_utf8_lossy(&child.stderr);
    let ways = way_after(HELD, &printed).filter(|_| child.status.success());
    let Some(ways) = ways else {
        panic!("{test}: {}\n{}{printed}", child.status, String::from_utf8_lossy(&child.stdout))
    };
    let (module, name) = test.rsplit_once("::").expect("module::test");
    let mut row = format!("| {module} | {name} | {ways}, {how} |");
    for mutation in Mutation::of_model(test).map(|mutation| format!("{mutation:?}")) {
        let child = in_a_process(test, &mutation);
        let printed = String::from_utf8_lossy(&child.stderr);
        match way_after(FAILED, &printed).filter(|_| !child.status.success()) {
            Some(way) => {
                let _ = write!(row, " {mutation} at {way};");
            }
            None => panic!("{test}: {mutation} passes, so the model proves nothing\n{printed}"),
        }
    }
    println!("{} |", row.trim_end_matches(';'));
}

/// Explores `test` in a process of its own, with the mistake that is named, or with none.
fn in_a_process(test: &str, mutation: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().expect("the test's own program"));
    child.args(["--exact", test, "--nocapture"]).env(MUTATION, mutation);
    if !mutation.is_empty() {
        child.env("RUST_BACKTRACE", "0");
    }
    child.output().expect("the test's own program runs")
}

fn explore_here(mutation: &str, run: impl Fn(bool)) {
    if mutation.is_empty() {
        run(false);
        return eprintln!("{HELD}{}", WAYS.get());
    }
    report_the_way();
    let mutation = Mutation::named(mutation).expect("a mistake of the table");
    mutation.during(|| run(true));
}

std::thread_local! {
    /// How many interleavings have begun.
    static WAYS: Cell<usize> = const { Cell::new(0) };
}

/// What a process prints before the number of the interleaving that failed.
const FAILED: &str = "failed, way ";

/// What a process prints before the number of all interleavings.
const HELD: &str = "held, ways ";

fn way_after<'a>(label: &str, printed: &'a str) -> Option<&'a str> {
    printed.lines().find_map(|line| line.strip_prefix(label))
}

fn report_the_way() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // loom ends its coroutines by a panic without a text.
        let payload = info.payload();
        if payload.is::<&str>() || payload.is::<String>() {
            eprintln!("{FAILED}{}", WAYS.get());
            report(info);
        }
    }));
}

fn explore(bounded: bool, scene: fn()) {
    WAYS.set(0);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bounded.then_some(PREEMPTIONS);
    model.check(move || {
        WAYS.set(WAYS.get() + 1);
        scene();
    });
}
