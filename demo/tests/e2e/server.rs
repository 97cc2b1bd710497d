//! The server as a process: its command line, and its end.

use crate::support::{
    ENDLESS, MODELS, Server, TOLD, Wire, binary, run, until_runs, until_state, until_waits,
    until_waits_at, until_waits_for_lock,
};
use std::process::Command;

#[test]
fn a_wrong_command_line_is_named() {
    for (options, said) in [
        (&["--listen", "here"][..], "--listen: expected an address"),
        (&["--listen"], "--listen"),
        (&["--thread-pool", "maybe"], "expected on or off"),
        (&["--workers", "0"], "expected a number from 1 to 4096"),
        (&["--workers", "4097"], "expected a number from 1 to 4096"),
        (&["--workers", "-1"], "expected a number from 1 to 4096"),
        (&["--workers", "4", "--max-workers", "3"], "--max-workers: expected at least 4"),
        (
            &["--thread-pool-attr", "6, 2", "--max-workers", "5"],
            "--max-workers: expected at least 6",
        ),
        (&["--max-connections", "0"], "expected a number from 1 to 1000000"),
        (&["--max-connections", "3"], "--reserved-connections: expected fewer than"),
        (&["--reserved-connections", "-1"], "expected a number from 0 to 1000000"),
        (&["--authentication-timeout", "601"], "expected a number from 1 to 600"),
        (&["--nothing-like-it"], "--nothing-like-it"),
        (&["word"], "unexpected word"),
        (&["--listen", "0.0.0.0:0"], "--allow-remote"),
        (&["--listen", "[::]:0"], "--allow-remote"),
        (&["--listen", "192.0.2.1:0", "--thread-pool", "off"], "--allow-remote"),
    ] {
        let ran = run(Command::new(binary()).args(options));
        assert_eq!(ran.code, Some(2), "{options:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{options:?}");
        let first = ran.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("server: ") && first.contains(said), "{options:?}: {first}");
        assert!(ran.err.contains("usage: server"), "{options:?}");
    }
    let ran = run(Command::new(binary()).arg("--help"));
    assert_eq!(ran.code, Some(0));
    for option in [
        "--listen",
        "--allow-remote",
        "--thread-pool",
        "--workers",
        "--max-connections",
        "--reserved-connections",
        "--authentication-timeout",
        "--database",
        "--admin",
    ] {
        assert!(ran.out.contains(option), "{option}: {}", ran.out);
    }
}

#[test]
fn what_the_system_refuses_is_named() {
    let server = Server::start("on", &[]);
    let address = server.address.to_string();
    let ran = run(Command::new(binary()).args(["--listen", &address]));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(&format!("can't listen on {address}")), "{}", ran.err);

    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing").join("file");
    let mut command = Command::new(binary());
    command.args(["--listen", "127.0.0.1:0"]).arg("--database").arg(&missing);
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(missing.to_str().expect("text")), "{}", ran.err);

    let text = folder.path().join("text");
    std::fs::write(&text, "this is no database. ".repeat(100)).expect("a file");
    let mut command = Command::new(binary());
    let ran = run(command.args(["--listen", "127.0.0.1:0"]).arg("--database").arg(&text));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
}

#[test]
fn a_database_file_outlives_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kept.sqlite");
    let file = file.to_str().expect("text");
    for (model, count) in [("on", "1"), ("off", "2")] {
        let mut server = Server::start(model, &["--database", file]);
        let mut client = server.user("ann");
        client.ok("create table if not exists t (v integer)");
        client.ok("insert into t values (1)");
        assert_eq!(client.ok("select count(*) from t").value(), count);
        server.signal("TERM");
        assert!(server.wait().success());
    }
}

#[test]
fn administrators_are_whom_the_command_line_names() {
    for model in MODELS {
        let server = Server::start(model, &["--admin", "ada", "--admin", "eve"]);
        for (user, superuser) in [("ada", "on"), ("eve", "on"), ("omm", "off"), ("ann", "off")] {
            let mut client = server.user(user);
            assert_eq!(client.ok("show is_superuser").value(), superuser, "{user}");
        }
        let named = "select distinct usename from pg_stat_activity where client_addr is null";
        assert_eq!(server.user("ann").ok(named).value(), "ada");
    }
}

#[test]
fn a_signal_ends_it_in_order() {
    for model in MODELS {
        for signal in ["TERM", "INT"] {
            let options = ["--workers", "2", "--grace", "1", "--watchdog", "0"];
            let mut server = Server::start(model, &options);
            let mut admin = server.admin();
            admin.ok("create table t (v integer)");
            let mut idle: Vec<_> = (0..20).map(|_| server.user("ann")).collect();
            let mut holder = server.user("bob");
            holder.ok("begin");
            holder.ok("insert into t values (1)");
            let holding = holder.session();
            until_state(&mut admin, holding, "idle in transaction");
            let mut busy = Vec::new();
            for sql in ["insert into t values (2)", "select pg_sleep(3600)", ENDLESS] {
                let mut client = server.user("eve");
                let session = client.session();
                client.start(sql);
                match sql {
                    ENDLESS => until_runs(&mut admin, session, sql),
                    "select pg_sleep(3600)" => until_waits(&mut admin, session),
                    _ => until_waits_for_lock(&mut admin, session),
                };
                busy.push(client);
            }
            let mut greeted = Wire::open(server.address);
            server.signal(signal);
            for client in busy.iter_mut().chain(&mut idle).chain([&mut holder, &mut admin]) {
                let answer = client.rest();
                answer.error().expect("FATAL", "57P01", TOLD);
                assert!(answer.rows.is_empty());
            }
            // One that has not said who it is goes too.
            greeted.rest();
            let status = server.wait();
            assert_eq!(status.code(), Some(0), "{model} {signal}: {}", server.said());
            assert_eq!(server.said(), "");
        }
    }
}

#[test]
fn queued_clients_are_told_of_the_end_as_well() {
    let mut server = Server::start("on", &["--workers", "1", "--grace", "1"]);
    let mut admin = server.admin();
    let (mut stuck, mut queued) = (server.user("ann"), server.user("bob"));
    let (session, second) = (stuck.session(), queued.session());
    stuck.start(ENDLESS);
    until_runs(&mut admin, session, ENDLESS);
    queued.start("select 2");
    until_state(&mut admin, second, "queued");
    server.signal("TERM");
    for client in [&mut stuck, &mut queued, &mut admin] {
        client.rest().expect_killed();
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    for model in MODELS {
        let mut server = Server::start(model, &["--workers", "2", "--grace", "1"]);
        let mut admin = server.admin();
        let mut deaf = server.user("ann");
        let session = deaf.session();
        let sql = "with recursive c(x) as (select 1 union all select x+1 from c) \
                   select x, hex(zeroblob(500)) from c";
        deaf.start(sql);
        until_waits_at(&mut admin, session, "stream.rs");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "{}", server.said());
    }
}
