//! Clients that leave in the middle of a statement, by `client_connection_check_interval`.

use crate::support::{
    ENDLESS, MODELS, Server, is_installed, look, until_gone, until_runs, until_value, wait_until,
};
use std::process::{Command, Stdio};

const SETTING: &str = "set client_connection_check_interval = '100ms'";

#[test]
fn a_statement_ends_with_its_client() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "3"]);
        let mut admin = server.admin();
        admin.ok("create table t (a integer)");
        let (mut stays, mut leaves) = (server.user("bob"), server.user("ann"));
        let (stays_id, id) = (stays.session(), leaves.session());
        leaves.ok(SETTING);
        leaves.ok("begin");
        leaves.ok("insert into t values (1)");
        leaves.start(ENDLESS);
        stays.start(ENDLESS);
        until_runs(&mut admin, stays_id, "recursive");
        until_runs(&mut admin, id, "recursive");
        // By default a client that leaves is found when its answer is written.
        stays.hang_up();
        leaves.hang_up();
        until_gone(&mut admin, id);
        assert!(look(&mut admin, stays_id).is_some(), "it did not ask for it");
        // Its transaction was rolled back, and holds no lock.
        admin.ok("insert into t values (2)");
        until_value(&mut admin, "select group_concat(a) from t", "2");
        admin.ok(&crate::support::kill_now(model, stays_id));
        until_gone(&mut admin, stays_id);
    }
}

/// The setting may come with the connection, and the client may be killed.
#[test]
fn a_client_that_is_killed() {
    if !is_installed("a_client_that_is_killed", "psql") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut admin = server.admin();
        let mut psql = Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-p", &server.port(), "-U", "ann", "-d", "postgres"])
            .args(["-c", ENDLESS])
            .env("PGOPTIONS", "-c client_connection_check_interval=100ms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("psql starts");
        let running =
            "select count(*) from pg_stat_activity where usename = 'ann' and state = 'active'";
        until_value(&mut admin, running, "1");
        psql.kill().expect("it is killed");
        psql.wait().expect("it ends");
        wait_until("its session is gone", || admin.ok(running).value() == "0");
    }
}

/// Or with a reload, for sessions that are there already.
#[test]
fn a_reload_brings_the_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    std::fs::write(&config, "").expect("a file");
    for model in MODELS {
        let path = config.to_str().expect("a name in UTF-8");
        let server = Server::start(model, &["--workers", "2", "--config", path]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let id = client.session();
        std::fs::write(&config, "client_connection_check_interval = 100ms\n").expect("a file");
        admin.ok("select pg_reload_conf()");
        until_value(&mut client, "show client_connection_check_interval", "100ms");
        client.start(ENDLESS);
        until_runs(&mut admin, id, "recursive");
        client.hang_up();
        until_gone(&mut admin, id);
        std::fs::write(&config, "").expect("a file");
    }
}

/// A client that leaves while its session is idle is found by its server, as ever.
#[test]
fn an_idle_client_leaves() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let id = client.session();
        client.ok(SETTING);
        assert_eq!(client.ok("show client_connection_check_interval").value(), "100ms");
        drop(client);
        until_gone(&mut admin, id);
    }
}
