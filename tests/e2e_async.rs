//! `examples/async_server` over sockets: pgwire's own server API, and sessions that are tasks.

mod server_common;

use server_common::{DEADLINE, ENDLESS, Example, TOLD, Wire, is_installed, run};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

struct Connected {
    client: Client,
    /// How the connection ended.
    connection: JoinHandle<Result<(), Error>>,
}

async fn connect(server: &Example, user: &str) -> Connected {
    let port = server.address.rsplit_once(':').expect("a port").1;
    let config = format!("host=127.0.0.1 port={port} user={user}");
    let connected = in_time("it is greeted", tokio_postgres::connect(&config, NoTls)).await;
    let (client, connection) = connected.expect("it listens");
    Connected { client, connection: tokio::spawn(connection) }
}

fn db_error(error: &Error) -> &DbError {
    error.as_db_error().unwrap_or_else(|| panic!("an error of the server's: {error}"))
}

impl Connected {
    async fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let messages = in_time(query, self.client.simple_query(query)).await.expect("it runs");
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().into()).collect())
            }
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    /// The sessions whose state and text these are, once there are so many.
    async fn sessions<const N: usize>(&self, state: &str, query: &str) -> [String; N] {
        let there = async {
            loop {
                let rows = self.rows("show sessions").await.into_iter();
                let fits = rows.filter(|row| row[3] == state && row[4] == query);
                let ids: Vec<_> = fits.map(|row| row[1].clone()).collect();
                if let Ok(ids) = ids.try_into() {
                    return ids;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time(&format!("{N} {state}: {query}"), there).await
    }

    async fn session(&self, state: &str, query: &str) -> String {
        let [id] = self.sessions(state, query).await;
        id
    }

    async fn left_alone(&self) {
        let alone = async {
            while self.rows("show sessions").await.len() > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("the others are gone", alone).await;
    }

    async fn kill(&self, session: &str) {
        let statement = format!("alter system kill session '0, {session}' immediate");
        assert_eq!(self.rows(&statement).await, [["t"]]);
    }

    async fn hears_its_end(self) {
        // The driver drops a FATAL that comes while nobody asks; what it says then is in the
        // connection's end.
        let ended = in_time("the connection ends", self.connection).await.expect("no panic");
        let error = ended.expect_err("it was ended");
        let told = db_error(&error);
        assert_eq!((told.code(), told.severity()), (&SqlState::ADMIN_SHUTDOWN, "FATAL"));
        assert_eq!(told.message(), TOLD);
        assert!(told.detail().is_some_and(|detail| detail.contains("omm")), "{told:?}");
    }
}

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited too long until {what}"))
}

async fn runs(connected: Connected, query: &'static str) -> JoinHandle<(Connected, Error)> {
    tokio::spawn(async move {
        let error = connected.client.simple_query(query).await.expect_err("it does not end");
        (connected, error)
    })
}

#[tokio::test]
async fn idle_clients_are_killed_and_told() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    for _ in 0..3 {
        let idle = connect(&server, "ann").await;
        assert_eq!(idle.rows("select 7 as seven").await, [["7"]]);
        let id = admin.session("idle", "select 7 as seven").await;
        admin.kill(&id).await;
        idle.hears_its_end().await;
    }
    admin.left_alone().await;
}

/// With more statements that run than the runtime has threads.
#[tokio::test]
async fn whoever_runs_or_waits_is_killed_and_told() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let idle = connect(&server, "ann").await;
    idle.rows("select 'idle'").await;
    let mut victims = Vec::new();
    for query in [ENDLESS, "select pg_sleep(600)", ENDLESS, ENDLESS, ENDLESS] {
        victims.push(runs(connect(&server, "ann").await, query).await);
    }
    admin.kill(&admin.session("idle", "select 'idle'").await).await;
    idle.hears_its_end().await;
    let waits = admin.session("waiting", "select pg_sleep(600)").await;
    for id in admin.sessions::<4>("running", ENDLESS).await.iter().chain([&waits]) {
        admin.kill(id).await;
    }
    for victim in victims {
        let (connected, error) = in_time("it is told", victim).await.expect("no panic");
        let told = db_error(&error);
        assert_eq!((told.code(), told.severity()), (&SqlState::ADMIN_SHUTDOWN, "FATAL"));
        assert!(told.detail().is_some_and(|detail| detail.contains("omm")), "{told:?}");
        let _ = in_time("the connection ends", connected.connection).await;
    }
    admin.left_alone().await;
}

