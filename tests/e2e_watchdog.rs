//! What the server's watchdog says, and what it does not have to say.

mod server_common;

use server_common::{DEADLINE, MODELS, Server, until_gone, until_runs, wait_until};
use std::time::Instant;

#[test]
fn a_session_that_does_not_look_is_reported_once() {
    for model in MODELS {
        let options = ["--workers", "2", "--watchdog", "300", "--test-functions"];
        let server = Server::start(model, &options);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        // Here it is asked, and answers.
        let rows = "with recursive n(x) as (select 1 union all select x + 1 from n limit 5000000)";
        client.ok(&format!("{rows} select count(*) from n"));
        client.start("select safepoint_test_stall(2000)");
        until_runs(&mut admin, session, "stall");
        wait_until("the watchdog says so", || server.said().contains("watchdog: "));
        client.finish();
        client.ok("select 1");
        let said = server.said();
        let line = said.lines().find(|line| line.starts_with("watchdog: ")).expect("a line");
        let start = format!("watchdog: session {session} passed no safe point for ");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.ends_with(": select safepoint_test_stall(2000)"), "{line}");
        assert!(line.contains(" ms, the last one known at examples/server/"), "{line}");
        assert_eq!(said.matches("watchdog: ").count(), 1, "{said}");
        let last = format!("select safe_point from pg_stat_activity where sessionid = {session}");
        assert!(admin.ok(&last).value().starts_with("examples/server/"));
        // It is one of the server's own threads.
        let watch = "select count(*) from pg_stat_activity where application_name = 'watchdog' \
                     and pid = sessionid";
        assert_eq!(admin.ok(watch).value(), "1");
    }
}

/// Each of these was reported before it was mended: what is too long to be worked through at once
/// is refused, and the log is moved into the database elsewhere.
#[test]
fn heavy_statements_are_not_reported() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2", "--watchdog", "1000"]);
        let mut client = server.user("ann");
        client.ok("create table t (id int, a text)");
        let rows = "with recursive n(x) as (select 1 union all select x + 1 from n limit 200000)";
        client.ok(&format!("insert into t {rows} select x, hex(randomblob(16)) from n"));
        client.ok("create index i on t (a)");
        client.ok("begin; update t set a = a || 'x'; commit");
        client.ok("select count(*) from (select a, count(*) from t group by a order by a)");
        client.ok("select count(*) from pg_stat_activity a, pg_stat_activity b");
        let refused = |client: &mut server_common::Wire, sql: &str| {
            client.start(sql);
            let answer = client.finish();
            assert_eq!(answer.error().code(), "54000", "{answer:?}");
            assert_eq!(answer.status, Some('I'), "the session goes on");
        };
        for long in [
            format!("select length('{}')", "x".repeat(60_000_000)),
            format!("select 1 where 1 in (1{})", ",1".repeat(4_000_000)),
            "select length(hex(zeroblob(400000000)))".to_string(),
            "select length(randomblob(900000000))".to_string(),
        ] {
            refused(&mut client, &long);
        }
        assert_eq!(client.ok("select 6 * 7").value(), "42");
        assert!(!server.said().contains("watchdog"), "{}", server.said());
    }
}

/// Nobody who commits moves the log, and yet it does not grow without end.
#[test]
fn the_log_is_moved_elsewhere() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("database");
    let log = folder.path().join("database-wal");
    let name = file.to_str().expect("a plain name");
    let server = Server::start("on", &["--workers", "2", "--database", name]);
    let mut client = server.user("ann");
    client.ok("create table t (a blob)");
    client.ok("insert into t values (randomblob(8000000))");
    let length = || std::fs::metadata(&log).expect("the log").len();
    // Each round is longer than what the log may hold before the thread is called.
    let start = Instant::now();
    loop {
        let before = length();
        client.ok("update t set a = randomblob(8000000)");
        if length() == before {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "the log grows and grows: {before}");
    }
    let session = client.session();
    drop(client);
    until_gone(&mut server.admin(), session);
}
