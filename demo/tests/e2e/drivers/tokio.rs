//! What a Rust program does with tokio-postgres. With the address of a PostgreSQL in the variable `JUDGE`,
//! such as `127.0.0.1:5432`, the same runs there: it has passed on PostgreSQL 15.

use crate::support::{DEADLINE, ENDLESS, MODELS, Server};
use futures::{SinkExt, TryStreamExt, pin_mut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};

#[test]
fn tokio_postgres() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    if let Ok(judge) = std::env::var("JUDGE") {
        runtime.block_on(program(judge.parse().expect("an address")));
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        runtime.block_on(async {
            let ran = tokio::time::timeout(4 * DEADLINE, program(server.address)).await;
            ran.unwrap_or_else(|_| panic!("{model}: a statement is not answered"));
        });
    }
}

async fn program(address: SocketAddr) {
    everyday(address).await;
    types(address).await;
    transactions(address).await;
    portals(address).await;
    copying(address).await;
    cancelled(address).await;
    timeouts(address).await;
}

async fn connect_with(address: SocketAddr, options: &str) -> Result<Client, Error> {
    let (client, connection) = Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("ann")
        .dbname("postgres")
        .application_name("everyday")
        .options(options)
        .connect(NoTls)
        .await?;
    tokio::spawn(async move {
        // The end of the client ends the connection.
        let _ = connection.await;
    });
    Ok(client)
}

async fn connect(address: SocketAddr) -> Client {
    connect_with(address, "").await.expect("a connection")
}

fn refused<T>(result: Result<T, Error>, state: &SqlState) {
    let error = result.err().expect("an error");
    assert_eq!(error.code(), Some(state), "{error:?}");
}

async fn everyday(address: SocketAddr) {
    let client = connect(address).await;
    client
        .batch_execute(
            "create table crate (id bigint primary key, name text, weight double precision)",
        )
        .await
        .unwrap();
    let insert = client.prepare("insert into crate values ($1, $2, $3)").await.unwrap();
    assert_eq!(insert.params(), [Type::INT8, Type::TEXT, Type::FLOAT8]);
    for id in 1..=8i64 {
        let weight = id as f64 / 4.0;
        assert_eq!(client.execute(&insert, &[&id, &format!("n{id}"), &weight]).await.unwrap(), 1);
    }
    let none: Option<String> = None;
    client.execute(&insert, &[&9i64, &none, &0.0f64]).await.unwrap();
    let rows =
        client.query("select * from crate where id < $1 order by id", &[&3i64]).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.get("name")).collect();
    assert_eq!(names, ["n1", "n2"]);
    let row = client.query_one("select weight, name from crate where name = $1", &[&"n6"]).await;
    assert_eq!(row.unwrap().get::<_, f64>(0), 1.5);
    let row = client.query_opt("select name from crate where id = $1", &[&9i64]).await.unwrap();
    assert_eq!(row.unwrap().get::<_, Option<&str>>("name"), None);
    assert!(
        client.query_opt("select 1 from crate where id = $1", &[&0i64]).await.unwrap().is_none()
    );
    let update = "update crate set name = $1, weight = weight + $2 where id > $3";
    assert_eq!(client.execute(update, &[&"z", &1.0f64, &5i64]).await.unwrap(), 4);
    let typed = client
        .query_typed("select $1 + 1, $2", &[(&41i32, Type::INT4), (&"a", Type::TEXT)])
        .await
        .unwrap();
    assert_eq!((typed[0].get::<_, i32>(0), typed[0].get::<_, &str>(1)), (42, "a"));
    let messages =
        client.simple_query("select 1; select 'a', null; show application_name").await.unwrap();
    let cells: Vec<Option<&str>> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at))),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(cells, [Some("1"), Some("a"), None, Some("everyday")]);
    let row = client
        .query_one("select current_user, current_setting($1)", &[&"application_name"])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(1), "everyday");
    // Many statements in flight at once.
    let values =
        futures::future::join_all(
            (0..50i32).map(|n| {
                let client = &client;
                async move {
                    client.query_one("select $1::int4 * 2", &[&n]).await.unwrap().get::<_, i32>(0)
                }
            }),
        );
    assert_eq!(values.await, (0..50).map(|n| n * 2).collect::<Vec<_>>());
    // A statement that is dropped is closed on the server.
    for n in 0..20i64 {
        let statement = client.prepare("select count(*) + $1 from crate").await.unwrap();
        let row = client.query_one(&statement, &[&n]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), n + 9);
    }
    client.batch_execute("discard all; drop table crate").await.expect_err("not in one message");
    client.batch_execute("discard all").await.unwrap();
    client.clear_type_cache();
    client.batch_execute("drop table crate").await.unwrap();
}

