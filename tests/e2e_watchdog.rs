//! The watchdog: what the server says of a session that passes no safe point, and that heavy
//! statements pass enough of them.

mod server_common;

use server_common::{Answer, DEADLINE, MODELS, Server, Wire, wait_until};

/// What the watchdog has said.
fn reports(server: &Server) -> Vec<String> {
    let said = server.said();
    said.lines().filter(|line| line.starts_with("no safe point: ")).map(str::to_string).collect()
}

#[test]
fn a_stall_is_reported_once_with_its_place_and_its_text() {
    for model in MODELS {
        let server = Server::start(model, &["--watchdog", "200", "--test-functions"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        admin.ok("select pg_sleep(0.5)");
        // It counts for long enough to be seen at a safe point.
        client.start(
            "with recursive c(x) as (select 1 union all select x + 1 from c where x < 4000000)
             select safepoint_test_stall(1500) from (select count(*) as n from c) where n > 0",
        );
        wait_until("it is reported", || !reports(&server).is_empty());
        assert_eq!(client.finish().value(), "1");
        let reports = reports(&server);
        let [report] = reports.as_slice() else { panic!("{model}: {reports:?}") };
        for part in [
            &format!("session={session} ms="),
            " last=examples/server/engine.rs:",
            " thread=",
            // A text of two lines, in one.
            r#" text="with recursive c(x) as (select 1 union"#,
            r#"\n             select safepoint_test_stall(1500)"#,
        ] {
            assert!(report.contains(part), "{model}: {part} in {report}");
        }
    }
}

#[test]
fn a_server_without_a_watchdog_says_nothing() {
    let server = Server::start("on", &["--watchdog", "0", "--test-functions"]);
    let (mut admin, mut client) = (server.admin(), server.user("ann"));
    let names = "select count(*) from pg_stat_activity where application_name = 'watchdog'";
    assert_eq!(admin.ok(names).value(), "0");
    client.ok("select safepoint_test_stall(1500)");
    assert_eq!(reports(&server), Vec::<String>::new());
}

/// How long a stretch without a safe point may be here. Those that are left are a fifth of it on
/// an idle machine at most, and each that was mended was twice as long at least.
const LIMIT: &str = "500";

/// Sends one, and takes what comes.
type Run = fn(&mut Wire) -> Answer;

/// Statements, each of which once ran for longer than the limit without a safe point, and what
/// becomes of it now.
#[test]
fn heavy_statements_are_not_reported() {
    for model in MODELS {
        let server = Server::start(model, &["--watchdog", LIMIT]);
        let mut client = server.user("ann");
        client.socket.set_read_timeout(Some(2 * DEADLINE)).expect("a limit");
        client.ok("create table t (a)");
        let heavy: [(&str, Run, &str); 8] = [
            ("a long line of COPY", copied_line, "22P04"),
            ("a line of COPY with many columns", copied_columns, "54011"),
            ("a bytea of 30 MB as a parameter", bound, ""),
            ("many parameters", parameters, "42000"),
            (
                "a blob of 40 MB as an answer",
                |client| client.query("select zeroblob(40000000)"),
                "",
            ),
            (
                "a value that is too long",
                |client| client.query("select length(randomblob(900000000))"),
                "54000",
            ),
            ("a list that is too long", |client| client.query(&in_list(4_000_000)), "54001"),
            ("a list of many values", |client| client.query(&in_list(250_000)), ""),
        ];
        for (what, run, code) in heavy {
            let answer = run(&mut client);
            let found = answer.errors.first().map_or("", |error| error.code());
            assert_eq!(found, code, "{model}, {what}: {:?}", answer.errors);
            assert_eq!(reports(&server), Vec::<String>::new(), "{model}, {what}");
        }
        client.ok("create table abcdefghijklmnopq (a)");
        client.ok(&format!("truncate {}", spellings("abcdefghijklmnopq", 120_000).join(",")));
        assert_eq!(reports(&server), Vec::<String>::new(), "{model}: a long list of tables");
    }
}

fn in_list(length: usize) -> String {
    format!("select 1 in ({})", vec!["1"; length].join(","))
}

/// Each makes a statement that SQLite has not compiled before.
fn spellings(name: &str, count: usize) -> Vec<String> {
    let letter = |number: usize, (at, letter): (usize, char)| {
        if number >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    };
    let spelling = |number| name.chars().enumerate().map(|it| letter(number, it)).collect();
    (0..count).map(spelling).collect()
}

fn copy(client: &mut Wire, line: &[u8]) -> Answer {
    client.start("copy t from stdin");
    client.send(b'd', line);
    client.send(b'c', b"");
    client.finish()
}

fn copied_line(client: &mut Wire) -> Answer {
    let mut line = vec![b'x'; 36_000_000];
    line.extend_from_slice(b"\tone too many\n");
    copy(client, &line)
}

fn copied_columns(client: &mut Wire) -> Answer {
    copy(client, &vec![b'\t'; 20_000_000])
}

const BYTEA: u32 = 17;

fn bound(client: &mut Wire) -> Answer {
    let value = format!("\\x{}", "5a".repeat(30_000_000));
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
