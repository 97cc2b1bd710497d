//! `pg_stat_activity` and its recipes, as a person who knows PostgreSQL uses them.

use crate::support::{
    CANCELLED, MODELS, Server, Wire, until_answer, until_gone, until_locked, until_state,
    until_value, until_waits,
};

/// The columns of PostgreSQL 15, with the numbers of their types.
const COLUMNS: [(&str, u32); 22] = [
    ("datid", 26),
    ("datname", 19),
    ("pid", 23),
    ("leader_pid", 23),
    ("usesysid", 26),
    ("usename", 19),
    ("application_name", 25),
    ("client_addr", 869),
    ("client_hostname", 25),
    ("client_port", 23),
    ("backend_start", 1184),
    ("xact_start", 1184),
    ("query_start", 1184),
    ("state_change", 1184),
    ("wait_event_type", 25),
    ("wait_event", 25),
    ("state", 25),
    ("backend_xid", 28),
    ("backend_xmin", 28),
    ("query_id", 20),
    ("query", 25),
    ("backend_type", 25),
];

const INTERVAL: u32 = 1186;

fn of(wire: &Wire, columns: &str) -> String {
    format!("select {columns} from pg_stat_activity where pid = {}", wire.pid)
}

fn row(through: &mut Wire, sql: &str) -> Vec<Option<String>> {
    let answer = through.ok(sql);
    let [row] = answer.rows.as_slice() else { panic!("not one row: {answer:?}") };
    row.clone()
}

fn texts(row: &[Option<String>]) -> Vec<&str> {
    row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect()
}

/// The options of a server with a database of this name.
const SHOP: [&str; 2] = ["--owner", "shop=lou"];

fn user_of(server: &Server, user: &str, database: &str) -> Wire {
    Wire::connect_as(server.address, &[("user", user), ("database", database)])
}

#[test]
fn columns_and_types_are_those_of_postgresql() {
    for model in MODELS {
        let server = Server::start(model, &SHOP);
        let mut admin = server.admin();
        let mut ann = user_of(&server, "ann", "shop");
        ann.ok("select 1");
        let all = admin.ok("select * from pg_stat_activity");
        let columns: Vec<_> = all.columns.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        assert_eq!(columns[..COLUMNS.len()], COLUMNS);

        until_value(&mut admin, &of(&ann, "state"), "idle");
        let known = row(&mut admin, &of(&ann, "datname, usename, client_addr, client_port, query"));
        let port = ann.socket.local_addr().expect("its address").port().to_string();
        assert_eq!(texts(&known), ["shop", "ann", "127.0.0.1", &port, "select 1"]);
        // Each binary value has the length of its type.
        let columns =
            "pid, usesysid, client_addr, client_port, backend_start, state_change, datname";
        admin.parse("", &of(&ann, columns), &[]);
        admin.bind("", "", &[], &[1]);
        admin.execute("", 0);
        admin.sync();
        let answer = admin.finish();
        let lengths = answer.raw[0].iter().map(|value| value.as_ref().map_or(0, Vec::len));
        assert_eq!(lengths.collect::<Vec<_>>(), [4, 4, 8, 4, 8, 8, 4], "{answer:?}");
        // Its own numbers are those that the library's commands take.
        let pair = row(&mut admin, &of(&ann, "sessionid, threadid"));
        assert_eq!(texts(&pair)[0], ann.session().to_string());
        assert_eq!(model == "off", pair[0] == pair[1], "{pair:?}");
        let kinds = "select count(*) from pg_stat_activity where backend_type = 'checkpointer' \
                     and wait_event_type = 'Activity' and wait_event = 'CheckpointerMain'";
        until_value(&mut admin, kinds, "1");
        assert_eq!(ann.ok("select current_database()").value(), "shop");
    }
}

