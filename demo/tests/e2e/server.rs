//! The server as a process: its command line, and its end.

use crate::support::{
    ENDLESS, MODELS, Server, TOLD, Wire, binary, run, until_runs, until_sending, until_state,
    until_waits, until_waits_for_lock, wait_until,
};
use std::collections::BTreeSet;
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
        (&["--backlog", "0"], "expected a number from 1 to 1000000"),
        (&["--grace", "soon"], "--grace: expected a number of seconds"),
        (&["--reserved-connections", "-1"], "expected a number from 0 to 1000000"),
        (&["--authentication-timeout", "601"], "expected a number from 1 to 600"),
        (&["--nothing-like-it"], "--nothing-like-it"),
        (&["word"], "unexpected word"),
        (&["--listen", "0.0.0.0:0"], "--insecure"),
        (&["--listen", "[::]:0"], "--insecure"),
        (&["--listen", "192.0.2.1:0", "--thread-pool", "off"], "--insecure"),
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
        "--insecure",
        "--thread-pool",
        "--workers",
        "--max-connections",
        "--reserved-connections",
        "--authentication-timeout",
        "--backlog",
        "--config",
        "--grace",
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
        server.signal("INT");
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
        let named = "select distinct usename from pg_stat_activity where pid = sessionid";
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
            let how = if signal == "INT" { "fast" } else { "smart" };
            let said = server.said();
            assert!(
                said.starts_with(&format!("server: received {how} shutdown request\n")),
                "{said}"
            );
        }
    }
}

#[test]
fn a_smart_shutdown_waits_for_the_clients() {
    for model in MODELS {
        let mut server = Server::start(model, &["--workers", "2"]);
        let mut client = server.user("ann");
        client.ok("create table t (v integer); begin; insert into t values (1)");
        let mut admin = server.admin();
        server.signal("TERM");
        server.until_says("server: received smart shutdown request\n");
        let mut late = Wire::open(server.address);
        late.startup(196_608, &[("user", "bob")]);
        let refused = late.rest();
        refused.error().expect("FATAL", "57P03", "the database system is shutting down");
        // Idle or in a transaction, all that are there go on.
        client.ok("insert into t values (2)");
        client.ok("commit");
        assert_eq!(admin.ok("select count(*) from t").value(), "2");
        server.signal("TERM");
        server.until_says("received smart shutdown request during a smart shutdown");
        server.until_says("2 sessions are left\n");
        drop(admin);
        client.ok("select 1");
        assert!(server.is_running());
        drop(client);
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.said());
    }
}

#[test]
fn a_stronger_signal_makes_a_shutdown_stronger() {
    for model in MODELS {
        let mut server = Server::start(model, &["--workers", "2"]);
        let mut admin = server.admin();
        let mut idle = server.user("ann");
        let mut busy = server.user("bob");
        let session = busy.session();
        busy.start(ENDLESS);
        until_runs(&mut admin, session, ENDLESS);
        server.signal("TERM");
        server.until_says("server: received smart shutdown request\n");
        idle.ok("select 1");
        server.signal("INT");
        for client in [&mut admin, &mut idle, &mut busy] {
            client.expect_killed();
        }
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.said());
        assert!(server.said().ends_with("server: received fast shutdown request\n"));
    }
}

/// The process does not wait for a statement that nothing can end.
#[test]
fn an_immediate_shutdown_ends_the_process() {
    let warning = "terminating connection due to immediate shutdown command";
    for model in MODELS {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kept.sqlite");
        let options = ["--database", file.to_str().expect("text")];
        let mut server = Server::start(model, &[&options[..], &["--workers", "2"]].concat());
        let mut admin = server.admin();
        admin.ok("create table t (v integer); insert into t values (1)");
        let mut busy = server.user("bob");
        busy.ok("begin; insert into t values (2)");
        let session = busy.session();
        busy.start(ENDLESS);
        until_runs(&mut admin, session, ENDLESS);
        server.signal("QUIT");
        for client in [&mut admin, &mut busy] {
            let answer = client.rest();
            answer.notice().expect("WARNING", "57P01", warning);
            assert!(answer.errors.is_empty(), "{answer:?}");
        }
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.said());
        let server = Server::start(model, &options);
        assert_eq!(server.user("ann").ok("select count(*) from t").value(), "1");
    }
}

