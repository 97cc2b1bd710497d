//! The cases of `tests/truth`: the server's answers against those of PostgreSQL, which are stored.

use crate::support::{Server, is_installed, run_within};
use std::process::Command;
use std::time::Duration;

/// For all cases of one server: some of them let a server stay silent for seconds.
const ALL: Duration = Duration::from_secs(300);

#[test]
fn answers_with_the_pool_are_those_of_postgresql() {
    compare("on");
}

#[test]
fn answers_without_the_pool_are_those_of_postgresql() {
    compare("off");
}

fn compare(model: &str) {
    if !is_installed("truth", "python3") {
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth");
    let server = Server::start(model, &["--workers", "4"]);
    let mut command = Command::new("python3");
    command
        .arg(format!("{folder}/truth.py"))
        .args(["--test", &server.address.to_string()])
        .args(["--answers", &format!("{folder}/answers.json")])
        .args(["--except", &format!("{folder}/differences.txt")])
        .args(["--model", model])
        // Two of its statements must each take less than their time limit, which depends on the load.
        .args(["--patience", "20", "--without", "timeout_of_each_in_a_pipeline"]);
    let ran = run_within(ALL, &mut command);
    assert_eq!(ran.code, Some(0), "pool {model}:\n{}{}", ran.out, ran.err);
}
