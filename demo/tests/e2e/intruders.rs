//! Clients that mean harm, to the others or to those who would end them.

use crate::support::{
    ENDLESS, MODELS, Server, Wire, cstr, kill, kill_now, look, message, until_gone, until_runs,
    until_sending,
};
use std::io::Read;

const ONE_WORKER: [&str; 4] = ["--workers", "1", "--max-workers", "1"];

/// The server with its only worker busy.
fn busy() -> (Server, Wire) {
    let server = Server::start("on", &ONE_WORKER);
    let mut admin = server.admin();
    let mut client = server.user("ann");
    let session = client.session();
    client.start(ENDLESS);
    until_runs(&mut admin, session, ENDLESS);
    (server, client)
}

#[test]
fn newcomers_do_not_take_the_emergency_lane() {
    let (server, _busy) = busy();
    let newcomers: Vec<_> = (0..12)
        .map(|_| {
            let mut wire = Wire::open(server.address);
            let body =
                [&(3_u32 << 16).to_be_bytes()[..], &cstr("user"), &cstr("eve"), &[0]].concat();
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let query = message(b'Q', &cstr(ENDLESS));
            wire.raw(&[&length, &body[..], &query].concat());
            wire.greeted();
            wire
        })
        .collect();
    let mut admin = server.admin();
    for _ in &newcomers {
        let all = "select sessionid from pg_stat_activity where usename = 'eve' limit 1";
        let victim = admin.ok(all).value().parse().unwrap();
        admin.ok(&kill_now("on", victim));
        until_gone(&mut admin, victim);
    }
    newcomers.into_iter().for_each(|mut wire| drop(wire.rest()));
}

#[test]
fn the_emergency_lane_answers_what_is_no_message() {
    let (server, _busy) = busy();
    let mut admin = server.admin();
    admin.send(b'Q', b"select '\xff'\0");
    admin.finish().error().expect("ERROR", "22021", "invalid byte sequence for encoding \"UTF8\"");
    admin.ok("select pg_backend_pid()");
}

#[test]
fn nobody_blinds_the_operators() {
    let server = Server::start("on", &[]);
    let mut admin = server.admin();
    let long = "\u{1}".repeat(1_000_000);
    let mut wires: Vec<_> = (0..3).map(|_| server.user("eve")).collect();
    for wire in &mut wires {
        wire.ok(&format!("set application_name = '{long}'"));
    }
    let count = "select count(*) from pg_stat_activity where usename = 'eve'";
    assert_eq!(admin.ok(count).value(), "3");
    for name in ["user", "database"] {
        let mut wire = Wire::open(server.address);
        wire.startup(3 << 16, &[("user", "eve"), (name, &"n".repeat(64))]);
        assert_eq!(wire.rest().error().code(), "42622");
    }
}

/// The rows of its statement are on their way when it is told to end after that.
#[test]
fn a_slow_reader_ends_at_once_if_it_has_to() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "1"]);
        let mut admin = server.admin();
        let mut victim = server.user("ann");
        let session = victim.session();
        let rows = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 100) \
                    select hex(zeroblob(500000)) from r";
        victim.parse("", rows, &[]);
        victim.bind("", "", &[], &[]);
        victim.execute("", 1000);
        victim.sync();
        victim.until('D');
        until_sending(&mut admin, session);
        admin.ok(&kill(model, session));
        server.user("bob").ok("select 1");
        admin.ok(&kill_now(model, session));
        until_gone(&mut admin, session);
        let mut left = Vec::new();
        let _ = victim.socket.read_to_end(&mut left);
        assert!(left.len() < 90_000_000, "all of it was sent first");
    }
}

#[test]
fn an_error_stays_with_its_session() {
    let server = Server::start("on", &["--workers", "1"]);
    let (mut ann, mut bob) = (server.user("ann"), server.user("bob"));
    let told = "select pg_cancel_backend(pg_backend_pid()), pg_terminate_backend(1, -1)";
    ann.fails(told);
    assert_eq!(bob.fails("select no_such_column").code(), "42703");
}

#[test]
fn a_hidden_session_is_hidden_everywhere() {
    let server = Server::start("on", &["--hide-sessions"]);
    let mut admin = server.admin();
    let (mut ann, mut eve) = (server.user("ann"), server.user("eve"));
    let session = ann.session();
    ann.start(ENDLESS);
    until_runs(&mut admin, session, ENDLESS);
    let workers = format!("select count(*) from threadpool_workers where sessionid = {session}");
    let why = format!("select pg_why_not_yet({session}) is null");
    admin.ok(&kill("on", session));
    assert_eq!(admin.ok(&workers).value(), "1");
    assert_eq!(eve.ok(&workers).value(), "0");
    assert_eq!(eve.ok(&why).value(), "1");
    assert_eq!(admin.ok(&why).value(), "0");
    assert!(look(&mut eve, session).is_none());
    admin.ok(&kill_now("on", session));
}

#[test]
fn a_carriage_return_ends_a_comment() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let mut admin = server.admin();
        for comment in ["-- one more\r", "-- one more\r\n", "-- one more\n"] {
            let mut victim = server.user("ann");
            let session = victim.session();
            admin.ok(&format!("{comment}{}", kill_now(model, session)));
            victim.expect_killed();
        }
    }
}
