//! The PostgreSQL protocol as drivers speak it: both its ways to run a statement.

use crate::support::{MODELS, Server, Wire, cstr};
use postgres::types::Type;
use postgres::{Client, NoTls};

fn each_model(test: impl Fn(&Server)) {
    for model in MODELS {
        test(&Server::start(model, &["--workers", "2"]));
    }
}

fn driver(server: &Server) -> Client {
    let mut config = postgres::Config::new();
    config.host("127.0.0.1").port(server.address.port()).user("ann").dbname("postgres");
    config.connect(NoTls).expect("a connection")
}

#[test]
fn the_greeting() {
    each_model(|server| {
        let parameters = [("user", "ann"), ("application_name", "me"), ("client_encoding", "UTF8")];
        let wire = Wire::connect_as(server.address, &parameters);
        for (name, value) in [
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("application_name", "me"),
            ("session_authorization", "ann"),
            ("is_superuser", "off"),
        ] {
            assert_eq!(wire.parameters.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(wire.parameters["server_version"].starts_with("15"));
        assert_eq!(server.admin().parameters["is_superuser"], "on");
        assert!(wire.pid > 0 && wire.key.len() == 4);
    });
}

#[test]
fn values_in_text() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("create table t (i bigint, f double precision, s text, b boolean, n integer)");
        wire.ok("insert into t values (9223372036854775807, 0.1, 'naïve ''quoted''', true, null)");
        wire.ok("insert into t values (-9223372036854775808, -1e300, '', false, 0)");
        let answer = wire.ok("select * from t order by i desc");
        let types: Vec<_> = answer.columns.iter().map(|(_, oid)| *oid).collect();
        assert_eq!(types, [20, 701, 25, 16, 20]);
        let text = |values: [Option<&str>; 5]| values.map(|v| v.map(str::to_string)).to_vec();
        assert_eq!(
            answer.rows,
            [
                text([
                    Some("9223372036854775807"),
                    Some("0.1"),
                    Some("naïve 'quoted'"),
                    Some("t"),
                    None
                ]),
                text([
                    Some("-9223372036854775808"),
                    Some("-1e+300"),
                    Some(""),
                    Some("f"),
                    Some("0")
                ]),
            ]
        );
        assert_eq!(answer.tags, ["SELECT 2"]);
    });
}

