//! Explores a scene in all the ways that its threads can interleave, and sees that each mistake of
//! the table that names it is refuted.

use super::Mutation;
use std::cell::Cell;
use std::fmt::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// How many times a model may preempt a thread where it can't afford to try everything.
const PREEMPTIONS: usize = 3;

/// Which mistake a child process is to run with.
const MUTATION: &str = "SAFEPOINT_MUTATION";

/// Explores the scene of the test called `test`, all of it or up to [`PREEMPTIONS`], and then
/// with each of the mistakes switched on for which `mutation-tests/table.rs` names this test, and
/// which have to show. Prints a row of a table: the promise (the name of the test's program), the
/// model, the ways there were, and at which each mistake failed.
///
/// A mistake runs in a process of its own: a model that fails leaves threads that can't be
/// unwound.
#[allow(unreachable_pub, reason = "each model's program has its own copy")]
pub fn model(test: &str, bounded: bool, scene: fn()) {
    let how = if bounded { "bounded" } else { "all" };
    with_mistakes(test, how, |mistaken| explore(bounded || mistaken, scene));
}

/// The same for a scene of one thread that is run in many forms, each by its number: it says what
/// is wrong, as a model that has sessions can't be unwound.
#[allow(dead_code, unreachable_pub, reason = "each model's program has its own copy")]
pub fn sequences(test: &str, count: u64, scene: fn(u64) -> Option<String>) {
    let run = |_| {
        for number in 0..count {
            WAYS.set(number as usize + 1);
            let wrong = Arc::<Mutex<Option<String>>>::default();
            let found = wrong.clone();
            let mut model = loom::model::Builder::new();
            // It has one way, and that may be long.
            model.max_branches = 100_000;
            model.check(move || *found.lock().expect("nobody panics with it") = scene(number));
            if let Some(wrong) = wrong.lock().expect("nobody panics with it").take() {
                panic!("sequence {number}: {wrong}");
            }
        }
    };
    with_mistakes(test, "sequences", run);
}

fn with_mistakes(test: &str, how: &str, run: impl Fn(bool)) {
    if let Ok(wanted) = std::env::var(MUTATION) {
        report_the_way();
        let mutation = Mutation::named(&wanted).expect("a mistake of the table");
        return mutation.during(|| run(true));
    }
    run(false);
    let mut row = format!("| {} | {test} | {}, {how} |", promise(), WAYS.get());
    let full_name = format!("{}::{test}", promise());
    for mutation in Mutation::of_model(&full_name).map(|mutation| format!("{mutation:?}")) {
        let child = Command::new(std::env::current_exe().expect("the test's own program"))
            .args(["--exact", test, "--nocapture"])
            .env(MUTATION, &mutation)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("the test's own program runs");
        let said = String::from_utf8_lossy(&child.stderr);
        let way = said.lines().find_map(|line| line.strip_prefix(FAILED));
        match way.filter(|_| !child.status.success()) {
            Some(way) => {
                let _ = write!(row, " {mutation} at {way};");
            }
            None => panic!("{test}: {mutation} passes, so the model proves nothing\n{said}"),
        }
    }
    println!("{} |", row.trim_end_matches(';'));
}

/// The name of the test's program, without the hash that cargo adds.
fn promise() -> String {
    let program = std::env::current_exe().expect("the test's own program");
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_string())
}

std::thread_local! {
    /// How many ways have been begun. A model runs on the thread of its test.
    static WAYS: Cell<usize> = const { Cell::new(0) };
}

/// What a process says when a scene fails.
const FAILED: &str = "failed, way ";

fn report_the_way() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // loom's coroutines end by a panic of their own, which carries no text.
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
