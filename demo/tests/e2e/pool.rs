//! Many sessions on few workers, over a socket.

use crate::support::{
    ENDLESS, MODELS, Server, Wire, kill, kill_now, look, until_gone, until_runs, until_state,
    until_value, wait_until,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CLIENTS: &str = "select threadid, sessionid from pg_stat_activity where usename = 'many'";

/// The pids of the clients; each must be one of the server's workers, or 0.
fn pids(admin: &mut Wire) -> Vec<i64> {
    let answer = admin.ok(CLIENTS);
    answer.rows.iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect()
}

fn crowd(server: &Server, admin: &mut Wire) -> Vec<Wire> {
    let mut crowd: Vec<_> = (0..100).map(|_| server.user("many")).collect();
    crowd.iter_mut().for_each(|client| {
        client.ok("select 1");
    });
    wait_until("all are idle", || {
        let pids = pids(admin);
        assert_eq!(pids.len(), 100);
        pids.iter().all(|pid| *pid == 0)
    });
    crowd
}

#[test]
fn a_hundred_sessions_on_four_workers() {
    let server = Server::start("on", &["--workers", "4"]);
    let mut admin = server.admin();
    let mut crowd = crowd(&server, &mut admin);
    /// Says that it is enough, also where that is a panic: the others would go on for ever.
    struct Enough<'a>(&'a AtomicBool);
    impl Drop for Enough<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (enough, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        let (enough, rounds) = (&enough, &rounds);
        let ends = Enough(enough);
        for (at, part) in crowd.chunks_mut(50).enumerate() {
            scope.spawn(move || {
                for round in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                    for client in part.iter_mut() {
                        let sql = if (round + at) % 2 == 0 {
                            "select 1"
                        } else {
                            "select pg_sleep(0.02)"
                        };
                        client.start(sql);
                    }
                    for client in part.iter_mut() {
                        let answer = client.finish();
                        assert!(answer.errors.is_empty(), "{answer:?}");
                        assert_eq!(answer.rows.len(), 1);
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("twelve rounds, and several workers at it", || {
            let now: BTreeSet<_> = pids(&mut admin).into_iter().filter(|pid| *pid != 0).collect();
            assert!(now.len() <= 4, "{now:?}");
            seen.extend(now);
            rounds.load(Ordering::Relaxed) >= 12 && seen.len() > 1
        });
        drop(ends);
    });
    assert!((2..=4).contains(&seen.len()), "{seen:?}");
    let workers =
        admin.ok("select threadid from pg_stat_activity where application_name like 'worker%'");
    let workers: BTreeSet<i64> =
        workers.rows.iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect();
    assert!(seen.is_subset(&workers), "{seen:?} {workers:?}");
    wait_until("all are idle", || pids(&mut admin).iter().all(|pid| *pid == 0));
}

#[test]
fn without_a_pool_a_session_has_its_own_thread() {
    let server = Server::start("off", &[]);
    let mut admin = server.admin();
    let _crowd: Vec<_> = (0..100).map(|_| server.user("many")).collect();
    let answer = admin.ok(
        "select case when pid = sessionid then pid else threadid end, sessionid from pg_stat_activity",
    );
    assert!(answer.rows.len() > 101, "{}", answer.rows.len());
    let mut different = BTreeSet::new();
    for row in &answer.rows {
        assert_eq!(row[0], row[1]);
        assert!(different.insert(row[0].clone()), "twice: {row:?}");
    }
}

/// The pool has one worker, and this session runs on it without end.
fn stuck(server: &Server, watch: &mut Wire) -> (Wire, i64) {
    let mut client = server.user("ann");
    let session = client.session();
    client.start(ENDLESS);
    until_runs(watch, session, ENDLESS);
    (client, session)
}

#[test]
fn an_admin_who_connected_before_frees_the_one_worker() {
    let server = Server::start("on", &["--workers", "1"]);
    let (mut admin, mut other, mut idle) = (server.admin(), server.user("bob"), server.user("eve"));
    let (queued, sleeping) = (other.session(), idle.session());
    let (mut client, session) = stuck(&server, &mut admin);
    other.start("select 2");
    until_state(&mut admin, queued, "queued");
    // An idle session needs no worker to be told.
    admin.ok(&kill("on", sleeping));
    idle.expect_killed();
    admin.ok(&kill_now("on", session));
    client.finish().expect_killed();
    assert_eq!(other.finish().value(), "2");
    assert_eq!(server.user("bob").ok("select 3").value(), "3");
}

#[test]
fn an_admin_who_connects_afterwards_frees_the_one_worker() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut early = server.admin();
    let (mut client, session) = stuck(&server, &mut early);
    // Those who wait for a worker don't keep the administrator out.
    let mut waiting: Vec<_> = (0..30).map(|_| server.user("bob")).collect();
    waiting.iter_mut().for_each(|client| client.start("select 2"));
    let queued = "select count(*) from pg_stat_activity where state = 'queued'";
    until_value(&mut early, queued, "30");
    let mut admin = server.admin();
    let row = look(&mut admin, session).expect("the list can be read");
    assert_eq!(row.state, "active");
    admin.ok(&kill_now("on", session));
    client.finish().expect_killed();
    for client in &mut waiting {
        assert_eq!(client.finish().value(), "2");
    }
}

#[test]
fn a_queued_session_is_killed_and_its_command_never_runs() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut admin = server.admin();
    admin.ok("create table t (v integer)");
    for sql in [kill, kill_now] {
        let mut queued = server.user("bob");
        let second = queued.session();
        let (client, session) = stuck(&server, &mut admin);
        queued.start("insert into t values (1)");
        until_state(&mut admin, second, "queued");
        let answer = admin.ok(&sql("on", second));
        answer.notice().expect("NOTICE", "00000", "was queued with statement");
        queued.finish().expect_killed();
        until_gone(&mut admin, second);
        admin.ok(&kill_now("on", session));
        drop(client);
        until_gone(&mut admin, session);
        assert_eq!(admin.ok("select count(*) from t").value(), "0");
    }
}

#[test]
fn a_lock_s_holder_can_commit_when_those_who_wait_have_all_the_workers() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut holder = server.user("ann");
    holder.ok("create table t (v integer)");
    holder.ok("insert into t values (0)");
    holder.ok("begin");
    holder.ok("update t set v = v + 1");
    let mut waiting: Vec<_> = (0..8).map(|_| server.user("bob")).collect();
    let mut admin = server.admin();
    waiting.iter_mut().for_each(|client| client.start("update t set v = v + 1"));
    // Each has tried: it has a worker, and blocks.
    let wait = "select count(*) from pg_stat_activity where usename = 'bob' and state = 'active' \
                and waiting like 'demo/src/limits.rs:%'";
    until_value(&mut admin, wait, "8");
    holder.ok("update t set v = v + 1");
    holder.ok("commit");
    for client in &mut waiting {
        assert_eq!(client.finish().tags, ["UPDATE 1"]);
    }
    assert_eq!(admin.ok("select v from t").value(), "10");
}

