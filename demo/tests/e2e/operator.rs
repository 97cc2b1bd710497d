//! The operator's way in while the workers are stuck, and the clients that would keep others out.

use crate::support::{
    CANCELLED, DEADLINE, ENDLESS, MODELS, STALL, Server, Wire, cancel, cstr, message, until_answer,
    until_gone, until_runs, until_sending, until_state, until_value, until_waits_at,
};
use std::time::{Duration, Instant};

const TWO_WORKERS: [&str; 5] = ["--workers", "2", "--max-workers", "2", "--test-functions"];

/// Stalls this many workers, and returns their sessions.
fn stall(server: &Server, count: usize) -> Vec<(Wire, i64)> {
    let stall = |_| {
        let mut client = server.user("bob");
        let session = client.session();
        client.start(STALL);
        server.until_stalls(session);
        (client, session)
    };
    (0..count).map(stall).collect()
}

/// Sends one statement as a message of each kind, up to Sync.
fn extended(wire: &mut Wire, sql: &str) {
    wire.parse("", sql, &[]);
    wire.bind("", "", &[], &[]);
    wire.describe(b'P', "");
    wire.execute("", 0);
    wire.sync();
}

/// What takes no lock of SQLite's, in an order that makes sense.
const WITHOUT_LOCKS: [&str; 22] = [
    "begin",
    "savepoint a",
    "select version()",
    "with a as (select pid from pg_stat_activity) select count(*) > 0 from a",
    "table pg_stat_activity",
    "rollback to a",
    "release a",
    "commit",
    "start transaction read only",
    "select * from threadpool_workers",
    "select * from threadpool_status",
    "rollback",
    "set application_name = 'operator'",
    "show application_name",
    "values (1), (2)",
    "select count(*) from t",
    "explain query plan select * from t",
    "select pg_sleep(0)",
    "select pg_current_sessid()",
    "select pg_cancel_backend(-1)",
    "deallocate all",
    "discard all",
];

#[test]
fn an_administrator_gets_through_with_what_takes_no_lock() {
    let server = Server::start("on", &TWO_WORKERS);
    let mut admin = server.admin();
    admin.ok("create table t (v integer)");
    let mut stalled = stall(&server, 2);
    for sql in WITHOUT_LOCKS {
        admin.ok(sql);
    }
    // A newcomer too, by the other protocol.
    let mut newcomer = server.admin();
    for sql in WITHOUT_LOCKS {
        extended(&mut newcomer, sql);
        let answer = newcomer.finish();
        assert!(answer.errors.is_empty() && answer.status.is_some(), "{sql}: {answer:?}");
    }
    // As psycopg and `psql -1` send it, and a block that fails.
    extended(&mut newcomer, "begin");
    assert_eq!(newcomer.finish().status, Some('T'));
    assert_eq!(newcomer.fails("select no_such_column").code(), "42703");
    assert_eq!(newcomer.fails("select 1").code(), "25P02");
    assert_eq!(newcomer.ok("rollback").status, Some('I'));
    newcomer.ok("begin; select pg_backend_pid(); commit");
    assert!(stalled.iter_mut().all(|(client, _)| client.is_silent()), "they were stuck");

    // What writes, or takes SQLite's lock, waits for a worker as before.
    let own = admin.session();
    for sql in [
        "insert into t values (1)",
        "begin immediate; rollback",
        "with a as (select 2) insert into t select * from a",
        "copy t from stdin",
        "begin; update t set v = v + 1; commit",
        "pragma wal_checkpoint",
    ] {
        admin.start(sql);
        until_state(&mut newcomer, own, "queued");
        admin.cancel();
        // A cancel of a queued command is reported once it has a worker.
        assert!(admin.is_silent(), "{sql}");
        server.release(&mut newcomer);
        admin.finish().error().expect("ERROR", "57014", CANCELLED);
        stalled.iter_mut().for_each(|(client, _)| drop(client.finish()));
        stalled = stall(&server, 2);
    }
    server.release(&mut newcomer);
}