#[test]
fn times_can_be_computed_with() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let (mut admin, ann) = (server.admin(), server.user("ann"));
        let session = row(&mut admin, &of(&ann, "sessionid"))[0].clone().expect("a session");
        until_state(&mut admin, session.parse().expect("a number"), "idle");
        let answer = admin.ok(&of(&ann, "pid, now() - backend_start as age"));
        assert_eq!(answer.columns[1], ("age".to_string(), INTERVAL));
        let age = answer.rows[0][1].clone().expect("an interval");
        assert!(age.starts_with("00:0") && age.len() <= "00:00:00.123456".len(), "{age}");
        for (what, holds) in [
            ("state_change < now() - interval '5 minutes'", "0"),
            ("state_change > now() - interval '5 minutes'", "1"),
            ("now() - state_change < interval '1 day'", "1"),
            ("backend_start <= state_change", "1"),
            ("backend_start < timestamptz '2020-01-01'", "0"),
            ("extract(epoch from now() - backend_start) between 0 and 600", "1"),
            ("extract(epoch from backend_start) > 1700000000", "1"),
            ("clock_timestamp() >= now()", "1"),
        ] {
            assert_eq!(admin.ok(&of(&ann, what)).value(), holds, "{what}");
        }
        // The type is known however the value comes.
        for (sql, types) in [
            (
                "select b.backend_start - a.backend_start, a.xact_start from pg_stat_activity a \
                 left join pg_stat_activity b on a.pid = b.pid",
                [INTERVAL, 1184],
            ),
            (
                "with x as materialized (select * from pg_stat_activity) \
                 select max(now() - backend_start), min(backend_start) from x",
                [INTERVAL, 1184],
            ),
            (
                "select now() - query_start, state_change from pg_stat_activity \
                 union select null, backend_start from pg_stat_activity order by 2",
                [INTERVAL, 1184],
            ),
            (
                "select (select max(now() - b.query_start) from pg_stat_activity b), \
                 case when pid > 0 then backend_start end from pg_stat_activity order by 2 desc",
                [INTERVAL, 1184],
            ),
        ] {
            let found: Vec<_> = admin.ok(sql).columns.iter().map(|(_, ty)| *ty).collect();
            assert_eq!(found, types, "{sql}");
        }
        admin.ok("create table t (a text)");
        // What would not be true is an error.
        for (sql, code) in [
            ("select backend_start < '2020-01-01' from pg_stat_activity", "42883"),
            ("select pid from pg_stat_activity where backend_start in ('a', 'b', 'c')", "42883"),
            ("select backend_start + 1 from pg_stat_activity", "42883"),
            ("select now() + now()", "42883"),
            ("select backend_start || '' from pg_stat_activity", "42883"),
            ("select date(now()) from pg_stat_activity", "42883"),
            ("select format('%d: %s', pid, backend_start) from pg_stat_activity", "42883"),
            ("select lower(backend_start) from pg_stat_activity", "42883"),
            ("select cast(backend_start as text) from pg_stat_activity", "42846"),
            ("select case when pid > 0 then now() else 'x' end from pg_stat_activity", "42P18"),
            ("insert into t select backend_start from pg_stat_activity", "0A000"),
            ("create table u as select * from pg_stat_activity", "0A000"),
            ("insert into t select xact_start from pg_stat_activity returning a", "0A000"),
            ("select interval '1 month'", "0A000"),
            ("select interval 'x'", "22007"),
            ("select timestamptz 'x'", "22007"),
        ] {
            assert_eq!(admin.fails(sql).code(), code, "{sql}");
        }
        assert_eq!(admin.ok("select count(*) from t").value(), "0");
        // A parameter would be a text.
        for types in [&[][..], &[1184], &[25]] {
            let sql = "select pid from pg_stat_activity where backend_start < $1";
            admin.parse("", sql, types);
            admin.sync();
            assert!(["42883", "0A000"].contains(&admin.finish().error().code()), "{types:?}");
        }
        // Elsewhere the present is a text, which can be stored.
        admin.ok("insert into t values (now())");
        assert_eq!(admin.ok("select count(*) from t where a < '2020'").value(), "0");
    }
}