#[test]
fn values_in_binary() {
    each_model(|server| {
        let mut client = driver(server);
        client
            .batch_execute("create table t (i bigint, f double precision, s text, b boolean)")
            .unwrap();
        // A parameter's type is what the client says, or what a cast does; else it is text.
        let types = [Type::INT8, Type::FLOAT8, Type::TEXT, Type::BOOL];
        let insert = client.prepare_typed("insert into t values ($1, $2, $3, $4)", &types).unwrap();
        type Row = (Option<i64>, Option<f64>, Option<&'static str>, Option<bool>);
        let rows: [Row; 4] = [
            (Some(i64::MIN), Some(-0.1), Some("größe"), Some(true)),
            (Some(i64::MAX), Some(f64::MAX), Some(""), Some(false)),
            (Some(0), Some(0.0), Some("a\tb\nc\\"), Some(false)),
            (None, None, None, None),
        ];
        for (i, f, s, b) in &rows {
            assert_eq!(client.execute(&insert, &[i, f, s, b]).unwrap(), 1);
        }
        let found = client.query("select i, f, s, b from t order by rowid", &[]).unwrap();
        for (row, (i, f, s, b)) in found.iter().zip(&rows) {
            assert_eq!(row.get::<_, Option<i64>>(0), *i);
            assert_eq!(row.get::<_, Option<f64>>(1), *f);
            assert_eq!(row.get::<_, Option<&str>>(2), *s);
            assert_eq!(row.get::<_, Option<bool>>(3), *b);
        }
        assert_eq!(found.len(), rows.len());
        let row = client
            .query_one("select s from t where i = $1::int8 and b = $2::bool", &[&0_i64, &false]);
        assert_eq!(row.unwrap().get::<_, &str>(0), "a\tb\nc\\");
        let own = client.query_one("select pg_current_sessid(), pg_backend_pid()", &[]).unwrap();
        assert!(own.get::<_, i64>(0) > 0 && own.get::<_, i32>(1) > 0);
    });
}

#[test]
fn parameters_of_each_width() {
    each_model(|server| {
        let mut wire = server.user("ann");
        for (oid, bytes, value) in [
            (21, 7_i16.to_be_bytes().to_vec(), "7"),
            (23, (-7_i32).to_be_bytes().to_vec(), "-7"),
            (20, i64::MIN.to_be_bytes().to_vec(), "-9223372036854775808"),
            (700, 1.5_f32.to_be_bytes().to_vec(), "1.5"),
            (701, 1e-7_f64.to_be_bytes().to_vec(), "1e-07"),
            (16, vec![1], "t"),
            (1082, 1_i32.to_be_bytes().to_vec(), "2000-01-02"),
            (1184, 0_i64.to_be_bytes().to_vec(), "2000-01-01 00:00:00+00"),
            (25, b"text".to_vec(), "text"),
            (1043, b"".to_vec(), ""),
        ] {
            wire.parse("", "select $1", &[oid]);
            wire.bind("", "", &[(1, Some(&bytes))], &[0]);
            wire.describe(b'P', "");
            wire.execute("", 0);
            wire.sync();
            let answer = wire.finish();
            assert!(answer.errors.is_empty(), "{oid}: {answer:?}");
            assert_eq!(answer.value(), value, "{oid}");
        }
        // Of the wrong length.
        for (oid, bytes) in [(23, &[1][..]), (20, &[1, 2]), (16, &[]), (701, &[0; 9])] {
            wire.parse("", "select $1", &[oid]);
            wire.bind("", "", &[(1, Some(bytes))], &[]);
            wire.execute("", 0);
            wire.sync();
            let answer = wire.finish();
            assert_eq!((answer.error().severity(), answer.status), ("ERROR", Some('I')));
        }
    });
}

#[test]
fn portals_with_a_limit_of_rows() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("create table t (v integer)");
        wire.ok("insert into t values (1), (2), (3), (4), (5)");
        wire.ok("begin");
        wire.parse("five", "select v from t order by v", &[]);
        wire.bind("p", "five", &[], &[]);
        wire.execute("p", 2);
        wire.execute("p", 2);
        wire.send(b'H', &[]);
        let answer = wire.until('s');
        assert_eq!(answer.kinds, "12DDs");
        let answer = wire.until('s');
        assert_eq!(answer.rows, [[Some("3".to_string())], [Some("4".to_string())]]);
        // Another portal of the same statement starts anew.
        wire.bind("q", "five", &[], &[]);
        wire.execute("q", 0);
        wire.execute("p", 2);
        wire.sync();
        let answer = wire.finish();
        assert_eq!(answer.kinds, "2DDDDDCDCZ", "{answer:?}");
        wire.ok("commit");
        // Portals end with their transaction; statements do not.
        wire.execute("p", 0);
        wire.sync();
        wire.finish().error().expect("ERROR", "34000", "portal \"p\" does not exist");
        wire.bind("", "five", &[], &[]);
        wire.execute("", 0);
        wire.sync();
        assert_eq!(wire.finish().rows.len(), 5);
        wire.send(b'C', &[&b"S"[..], &cstr("five")].concat());
        wire.bind("", "five", &[], &[]);
        wire.sync();
        wire.finish().error().expect("ERROR", "26000", "\"five\" does not exist");
    });
}

