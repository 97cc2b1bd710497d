//! Each scenario against the example server, small.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "../../../tests/examples/child.rs"]
mod child;

use child::{Ran, Said, run_within};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// More than a build takes that has to wait for another, and more than a scenario takes: each of
/// its answers has its own limit.
const LIMIT: Duration = Duration::from_secs(900);

struct Server {
    child: Child,
    output: Said,
    address: String,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let mut child = Command::new(server())
            .args(["--listen", "127.0.0.1:0", "--test-functions"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let output = Said::on(child.stdout.take().expect("its output"));
        // From here on it is killed where something goes wrong.
        let mut server = Server { child, output, address: String::new() };
        server.address = server.output.first_line();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        child::kill(&mut self.child);
    }
}

/// Built from the sources as they are now. With `--workspace` and an example cargo unifies the features
/// as in `cargo test --workspace`, so no dependency is built twice.
fn server() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--workspace", "--bin", "server", "--example", "limits"]);
    build.current_dir(root);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = run_within(LIMIT, &mut build);
    assert_eq!(built.code, Some(0), "{}", built.err);
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    load.parent().expect("a folder").join("server")
}

fn load(scenario: &str, address: &str, options: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args([scenario, "--address", address, "--seconds", "1"]).args(options);
    run_within(LIMIT, &mut command)
}

/// The output of a scenario that completes.
fn said(server: &Server, scenario: &str, options: &[&str]) -> String {
    let few = ["--idle", "10", "--busy", "2", "--timeout", "120"];
    let ran = load(scenario, &server.address, &[&few[..], options].concat());
    assert_eq!(ran.code, Some(0), "{scenario}: {}{}", ran.out, ran.err);
    ran.out
}

#[test]
fn every_scenario_in_both_thread_models() {
    for model in ["on", "off"] {
        let server = Server::start(&["--thread-pool", model]);
        assert!(said(&server, "throughput", &[]).contains("select 1, 2 clients"));
        for scenario in ["kill-one-by-one", "kill-all"] {
            let said = said(&server, scenario, &[]);
            for told in ["told: 10 × FATAL 57P01", "told: 2 × FATAL 57P01"] {
                assert!(said.contains(told), "{scenario}: {said}");
            }
        }
        let stall = ["--stall-statement", "select safepoint_test_stall(500)"];
        assert!(said(&server, "stall", &stall).contains("during a stall"));
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let ran = load("throughput", "127.0.0.1:1", &["--idle", "1"]);
    assert_ne!(ran.code, Some(0));
    assert!(!ran.err.is_empty());
}
