//! The cases of `tests/truth`: the server's answers against those of PostgreSQL, which are stored.

use crate::support::{Server, is_installed, run_within};
use std::process::Command;
use std::time::Duration;

/// For a part of the cases: some of them let a server stay silent for seconds.
const PART: Duration = Duration::from_secs(300);

/// The cases mostly wait, so they are run in parts at once, each on a server of its own.
const PARTS: usize = 5;

#[test]
fn answers_with_the_pool_are_those_of_postgresql() {
    compare("on");
}

#[test]
fn answers_without_the_pool_are_those_of_postgresql() {
    compare("off");
}

fn compare(model: &str) {
    if is_installed("truth", "python3") {
        std::thread::scope(|scope| {
            for part in 1..=PARTS {
                scope.spawn(move || compare_part(model, part));
            }
        });
    }
}

fn compare_part(model: &str, part: usize) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth");
    let server = Server::start(model, &["--workers", "4"]);
    let mut command = Command::new("python3");
    command
        .arg(format!("{folder}/truth.py"))
        .args(["--test", &server.address.to_string()])
        .args(["--answers", &format!("{folder}/answers.json")])
        .args(["--except", &format!("{folder}/differences.txt")])
        .args(["--model", model, "--patience", "20", "--part", &format!("{part}/{PARTS}")]);
    let ran = run_within(PART, &mut command);
    assert_eq!(ran.code, Some(0), "pool {model}, part {part}:\n{}{}", ran.out, ran.err);
}