async fn types(address: SocketAddr) {
    let client = connect(address).await;
    macro_rules! round_trip {
        ($kind:literal, $ty:ty, $($value:expr),*) => {
            let table = concat!("like_", $kind).replace(' ', "_");
            let kind = $kind;
            client.batch_execute(&format!("create table {table} (at bigint, v {kind})")).await.unwrap();
            let select = client.prepare(&format!("select $1::{kind}")).await.unwrap();
            for (at, value) in [$(<$ty>::from($value)),*].into_iter().enumerate() {
                let at = at as i64;
                let found: $ty = client.query_one(&select, &[&value]).await.unwrap().get(0);
                assert_eq!(found, value);
                let insert = format!("insert into {table} (v, at) values ($1, $2)");
                client.execute(&insert, &[&value, &at]).await.unwrap();
                let find = format!("select v, v is null from {table} where v = $1 and at = $2");
                let found: $ty = client.query_one(&find, &[&value, &at]).await.unwrap().get(0);
                assert_eq!(found, value);
            }
            let row = client.query_one(&select, &[&None::<$ty>]).await.unwrap();
            assert_eq!(row.get::<_, Option<$ty>>(0), None);
            client.batch_execute(&format!("drop table {table}")).await.unwrap();
        };
    }
    round_trip!("bigint", i64, 0i64, -1i64, i64::MAX, i64::MIN);
    round_trip!("double precision", f64, 0.0, -0.1, 1e300, 5e-324);
    round_trip!("boolean", bool, true, false);
    round_trip!("text", String, "", "x", "it's \u{e4} \u{1f600}", "12", "007");
    round_trip!("bytea", Vec<u8>, [], [0, 255, 92]);
    let row = client
        .query_one(
            "select 1, 3000000000, $1::int2, $2::int4 + 1, $3::real, $4 || 'b'",
            &[&7i16, &8i32, &1.5f32, &"a"],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    assert_eq!(row.get::<_, i64>(1), 3_000_000_000);
    assert_eq!(row.get::<_, i16>(2), 7);
    assert_eq!(row.get::<_, i32>(3), 9);
    assert_eq!(row.get::<_, f32>(4), 1.5);
    assert_eq!(row.get::<_, &str>(5), "ab");
    let names: Vec<_> = ["date", "timestamp", "timestamptz", "numeric"]
        .map(|kind| format!("$1::text::{kind}"))
        .into_iter()
        .collect();
    for (select, ty) in
        names.iter().zip([Type::DATE, Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::NUMERIC])
    {
        let statement = client.prepare(&format!("select {select}")).await.unwrap();
        assert_eq!((statement.params(), statement.columns()[0].type_()), (&[Type::TEXT][..], &ty));
    }
    refused(
        client.query_one("select $1::text::int4", &[&"x"]).await,
        &SqlState::INVALID_TEXT_REPRESENTATION,
    );
    refused(
        client.query_one("select $1::text::date", &[&"x"]).await,
        &SqlState::INVALID_DATETIME_FORMAT,
    );
    assert!(
        client.query_one("select $1::int4", &[&"x"]).await.is_err(),
        "the driver knows the type"
    );
}

async fn transactions(address: SocketAddr) {
    let mut client = connect(address).await;
    client.batch_execute("create table crates (id bigint primary key)").await.unwrap();
    let insert = "insert into crates values ($1)";
    let transaction = client.transaction().await.unwrap();
    transaction.execute(insert, &[&1i64]).await.unwrap();
    // Dropped without a commit.
    drop(transaction);
    let mut transaction = client.transaction().await.unwrap();
    transaction.execute(insert, &[&1i64]).await.unwrap();
    let inner = transaction.savepoint("mine").await.unwrap();
    inner.execute(insert, &[&2i64]).await.unwrap();
    inner.rollback().await.unwrap();
    let inner = transaction.transaction().await.unwrap();
    refused(inner.execute(insert, &[&1i64]).await, &SqlState::UNIQUE_VIOLATION);
    inner.rollback().await.unwrap();
    let inner = transaction.transaction().await.unwrap();
    inner.execute(insert, &[&3i64]).await.unwrap();
    inner.commit().await.unwrap();
    transaction.commit().await.unwrap();
    let ids =
        |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>();
    let all = "select id from crates order by id";
    assert_eq!(ids(client.query(all, &[]).await.unwrap()), [1, 3]);
    let transaction = client.transaction().await.unwrap();
    refused(
        transaction.query("select missing from crates", &[]).await,
        &SqlState::UNDEFINED_COLUMN,
    );
    refused(transaction.query("select 1", &[]).await, &SqlState::IN_FAILED_SQL_TRANSACTION);
    transaction.rollback().await.unwrap();
    let builder = client.build_transaction().isolation_level(IsolationLevel::Serializable);
    let transaction = builder.read_only(true).start().await.unwrap();
    refused(transaction.execute(insert, &[&9i64]).await, &SqlState::READ_ONLY_SQL_TRANSACTION);
    transaction.rollback().await.unwrap();
    assert_eq!(ids(client.query(all, &[]).await.unwrap()), [1, 3]);
    client.batch_execute("drop table crates").await.unwrap();
}

async fn portals(address: SocketAddr) {
    let mut client = connect(address).await;
    let transaction = client.transaction().await.unwrap();
    let count = "with recursive c(x) as (select 1 union all select x + 1 from c where x < $1::int4) \
                 select x from c";
    let portal = transaction.bind(count, &[&20i32]).await.unwrap();
    let mut found = Vec::new();
    for (limit, expected) in [(5, 5), (10, 10), (100, 5), (100, 0)] {
        let rows = transaction.query_portal(&portal, limit).await.unwrap();
        assert_eq!(rows.len(), expected);
        found.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert_eq!(found, (1..=20).collect::<Vec<_>>());
    transaction.commit().await.unwrap();
    // The rows come while they are read.
    let rows = client.query_raw(count, [&100i32]).await.unwrap();
    pin_mut!(rows);
    let mut sum = 0;
    while let Some(row) = rows.try_next().await.unwrap() {
        sum += row.get::<_, i32>(0);
    }
    assert_eq!(sum, 5050);
}

async fn copying(address: SocketAddr) {
    let client = connect(address).await;
    client.batch_execute("create table packed (a bigint, b text)").await.unwrap();
    let sink = client.copy_in::<_, bytes::Bytes>("copy packed from stdin").await.unwrap();
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(format!("{n}\tn{n}\n").into()).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let sink = client.copy_in::<_, bytes::Bytes>("copy packed (b, a) from stdin").await.unwrap();
    pin_mut!(sink);
    sink.send("x\tnot a number\textra\n".into()).await.unwrap();
    assert!(sink.finish().await.is_err());
    // One that is given up leaves nothing.
    {
        let sink = client.copy_in::<_, bytes::Bytes>("copy packed from stdin").await.unwrap();
        pin_mut!(sink);
        sink.send("1\tx\n".into()).await.unwrap();
    }
    let row = client.query_one("select count(*), max(b) from packed", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (1000, "n999"));
    client.batch_execute("drop table packed").await.unwrap();
    // After such an error this driver takes no more answers on the connection.
    let client = connect(address).await;
    let copy = client.copy_in::<_, bytes::Bytes>("copy nowhere from stdin").await;
    refused(copy, &SqlState::UNDEFINED_TABLE);
}

async fn cancelled(address: SocketAddr) {
    let client = connect(address).await;
    let token = client.cancel_token();
    for sql in ["select pg_sleep(3600)", ENDLESS] {
        let query = client.query(sql, &[]);
        pin_mut!(query);
        // A cancel that comes before the statement hits nothing, so it is sent again.
        let result = loop {
            match tokio::time::timeout(Duration::from_millis(50), &mut query).await {
                Ok(result) => break result,
                Err(_) => token.cancel_query(NoTls).await.unwrap(),
            }
        };
        refused(result, &SqlState::QUERY_CANCELED);
        while let Err(error) = client.query_one("select 1", &[]).await {
            // One that was still on its way.
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
        }
    }
}

async fn timeouts(address: SocketAddr) {
    let client = connect_with(address, "-c statement_timeout=200ms").await.unwrap();
    for sql in ["select pg_sleep(3600)", ENDLESS] {
        refused(client.query(sql, &[]).await, &SqlState::QUERY_CANCELED);
    }
    // On a busy machine the limit may end a short statement too.
    while let Err(error) = client.batch_execute("set statement_timeout = 0").await {
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    }
    let row = client.query_one("show statement_timeout", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "0");
    client.batch_execute("reset statement_timeout").await.unwrap();
    let row = loop {
        match client.query_one("show statement_timeout", &[]).await {
            Ok(row) => break row,
            Err(error) => assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}"),
        }
    };
    assert_eq!(row.get::<_, &str>(0), "200ms");
    let wrong = connect_with(address, "-c nonsense=1").await;
    assert_eq!(
        wrong.err().and_then(|error| error.code().cloned()),
        Some(SqlState::UNDEFINED_OBJECT)
    );
}