#[test]
fn texts_of_others_are_hidden() {
    for model in MODELS {
        let options = ["--reader", "mon", "--signaller", "eve", "--owner", "shop=lou"];
        let server = Server::start(model, &options);
        let mut ann = user_of(&server, "ann", "shop");
        ann.ok("begin");
        ann.ok("select 'secret'");
        let mut admin = server.admin();
        until_value(&mut admin, &of(&ann, "state"), "idle in transaction");
        let columns = "client_addr, client_port, backend_start, xact_start, query_start, state_change, \
                       wait_event_type, wait_event, state, backend_type, blocked_by, waiting, \
                       interrupt, hold_off, safe_point, query_id";
        let query = of(&ann, "datname, usename, query");
        for name in ["bob", "eve", "lou"] {
            let mut other = server.user(name);
            assert_eq!(
                texts(&row(&mut other, &query)),
                ["shop", "ann", "<insufficient privilege>"]
            );
            let hidden = row(&mut other, &of(&ann, columns));
            assert!(hidden.iter().all(Option::is_none), "{name}: {hidden:?}");
            let find = "select count(*) from pg_stat_activity where query like '%secret%' \
                        and usename = 'ann'";
            assert_eq!(other.ok(find).value(), "0", "{name}");
            let own = of(&other, "query = '<insufficient privilege>'");
            assert_eq!(other.ok(&own).value(), "0", "{name}");
        }
        for name in ["mon", "ann", "omm"] {
            let mut reader = server.user(name);
            assert_eq!(
                texts(&row(&mut reader, &query)),
                ["shop", "ann", "select 'secret'"],
                "{name}"
            );
            let state = row(&mut reader, &of(&ann, "state, wait_event_type, wait_event"));
            assert_eq!(texts(&state), ["idle in transaction", "Client", "ClientRead"], "{name}");
        }
        // A reader may end nobody, and a signaller may.
        let end = format!("select pg_terminate_backend({})", ann.pid);
        assert_eq!(server.user("mon").ok(&end).value(), "f");
        assert_eq!(server.user("eve").ok(&end).value(), "t");
        ann.expect_killed();
    }
}

/// Each number that names a session or its thread ends it.
#[test]
fn both_numbers_lead_to_the_session() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut admin = server.admin();
        assert_eq!(admin.ok("select pg_backend_pid()").value(), admin.pid.to_string());
        let own = "select count(*) from pg_stat_activity where pid = pg_backend_pid()";
        assert_eq!(admin.ok(own).value(), "1");
        for idle in [true, false] {
            for call in [
                "select pg_terminate_backend(PID)",
                "select pg_terminate_backend(PID, 300000)",
                "select pg_terminate_backend(THREAD)",
                "select pg_terminate_session(PID, SESSION)",
                "select pg_terminate_session(THREAD, SESSION)",
                "alter system kill session 'PID, SESSION' immediate",
                "alter system kill session 'THREAD, SESSION' immediate",
                "alter system kill session 'PID, PID' immediate",
            ] {
                if idle && call.contains("backend(THREAD)") && model == "on" {
                    continue;
                }
                let mut ann = server.user("ann");
                let session = ann.session();
                let seen = if idle {
                    until_state(&mut admin, session, "idle")
                } else {
                    ann.start("select pg_sleep(3600)");
                    until_waits(&mut admin, session)
                };
                let call = call
                    .replace("PID", &ann.pid.to_string())
                    .replace("THREAD", &seen.pid.to_string())
                    .replace("SESSION", &session.to_string());
                let answer = admin.ok(&call);
                assert_eq!(answer.value(), "t", "{call}: {answer:?}");
                ann.rest().expect_killed();
                until_gone(&mut admin, session);
                // The number is free, and names nobody.
                let again = format!("select pg_terminate_backend({})", ann.pid);
                let answer = admin.ok(&again);
                assert_eq!((answer.value(), answer.notice().code()), ("f", "42704"));
                let pair = format!("alter system kill session '{}, {session}'", ann.pid);
                admin.fails(&pair).expect("ERROR", "42704", "session");
            }
        }
        let mut ann = server.user("ann");
        let session = ann.session();
        ann.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        let cancel = format!("select pg_cancel_backend({})", ann.pid);
        assert_eq!(admin.ok(&cancel).value(), "t");
        ann.finish().error().expect("ERROR", "57014", CANCELLED);
        // The numbers of two sessions are no pair.
        let other = format!("alter system kill session '{}, {session}'", admin.pid);
        admin.fails(&other).expect("ERROR", "22023", "don't belong together");
        assert_eq!(ann.session(), session);
    }
}