#[tokio::test]
async fn a_cancelled_statement_leaves_its_session_as_it_was() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let mut connected = connect(&server, "ann").await;
    connected.rows("begin; create table kept(x); insert into kept values (1)").await;
    for (state, query) in [("running", ENDLESS), ("waiting", "select pg_sleep(600)")] {
        let cancel = connected.client.cancel_token();
        let running = runs(connected, query).await;
        admin.session(state, query).await;
        in_time("a cancel", cancel.cancel_query(NoTls)).await.expect("it is heard");
        let (again, error) = in_time("it is cancelled", running).await.expect("no panic");
        assert_eq!(db_error(&error).code(), &SqlState::QUERY_CANCELED);
        assert_eq!(db_error(&error).severity(), "ERROR");
        connected = again;
        assert_eq!(connected.rows("select x from kept").await, [["1"]]);
    }
    connected.rows("commit").await;
    assert_eq!(admin.rows("select x from kept").await, [["1"]]);
}

#[tokio::test]
async fn a_kill_in_a_transaction_rolls_it_back() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    admin.rows("create table t(x)").await;
    let victim = connect(&server, "ann").await;
    victim.rows("begin; insert into t values (1)").await;
    // Another waits for the lock, interruptibly.
    let waits = runs(connect(&server, "bob").await, "insert into t values (2)").await;
    let id = admin.session("idle in transaction", "begin; insert into t values (1)").await;
    let waiting = admin.session("waiting", "insert into t values (2)").await;
    admin.kill(&waiting).await;
    let (_, error) = in_time("it is told", waits).await.expect("no panic");
    assert_eq!(db_error(&error).code(), &SqlState::ADMIN_SHUTDOWN);
    admin.kill(&id).await;
    victim.hears_its_end().await;
    admin.rows("insert into t values (3)").await;
    assert_eq!(admin.rows("select x from t").await, [["3"]]);
}

#[tokio::test]
async fn what_is_refused_is_said() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let ann = connect(&server, "ann").await;
    ann.rows("select 1").await;
    let id = admin.session("idle", "select 1").await;
    let bob = connect(&server, "bob").await;
    let immediate = |id: &str| format!("alter system kill session '0, {id}' immediate");
    for (query, code) in [
        (immediate(&id), "42501"),
        (immediate("7"), "42704"),
        (immediate("x"), "42704"),
        ("select * from nowhere".into(), "42P01"),
    ] {
        let refused = in_time(&query, bob.client.simple_query(&query)).await;
        let error = refused.expect_err("it is refused");
        assert_eq!(db_error(&error).code().code(), code, "{query}: {error:?}");
    }
    // Who kills itself sees no row.
    let own = admin.session("running", "show sessions").await;
    let ended = in_time("its own end", admin.client.simple_query(&immediate(&own))).await;
    let error = ended.expect_err("it has ended");
    assert_eq!(db_error(&error).code(), &SqlState::ADMIN_SHUTDOWN);
    assert_eq!(ann.rows("select 2").await, [["2"]]);
}

/// More than the sockets on the way hold.
const LONG: &str = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 200) \
    select hex(zeroblob(50000)) from n";

fn raw(server: &Example) -> Wire {
    let address: SocketAddr = server.address.parse().expect("an address");
    Wire::connect(address, "ann")
}

