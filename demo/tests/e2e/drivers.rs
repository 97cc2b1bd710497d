//! Clients that people use: `pgbench` and psycopg2.

use crate::support::{MODELS, Ran, Server, is_installed, python_with_psycopg2, run};
use std::path::Path;
use std::process::Command;

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
