//! What the server's watchdog says, and what it does not have to say.

use crate::support::{
    Answer, DEADLINE, ENDLESS, MODELS, STALL, Server, Wire, kill_now, until_answer, until_gone,
    wait_until,
};
use std::time::Duration;

/// What the watchdog has said of the stall of that session.
fn reports(said: &str, session: i64) -> Vec<&str> {
    let start = format!("watchdog: session {session} passed no safe point for ");
    let lines = said.lines().filter(|line| line.starts_with(&start));
    lines.filter(|line| line.ends_with(&format!(": {STALL}"))).collect()
}

/// Where the machine has no processor for a session, or for long, it is reported as well, and
/// rightly so: what counts here is what is said of the stalls.
#[test]
fn a_session_that_does_not_look_is_reported_once() {
    for model in MODELS {
        let options = ["--workers", "4", "--watchdog", "300", "--test-functions"];
        let server = Server::start(model, &options);
        let mut admin = server.admin();
        let mut stalled = Vec::new();
        for user in ["ann", "bob"] {
            let mut client = server.user(user);
            let session = client.session();
            // Here it is asked, and answers.
            client.start(ENDLESS);
            let last =
                format!("select safe_point from pg_stat_activity where sessionid = {session}");
            until_answer(&mut admin, &last, |answer| answer.value().starts_with("demo/src/"));
            client.cancel();
            client.finish();
            client.start(STALL);
            server.until_stalls(session);
            let before = reports(&server.said(), session).len();
            wait_until("the watchdog says so", || !reports(&server.said(), session).is_empty());
            stalled.push((client, session, before));
        }
        // The second was looked at and reported after the first, which has been looked at again
        // by then.
        assert_eq!(server.release(&mut admin), 2);
        for (mut client, session, before) in stalled {
            assert_eq!(client.finish().value(), "1");
            client.ok("select 1");
            let said = server.said();
            let reports = reports(&said, session);
            let line = reports[reports.len() - 1];
            assert!(line.contains(" ms, the last one known at demo/src/"), "{line}");
            assert!(reports.len() <= before + 1, "{said}");
        }
        // It is one of the server's own threads.
        let watch = "select count(*) from pg_stat_activity where application_name = 'watchdog' \
                     and pid = sessionid";
        assert_eq!(admin.ok(watch).value(), "1");
    }
}

/// A kill of a session that passes no safe point is reported, with the reason, and once.
#[test]
fn a_kill_that_takes_long_is_reported_once() {
    for model in MODELS {
        let options = ["--watchdog", "0", "--overdue", "100", "--test-functions"];
        let server = Server::start(model, &options);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start(STALL);
        server.until_stalls(session);
        let reports = || {
            let start = format!("watchdog: session {session} (running) has not ended ");
            server
                .said()
                .lines()
                .filter(|line| line.starts_with(&start))
                .map(str::to_owned)
                .collect()
        };
        admin.ok(&kill_now(model, session));
        wait_until("the watchdog says so", || !Vec::is_empty(&reports()));
        assert_eq!(server.release(&mut admin), 1);
        client.rest().expect_killed();
        until_gone(&mut admin, session);
        let reports: Vec<String> = reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
    }
}

/// Sends one, and takes what comes.
type Run = fn(&mut Wire) -> Answer;

/// Far longer than any of the statements below goes without a safe point.
const LIMIT: Duration = Duration::from_secs(2);

/// For each of them, on a machine that has better things to do.
const PATIENCE: Duration = DEADLINE.saturating_mul(3);

/// Runs it, and sees that nothing is said of it. A report is no fault of the server's if it was kept
/// from the processor for as long as that is about.
#[track_caller]
fn unreported(
    server: &Server,
    heard: &mut usize,
    what: &str,
    run: impl FnOnce() -> Answer,
) -> Answer {
    let starved = server.starved();
    let answer = run();
    let (said, starved) = (server.said(), server.starved().saturating_sub(starved));
    let new = &said[std::mem::replace(heard, said.len())..];
    assert!(new.is_empty() || starved >= LIMIT / 2, "{what}: {new}");
    answer
}