#[test]
fn the_recipe_ends_the_sessions_of_a_database() {
    for model in MODELS {
        let server = Server::start(model, &SHOP);
        let mut admin = user_of(&server, "omm", "shop");
        let mut other = user_of(&server, "ann", "postgres");
        let mut victims: Vec<_> = (0..3).map(|_| user_of(&server, "ann", "shop")).collect();
        for victim in &mut victims[1..] {
            victim.ok("select 1");
        }
        victims[2].start("select pg_sleep(3600)");
        until_value(&mut admin, &of(&victims[2], "wait_event"), "PgSleep");
        let recipe = "select pg_terminate_backend(pid) from pg_stat_activity \
                      where datname = current_database() and pid <> pg_backend_pid()";
        let answer = admin.ok(recipe);
        assert_eq!(answer.rows, vec![vec![Some("t".to_string())]; 3], "{answer:?}");
        assert!(answer.notices.is_empty(), "{answer:?}");
        for victim in &mut victims {
            victim.expect_killed();
        }
        assert_eq!(other.ok("select 1").value(), "1");
        let left = "select count(*) from pg_stat_activity where datname = current_database()";
        until_value(&mut admin, left, "1");
    }
}

/// Waits until the session waits for the write lock, and returns whom it waits for.
fn blockers(admin: &mut Wire, waiter: &Wire) -> String {
    let columns = "wait_event_type, wait_event";
    until_answer(admin, &of(waiter, columns), |answer| {
        texts(&answer.rows[0]) == ["Lock", "transactionid"]
    });
    let blocked = row(admin, &of(waiter, "blocked_by"))[0].clone().unwrap_or_default();
    let pids = admin.ok(&format!("select pg_blocking_pids({})", waiter.pid));
    assert_eq!(pids.columns[0].1, 1007);
    assert_eq!(pids.value(), format!("{{{blocked}}}"));
    blocked
}

#[test]
fn a_waiter_for_the_lock_names_its_owner() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "4"]);
        let mut admin = server.admin();
        admin.ok("create table t (v integer)");
        admin.ok("insert into t values (0)");
        let update = "update t set v = v + 1";
        // In a block; while a statement runs that has the lock; after a wait for the lock; by COPY.
        for how in ["block", "statement", "after a wait", "copy", "immediate"] {
            let (mut owner, mut waiter) = (server.user("ann"), server.user("bob"));
            match how {
                "block" => {
                    owner.ok("begin");
                    owner.ok(update);
                }
                "immediate" => {
                    owner.ok("begin immediate");
                }
                "statement" => {
                    owner.start("insert into t select 1 + length(pg_sleep(3600))");
                    until_value(&mut admin, &of(&owner, "wait_event"), "PgSleep");
                }
                "after a wait" => {
                    let mut first = server.user("eve");
                    first.ok("begin");
                    first.ok(update);
                    owner.start("insert into t select 1 + length(pg_sleep(3600))");
                    assert_eq!(blockers(&mut admin, &owner), first.pid.to_string());
                    first.ok("rollback");
                    until_value(&mut admin, &of(&owner, "wait_event"), "PgSleep");
                }
                _ => {
                    owner.start("copy t from stdin");
                    owner.until('G');
                    owner.send(b'd', b"7\n");
                    // Until it has read the row, the waiter could be the first.
                    until_locked(&mut server.user("eve"), "delete from t where v = -1");
                }
            }
            waiter.start(update);
            let owner_pid = owner.pid.to_string();
            if how == "copy" {
                let columns = "blocked_by";
                until_answer(&mut admin, &of(&waiter, columns), |answer| {
                    answer.rows[0][0].as_ref() == Some(&owner_pid)
                });
            }
            assert_eq!(blockers(&mut admin, &waiter), owner_pid, "{model} {how}");
            // The owner waits for nobody.
            let none = format!("select pg_blocking_pids({})", owner.pid);
            assert_eq!(admin.ok(&none).value(), "{}");
            // The recipe of the handbooks.
            let recipe = "select pg_terminate_backend(b.pid) from pg_stat_activity w \
                          join pg_stat_activity b on b.pid = w.blocked_by \
                          where w.wait_event_type = 'Lock'";
            assert_eq!(admin.ok(recipe).value(), "t", "{how}");
            owner.rest().expect_killed();
            assert_eq!(waiter.finish().tags, ["UPDATE 1"], "{how}");
            let now = of(&waiter, "wait_event_type is distinct from 'Lock' and blocked_by is null");
            assert_eq!(admin.ok(&now).value(), "1");
        }
    }
}

