//! Runs the library's own tests against each mistake of the table that names some: every test that
//! is named must fail with the mistake, by itself and in time.
//!
//! ```sh
//! cargo run -p mutation-tests -- [NAME ...]
//! ```
//!
//! With `--table` it writes `docs/verification.md` instead.

#[path = "../page.rs"]
mod page;

use page::format::Mutation;
use page::table;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a test may take to fail. The library's tests give up by themselves before that.
const LIMIT: Duration = Duration::from_secs(150);

/// How many tests run at once: most of the slow ones wait for a deadline.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted == ["--table"] {
        page::write();
        return ExitCode::SUCCESS;
    }
    for name in &wanted {
        if !table::mutations().any(|mutation| mutation.name == name) {
            eprintln!("refute: there is no mutation {name:?} in mutation-tests/table.rs");
            return ExitCode::from(2);
        }
    }
    let mutations: Vec<&Mutation> = table::mutations()
        .filter(|mutation| wanted.is_empty() || wanted.iter().any(|name| name == mutation.name))
        .collect();
    let mut unseen: Vec<String> = mutations
        .iter()
        .filter(|m| m.tests.is_empty() && m.loom.is_empty() && m.shuttle.is_empty())
        .map(|m| format!("{} ({}): no test is named that has to see it", m.name, m.about))
        .collect();

    let jobs: Vec<(&Mutation, &str)> =
        mutations.iter().flat_map(|m| m.tests.iter().map(move |test| (*m, *test))).collect();
    let programs = programs(jobs.iter().map(|(_, test)| split(test).0).collect());
    let jobs_left = Mutex::new(jobs.iter());
    let report = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = jobs_left.lock().expect("nobody panics with it").next();
                    let Some((mutation, test)) = next else { break };
                    let result = refuted(&programs, mutation, test);
                    match &result {
                        Ok(seconds) => {
                            println!("{}: {test} fails after {seconds:.1} s", mutation.name);
                        }
                        Err(problem) => println!("{}: {test}: {problem}", mutation.name),
                    }
                    if let Err(problem) = result {
                        let line = format!("{}: {test}: {problem}", mutation.name);
                        report.lock().expect("nobody panics with it").push(line);
                    }
                }
            });
        }
    });
    unseen.extend(report.into_inner().expect("nobody panics with it"));
    println!("{} mutations, {} tests run against them", mutations.len(), jobs.len());
    for line in &unseen {
        eprintln!("refute: {line}");
    }
    ExitCode::from(u8::from(!unseen.is_empty()))
}

/// The program and the test's name in it.
fn split(test: &str) -> (&str, &str) {
    test.split_once("::").expect("program::test")
}

/// Builds the tests' programs, and finds them.
fn programs(names: BTreeSet<&str>) -> BTreeMap<String, PathBuf> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["test", "-p", "mutation-tests", "-p", "safepoint-with-mutations", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    for name in &names {
        match *name {
            "lib" => cargo.arg("--lib"),
            name => cargo.args(["--test", name]),
        };
    }
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "the tests are built");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let messages = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    let found = messages.filter_map(|message: serde_json::Value| {
        let target = &message["target"];
        let of_library = target["kind"].as_array()?.iter().any(|kind| kind == "lib");
        let name = if of_library { "lib" } else { target["name"].as_str()? };
        Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
    });
    found.collect()
}

/// How long it took to fail, or why that does not count.
fn refuted(
    programs: &BTreeMap<String, PathBuf>,
    mutation: &Mutation,
    test: &str,
) -> Result<f64, String> {
    let (program, name) = split(test);
    let program = programs.get(program).ok_or("there is no such program")?;
    let list = Command::new(program).args(["--exact", name, "--list"]).output();
    let list = list.map_err(|error| error.to_string())?;
    if !String::from_utf8_lossy(&list.stdout).contains(": test") {
        return Err("there is no such test".to_owned());
    }
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(["--exact", name])
        .env("SAFEPOINT_MUTATION", mutation.name)
        .env("PROPTEST_CASES", std::env::var("PROPTEST_CASES").unwrap_or_else(|_| "1024".into()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return match status.success() {
                true => Err("passes, so it does not see the mistake".to_owned()),
                false => Ok(begun.elapsed().as_secs_f64()),
            };
        }
        if begun.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("hangs for more than {} s", LIMIT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
