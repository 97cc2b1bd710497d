//! Clients that do not read, or read slowly: what the socket does not take is kept, and they hold neither a thread, nor a
//! lock, nor a snapshot of the database.

use crate::support::{
    CANCELLED, MODELS, Server, Wire, cstr, kill_now, message, until_gone, until_sending,
    until_value, wait_until,
};
use std::process::Command;

/// So many bytes of rows that no sockets hold them.
fn rows(count: usize, bytes: usize) -> String {
    format!(
        "with recursive r(n) as (select 1 union all select n + 1 from r where n < {count}) \
         select n, hex(zeroblob({})) from r",
        bytes / 2
    )
}

/// Starts a statement of so many rows. With `extended` it goes by the extended protocol.
fn start(client: &mut Wire, extended: bool, sql: &str) {
    if !extended {
        return client.start(sql);
    }
    client.parse("", sql, &[]);
    client.bind("", "", &[], &[]);
    client.execute("", 0);
    client.sync();
}

fn numbers_of(server: &Server, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// 200 clients do not read their results, by both protocols. They are of eight megabytes each here; a million rows take
/// a program without optimizations two minutes.
#[test]
fn two_hundred_clients_that_do_not_read() {
    const ROWS: usize = 2_000;
    let server = Server::start("on", &["--workers", "2"]);
    let mut admin = server.admin();
    admin.ok("create table t as with recursive r(n) as (select 1 union all select n + 1 from r where n < 2000) \
              select n from r");
    let all = "select n, hex(zeroblob(2000)) from t";
    let mut clients: Vec<_> = (0..200).map(|_| server.user("ann")).collect();
    let before = numbers_of(&server, "RssAnon:");
    for (number, client) in clients.iter_mut().enumerate() {
        start(client, number % 2 == 1, all);
    }
    let sending =
        "select count(*) from pg_stat_activity where wait_event = 'ClientWrite' and threadid = 0";
    until_value(&mut admin, sending, "200");
    // The database is open for the two workers, and for the administrator: nobody else keeps a connection to it.
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs");
    let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let open = names.filter(|name| name.ends_with("database.sqlite")).count();
    assert!(open <= 5, "the database is open {open} times");
    let threads = numbers_of(&server, "Threads:");
    assert!(threads <= 2 + 12, "{threads} threads");
    // In kilobytes: a quarter of a megabyte for each of them.
    let memory = numbers_of(&server, "RssAnon:").saturating_sub(before);
    assert!(memory < 200 * 256, "{memory} kB");
    // Nobody holds a snapshot or a lock: the table can be changed and emptied, and the log is written back.
    let mut other = server.user("bob");
    other.ok("delete from t");
    other.ok("insert into t values (7)");
    assert_eq!(other.ok("select sum(n) from t").value(), "7");
    // Two get all their rows, as they were.
    for extended in [false, true] {
        let mut reader = clients.remove(usize::from(extended));
        let answer = reader.finish();
        assert_eq!((answer.rows.len(), answer.status), (ROWS, Some('I')));
        assert_eq!(answer.tags, [format!("SELECT {ROWS}")]);
        assert_eq!(reader.ok("select 1").value(), "1");
    }
    // A kill ends each.
    let sessions =
        "select sessionid from pg_stat_activity where usename = 'ann' and state = 'active'";
    let sessions: Vec<i64> = admin
        .ok(sessions)
        .rows
        .iter()
        .map(|row| row[0].as_ref().unwrap().parse().unwrap())
        .collect();
    assert_eq!(sessions.len(), 198);
    for session in sessions {
        admin.ok(&kill_now("on", session));
        // A worker may write to this one by now, since its socket has room for some bytes.
        until_gone(&mut admin, session);
    }
    let count = "select count(*) from pg_stat_activity where usename = 'ann' and state = 'active'";
    assert_eq!(admin.ok(count).value(), "0");
}

/// The rest of an answer is in a file, and the file goes with the answer, or with its session.
#[test]
fn files_go_with_their_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let open_files = |server: &Server| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs");
        let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| target.starts_with(folder.path())).count()
    };
    let path = folder.path().to_str().expect("a name in UTF-8");
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2", "--temp-dir", path]);
        let mut admin = server.admin();
        let (mut reads, mut leaves) = (server.user("ann"), server.user("ann"));
        let session = leaves.session();
        for client in [&mut reads, &mut leaves] {
            client.start(&rows(40_000, 400));
        }
        wait_until("both answers are in files", || open_files(&server) == 2);
        assert_eq!(reads.finish().rows.len(), 40_000);
        wait_until("one has been read", || open_files(&server) == 1);
        admin.ok(&kill_now(model, session));
        wait_until("the other has gone with its session", || open_files(&server) == 0);
    }
}

/// A cancel comes too late for an answer that is complete. The receipt and the client agree.
#[test]
fn a_cancel_of_a_complete_answer() {
    for model in MODELS {
        for extended in [false, true] {
            let server = Server::start(model, &["--workers", "2"]);
            let (mut admin, mut client) = (server.admin(), server.user("ann"));
            client.ok("create table t (n integer, b text)");
            let session = client.session();
            let sql = format!("insert into t {} returning n, b", rows(40_000, 400));
            start(&mut client, extended, &sql);
            until_sending(&mut admin, session);
            client.cancel();
            // The rows are committed, and their client gets them.
            let answer = client.finish();
            assert_eq!((answer.rows.len(), answer.errors.len()), (40_000, 0));
            assert_eq!(admin.ok("select count(*) from t").value(), "40000");
            // The next statement can be cancelled.
            client.start(crate::support::ENDLESS);
            crate::support::until_runs(&mut admin, session, "recursive");
            client.cancel();
            client.finish().error().expect("ERROR", "57014", CANCELLED);
        }
    }
}

