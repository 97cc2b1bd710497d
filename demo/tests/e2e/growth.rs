//! A pool that grows, over sockets: stalls, groups, how it is doing, its bound, and its end.

use crate::support::{
    ENDLESS, STALL, Server, TOLD, Wire, binary, run, until_answer, until_runs, until_state,
    until_value,
};
use std::collections::BTreeSet;
use std::process::Command;

/// Each takes a worker, until it is released.
fn stall(server: &Server, count: usize) -> Vec<Wire> {
    let stall = |_| {
        let mut client = server.user("bob");
        let session = client.session();
        client.start(STALL);
        server.until_stalls(session);
        client
    };
    (0..count).map(stall).collect()
}

/// They have all slept up to here, and now they answer.
#[track_caller]
fn released(server: &Server, admin: &mut Wire, stalled: &mut [Wire]) {
    assert!(stalled.iter_mut().all(|client| client.is_silent()));
    assert_eq!(server.release(admin), stalled.len());
    stalled.iter_mut().for_each(|client| assert_eq!(client.finish().value(), "1"));
}

const QUEUED: &str = "select count(*) from pg_stat_activity where state = 'queued'";

#[test]
fn a_hundred_are_served_while_every_worker_sleeps_outside_of_sight() {
    let options = ["--workers", "4", "--max-workers", "16", "--test-functions"];
    let server = Server::start("on", &options);
    let mut admin = server.admin();
    let mut waiting: Vec<_> = (0..100).map(|_| server.user("ann")).collect();
    let mut stalled = stall(&server, 4);
    waiting.iter_mut().for_each(|client| client.start("select 1"));
    waiting.iter_mut().for_each(|client| assert_eq!(client.finish().value(), "1"));
    // They were served while the others slept.
    released(&server, &mut admin, &mut stalled);
}

#[test]
fn at_the_maximum_an_administrator_still_looks_and_kills() {
    let options = ["--workers", "1", "--max-workers", "2", "--test-functions"];
    let server = Server::start("on", &options);
    let mut idle = server.user("eve");
    let idle_session = idle.session();
    let mut stalled = stall(&server, 2);
    let (mut queued, mut other) = (server.user("ann"), server.user("bea"));
    // All in the lane from here on.
    let mut admin = server.admin();
    let mut session_of = |name: &str| -> i64 {
        let find = format!("select sessionid from pg_stat_activity where usename = '{name}'");
        admin.ok(&find).value().parse().expect("a number")
    };
    let (queued_session, other_session) = (session_of("ann"), session_of("bea"));
    queued.start("select 'never'");
    until_state(&mut admin, queued_session, "queued");
    for session in [queued_session, idle_session] {
        admin.ok(&format!("alter system kill session '0, {session}'"));
    }
    idle.expect_killed();
    queued.expect_killed();
    // Ctrl-C gets through as well; the command that waits is the one that it ends.
    other.start("select 'cancelled'");
    until_state(&mut admin, other_session, "queued");
    other.cancel();
    released(&server, &mut admin, &mut stalled);
    other.finish().error().expect("ERROR", "57014", "canceling statement due to user request");
}