#[test]
fn after_an_error_nothing_is_run_until_sync() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("create table t (v integer)");
        wire.parse("", "insert into nowhere values (1)", &[]);
        wire.bind("", "", &[], &[]);
        wire.execute("", 0);
        wire.parse("", "insert into t values (1)", &[]);
        wire.bind("", "", &[], &[]);
        wire.execute("", 0);
        wire.start("insert into t values (2)");
        wire.sync();
        let answer = wire.finish();
        assert_eq!(answer.kinds, "EZ", "{answer:?}");
        answer.error().expect("ERROR", "42P01", "nowhere");
        assert_eq!(wire.ok("select count(*) from t").value(), "0");
        // The same in a statement that fails as it runs.
        wire.ok("create unique index u on t (v)");
        wire.ok("insert into t values (1)");
        for _ in 0..2 {
            wire.parse("", "insert into t values (1)", &[]);
            wire.bind("", "", &[], &[]);
            wire.execute("", 0);
            wire.sync();
            let answer = wire.finish();
            assert_eq!(answer.kinds, "12EZ", "{answer:?}");
            answer.error().expect("ERROR", "23505", "UNIQUE");
        }
        for (what, code) in [("too few", "08P01"), ("unknown", "26000"), ("twice", "42P05")] {
            match what {
                "too few" => {
                    wire.parse("", "select $1, $2", &[]);
                    wire.bind("", "", &[(0, Some(b"1"))], &[]);
                }
                "unknown" => wire.bind("", "unknown", &[], &[]),
                _ => {
                    wire.parse("again", "select 1", &[]);
                    wire.parse("again", "select 1", &[]);
                }
            }
            wire.sync();
            let answer = wire.finish();
            answer.error().expect("ERROR", code, "");
            assert_eq!(answer.status, Some('I'));
        }
    });
}

#[test]
fn a_failed_transaction_is_failed_until_its_end() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("create table t (v integer)");
        assert_eq!(wire.ok("begin").status, Some('T'));
        wire.ok("insert into t values (1)");
        assert_eq!(wire.query("select nothing_like_it from t").status, Some('E'));
        wire.fails("insert into t values (2)").expect("ERROR", "25P02", "aborted");
        wire.parse("", "select 1", &[]);
        wire.sync();
        let answer = wire.finish();
        answer.error().expect("ERROR", "25P02", "aborted");
        assert_eq!(answer.status, Some('E'));
        let answer = wire.ok("commit");
        assert_eq!(answer.tags, ["ROLLBACK"]);
        assert_eq!(answer.status, Some('I'));
        assert_eq!(wire.ok("select count(*) from t").value(), "0");
        // Back to a savepoint mends it.
        wire.ok("begin; insert into t values (3); savepoint s; insert into t values (4)");
        assert_eq!(wire.query("select nothing_like_it from t").status, Some('E'));
        assert_eq!(wire.ok("rollback to savepoint s").status, Some('T'));
        assert_eq!(wire.ok("commit").tags, ["COMMIT"]);
        assert_eq!(wire.ok("select v from t").value(), "3");
        // Where there is none to end, a warning says so.
        let answer = wire.ok("commit");
        answer.notice().expect("WARNING", "25P01", "no transaction in progress");
        wire.ok("begin");
        wire.ok("begin").notice().expect("WARNING", "25001", "already a transaction");
    });
}

/// These are SQLite's own, so PostgreSQL cannot judge them.
#[test]
fn statements_of_sqlite_in_a_read_only_transaction() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("begin read only");
        let before = wire.ok("pragma user_version").value().to_owned();
        let error = wire.fails("pragma user_version = 7");
        error.expect("ERROR", "25006", "cannot execute PRAGMA in a read-only transaction");
        wire.ok("rollback");
        assert_eq!(wire.ok("pragma user_version").value(), before);
        wire.ok("set default_transaction_read_only = on");
        wire.ok("analyze");
        wire.ok("vacuum");
        let error = wire.fails("select 1; vacuum");
        error.expect("ERROR", "25001", "VACUUM cannot run inside a transaction block");
    });
}

#[test]
fn several_statements_in_one_simple_query() {
    each_model(|server| {
        let mut wire = server.user("ann");
        let answer = wire.ok(
            "create table t (v integer); insert into t values (1), (2);; -- a comment; and more\n\
             select 'a;b' as \"x;y\"; /* ; */ update t set v = v + 1; delete from t where v > 2;",
        );
        assert_eq!(answer.tags, ["CREATE TABLE", "INSERT 0 2", "SELECT 1", "UPDATE 2", "DELETE 1"]);
        assert_eq!((answer.value(), answer.columns[0].0.as_str()), ("a;b", "x;y"));
        // The first error ends it all.
        let answer = wire.query("select 1; select nope; select 3");
        assert_eq!((answer.tags.len(), answer.rows.len(), answer.status), (1, 1, Some('I')));
        for empty in ["", " ", ";", "-- nothing", "/* nothing */ ;"] {
            assert_eq!(wire.ok(empty).kinds, "IZ", "{empty:?}");
            wire.parse("", empty, &[]);
            wire.bind("", "", &[], &[]);
            wire.describe(b'P', "");
            wire.execute("", 0);
            wire.sync();
            assert_eq!(wire.finish().kinds, "12nIZ", "{empty:?}");
        }
    });
}

