//! Each scenario against the example server, small.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Server(Child, String);

impl Server {
    fn start(options: &[&str]) -> Server {
        let mut child = Command::new(server())
            .args(["--listen", "127.0.0.1:0", "--test-functions"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut address = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut address).expect("its address");
        Server(child, address.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Built from the sources as they are now.
fn server() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "safepoint", "--example", "server"]).current_dir(root);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success());
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    load.parent().expect("a folder").join("examples").join("server")
}

fn load(server: &Server, scenario: &str, options: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_load"))
        .args([scenario, "--address", &server.1, "--idle", "10", "--busy", "2"])
        .args(["--seconds", "1", "--timeout", "30"])
        .args(options)
        .output()
        .expect("load runs");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{scenario}: {said}{errors}");
    said
}

#[test]
fn every_scenario_in_both_thread_models() {
    for model in ["on", "off"] {
        let server = Server::start(&["--thread-pool", model]);
        assert!(load(&server, "throughput", &[]).contains("select 1, 2 clients"));
        for scenario in ["kill-one-by-one", "kill-all"] {
            let said = load(&server, scenario, &[]);
            for told in ["told: 10 × FATAL 57P01", "told: 2 × FATAL 57P01"] {
                assert!(said.contains(told), "{scenario}: {said}");
            }
        }
        let stall = ["--stall-statement", "select safepoint_test_stall(500)"];
        assert!(load(&server, "stall", &stall).contains("during a stall"));
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let ran = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["throughput", "--address", "127.0.0.1:1", "--idle", "1", "--seconds", "1"])
        .output()
        .expect("load runs");
    assert!(!ran.status.success());
    assert!(!ran.stderr.is_empty());
}