/// Statements that were reported before they were mended, and what becomes of them now: what is
/// too long to be worked through at once is refused, the server's own loops have safe points, and
/// the log is moved into the database elsewhere. All of that is the same without a pool.
#[test]
fn heavy_statements_are_not_reported() {
    let limit = LIMIT.as_millis().to_string();
    let server = Server::start("on", &["--workers", "2", "--watchdog", &limit]);
    let (mut client, mut heard) = (server.user("ann"), 0);
    client.patience(PATIENCE);
    client.ok("create table t (id int, a text)");
    let rows = "with recursive n(x) as (select 1 union all select x + 1 from n limit 200000)";
    let insert = format!("insert into t {rows} select x, hex(randomblob(16)) from n");
    for statement in [
        &*insert,
        "create index i on t (a)",
        "begin; update t set a = a || 'x'; commit",
        "select count(*) from (select a, count(*) from t group by a order by a)",
        "select count(*) from pg_stat_activity a, pg_stat_activity b",
    ] {
        unreported(&server, &mut heard, statement, || client.ok(statement));
    }
    let heavy: [(&str, Run, &str); 9] = [
        (
            "a long line of COPY",
            |c| copy(c, &[&vec![b'x'; 15_000_000][..], b"\n"].concat()),
            "22P04",
        ),
        ("a line of many columns", |c| copy(c, &vec![b'\t'; 15_000_000]), "54011"),
        ("a bytea as a parameter", bytea, ""),
        ("many parameters", parameters, "54000"),
        ("a blob as an answer", |c| c.query("select zeroblob(15000000)"), ""),
        ("a value that is too long", |c| c.query("select randomblob(900000000)"), "54000"),
        ("a list that is too long", |c| c.query(&in_list(30_000_000)), "54000"),
        ("a list of many values", |c| c.query(&in_list(250_000)), ""),
        ("a long text", |c| c.query(&format!("select '{}'", "x".repeat(60_000_000))), "54000"),
    ];
    for (what, run, code) in heavy {
        let answer = unreported(&server, &mut heard, what, || run(&mut client));
        let found = answer.errors.first().map_or("", |error| error.code());
        assert_eq!(found, code, "{what}: {:?}", answer.errors);
        assert_eq!(answer.status, Some('I'), "the session goes on");
    }
    assert_eq!(client.ok("select 6 * 7").value(), "42");
}

fn in_list(length: usize) -> String {
    format!("select 1 in ({}1)", "1,".repeat(length - 1))
}

fn copy(client: &mut Wire, line: &[u8]) -> Answer {
    client.start("copy t from stdin");
    client.send(b'd', line);
    client.send(b'c', b"");
    client.finish()
}

const BYTEA: u32 = 17;

fn bytea(client: &mut Wire) -> Answer {
    let value = format!("\\x{}", "5a".repeat(15_000_000));
    run(client, "select length($1)", &[BYTEA], &[(0, Some(value.as_bytes()))])
}

fn parameters(client: &mut Wire) -> Answer {
    let list: Vec<_> = (1..=15_000).map(|n| format!("${n}")).collect();
    let sql = format!("select 1 in ({})", list.join(","));
    run(client, &sql, &[], &vec![(0, Some(&b"1"[..])); list.len()])
}

fn run(client: &mut Wire, sql: &str, types: &[u32], values: &[(i16, Option<&[u8]>)]) -> Answer {
    client.parse("", sql, types);
    client.bind("", "", values, &[]);
    client.execute("", 0);
    client.sync();
    client.finish()
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
    client.patience(PATIENCE);
    client.ok("create table t (a blob)");
    client.ok("insert into t values (randomblob(8000000))");
    let length = || std::fs::metadata(&log).expect("the log").len();
    // Each round is longer than what the log may hold before the thread is called.
    loop {
        let before = length();
        client.ok("update t set a = randomblob(8000000)");
        if length() == before {
            break;
        }
        // Long before that those who write have to wait for it.
        assert!(before < 250_000_000, "the log grows and grows: {before}");
    }
    let session = client.session();
    drop(client);
    until_gone(&mut server.admin(), session);
}