/// The answer is on its way, and the statement is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_does_not_get_into_the_answer() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let mut slow = raw(&server);
    for cancelled in [LONG, ENDLESS] {
        slow.start(cancelled);
        let state = if cancelled == LONG { "idle" } else { "running" };
        admin.session(state, cancelled).await;
        slow.cancel();
        let answer = slow.finish();
        if cancelled == LONG {
            assert!(answer.errors.is_empty(), "{:?}", answer.errors);
            assert_eq!((answer.rows.len(), answer.kinds.matches('Z').count()), (200, 1));
        } else {
            answer.error().expect("ERROR", "57014", "user request");
        }
        assert_eq!(slow.ok("select 7").value(), "7");
        assert!(slow.is_silent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_killed() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let mut slow = raw(&server);
    slow.start(LONG);
    admin.kill(&admin.session("idle", LONG).await).await;
    admin.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_are_cancelled_and_killed() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let ann = connect(&server, "ann").await;
    let sum = in_time("prepare", ann.client.prepare("select $1::int8 + 1, $2 || '!'")).await;
    let sum = sum.expect("it is prepared");
    for x in [41_i64, 1] {
        let values: [&(dyn ToSql + Sync); 2] = [&x, &"hey"];
        let row = in_time("the sum", ann.client.query_one(&sum, &values)).await.expect("it runs");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (x + 1, "hey!"));
    }
    let long = format!("{ENDLESS} where $1");
    let cancel = ann.client.cancel_token();
    let values: [&(dyn ToSql + Sync); 1] = [&"1"];
    let (ran, ()) = tokio::join!(in_time("its end", ann.client.query(&long, &values)), async {
        admin.session("running", &long).await;
        in_time("a cancel", cancel.cancel_query(NoTls)).await.expect("it is heard");
    });
    assert_eq!(db_error(&ran.expect_err("it is cancelled")).code(), &SqlState::QUERY_CANCELED);
    let nowhere = in_time("nowhere", ann.client.query("select * from nowhere", &[])).await;
    let error = nowhere.expect_err("there is none");
    assert_eq!(db_error(&error).code(), &SqlState::UNDEFINED_TABLE);
    let values: [&(dyn ToSql + Sync); 1] = [&"1"];
    let (ran, ()) = tokio::join!(in_time("its end", ann.client.query(&long, &values)), async {
        let id = admin.session("running", &long).await;
        let kill = format!("alter system kill session '0, {id}' immediate");
        let row = in_time(&kill, admin.client.query_one(&kill, &[])).await.expect("it is accepted");
        assert!(row.get::<_, bool>(0));
    });
    assert_eq!(db_error(&ran.expect_err("it is killed")).code(), &SqlState::ADMIN_SHUTDOWN);
    let _ = in_time("the connection ends", ann.connection).await;
    admin.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_fetched_bit_by_bit() {
    let server = Example::start("async_server");
    let mut ann = connect(&server, "ann").await;
    ann.rows("create table t(x int, y text)").await;
    for x in 0..5_i64 {
        let values: [&(dyn ToSql + Sync); 2] = [&x, &"y"];
        let put = ann.client.execute("insert into t values ($1::int8, $2)", &values);
        assert_eq!(in_time("insert", put).await.expect("it is put"), 1);
    }
    let transaction = in_time("begin", ann.client.transaction()).await.expect("it begins");
    let portal = in_time("bind", transaction.bind("select x from t order by x", &[])).await;
    let portal = portal.expect("a portal");
    let mut found = Vec::new();
    for wanted in [2, 2, 1, 0] {
        let rows = in_time("fetch", transaction.query_portal(&portal, 2)).await;
        let rows = rows.expect("it goes on");
        assert_eq!(rows.len(), wanted);
        found.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
    }
    assert_eq!(found, [0, 1, 2, 3, 4]);
    in_time("commit", transaction.commit()).await.expect("it is committed");
}

#[tokio::test]
async fn pgbench_in_each_of_its_ways() {
    if !is_installed("pgbench_in_each_of_its_ways", "pgbench") {
        return;
    }
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    admin.rows("create table account(id integer primary key, balance int)").await;
    admin.rows("insert into account values (1, 0), (2, 0), (3, 0)").await;
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    let text = "\\set id random(1, 3)\n\
        begin;\n\
        update account set balance = balance + 1 where id = :id;\n\
        select balance from account where id = :id;\n\
        commit;\n";
    script.write_all(text.as_bytes()).expect("room");
    let port = server.address.rsplit_once(':').expect("a port").1;
    for (way, total) in [("simple", "150"), ("extended", "300"), ("prepared", "450")] {
        let mut command = Command::new("pgbench");
        command.args(["-h", "127.0.0.1", "-p", port, "-U", "ann", "-n", "-M", way]);
        command.args(["-c", "6", "-j", "2", "-t", "25", "-f"]).arg(script.path());
        let ran = run(command.arg("postgres").env("LC_ALL", "C"));
        assert_eq!(ran.code, Some(0), "{way}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains("actually processed: 150/150"), "{way}: {}{}", ran.out, ran.err);
        assert_eq!(admin.rows("select sum(balance) from account").await, [[total]]);
    }
}

/// Of what a client may say wrongly, its session alone hears.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_messages_are_refused() {
    let server = Example::start("async_server");
    let mut ann = raw(&server);
    ann.parse("two", "select $1, $2", &[]);
    ann.bind("", "two", &[(0, Some(b"1"))], &[]);
    ann.execute("", 0);
    ann.sync();
    ann.finish().error().expect("ERROR", "08P01", "1 parameters");
    ann.bind("", "two", &[(0, Some(b"1")), (0, None)], &[0, 1, 0]);
    ann.describe(b'P', "");
    ann.execute("", 0);
    ann.sync();
    ann.finish().error().expect("ERROR", "08P01", "3 formats");
    ann.bind("", "two", &[(0, Some(b"1")), (0, None)], &[0, 7]);
    ann.execute("", 0);
    ann.sync();
    ann.finish().error().expect("ERROR", "22023", "format code: 7");
    ann.parse("", "select 1; select 2", &[]);
    ann.sync();
    ann.finish().error().expect("ERROR", "42601", "multiple commands");
    ann.bind("", "two", &[(0, Some(b"1")), (0, None)], &[]);
    ann.execute("", 0);
    ann.sync();
    let answer = ann.finish();
    assert_eq!(answer.rows, [[Some("1".into()), None]], "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_all_is_discarded_up_to_sync() {
    let server = Example::start("async_server");
    let mut ann = raw(&server);
    ann.ok("create table t(x int)");
    ann.parse("put", "insert into t values (1)", &[]);
    ann.bind("put", "put", &[], &[]);
    ann.parse("", "nonsense", &[]);
    ann.execute("put", 0);
    ann.start("insert into t values (2)");
    ann.sync();
    let answer = ann.finish();
    assert_eq!((answer.errors.len(), answer.kinds.as_str()), (1, "12EZ"), "{answer:?}");
    assert!(ann.ok("select x from t").rows.is_empty());
    assert!(ann.is_silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simple_query_has_no_parameters() {
    let server = Example::start("async_server");
    let mut ann = raw(&server);
    for (query, missing) in [("select $1", "$1"), ("select $7::int8", "$7"), ("select ?", "?")] {
        ann.fails(query).expect("ERROR", "42P02", &format!("there is no parameter {missing}"));
    }
    assert_eq!(ann.ok("select 7").value(), "7");
}

/// Nobody has said who it is, and nobody will.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_killed() {
    let server = Example::start("async_server");
    let admin = connect(&server, "omm").await;
    let mut silent = Wire::open(server.address.parse().expect("an address"));
    let id = admin.session("idle", "").await;
    admin.kill(&id).await;
    admin.left_alone().await;
    assert!(silent.next().is_none(), "the connection is closed");
    // Refused TLS and GSSAPI, and silent then: there is somebody to tell.
    let mut silent = Wire::open(server.address.parse().expect("an address"));
    for request in [80_877_103_u32, 80_877_104] {
        silent.packet(&request.to_be_bytes());
        let mut answer = [0];
        silent.socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [b'N']);
    }
    let id = admin.session("idle", "").await;
    admin.kill(&id).await;
    silent.expect_killed();
    admin.left_alone().await;
}
