use rusqlite::functions::FunctionFlags;
use std::time::Duration;

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
         CREATE TABLE checked(a INT CHECK (a > 0), b TEXT CHECK (length(b) < 5));
         CREATE VIEW view AS SELECT n + 1 AS p, s FROM t;",
    )
    .unwrap();
    db.create_scalar_function("own", 0, FunctionFlags::default(), |_| Ok(1)).unwrap();
    for (kind, _) in compat::CASTS {
        let name = format!("{}{kind}", compat::CAST);
        db.create_scalar_function(name.as_str(), 1, FunctionFlags::default(), |_| Ok(1)).unwrap();
    }
    db
}

/// Returns the columns of a statement, and the types of its parameters.
fn described(
    db: &Connection,
    sql: &str,
    declared: &[u32],
) -> rusqlite::Result<(Vec<Column>, Vec<u32>)> {
    let types = |name: &str| {
        let kind = name.strip_prefix(compat::CAST);
        let cast = compat::CASTS.iter().find(|(name, _)| Some(*name) == kind).map(|(_, ty)| *ty);
        if name == "own" { Some(PgType::Int4) } else { cast }
    };
    let sql = compat::translate(sql).unwrap();
    let stmt = db.prepare(&sql)?;
    let mut declared = declared.to_vec();
    let parameters = parameters(&stmt).unwrap();
    declared.resize(parameters.count(), 0);
    describe(db, &stmt, &sql, &types, &Known::default(), &parameters, &declared)
}

fn letter(ty: PgType) -> char {
    match ty {
        PgType::Int8 => 'i',
        PgType::Int4 => '4',
        PgType::Int2 => '2',
        PgType::Float8 => 'f',
        PgType::Float4 => 'r',
        PgType::Text => 't',
        PgType::Bool => 'b',
        PgType::Bytea => 'x',
        PgType::Numeric => 'n',
        PgType::Date => 'd',
        PgType::Unknown => '-',
        _ => '?',
    }
}

fn types_in(db: &Connection, sql: &str) -> String {
    let (columns, _) = described(db, sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}"));
    columns.iter().map(|column| letter(column.ty)).collect()
}

#[test]
fn types_of_results() {
    let db = db();
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("select * from t", "iiftbxtif"),
        ("select 1, 1.5, 'a', x'00', null, 9223372036854775807", "4ftxti"),
        ("select n + 1, n * x, -n, x / 2, n % 2, n & 1, ~n from t", "ififiii"),
        ("select s + 1, u + 1, $1 + 1, $2::int8 + 1 from t", "tt4i"),
        (
            "select n = 1, n > 1 and x < 2, not b, s is null, n in (1, 2), s like 'a%' from t",
            "iii44i",
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
        ("select iif(b, 1, 2), nullif(n, 1), abs(x), abs(n), round(n), random() from t", "4ififi"),
        ("select cast(s as int), cast(n as text), cast(n as real), cast(s as blob) from t", "4trx"),
        ("select y + 0, n + 0 from t indexed by t_y_n where y > 1", "fi"),
        ("select v + 1, k + 1, a || '' from w", "fit"),
        ("select g + 1, y + 1 from t", "if"),
        ("select (select n + 1 from t), exists (select 1 from t)", "i4"),
        ("select a + 1, b + 1 from tt", "if"),
        ("select x'ff', x'ff' || 'a', 1", "xt4"),
        ("select t.n + 1, r.x + 1 from t left join t r on r.id = t.n", "if"),
        ("insert into logged values (1, 2) returning a + 1, b + 1, 7, 'c'", "if4t"),
        ("delete from logged returning b + 1", "f"),
        ("update logged set a = a + 1 returning a * b, a + 1", "fi"),
        ("select p, p + 1, s from view", "iit"),
        ("select q + 1 from (select n + 1 as q from t limit 5)", "i"),
        (
            "with recursive c(i) as (select 1 union all select i + 1 from c where i < 5) select i from c",
            "4",
        ),
        ("select 1 union all select 2", "4"),
        ("select 1 union select 2.5", "f"),
        ("select 1 union all select 'a'", "t"),
        ("values (1, 'a'), (2, 'b')", "4t"),
        ("select row_number() over (order by n), sum(n) over (order by id) from t", "ii"),
        ("select rowid + 1, rowid from t", "ii"),
        ("select own(), own() + 1, $1::int + 1, $2::real * 2", "444f"),
        ("select sum(b), abs(b), max(own(), 1.5) from t", "iit"),
        ("select lag(n) over (order by id), lag(n, 1, 'x') over (order by id) from t", "it"),
        ("insert into t(n) values (1) returning n, n + 1, upper(s)", "iit"),
        ("insert into t(n) values (1)", ""),
        ("create table z(a)", ""),
        ("explain select 1", "itiiitit"),
        ("explain query plan select 1", "iiit"),
        ("pragma user_version", "t"),
        ("/* c */ select 1 -- d", "4"),
        ("select current_timestamp, date('now'), typeof(1)", "ttt"),
    ] {
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
    let (found, _) = described(&db, "select n as \"N n\", 1+1, n::text from t", &[]).unwrap();
    assert_eq!(found[0].name, "N n");
    assert_eq!(found[1].name, "1+1");
    assert_eq!(found[2].name, "n");
    assert!(described(&db, "select nope from t", &[]).is_err());
    let rows: i64 = db.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
    described(&db, "insert into t(n) values (1) returning n + 1", &[]).unwrap();
    let after: i64 = db.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, after, "describing executes nothing");
}