#[test]
fn settings() {
    each_model(|server| {
        let mut wire = server.user("ann");
        let answer = wire.ok("set application_name = 'it''s me'");
        // PostgreSQL reports a changed setting after the statement.
        assert_eq!((answer.kinds.as_str(), answer.tags[0].as_str()), ("CSZ", "SET"));
        assert_eq!(wire.ok("show application_name").value(), "it's me");
        let named = "select count(*) from pg_stat_activity where application_name = 'it''s me'";
        assert_eq!(wire.ok(named).value(), "1");
        wire.fails("set enable_thread_pool = off").expect("ERROR", "55P02", "enable_thread_pool");
        wire.fails("show nothing_like_it").expect("ERROR", "42704", "nothing_like_it");
        for sql in
            ["set extra_float_digits = 3", "set client_min_messages to warning", "discard all"]
        {
            wire.ok(sql);
        }
    });
}

#[test]
fn loading_rows() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.ok("create table t (a integer, b text)");
        let load = |wire: &mut Wire, sql: &str, parts: &[&[u8]]| {
            wire.start(sql);
            wire.until('G');
            parts.iter().for_each(|part| wire.send(b'd', part));
        };
        load(&mut wire, "copy t from stdin", &[b"1\to", b"ne\n2\t\\N\n3\ttab\\there", b"\n"]);
        wire.send(b'c', &[]);
        let answer = wire.finish();
        assert_eq!((answer.tags[0].as_str(), answer.status), ("COPY 3", Some('I')), "{answer:?}");
        let found = wire.ok("select a, b from t order by a").rows;
        assert_eq!(found[1], [Some("2".to_string()), None]);
        assert_eq!(found[2][1].as_deref(), Some("tab\there"));
        // What fails leaves nothing behind, in a transaction or out of one.
        for begin in ["select 0", "begin"] {
            wire.ok(begin);
            load(&mut wire, "copy t (a, b) from stdin", &[b"4\tfour\n", b"5\n"]);
            wire.send(b'c', &[]);
            let answer = wire.finish();
            answer.error().expect("ERROR", "22P04", "columns");
            let status = if begin == "begin" { 'E' } else { 'I' };
            assert_eq!(answer.status, Some(status));
            wire.query("rollback");
            load(&mut wire, "copy t from stdin", &[b"6\tsix\n"]);
            wire.send(b'f', &cstr("changed my mind"));
            wire.finish().error().expect("ERROR", "57014", "changed my mind");
            assert_eq!(wire.ok("select count(*) from t").value(), "3");
        }
        wire.fails("copy nowhere from stdin").expect("ERROR", "42P01", "nowhere");
        assert_eq!(wire.ok("select 1").value(), "1");
    });
}

/// Idle sessions share what reads for them; nothing of one is seen by another.
#[test]
fn what_a_session_leaves_in_its_engine_stays_its_own() {
    each_model(|server| {
        let (mut ann, mut bob) = (server.user("ann"), server.user("bob"));
        ann.ok("create table if not exists t (v integer primary key)");
        for client in [&mut ann, &mut bob] {
            assert_eq!(client.ok("select count(*) from t").value(), "0");
        }
        ann.ok("create temp table mine (v integer)");
        bob.fails("select * from mine").expect("ERROR", "42P01", "no such table");
        assert_eq!(ann.ok("select count(*) from mine").value(), "0");
        ann.ok("insert into t values (7)");
        assert_eq!(bob.ok("select last_insert_rowid()").value(), "0");
        assert_eq!(ann.ok("select last_insert_rowid()").value(), "7");
        assert_eq!(ann.ok("select changes()").value(), "1");
        bob.ok("pragma query_only = on");
        assert_eq!(bob.ok("pragma query_only").value(), "1");
        assert_eq!(server.user("eve").ok("pragma query_only").value(), "0");
        ann.ok("delete from t");
    });
}
