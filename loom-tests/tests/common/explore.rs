//! Explores a scene in all the ways that its threads can interleave, and sees that each of its
//! broken twins is refuted.

use super::{Mutation, Twin};
use std::cell::Cell;
use std::fmt::Write;
use std::process::Command;

/// How many times a model may preempt a thread where it can't afford to try everything.
const PREEMPTIONS: usize = 3;

/// Which twin a child process is to run.
const TWIN: &str = "SAFEPOINT_TWIN";

/// Explores the scene of the test called `test`, all of it or up to [`PREEMPTIONS`], and then
/// with each of the mistakes switched on that have to show: `twins`, and those for which
/// `mutation-tests/table.rs` names this test. Prints a row of a table: the promise
/// (the name of the test's program), the model, the ways there were, and at which each twin
/// failed.
///
/// A twin runs in a process of its own: a model that fails leaves threads that can't be
/// unwound.
#[allow(unreachable_pub, reason = "each model's program has its own copy")]
pub fn model(test: &str, bounded: bool, scene: fn(), twins: &[Twin]) {
    if let Ok(wanted) = std::env::var(TWIN) {
        report_the_way();
        if let Some(mutation) = Mutation::named(&wanted) {
            return mutation.during(|| explore(true, scene));
        }
        let twin = twins.iter().find(|twin| format!("{twin:?}") == wanted);
        return twin.expect("a twin of this test").during(|| explore(true, scene));
    }
    explore(bounded, scene);
    let mut row = format!("| {} | {test} | {}", promise(), WAYS.get());
    row += if bounded { ", bounded |" } else { ", all |" };
    let full_name = format!("{}::{test}", promise());
    let mutations = Mutation::of_model(&full_name).map(|mutation| format!("{mutation:?}"));
    for twin in twins.iter().map(|twin| format!("{twin:?}")).chain(mutations) {
        let child = Command::new(std::env::current_exe().expect("the test's own program"))
            .args(["--exact", test, "--nocapture"])
            .env(TWIN, &twin)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("the test's own program runs");
        let said = String::from_utf8_lossy(&child.stderr);
        let way = said.lines().find_map(|line| line.strip_prefix(FAILED));
        match way.filter(|_| !child.status.success()) {
            Some(way) => {
                let _ = write!(row, " {twin} at {way};");
            }
            None => panic!("{test}: {twin} passes, so the model proves nothing\n{said}"),
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
