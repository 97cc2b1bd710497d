//! More clients than the server has room for: they are told, the others are not disturbed, and
//! what becomes free is given out again.

use crate::support::{
    ENDLESS, Fields, MODELS, Server, Wire, is_installed, kill_now, run, until_gone, until_runs,
    until_value, wait_until,
};
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

const FULL: &str = "sorry, too many clients already";

/// A connection, or why there is none.
fn come(address: SocketAddr, user: &str) -> Result<Wire, Fields> {
    let mut wire = Wire::open(address);
    wire.startup(3 << 16, &[("user", user)]);
    let answer = wire.finish();
    match answer.status {
        Some(_) => Ok(wire),
        None => Err(answer.error().clone()),
    }
}

#[track_caller]
fn expect_full(came: Result<Wire, Fields>) {
    came.map(|_| ()).expect_err("it is full").expect("FATAL", "53300", FULL);
}

/// Comes again and again until there is room.
#[track_caller]
fn come_in(address: SocketAddr, user: &str) -> Wire {
    let mut came = None;
    wait_until("there is room", || {
        came = come(address, user).ok();
        came.is_some()
    });
    came.expect("it came in")
}

#[test]
fn no_more_clients_than_the_limit() {
    for model in MODELS {
        let options = ["--max-connections", "4", "--reserved-connections", "0"];
        let server = Server::start(model, &options);
        let mut admin = server.admin();
        let mut clients: Vec<_> = (0..3).map(|_| server.user("ann")).collect();
        for user in ["ann", "omm"] {
            expect_full(come(server.address, user));
        }
        // Those that are there notice nothing; one that leaves or is killed makes room.
        for client in &mut clients {
            client.ok("select 1");
        }
        clients.remove(0);
        clients.push(come_in(server.address, "bob"));
        expect_full(come(server.address, "bob"));
        let victim = clients[0].session();
        admin.ok(&kill_now(model, victim));
        clients[0].expect_killed();
        clients[0] = come_in(server.address, "eve");
        expect_full(come(server.address, "eve"));
        // A killed statement's session keeps its place until it is gone.
        let victim = clients[1].session();
        clients[1].start(ENDLESS);
        until_runs(&mut admin, victim, ENDLESS);
        admin.ok(&kill_now(model, victim));
        clients[1].expect_killed();
        clients[1] = come_in(server.address, "eve");
        expect_full(come(server.address, "eve"));
    }
}

#[test]
fn reserved_places_are_for_administrators() {
    for model in MODELS {
        let options = ["--max-connections", "4", "--reserved-connections", "2"];
        let server = Server::start(model, &options);
        let mut clients = [server.user("ann"), server.user("bob")];
        expect_full(come(server.address, "ann"));
        let mut admin = server.admin();
        let other = come_in(server.address, "omm");
        expect_full(come(server.address, "omm"));
        drop(other);
        // The place of one that was refused is free again as soon as its session is gone.
        for _ in 0..20 {
            let refused = come(server.address, "ann");
            expect_full(refused);
        }
        drop(come_in(server.address, "omm"));
        let victim = clients[0].session();
        admin.ok(&kill_now(model, victim));
        clients[0].expect_killed();
        until_gone(&mut admin, victim);
        // As PostgreSQL counts, two places have to be free besides: the administrator has one
        // that ordinary users might have had.
        expect_full(come(server.address, "ann"));
        drop(admin);
        drop(come_in(server.address, "ann"));
        clients[1].ok("select 1");
    }
}

#[test]
fn psql_shows_why() {
    if !is_installed("psql_shows_why", "psql") {
        return;
    }
    for model in MODELS {
        let options = ["--max-connections", "2", "--reserved-connections", "1"];
        let server = Server::start(model, &options);
        let _ann = server.user("ann");
        let psql = |user: &str, mode: &str| {
            let address = format!(
                "host=127.0.0.1 port={} user={user} dbname=postgres sslmode={mode}",
                server.port()
            );
            run(Command::new("psql").args(["-X", "-At", "-c", "select 1", &address]))
        };
        for mode in ["prefer", "disable"] {
            // First for want of a place that is not reserved, then for want of any.
            let ran = psql("bob", mode);
            assert_eq!(ran.code, Some(2), "{model} {mode}: {}", ran.err);
            assert!(ran.err.contains(&format!("FATAL:  {FULL}")), "{model} {mode}: {}", ran.err);
            let _admin = come_in(server.address, "omm");
            let ran = psql("omm", mode);
            assert_eq!(ran.code, Some(2), "{model} {mode}: {}", ran.err);
            assert!(ran.err.contains(&format!("FATAL:  {FULL}")), "{model} {mode}: {}", ran.err);
        }
    }
}

