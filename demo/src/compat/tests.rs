use rusqlite::Connection;

use super::*;

fn statements(sql: &str) -> Vec<String> {
    match rewrite(sql) {
        Rewrite::Statements(statements) => statements,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn transactions() {
    let begin = |isolation, read_only| Control::Begin {
        modes: Modes { isolation, read_only },
        writer: false,
    };
    let writer = || Control::Begin { modes: Modes::default(), writer: true };
    let name = || "\"A b\"".to_owned();
    for (sql, expected) in [
        ("begin", begin(None, None)),
        ("begin deferred", begin(None, None)),
        ("begin work", begin(None, None)),
        (
            "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY",
            begin(Some("read committed"), Some(true)),
        ),
        ("START TRANSACTION READ WRITE", begin(None, Some(false))),
        ("start /* x */ transaction", begin(None, None)),
        (
            "begin transaction isolation level repeatable read not deferrable",
            begin(Some("repeatable read"), None),
        ),
        ("start transaction isolation level serializable", begin(Some("serializable"), None)),
        ("begin immediate", writer()),
        ("begin exclusive transaction", writer()),
        ("commit", Control::Commit { chain: false }),
        ("END", Control::Commit { chain: false }),
        ("end work and no chain", Control::Commit { chain: false }),
        ("commit and chain", Control::Commit { chain: true }),
        ("abort", Control::Rollback { chain: false }),
        ("rollback transaction", Control::Rollback { chain: false }),
        ("rollback and chain", Control::Rollback { chain: true }),
        ("rollback work to savepoint \"A b\"", Control::RollbackTo(name())),
        ("rollback to \"A b\"", Control::RollbackTo(name())),
        ("savepoint \"A b\"", Control::Savepoint(name())),
        ("release savepoint \"A b\"", Control::Release(name())),
        ("release \"A b\"", Control::Release(name())),
    ] {
        assert_eq!(rewrite(sql), Rewrite::Control(expected), "{sql}");
    }
    for same in ["begin transaction x", "commit prepared 'x'", "savepoint", "select 1", ""] {
        assert_eq!(rewrite(same), Rewrite::Same, "{same}");
    }
}

#[test]
fn tables() {
    for (sql, expected) in [
        (
            "drop table if exists a, \"B c\", main.d cascade",
            "DROP TABLE IF EXISTS a|DROP TABLE IF EXISTS \"B c\"|DROP TABLE IF EXISTS main.d",
        ),
        ("DROP VIEW v", "DROP VIEW v"),
        ("truncate table a, b", "DELETE FROM a|DELETE FROM b"),
        ("TRUNCATE only a", "DELETE FROM a"),
        ("truncate only", "DELETE FROM only"),
        (
            "create table t(a char(8), b int) with (fillfactor=100)",
            "CREATE table t(a char(8), b int)",
        ),
        (
            "create unlogged table if not exists t(a int) tablespace x",
            "CREATE table if not exists t(a int)",
        ),
        ("create table t with (fillfactor=10) as select 1", "CREATE table t as select 1"),
        (
            "alter table t add primary key (a, \"b\")",
            "CREATE UNIQUE INDEX IF NOT EXISTS t_pkey ON t(a, \"b\")",
        ),
        (
            "ALTER TABLE ONLY main.\"t x\" ADD PRIMARY KEY (a)",
            "CREATE UNIQUE INDEX IF NOT EXISTS main.\"t x_pkey\" ON \"t x\"(a)",
        ),
        (
            "alter table t add constraint k primary key (a)",
            "CREATE UNIQUE INDEX IF NOT EXISTS k ON t(a)",
        ),
        ("vacuum", "VACUUM"),
        ("vacuum analyze", "VACUUM|ANALYZE"),
        ("vacuum analyze t", "ANALYZE t"),
        ("vacuum (verbose, analyze) t (a, b), u", "ANALYZE t|ANALYZE u"),
        ("VACUUM t", "ANALYZE t"),
        ("analyze verbose t", "ANALYZE t"),
        ("analyze", "ANALYZE"),
    ] {
        assert_eq!(statements(sql).join("|"), expected, "{sql}");
    }
    for same in [
        "create table t(a int)",
        "create table t(a int) without rowid",
        "create table t as with x as (select 1) select * from x",
        "create index i on t(a)",
        "alter table t add b int",
        "alter table t rename to u",
        "vacuum into 'f'",
        "drop table a b",
        "drop table",
        "create table t(a",
    ] {
        assert_eq!(rewrite(same), Rewrite::Same, "{same}");
    }
    for sql in [
        "alter table t add constraint f foreign key (a) references u",
        "alter table t add unique (a)",
        "truncate t cascade",
    ] {
        assert!(matches!(rewrite(sql), Rewrite::Unsupported(_)), "{sql}");
    }
}

#[test]
fn copies() {
    let copy = |table, columns: &[&'static str]| Rewrite::Copy { table, columns: columns.to_vec() };
    for (sql, expected) in [
        ("copy t from stdin", copy("t", &[])),
        ("COPY \"T\" (a, \"b c\") FROM STDIN", copy("\"T\"", &["a", "\"b c\""])),
        ("copy main.t from stdin with (freeze on)", copy("main.t", &[])),
        ("copy t from stdin (format 'text', freeze)", copy("t", &[])),
        ("COPY t FROM stdin WITH DELIMITER AS '\t' NULL AS '\\N'", copy("t", &[])),
        ("COPY t FROM stdin WITH DELIMITER AS E'\\t' NULL AS E'\\\\N'", copy("t", &[])),
    ] {
        assert_eq!(rewrite(sql), expected, "{sql}");
    }
    for sql in [
        "copy t from stdin with binary",
        "copy t from stdin (format csv)",
        "copy t from stdin (delimiter ',')",
        "copy t from stdin delimiter ','",
        "copy t from stdin with null as ''",
        "copy t from stdin with null as",
        "copy t from 'file'",
        "copy t to stdout",
        "copy (select 1) to stdout",
        "copy t (a from stdin",
        "copy t",
        "copy",
    ] {
        match rewrite(sql) {
            Rewrite::Unsupported(e) => assert_eq!(e.sqlstate, "0A000", "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

/// The statements of `pgbench -i`, in order, as SQLite receives them.
#[test]
fn pgbench_initializes() {
    let db = Connection::open_in_memory().unwrap();
    let mut copied = Vec::new();
    for sql in [
        "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))",
        "create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)",
        "create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
        "create unlogged table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)",
        "begin",
        "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "insert into pgbench_branches(bid,bbalance) values(1,0)",
        "insert into pgbench_tellers(tid,bid,tbalance) values (1,1,0)",
        "copy pgbench_accounts from stdin with (freeze on)",
        "commit",
        "vacuum analyze pgbench_branches",
        "alter table pgbench_branches add primary key (bid)",
        "alter table pgbench_accounts add primary key (aid)",
        "vacuum pgbench_tellers",
        "truncate pgbench_history",
    ] {
        match rewrite(sql) {
            Rewrite::Same | Rewrite::Control(_) => db.execute_batch(sql).unwrap(),
            Rewrite::Statements(all) => all.iter().for_each(|s| db.execute_batch(s).unwrap()),
            Rewrite::Copy { table, .. } => copied.push(table.to_owned()),
            Rewrite::Unsupported(e) => panic!("{sql}: {e}"),
        }
    }
    assert_eq!(copied, ["pgbench_accounts"]);
    let indexes: i64 = db
        .query_row(
            "select count(*) from sqlite_schema where name like 'pgbench!_%!_pkey' escape '!'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(indexes, 2);
    db.execute("insert into pgbench_branches(bid) values (1)", [])
        .expect_err("the primary key is enforced");
}
