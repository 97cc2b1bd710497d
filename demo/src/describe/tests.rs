use rusqlite::functions::FunctionFlags;

use super::*;

fn db() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, x REAL, s TEXT, b BOOL, d BLOB, u,
             g INT AS (n * 2), y DOUBLE);
         CREATE INDEX t_y_n ON t(y, n);
         CREATE TABLE w(a TEXT, k INT, v REAL, PRIMARY KEY (v, k)) WITHOUT ROWID;
         CREATE TEMP TABLE tt(a INT, b REAL);
         CREATE TABLE logged(a INT, b REAL);
         CREATE TRIGGER log AFTER INSERT ON logged BEGIN
             INSERT INTO tt2 SELECT 'x' || k, 'y' || new.b, 'z' FROM w; END;
         CREATE TABLE tt2(a, b, c);
         CREATE VIEW view AS SELECT n + 1 AS p, s FROM t;",
    )
    .unwrap();
    db
}

fn columns(
    db: &Connection,
    sql: &str,
    functions: &dyn Fn(&str) -> Option<PgType>,
) -> rusqlite::Result<Vec<Column>> {
    columns_of(db, &db.prepare(sql)?, sql, functions, &Known::default())
}

fn types_in(db: &Connection, sql: &str) -> String {
    let own = |name: &str| (name == "own").then_some(PgType::Int4);
    columns(db, sql, &own)
        .unwrap_or_else(|e| panic!("{sql}: {e}"))
        .iter()
        .map(|c| match c.ty {
            PgType::Int8 => 'i',
            PgType::Int4 => '4',
            PgType::Float8 => 'f',
            PgType::Text => 't',
            PgType::Bool => 'b',
            PgType::Bytea => 'x',
            _ => '?',
        })
        .collect()
}