/// A portal of an earlier message is no way to write in the lane.
#[test]
fn an_execute_alone_is_judged_by_its_portal() {
    let server = Server::start("on", &TWO_WORKERS);
    let (mut admin, mut other) = (server.admin(), server.admin());
    let own = admin.session();
    admin.ok("create table t (v integer)");
    admin.ok("begin");
    for (portal, sql) in [("reads", "values (1)"), ("writes", "insert into t values (1)")] {
        admin.parse("", sql, &[]);
        admin.bind(portal, "", &[], &[]);
    }
    admin.sync();
    assert_eq!(admin.finish().status, Some('T'));
    let stalled = stall(&server, 2);
    admin.execute("reads", 0);
    admin.sync();
    assert_eq!(admin.finish().tags, ["SELECT 1"]);
    admin.execute("writes", 0);
    admin.sync();
    until_state(&mut other, own, "queued");
    server.release(&mut other);
    assert_eq!(admin.finish().tags, ["INSERT 0 1"]);
    admin.ok("rollback");
    drop(stalled);
}

/// More of them than the emergency lane starts with.
const MANY: usize = 12;

/// The sessions whose end is awaited by that many administrators.
const AWAITED: &str = "select count(*) from pg_stat_activity where usename = 'omm' \
                       and state = 'active' and query like '%60000%' and waiting is not null";

fn wait_for_end(server: &Server, pid: i64) -> Vec<Wire> {
    let wait = |_| {
        let mut wire = server.admin();
        wire.start(&format!("select pg_terminate_backend({pid}, 60000)"));
        wire
    };
    (0..MANY).map(wait).collect()
}

fn pid_of(admin: &mut Wire, session: i64) -> i64 {
    let pid = format!("select pid from pg_stat_activity where sessionid = {session}");
    admin.ok(&pid).value().parse().expect("a pid")
}

#[test]
fn who_waits_for_an_end_keeps_no_administrator_and_no_cancel_out() {
    let server = Server::start("on", &TWO_WORKERS);
    let (mut admin, mut queued) = (server.admin(), server.user("ann"));
    let session = queued.session();
    let mut stalled = stall(&server, 2);
    let pid = pid_of(&mut admin, stalled[0].1);
    let mut waiting = wait_for_end(&server, pid);
    // The first one still looks, and so does one who comes now.
    until_value(&mut admin, AWAITED, &MANY.to_string());
    let mut newcomer = server.admin();
    newcomer.ok("select count(*) from pg_stat_activity");
    queued.start("select 1");
    until_state(&mut newcomer, session, "queued");
    queued.cancel();
    assert!(waiting.iter_mut().all(|wire| wire.is_silent()));
    server.release(&mut newcomer);
    queued.finish().error().expect("ERROR", "57014", CANCELLED);
    stalled[0].0.finish().expect_killed();
    waiting.iter_mut().for_each(|wire| assert_eq!(wire.finish().value(), "t"));
}

#[test]
fn who_waits_for_an_end_holds_no_worker() {
    let server = Server::start("on", &TWO_WORKERS);
    let (mut admin, mut user) = (server.admin(), server.user("ann"));
    let mut stalled = stall(&server, 1);
    let pid = pid_of(&mut admin, stalled[0].1);
    let mut waiting = wait_for_end(&server, pid);
    until_value(&mut admin, AWAITED, &MANY.to_string());
    assert_eq!(user.ok("select 1").value(), "1");
    assert_eq!(server.user("eve").ok("select 2").value(), "2");
    assert!(waiting.iter_mut().all(|wire| wire.is_silent()));
    server.release(&mut admin);
    stalled[0].0.finish().expect_killed();
    waiting.iter_mut().for_each(|wire| assert_eq!(wire.finish().value(), "t"));
}