#[test]
fn a_panic_ends_its_own_session_and_no_other() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "1", "--test-functions"]);
        let (mut admin, mut other) = (server.admin(), server.user("bob"));
        admin.ok("create table t (v integer)");
        let session = other.session();
        for sql in [
            "select safepoint_test_panic()",
            "begin; insert into t values (1); select safepoint_test_panic()",
        ] {
            let mut client = server.user("ann");
            let victim = client.session();
            let answer = client.query(sql);
            let message = "terminating connection because of an internal error";
            answer.error().expect("FATAL", "XX000", message);
            assert_eq!(answer.status, None, "{answer:?}");
            until_gone(&mut admin, victim);
            // The one worker serves the next, and the lock has gone.
            assert_eq!(other.session(), session);
            other.ok("insert into t values (2)");
        }
        let mut client = server.user("ann");
        client.parse("", "select safepoint_test_panic()", &[]);
        client.bind("", "", &[], &[]);
        client.execute("", 0);
        client.sync();
        client.rest().error().expect("FATAL", "XX000", "internal error");
        assert_eq!(other.ok("select min(v) from t").value(), "2");
        server.until_says("safepoint_test_panic");
        // It is not there unless it is asked for.
        drop(server);
        let server = Server::start(model, &[]);
        let error = server.user("ann").fails("select safepoint_test_panic()");
        error.expect("ERROR", "42883", "no such function");
    }
}