#[test]
fn types_of_results() {
    let db = db();
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("select * from t", "iiftbxtif"),
        ("select 1, 1.5, 'a', x'00', null, 9223372036854775807", "iftxti"),
        ("select n + 1, n * x, -n, x / 2, n % 2, n & 1, ~n from t", "ififiii"),
        ("select s + 1, u + 1, $1 + 1, $2::int8 + 1 from t", "ttti"),
        (
            "select n = 1, n > 1 and x < 2, not b, s is null, n in (1, 2), s like 'a%' from t",
            "iiiiii",
        ),
        ("select s || n, upper(s), substr(s, 1), hex(d), length(s) from t", "tttti"),
        (
            "select count(*), count(n), sum(n), sum(x), avg(n), total(n), max(s), min(n) from t",
            "iiifffti",
        ),
        ("select count(*) from t", "i"),
        ("select max(n) from t", "i"),
        ("select sum(u) from t", "t"),
        ("select b, count(*) from t group by b order by 2", "bi"),
        ("select n + 1, upper(s) from t order by x + 1 desc", "it"),
        ("select distinct n + 1 from t", "i"),
        (
            "select case when n then 1 else 'a' end, case n when 1 then 2 when 2 then 3.5 end from t",
            "tf",
        ),
        (
            "select case when n then n end, coalesce(n, 0), coalesce(s, n), ifnull(x, 1) from t",
            "iitf",
        ),
        ("select iif(b, 1, 2), nullif(n, 1), abs(x), abs(n), round(n), random() from t", "iififi"),
        ("select cast(s as int), cast(n as text), cast(n as real), cast(s as blob) from t", "itfx"),
        ("select y + 0, n + 0 from t indexed by t_y_n where y > 1", "fi"),
        ("select v + 1, k + 1, a || '' from w", "fit"),
        ("select g + 1, y + 1 from t", "if"),
        ("select (select n + 1 from t), exists (select 1 from t)", "ii"),
        ("select a + 1, b + 1 from tt", "if"),
        ("select x'ff', x'ff' || 'a', 1", "xti"),
        ("select t.n + 1, r.x + 1 from t left join t r on r.id = t.n", "if"),
        ("insert into logged values (1, 2) returning a + 1, b + 1, 7, 'c'", "ifit"),
        ("delete from logged returning b + 1", "f"),
        ("update logged set a = a + 1 returning a * b, a + 1", "fi"),
        ("select p, p + 1, s from view", "iit"),
        ("select q + 1 from (select n + 1 as q from t limit 5)", "i"),
        (
            "with recursive c(i) as (select 1 union all select i + 1 from c where i < 5) select i from c",
            "i",
        ),
        ("select 1 union all select 2", "i"),
        ("select 1 union select 2.5", "f"),
        ("select 1 union all select 'a'", "t"),
        ("values (1, 'a'), (2, 'b')", "it"),
        ("select row_number() over (order by n), sum(n) over (order by id) from t", "ii"),
        ("select rowid + 1, rowid from t", "ii"),
        ("select own(), own() + 1, $1::int + 1, $2::real * 2", "4iif"),
        ("select sum(b), abs(b), max(own(), 1.5) from t", "iit"),
        ("select lag(n) over (order by id), lag(n, 1, 'x') over (order by id) from t", "it"),
        ("insert into t(n) values (1) returning n, n + 1, upper(s)", "iit"),
        ("insert into t(n) values (1)", ""),
        ("create table z(a)", ""),
        ("explain select 1", "itiiitit"),
        ("explain query plan select 1", "iiit"),
        ("pragma user_version", "t"),
        ("/* c */ select 1 -- d", "i"),
        ("select current_timestamp, date('now'), typeof(1)", "ttt"),
    ] {
        db.create_scalar_function("own", 0, FunctionFlags::default(), |_| Ok(1)).unwrap();
        let found = types_in(&db, sql);
        if found != expected {
            wrong.push(format!("{sql}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_and_errors() {
    let db = db();
    let found = columns(&db, "select n as \"N n\", 1+1 from t", &|_| None).unwrap();
    assert_eq!(found[0].name, "N n");
    assert_eq!(found[1].name, "1+1");
    assert!(columns(&db, "select nope from t", &|_| None).is_err());
    let rows: i64 = db.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
    columns(&db, "insert into t(n) values (1) returning n + 1", &|_| None).unwrap();
    let after: i64 = db.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, after, "describing executes nothing");
}

#[test]
fn long_statements_take_no_long_time() {
    let db = db();
    let terms: Vec<_> = (0..900).map(|i| format!("n = {i}")).collect();
    let sql = format!("select n + 1 from t where {}", terms.join(" or "));
    assert_eq!(types_in(&db, &sql), "i");
    let cases: String = (0..2_000).map(|i| format!(" when {i} then {i}")).collect();
    let begun = std::time::Instant::now();
    let sql = format!("select case n {cases} end from t");
    assert_eq!(types_in(&db, &sql), "i");
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn parameters_go_by_their_numbers() {
    let db = db();
    let of = |sql: &str| parameters(&db.prepare(sql).unwrap()).map_err(|e| e.sqlstate);
    let p = of("select $2, $1, $2 from t where n = $2::int8 and s = $4").unwrap();
    assert_eq!(p.count(), 4);
    assert_eq!(p.oids(), [0, 20, 0, 0]);
    let bindings: Vec<_> = p.bindings().collect();
    assert_eq!(bindings, [(1, 2), (2, 1), (3, 2), (4, 4)]);
    assert_eq!(of("select $1::varchar(8)").unwrap().oids(), [25]);
    assert_eq!(of("select 1").unwrap(), Parameters::default());
    assert_eq!(of("select $65535").unwrap().count(), 65_535);
    for bad in [
        "select ?",
        "select ?1",
        "select :a",
        "select @a",
        "select $a",
        "select $0",
        "select $65536",
        "select $1(x)",
        "select $1::",
        "select $99999999999999999999",
    ] {
        assert_eq!(of(bad), Err("42P02"), "{bad}");
    }
}