/// Neither keys of sessions that have ended nor guesses of others on the same address matter.
#[test]
fn a_right_key_always_works() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        let mut ended = Vec::new();
        for _ in 0..24 {
            let mut wire = server.user("eve");
            let session = wire.session();
            ended.push((wire.pid, wire.key.clone()));
            drop(wire);
            until_gone(&mut admin, session);
        }
        for round in 0..2 {
            client.start(ENDLESS);
            until_runs(&mut admin, session, ENDLESS);
            for (pid, key) in &mut ended {
                cancel(server.address, *pid, key);
                // In the second round they are guesses.
                key[0] ^= 1;
            }
            client.cancel();
            client.finish().error().expect("ERROR", "57014", CANCELLED);
            if round == 0 {
                assert!(!server.said().contains("wrong key"), "{}", server.said());
            } else {
                server.until_says("wrong key");
            }
        }
    }
}

/// Connects a client that is served. On a busy machine the other group may seem stuck as well, since its
/// worker has run one session for some milliseconds: then the client tries again.
fn newcomer(server: &Server) -> Wire {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut client = server.user("bob");
        client.start("select 1");
        let patience = Instant::now() + Duration::from_secs(10);
        while client.is_silent() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !client.is_silent() {
            assert_eq!(client.finish().value(), "1");
            return client;
        }
        assert!(Instant::now() < deadline, "no newcomer is served");
    }
}

#[test]
fn newcomers_go_to_a_group_that_serves() {
    let attr = ["--thread-pool-attr", "2, 2, (nobind)", "--max-workers", "2", "--test-functions"];
    let server = Server::start("on", &attr);
    // The first two sessions are in different groups.
    let (mut admin, mut stuck) = (server.admin(), server.user("ann"));
    let session = stuck.session();
    stuck.start(STALL);
    server.until_stalls(session);
    let _newcomers: Vec<_> = (0..8).map(|_| newcomer(&server)).collect();
    assert!(stuck.is_silent());
    let sessions = "select group_concat(session_info) from \
                    (select session_info from threadpool_status order by group_id)";
    // Clients that have tried again have left.
    until_answer(&mut admin, sessions, |answer| {
        answer.value().starts_with("total: 9 ") && answer.value().contains(",total: 1 ")
    });
    server.release(&mut admin);
    assert_eq!(stuck.finish().value(), "1");
    // The group that was stuck serves again. It has the fewest sessions, so it gets the next one.
    let groups = |info: &str| {
        format!("select count(*) from threadpool_status where session_info like '{info}'")
    };
    until_value(&mut admin, &groups("total: 1 %running:0%"), "1");
    let _other = server.user("bob");
    assert_eq!(admin.ok(&groups("total: 2 %")).value(), "1");
}

#[test]
fn a_client_that_gave_up_does_not_count() {
    let options = ["--workers", "1", "--max-queue", "2", "--max-connections", "7"];
    let server = Server::start("on", &[&options[..], &["--test-functions"]].concat());
    let mut admin = server.admin();
    let mut waiting: Vec<_> = (0..2).map(|_| server.user("ann")).collect();
    let sessions: Vec<_> = waiting.iter_mut().map(Wire::session).collect();
    let mut stalled = stall(&server, 1);
    waiting.iter_mut().for_each(|client| client.start("create table never (v integer)"));
    sessions.iter().for_each(|session| drop(until_state(&mut admin, *session, "queued")));
    let mut refused = Wire::open(server.address);
    refused.startup(3 << 16, &[("user", "ann")]);
    refused.rest().error().expect("FATAL", "53300", "sorry, too many clients already");
    // Their clients leave, and nobody serves them.
    drop(waiting);
    sessions.iter().for_each(|session| until_gone(&mut admin, *session));
    let info = "select session_info from threadpool_status";
    assert_eq!(admin.ok(info).value(), "total: 2 waiting: 0 running:2 idle: 0");
    let mut newcomer = server.user("eve");
    assert!(stalled[0].0.is_silent());
    server.release(&mut admin);
    assert_eq!(stalled[0].0.finish().value(), "1");
    assert_eq!(newcomer.fails("select * from never").code(), "42P01", "it has not run");
}