#[test]
fn a_full_server_takes_cancel_requests() {
    for model in MODELS {
        let options = ["--max-connections", "2", "--reserved-connections", "0"];
        let server = Server::start(model, &options);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start(ENDLESS);
        until_runs(&mut admin, session, ENDLESS);
        client.cancel();
        let answer = client.finish();
        answer.error().expect("ERROR", "57014", "canceling statement due to user request");
    }
}

#[test]
fn a_full_server_waits_for_nobody_who_says_nothing() {
    for model in MODELS {
        let options = ["--max-connections", "2", "--reserved-connections", "0"];
        let server = Server::start(model, &options);
        let _clients = [server.user("ann"), server.user("bob")];
        // More than it keeps at once: the first of them are told early.
        let mut silent: Vec<_> = (0..100).map(|_| Wire::open(server.address)).collect();
        expect_full(come(server.address, "eve"));
        for wire in &mut silent {
            wire.rest().error().expect("FATAL", "53300", FULL);
        }
    }
}

#[test]
fn without_descriptors_clients_are_told_and_the_others_go_on() {
    for model in MODELS {
        let server = Server::start_after("ulimit -n 64", model, &["--workers", "2"]);
        let mut admin = server.admin();
        admin.ok("create table t (v integer)");
        let (mut clients, mut refused) = (Vec::new(), 0);
        for _ in 0..80 {
            match come(server.address, "ann") {
                Ok(wire) => clients.push(wire),
                Err(fields) => {
                    fields.expect("FATAL", "53300", FULL);
                    refused += 1;
                }
            }
        }
        assert!(refused >= 16 && clients.len() >= 20, "{refused} and {}", clients.len());
        // One after the other is told, which takes its time, but nothing spins meanwhile.
        let (before, since) = (server.processor_time(), Instant::now());
        let mut silent: Vec<_> = (0..3).map(|_| Wire::open(server.address)).collect();
        admin.ok("insert into t values (1)");
        for wire in &mut silent {
            wire.rest().error().expect("FATAL", "53300", FULL);
        }
        let (used, time) = (server.processor_time() - before, since.elapsed());
        assert!(
            u128::from(used) * 40 < time.as_millis(),
            "{used} hundredths of a second in {time:?}"
        );
        // Who leaves makes room: for another's connection, and for what its statement opens.
        let count = "select count(*) from pg_stat_activity where usename = 'ann'";
        clients.truncate(clients.len() - 20);
        until_value(&mut admin, count, &clients.len().to_string());
        let mut newcomer = come_in(server.address, "bob");
        newcomer.ok("select count(*) from t");
        admin.ok("insert into t values (1)");
        drop(clients);
        until_value(&mut admin, count, "0");
        let mut many: Vec<_> = (0..10).map(|_| come_in(server.address, "bob")).collect();
        many.iter_mut().for_each(|wire| drop(wire.ok("select count(*) from t")));
    }
}

/// With large stacks and little address space threads run out first.
#[test]
fn without_threads_clients_are_told() {
    let limits = "export RUST_MIN_STACK=67108864 MALLOC_ARENA_MAX=1 && ulimit -v 1500000";
    let server = Server::start_after(limits, "off", &["--watchdog", "0"]);
    let mut admin = server.admin();
    admin.ok("select 1");
    let (mut clients, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        match come(server.address, "ann") {
            Ok(wire) => clients.push(wire),
            Err(fields) => {
                fields.expect("FATAL", "53300", FULL);
                refused += 1;
            }
        }
    }
    assert!(refused > 10 && clients.len() > 5, "{refused} and {}", clients.len());
    assert_eq!(server.said(), "");
    admin.ok("select 1");
    clients.truncate(2);
    drop(come_in(server.address, "bob"));
}

#[test]
fn who_they_are_is_to_be_said_in_time() {
    for model in MODELS {
        let options = [
            "--authentication-timeout",
            "1",
            "--max-connections",
            "5",
            "--reserved-connections",
            "0",
        ];
        let server = Server::start(model, &options);
        // On a machine that is busy enough even those who say it at once may be too late.
        let mut client = come_in(server.address, "ann");
        let mut silent = Wire::open(server.address);
        let mut half = Wire::open(server.address);
        half.raw(&[0, 0]);
        // One that was told that there is no encryption, and says nothing more.
        let mut asked = Wire::open(server.address);
        asked.packet(&80_877_103_u32.to_be_bytes());
        let mut first = [0];
        asked.socket.peek(&mut first).expect("an answer");
        if first == *b"N" {
            asked.socket.read_exact(&mut first).expect("an answer");
        }
        for wire in [&mut silent, &mut half, &mut asked] {
            let answer = wire.rest();
            answer.error().expect("FATAL", "57014", "canceling authentication due to timeout");
        }
        // Their places are free.
        let _others = [(); 4].map(|()| come_in(server.address, "omm"));
        client.ok("select 1");
    }
}