#[test]
fn groups_and_workers_can_be_seen() {
    let options = ["--thread-pool-attr", "4, 2, (nobind)"];
    let server = Server::start("on", &options);
    let mut admin = server.admin();
    let mut clients: Vec<_> = (0..8).map(|_| server.user("ann")).collect();
    let runs = clients[0].session();
    clients[0].start(ENDLESS);
    until_runs(&mut admin, runs, ENDLESS);

    // Whoever has only just been answered may be with its worker still, and on a busy machine
    // there may be a worker more for a while.
    let as_at_first = "default: 2 new: 0 expect: 2 actual: 2";
    let answer = until_answer(
        &mut admin,
        "select group_id, bind_numa_id, bind_cpu_number, listener, worker_info, session_info \
         from threadpool_status order by group_id",
        |answer| {
            let workers = |row: &Vec<Option<String>>| row[4].clone().unwrap_or_default();
            answer.rows.iter().all(|row| workers(row).starts_with(as_at_first))
        },
    );
    let column = |at: usize| answer.rows.iter().map(move |row| row[at].clone().unwrap());
    assert_eq!(column(0).collect::<Vec<_>>(), ["0", "1"]);
    assert!(column(1).all(|node| node == "-1") && column(2).all(|cpus| cpus == "0"));
    assert!(column(3).all(|listeners| listeners == "1"));
    let totals =
        column(5).map(|sessions| sessions[..sessions.find(" waiting").unwrap()].to_owned());
    assert_eq!(totals.collect::<BTreeSet<_>>(), ["total: 4", "total: 5"].map(String::from).into());

    let coupled = admin.ok(&format!(
        "select w.role, w.status, w.since <= a.state_change \
         from threadpool_workers w join pg_stat_activity a on a.threadid = w.threadid \
         where w.sessionid = {runs} and a.sessionid = {runs}"
    ));
    let row: Vec<_> = coupled.rows[0].iter().map(|value| value.as_deref().unwrap()).collect();
    assert_eq!(row, ["worker", "coupled to session", "1"]);
    let decoupled = "select count(*) from threadpool_workers \
                     where status = 'decoupled from session' and sessionid is null";
    // Two of four workers, and two lanes.
    until_value(&mut admin, decoupled, "4");
    assert_eq!(admin.ok(&format!("select pg_terminate_session(0, {runs})")).value(), "t");
    clients.remove(0).expect_killed();
}

#[test]
fn a_wrong_thread_pool_attr_stops_the_start() {
    for (attr, said) in [
        ("4097", "out of range [0, 4096]"),
        ("4, 65", "out of range [0, 64]"),
        ("four", "invalid input syntax for integer"),
        ("4, 1, nobind", "Use '(' ')'"),
        ("4, 1, (anywhere)", "'nobind', 'allbind'"),
    ] {
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--thread-pool-attr", attr]);
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(2), "{attr}: {}", ran.err);
        let first = ran.err.lines().next().unwrap_or_default();
        assert!(first.contains("Invalid attribute for thread pool.") && first.contains(said));
    }
    let twice = ["--workers", "2", "--thread-pool-attr", "2, 1"];
    let ran = run(Command::new(binary()).args(twice));
    assert_eq!(ran.code, Some(2));
}

#[test]
fn a_newcomer_is_turned_away_where_too_many_wait() {
    let options = ["--workers", "1", "--max-queue", "2", "--test-functions"];
    let server = Server::start("on", &options);
    let mut admin = server.admin();
    let mut waiting = [server.user("ann"), server.user("ann")];
    let mut stalled = stall(&server, 1);
    waiting.iter_mut().for_each(|client| client.start("select 1"));
    until_value(&mut admin, QUEUED, "2");
    let mut refused = Wire::open(server.address);
    refused.startup(196_608, &[("user", "ann")]);
    refused.rest().error().expect("FATAL", "53300", "sorry, too many clients already");
    released(&server, &mut admin, &mut stalled);
    waiting.iter_mut().for_each(|client| assert_eq!(client.finish().value(), "1"));
    assert_eq!(server.user("ann").ok("select 1").value(), "1", "there is room again");
}

#[test]
fn a_transaction_is_left_to_finish_as_the_server_ends() {
    for model in crate::support::MODELS {
        let mut server = Server::start(model, &["--grace", "600"]);
        let mut admin = server.admin();
        admin.ok("create table t (v integer)");
        let (mut idle, mut busy) = (server.user("ann"), server.user("bob"));
        let session = busy.session();
        busy.ok("begin");
        busy.ok("insert into t values (1)");
        until_state(&mut admin, session, "idle in transaction");
        server.signal("TERM");
        for client in [&mut admin, &mut idle] {
            client.expect_killed();
        }
        busy.ok("insert into t values (2)");
        assert!(server.is_running());
        busy.start("commit");
        let answer = busy.rest();
        assert!(answer.tags.iter().any(|tag| tag == "COMMIT"), "{answer:?}");
        answer.error().expect("FATAL", "57P01", TOLD);
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.said());
    }
}

#[test]
fn what_outlives_the_grace_is_cut_short() {
    for model in crate::support::MODELS {
        let mut server = Server::start(model, &["--grace", "0"]);
        let mut admin = server.admin();
        let mut busy = server.user("bob");
        let session = busy.session();
        busy.start(ENDLESS);
        until_runs(&mut admin, session, ENDLESS);
        server.signal("TERM");
        busy.expect_killed();
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.said());
    }
}