/// They have sent half a row, and nothing more comes.
#[test]
fn a_copy_whose_client_does_not_send_holds_no_worker() {
    let server = Server::start("on", &["--workers", "2", "--max-workers", "2"]);
    let mut admin = server.admin();
    admin.ok("create table t (v text)");
    let mut copies: Vec<_> = (0..6).map(|_| server.user("ann")).collect();
    for copy in &mut copies {
        let session = copy.session();
        copy.start("copy t from stdin");
        copy.until('G');
        copy.send(b'd', b"half a ");
        until_waits_at(&mut admin, session, "stream.rs");
    }
    let mut user = server.user("bob");
    assert_eq!(user.ok("select count(*) from t").value(), "0");
    user.ok("insert into t values ('of another')");
    // One ends by a kill as before, one by itself, and the others load their rows.
    let (mut killed, mut fails) = (copies.pop().expect("six"), copies.pop().expect("six"));
    let session = "select max(sessionid) from pg_stat_activity where query like 'copy%'";
    let session = admin.ok(session).value().to_owned();
    admin.ok(&format!("alter system kill session '0, {session}' immediate"));
    killed.expect_killed();
    fails.send(b'f', &cstr("no more"));
    fails.finish().error().expect("ERROR", "57014", "COPY from stdin failed: no more");
    for copy in &mut copies {
        copy.send(b'd', b"row\n");
        copy.send(b'c', b"");
        assert_eq!(copy.finish().tags, ["COPY 1"]);
    }
    assert_eq!(user.ok("select count(*) from t where v = 'half a row'").value(), "4");
}

/// One worker serves everybody else, whatever these clients do not do.
#[test]
fn clients_that_stop_hold_no_worker() {
    let server = Server::start("on", &["--workers", "1", "--max-workers", "1"]);
    let mut admin = server.admin();
    admin.ok("create table t (v text)");
    // In the startup message, after its length, and after the question for encryption.
    let startup = [&30_u32.to_be_bytes()[..], &(3_u32 << 16).to_be_bytes(), b"user"].concat();
    let half = [&startup[..2], &startup[..4], &startup];
    let mut silent: Vec<_> = half
        .into_iter()
        .map(|bytes| {
            let mut wire = Wire::open(server.address);
            wire.raw(bytes);
            wire
        })
        .collect();
    let mut asks = Wire::open(server.address);
    asks.packet(&80_877_103_u32.to_be_bytes());
    silent.push(asks);
    // In the middle of a message.
    let query = message(b'Q', &cstr("select 1"));
    for bytes in [&query[..1], &query[..3], &query[..9]] {
        let mut wire = server.user("ann");
        wire.raw(bytes);
        silent.push(wire);
    }
    // After half of the messages that belong together, and within a block that reads.
    let mut wire = server.user("ann");
    wire.parse("", "select 1", &[]);
    wire.bind("", "", &[], &[]);
    silent.push(wire);
    let mut wire = server.user("ann");
    wire.ok("begin isolation level repeatable read; select count(*) from t");
    silent.push(wire);
    // And those who do not read their answer.
    for _ in 0..3 {
        let mut wire = server.user("ann");
        let session = wire.session();
        wire.start(
            "with recursive r(n) as (select 1 union all select n + 1 from r where n < 100) \
             select hex(zeroblob(500000)) from r",
        );
        until_sending(&mut admin, session);
        silent.push(wire);
    }
    // One who writes and stops has its lock, and no worker.
    let mut writer = server.user("ann");
    writer.ok("begin");
    writer.ok("insert into t values (1)");
    let mut user = server.user("bob");
    assert_eq!(user.ok("select count(*) from t").value(), "0");
    assert_eq!(server.user("eve").ok("select 3").value(), "3");
    writer.ok("commit");
    assert_eq!(user.ok("select count(*) from t").value(), "1");
}