/// The time that the calling thread has been on a processor. Other programs do not count.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn long_statements_take_no_long_time() {
    let db = db();
    let terms: Vec<_> = (0..900).map(|i| format!("n = {i}")).collect();
    let sql = format!("select n + 1 from t where {}", terms.join(" or "));
    assert_eq!(types_in(&db, &sql), "i");
    let cases: String = (0..2_000).map(|i| format!(" when {i} then {i}")).collect();
    let begun = busy();
    let sql = format!("select case n {cases} end from t");
    assert_eq!(types_in(&db, &sql), "4");
    assert!(busy() - begun < Duration::from_secs(5));
}

/// The types of parameters, and of results; `-` is none. PostgreSQL 15 returns the same, except for
/// the sizes of integers, since every integer column has 64 bits here.
#[test]
fn types_of_parameters() {
    const INT4: u32 = 23;
    const NUMERIC: u32 = 1700;
    let db = db();
    let mut wrong = Vec::new();
    for (sql, declared, parameters, results) in [
        ("insert into t(n, x, s, b, d) values ($1, $2, $3, $4, $5)", &[][..], "iftbx", ""),
        ("insert into t values ($1, $2, $3, $4, $5, $6, $7, $8)", &[], "iiftbx-f", ""),
        ("insert into checked values ($1, $2)", &[], "it", ""),
        ("insert into t(s, n) values ($1, $2), ($4, $3), ($5, 7)", &[], "tiitt", ""),
        ("insert into t(n, s) select n + $1, $2 from t where x < $3", &[], "itf", ""),
        ("insert into t(n, s) select $1, s from tt, t order by $2 || s", &[], "it", ""),
        (
            "insert into t(id, s) values ($1, $2) on conflict (id) do update set s = $3",
            &[],
            "itt",
            "",
        ),
        ("insert into w values ($1, $2, $3)", &[], "tif", ""),
        ("insert into tt values ($1, $2) returning a + $3", &[], "ifi", "i"),
        ("update t set n = $1, s = $2 where id = $3", &[], "iti", ""),
        ("update w set v = $1, a = $2 where k = $3 and v = $4", &[], "ftif", ""),
        ("delete from t where b = $1 and d = $2", &[], "bx", ""),
        ("select n from t where y = $1 and n > $2", &[], "fi", "i"),
        ("select n from t where y = $1 and n between $2 and $3", &[], "fii", "i"),
        ("select n from t where id between $1 and $2 or s like $3", &[], "iit", "i"),
        ("select n from t where s in ($1, $2, $3, $4)", &[], "tttt", "i"),
        ("select n from t where n in ($1, $2)", &[], "ii", "i"),
        ("select n from t where $1 = s limit $2 offset $3", &[], "tii", "i"),
        ("select n from t where s = (select max(a) from w where k = $1)", &[], "i", "i"),
        ("select p from view where s = $1 and p = $2", &[], "ti", "i"),
        ("select q from (select n as q, s from t) where s = $1", &[], "t", "i"),
        ("select t.n from t join w on w.k = t.n and w.a = $1", &[], "t", "i"),
        ("with r(i) as (select n from t where s = $1) select i + $2 from r", &[], "ti", "i"),
        ("select $1", &[], "-", "t"),
        ("select $1", &[INT4], "4", "4"),
        ("select $1, $2 + $1", &[INT4, NUMERIC], "4n", "4n"),
        ("select $1 + 1, 1.5 * $2, $3 || 'a'", &[], "4ft", "4ft"),
        ("select $1 + 1", &[21], "2", "4"),
        ("select $1::int, $2::text, $3::numeric", &[], "4tn", "4tn"),
        ("select $1::text", &[INT4], "4", "t"),
        ("select coalesce($1, 5), coalesce($2, $3, s) from t", &[], "4tt", "4t"),
        ("select case when n = $1 then $2 else x end from t", &[], "if", "f"),
        ("select case when $1 = 'a' then $2 else 1 end", &[], "t4", "4"),
        ("select upper($1), length($2), nullif($3, 1.5)", &[], "ttf", "tif"),
        ("select cast($1 as date), cast($2 as bool)", &[], "db", "db"),
        ("select $1 = $2", &[INT4], "44", "i"),
        ("select $2", &[], "--", "t"),
        ("explain select $1", &[INT4], "4", "itiiitit"),
    ] {
        let (columns, oids) = described(&db, sql, declared).unwrap();
        let found: String = oids.iter().map(|oid| letter(PgType::from_oid(*oid))).collect();
        let types: String = columns.iter().map(|column| letter(column.ty)).collect();
        if (found.as_str(), types.as_str()) != (parameters, results) {
            wrong.push(format!("{sql}: {found} {types}, not {parameters} {results}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn many_parameters_take_no_long_time() {
    let db = db();
    let list =
        |from: usize, to: usize| (from..to).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let begun = busy();
    let sql = format!("select n from t where s in ({})", list(1, 5_001));
    let (_, oids) = described(&db, &sql, &[]).unwrap();
    assert!(oids.len() == 5_000 && oids.iter().all(|oid| *oid == 25));
    let rows: Vec<_> =
        (0..1_000).map(|row| format!("({})", list(row * 4 + 1, row * 4 + 5))).collect();
    let sql = format!("insert into t(n, s, x, b) values {}", rows.join(", "));
    let (_, oids) = described(&db, &sql, &[]).unwrap();
    assert!(oids.chunks(4).all(|row| row == [20, 25, 701, 16]), "{:?}", &oids[3_990..]);
    let cases: String = (1..2_000).map(|n| format!(" when ${n} then ${}", n + 2_000)).collect();
    let (_, oids) =
        described(&db, &format!("select case n {cases} else s end from t"), &[]).unwrap();
    assert_eq!((oids[0], oids[1_998], oids[2_000], oids[3_998]), (20, 20, 25, 25));
    assert!(busy() - begun < Duration::from_secs(20), "{:?}", busy() - begun);
}

#[test]
fn parameters_go_by_their_numbers() {
    let db = db();
    let of = |sql: &str| parameters(&db.prepare(sql).unwrap()).map_err(|e| e.sqlstate);
    let p = of("select $2, $1, $2 from t where n = $2 and s = $4").unwrap();
    assert_eq!(p.count(), 4);
    let bindings: Vec<_> = p.bindings().collect();
    assert_eq!(bindings, [(1, 2), (2, 1), (3, 4)]);
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
        "select $1::int",
        "select $99999999999999999999",
    ] {
        assert_eq!(of(bad), Err("42P02"), "{bad}");
    }
}