/// What it sends next waits until it has read.
#[test]
fn a_pipeline_of_large_answers() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "1"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        for _ in 0..3 {
            client.start(&rows(40_000, 400));
        }
        client.start("select 'the end'");
        until_sending(&mut admin, session);
        let mut other = server.user("bob");
        assert_eq!(other.ok("select 1").value(), "1");
        for _ in 0..3 {
            assert_eq!(client.finish().rows.len(), 40_000);
        }
        assert_eq!(client.finish().value(), "the end");
    }
}

/// A client that reads slowly is not idle.
#[test]
fn a_slow_reader_is_not_idle() {
    // The second message has failed, so that no statement waits for its reader.
    let fails = format!("{}; select * from nosuch", rows(40_000, 400));
    for (model, sql, failures) in MODELS
        .into_iter()
        .flat_map(|model| [(model, rows(40_000, 400), 0), (model, fails.clone(), 1)])
    {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        // At once: a client that is late is idle.
        let limit = message(b'Q', &cstr("set idle_session_timeout = '200ms'"));
        client.raw(&[limit, message(b'Q', &cstr(&sql))].concat());
        until_sending(&mut admin, session);
        admin.ok("select pg_sleep(0.5)");
        until_sending(&mut admin, session);
        assert_eq!(client.finish().tags, ["SET"]);
        let answer = client.finish();
        assert_eq!((answer.rows.len(), answer.errors.len()), (40_000, failures));
        // Now it is.
        let answer = client.finish();
        answer.error().expect(
            "FATAL",
            "57P05",
            "terminating connection due to idle-session timeout",
        );
    }
}

#[test]
fn the_limit_of_a_temporary_file() {
    for model in MODELS {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config");
        std::fs::write(&config, "temp_file_limit = 2MB\n").expect("a file");
        let config = config.to_str().expect("a name in UTF-8");
        let server = Server::start(model, &["--workers", "2", "--config", config]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        let text = "permission denied to set parameter \"temp_file_limit\"";
        client.fails("set temp_file_limit = -1").expect("ERROR", "42501", text);
        assert_eq!(client.ok("show temp_file_limit").value(), "2MB");
        client.start(&rows(400_000, 400));
        // A client that reads at once may need no file.
        until_sending(&mut admin, session);
        let answer = client.finish();
        let text = "temporary file size exceeds temp_file_limit (2048kB)";
        answer.error().expect("ERROR", "53400", text);
        assert!(answer.rows.len() < 400_000 && answer.status == Some('I'));
        assert_eq!(client.ok("select 1").value(), "1");
    }
}

/// One client's answer does not fit the file system. It gets an error, and nobody else notices.
#[test]
fn a_full_temporary_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a name in UTF-8");
    let mount = format!("mount -t tmpfs -o size=1m none {path}");
    // In a mount namespace of its own, which ends with the server.
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("NOT TESTED: a_full_temporary_file_system: no file system can be mounted here");
        return;
    }
    for model in MODELS {
        let mut command = Command::new("unshare");
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        command.args(["-rm", "sh", "-c", &script]).arg(crate::support::binary());
        let server = Server::start_by(command, model, &["--workers", "2", "--temp-dir", path]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start(&rows(400_000, 400));
        // As above.
        until_sending(&mut admin, session);
        assert_eq!(server.user("bob").ok("select 1").value(), "1");
        let answer = client.finish();
        let error = answer.error();
        assert_eq!((error.severity(), error.code()), ("ERROR", "53100"));
        let text = "could not write to a temporary file: No space left on device";
        assert!(error.message().starts_with(text), "{}", error.message());
        assert!(!answer.rows.is_empty() && answer.status == Some('I'));
        // The space is free again, for an answer that fits.
        client.start(&rows(1_500, 400));
        assert_eq!(client.finish().rows.len(), 1_500);
    }
}

/// A portal keeps its thread, and its client may be as slow.
#[test]
fn a_portal_of_a_slow_reader() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "1"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.parse("", &rows(80_000, 400), &[]);
        client.bind("", "", &[], &[]);
        client.execute("", 40_000);
        client.sync();
        let waits = format!("select wait_event from pg_stat_activity where sessionid = {session}");
        until_value(&mut admin, &waits, "ClientWrite");
        assert_eq!(server.user("bob").ok("select 1").value(), "1");
        assert_eq!(client.finish().rows.len(), 40_000);
        until_value(&mut admin, &waits, "ClientRead");
        client.start("select 2");
        assert_eq!(client.finish().value(), "2");
    }
    let server = Server::start("on", &["--workers", "1"]);
    let (mut admin, mut client) = (server.admin(), server.user("ann"));
    let session = client.session();
    client.parse("", &rows(80_000, 400), &[]);
    client.bind("", "", &[], &[]);
    client.execute("", 40_000);
    client.sync();
    let waits = format!("select wait_event from pg_stat_activity where sessionid = {session}");
    until_value(&mut admin, &waits, "ClientWrite");
    admin.ok(&kill_now("on", session));
    until_gone(&mut admin, session);
}
