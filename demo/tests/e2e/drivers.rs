//! Clients that people use: `pgbench`, and drivers.

mod tokio;

use crate::support::{
    MODELS, Ran, Server, is_installed, python_with, python_with_psycopg2, run, run_within,
};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn pgbench(server: &Server, options: &[&str]) -> Ran {
    let mut command = Command::new("pgbench");
    command.args(["-h", "127.0.0.1", "-p", &server.port(), "-U", "ann"]).args(options);
    let ran = run(command.arg("postgres").env("LC_ALL", "C"));
    assert_eq!(ran.code, Some(0), "pgbench {options:?}: {}{}", ran.out, ran.err);
    ran
}

#[test]
fn pgbench_in_each_of_its_ways() {
    if !is_installed("pgbench_in_each_of_its_ways", "pgbench") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        pgbench(&server, &["-i", "-q", "-s", "1"]);
        let mut admin = server.admin();
        assert_eq!(admin.ok("select count(*) from pgbench_accounts").value(), "100000");
        for way in ["simple", "extended", "prepared"] {
            // The built-in script, and the one that only reads.
            let ran = pgbench(&server, &["-M", way, "-c", "6", "-j", "2", "-t", "25"]);
            for line in [
                "number of transactions actually processed: 150/150",
                "number of failed transactions: 0 (0.000%)",
            ] {
                assert!(ran.out.contains(line), "{model} {way}: {}{}", ran.out, ran.err);
            }
            let ran = pgbench(&server, &["-S", "-M", way, "-c", "6", "-j", "2", "-t", "50", "-n"]);
            assert!(ran.out.contains("actually processed: 300/300"), "{}{}", ran.out, ran.err);
        }
        // Its books balance.
        for table in ["tellers", "branches"] {
            let answer = admin.ok(&format!(
                "select (select sum(abalance) from pgbench_accounts) = \
                 (select sum({}) from pgbench_{table})",
                if table == "tellers" { "tbalance" } else { "bbalance" }
            ));
            assert_eq!(answer.value(), "1", "{model} {table}");
        }
        // It empties the history before each run of the script, and each leaves its own.
        assert_eq!(admin.ok("select count(*) from pgbench_history").value(), "150");
    }
}

#[test]
fn psycopg2() {
    let Some(python) = python_with_psycopg2("psycopg2") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/psycopg2_check.py");
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut command = Command::new(python);
        let ran = run(command.arg(&script).args([&server.port(), model]));
        assert_eq!(ran.code, Some(0), "{model}: {}{}", ran.out, ran.err);
        for check in ["everyday", "loading", "killed", "cancelled"] {
            assert!(ran.out.contains(&format!("{check} ok")), "{}", ran.out);
        }
    }
}

/// For all checks of one driver on one server, with time to say which of them hangs.
const PROGRAM: Duration = Duration::from_secs(300);

/// Runs the program of a Python driver, which has these checks, in both thread models.
fn driver(name: &str, checks: &[&str]) {
    let modules = if name == "psycopg" { "psycopg, psycopg_pool" } else { name };
    let Some(python) = python_with(name, modules) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers");
    let script = folder.join(format!("{name}_check.py"));
    for model in MODELS {
        let server = Server::start(model, &["--workers", "4"]);
        let mut command = Command::new(&python);
        let ran = run_within(PROGRAM, command.arg(&script).arg(server.port()).args(checks));
        assert_eq!(ran.code, Some(0), "{model}: {}{}", ran.out, ran.err);
        for check in checks {
            assert!(ran.out.contains(&format!("{check} ok")), "{model} {check}: {}", ran.out);
        }
    }
}

#[test]
fn psycopg() {
    let checks = [
        "everyday",
        "types",
        "transactions",
        "prepared",
        "cursors",
        "copying",
        "cancelled",
        "timeouts",
        "pooled",
        "awaited",
    ];
    driver("psycopg", &checks);
}

#[test]
fn asyncpg() {
    let checks = [
        "everyday",
        "types",
        "transactions",
        "prepared",
        "cursors",
        "moved",
        "copying",
        "cancelled",
        "timeouts",
        "pooled",
    ];
    driver("asyncpg", &checks);
}

#[test]
fn pg8000() {
    let checks =
        ["everyday", "types", "transactions", "prepared", "cursors", "copying", "timeouts"];
    driver("pg8000", &checks);
}