#[test]
fn a_reload_gives_sessions_new_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.conf");
    let path = file.to_str().expect("text");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    for model in MODELS {
        write("lock_timeout = 1s\nstatement_timeout = 2000 # two seconds\n");
        let server = Server::start(model, &["--config", path]);
        let mut admin = server.admin();
        let mut client =
            Wire::connect_as(server.address, &[("user", "ann"), ("lock_timeout", "9s")]);
        let shown = |client: &mut Wire| {
            let names = ["lock_timeout", "statement_timeout", "application_name"];
            names.map(|name| client.ok(&format!("show {name}")).value().to_string())
        };
        assert_eq!(shown(&mut client), ["9s", "2s", ""]);
        assert_eq!(shown(&mut admin), ["1s", "2s", "omm"]);
        client.ok("begin; set statement_timeout = '8s'");
        write("lock_timeout = 3s\nstatement_timeout = 4s\napplication_name = 'a b'");
        server.signal("HUP");
        server.until_says("server: parameter \"application_name\" changed to \"a b\"\n");
        // Only what the session has not set itself is new, and reported.
        let answer = client.ok("show statement_timeout");
        assert_eq!((answer.value(), answer.kinds.as_str()), ("8s", "TDCSZ"), "{answer:?}");
        client.ok("rollback");
        assert_eq!(shown(&mut client), ["9s", "4s", "a b"]);
        assert_eq!(shown(&mut admin), ["3s", "4s", "omm"]);

        write("lock_timeout = 5s\nnosuch = 1");
        server.signal("HUP");
        let wrong = "unrecognized configuration parameter \"nosuch\" in file";
        server.until_says(wrong);
        server.until_says("line 2; no changes were applied\n");
        assert_eq!(shown(&mut admin), ["3s", "4s", "omm"]);

        write("");
        let denied = client.fails("select pg_reload_conf()");
        denied.expect("ERROR", "42501", "permission denied for function pg_reload_conf");
        assert_eq!(admin.ok("select pg_reload_conf()").value(), "t");
        assert_eq!(shown(&mut client), ["9s", "0", ""]);
    }
    let mut command = Command::new(binary());
    write("lock_timeout = x");
    let ran = run(command.args(["--listen", "127.0.0.1:0", "--config", path]));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("invalid value for parameter \"lock_timeout\""), "{}", ran.err);

    let mut server = Server::start("on", &[]);
    server.signal("HUP");
    server.until_says("server: nothing to reload");
    assert!(server.is_running());
    server.user("ann").ok("select 1");
}

/// With the queue of the standard library, some of them try again after seconds.
#[test]
fn a_burst_of_clients_finds_room() {
    let server = Server::start("off", &[]);
    // The queue is seen while nobody takes from it.
    server.signal("STOP");
    let burst: Vec<_> = (0..400).map(|_| Wire::open(server.address)).collect();
    let port = format!(":{:04X}", server.address.port());
    // Established, and not a SYN that was dropped. The system may list a socket twice.
    wait_until("all of them are established", || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the sockets of the system");
        let established = table.lines().filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let own = fields.get(1).is_some_and(|own| own.ends_with(&port)) && fields[3] == "01";
            own.then(|| fields[2].to_string())
        });
        established.collect::<BTreeSet<_>>().len() == burst.len()
    });
    server.signal("CONT");
}

#[test]
fn keep_alive_is_on_and_can_be_set() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let mut client = server.user("ann");
        // What the system says of the server's end of the connection.
        let port = format!(":{:04X}", server.address.port());
        let timer = || {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("the sockets");
            let line = table.lines().find(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                fields.get(1).is_some_and(|own| own.ends_with(&port)) && fields[3] == "01"
            });
            let timer = line.expect("the connection").split_whitespace().nth(5).map(str::to_string);
            let timer = timer.expect("a timer");
            let (kind, ticks) = timer.split_once(':').expect("a kind and a time");
            (kind.to_string(), u64::from_str_radix(ticks, 16).expect("ticks") / 100)
        };
        client.ok("set tcp_keepalives_idle = '5min'");
        wait_until("the timer of the keep-alive runs", || {
            let (kind, seconds) = timer();
            kind == "02" && (1..=300).contains(&seconds)
        });
        assert_eq!(client.ok("show tcp_keepalives_idle").value(), "300");
        client.ok("begin; set local tcp_keepalives_idle = 77; rollback");
        client.ok("set tcp_user_timeout = '2s'");
        assert_eq!(client.ok("show tcp_user_timeout").value(), "2000");
        client.ok("reset tcp_user_timeout");
        assert_eq!(client.ok("show tcp_user_timeout").value(), "0");
        client.fails("set tcp_keepalives_count = '5s'");
        client.fails("set tcp_keepalives_idle = -1");
        let too_long = client.fails("set tcp_keepalives_idle = 32768");
        assert_eq!(too_long.code(), "22023");
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
        let sql = "with recursive c(x) as (select 1 union all select x+1 from c limit 40000) \
                   select x, hex(zeroblob(500)) from c";
        deaf.start(sql);
        until_sending(&mut admin, session);
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "{}", server.said());
    }
}