/// A session that writes to temporary tables only has no lock of the database.
#[test]
fn a_writer_of_temporary_tables_blocks_nobody() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "4"]);
        let (mut admin, mut ann) = (server.admin(), server.user("ann"));
        let (mut bob, mut eve) = (server.user("bob"), server.user("eve"));
        admin.ok("create table t (v integer)");
        bob.ok("begin");
        bob.ok("insert into t values (1)");
        ann.ok("begin");
        ann.ok("create temp table own (v integer)");
        ann.ok("insert into own values (1)");
        eve.start("insert into t values (2)");
        assert_eq!(blockers(&mut admin, &eve), bob.pid.to_string());
        // With temporary tables there, a statement is looked at more closely.
        bob.ok("commit");
        assert_eq!(eve.finish().tags, ["INSERT 0 1"]);
        ann.start("insert into t select 1 + length(pg_sleep(3600)) from own");
        until_value(&mut admin, &of(&ann, "wait_event"), "PgSleep");
        eve.start("insert into t values (3)");
        assert_eq!(blockers(&mut admin, &eve), ann.pid.to_string());
        ann.cancel();
        ann.finish().error().expect("ERROR", "57014", CANCELLED);
        assert_eq!(eve.finish().tags, ["INSERT 0 1"]);
    }
}

#[test]
fn states_and_waits_are_shown() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut ann) = (server.admin(), server.user("ann"));
        let all = "state, wait_event_type, wait_event";
        let shows = |admin: &mut Wire, wire: &Wire, expected: [&str; 3]| {
            until_answer(admin, &of(wire, all), |answer| texts(&answer.rows[0]) == expected);
        };
        shows(&mut admin, &ann, ["idle", "Client", "ClientRead"]);
        ann.ok("begin");
        shows(&mut admin, &ann, ["idle in transaction", "Client", "ClientRead"]);
        ann.fails("selec 1");
        shows(&mut admin, &ann, ["idle in transaction (aborted)", "Client", "ClientRead"]);
        ann.ok("rollback");
        shows(&mut admin, &ann, ["idle", "Client", "ClientRead"]);
        ann.start("select pg_sleep(3600)");
        shows(&mut admin, &ann, ["active", "Timeout", "PgSleep"]);
        // Some 24 MB, so that most of them wait for a client that does not read.
        let mut reader = server.user("ann");
        reader.start(
            "with recursive c(x) as (select 1 union all select x + 1 from c where x < 400000) \
             select x, 'a text that fills the buffers of the sockets' from c",
        );
        shows(&mut admin, &reader, ["active", "Client", "ClientWrite"]);
        drop(reader);
        ann.cancel();
        ann.finish().error().expect("ERROR", "57014", CANCELLED);
    }
    // The worker is busy, so a second session waits for it.
    let server = Server::start("on", &["--workers", "1"]);
    let (mut admin, mut ann) = (server.admin(), server.user("ann"));
    ann.start(crate::support::ENDLESS);
    until_value(&mut admin, &of(&ann, "state"), "active");
    let mut bob = server.user("bob");
    bob.start("select 1");
    let all = of(&bob, "state, wait_event_type, wait_event");
    until_answer(&mut admin, &all, |answer| {
        texts(&answer.rows[0]) == ["queued", "Extension", "ThreadPool"]
    });
    // Also a queued command is one that the number of its session can cancel.
    assert_eq!(admin.ok(&format!("select pg_cancel_backend({})", bob.pid)).value(), "t");
    assert_eq!(admin.ok(&format!("select pg_terminate_backend({})", ann.pid)).value(), "t");
    ann.rest().expect_killed();
    bob.finish().error().expect("ERROR", "57014", CANCELLED);
}
