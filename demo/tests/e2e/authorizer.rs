//! What SQLite does for no client: the file stays readable, and no other file is reached.

use crate::support::{MODELS, Server, Wire};

/// What is refused to all, with the SQLSTATE.
const NEVER: &[(&str, &str)] = &[
    ("pragma writable_schema = 1", "42501"),
    ("PRAGMA main.writable_schema(on)", "42501"),
    ("pragma journal_mode = delete", "42501"),
    ("pragma journal_mode = off", "42501"),
    ("pragma page_size = 512", "42501"),
    ("pragma locking_mode = exclusive", "42501"),
    ("pragma mmap_size = 1000000000000", "42501"),
    ("pragma temp_store_directory = '/'", "42501"),
    ("pragma hard_heap_limit = 1", "42501"),
    ("pragma soft_heap_limit = 1", "42501"),
    ("pragma wal_autocheckpoint = 0", "42501"),
    ("pragma busy_timeout = 1", "42501"),
    ("pragma schema_version = 7", "42501"),
    ("pragma synchronous = off", "42501"),
    ("pragma synchronous = 256", "42501"),
    ("pragma trusted_schema = on", "42501"),
    ("pragma case_sensitive_like = on", "42501"),
    ("pragma encoding = 'UTF-16'", "42501"),
    ("pragma max_page_count = 1", "42501"),
    ("pragma no_such_pragma = 1", "42501"),
    ("update sqlite_master set sql = 'x'", "42501"),
    ("delete from sqlite_schema", "42501"),
    ("insert into sqlite_master values ('table', 't', 't', 2, 'x')", "42501"),
    ("drop table sqlite_master", "42000"),
    ("attach '/tmp/never.sqlite' as other", "42501"),
    ("attach '' as other", "42501"),
    ("attach ':memory:' as other", "42501"),
    ("detach pg_catalog", "42501"),
    ("vacuum into '/tmp/never.sqlite'", "42501"),
    ("vacuum main into 'file:never?mode=memory'", "42501"),
    ("select load_extension('/tmp/never')", "42501"),
    ("select readfile('/etc/passwd')", "42883"),
    ("select writefile('/tmp/never', 'x')", "42883"),
    ("select fts3_tokenizer('simple')", "42501"),
    ("select sqlite_log(1, 'x')", "42501"),
    ("create virtual table v using fts3tokenize", "42501"),
    ("create virtual table v using dbstat", "42501"),
    ("create virtual table v using csv('/etc/passwd')", "42501"),
    ("create table pg_stat_activity (a integer)", "42939"),
    ("create view Pragma_table_xinfo as select 1", "42939"),
    ("create table json_each (a integer)", "42939"),
    ("alter table kept rename to threadpool_status", "42939"),
    ("create table pg_catalog.t (a integer)", "42501"),
    ("create table t (a references sqlite_stat1 on delete cascade)", "42501"),
    ("drop view pg_catalog.pg_stat_activity", "42501"),
    ("insert into pg_stat_activity (pid) values (1)", "42501"),
    ("select zeroblob(1000000000)", "54000"),
    ("select randomblob(1000000000)", "54000"),
    ("select printf('%1000000000s', 'x')", "54000"),
    ("select printf('%*c', 1000000000, 'x')", "54000"),
];

/// What is refused to users, and not to administrators.
const ADMINS: &[&str] = &[
    "pragma wal_checkpoint(truncate)",
    "pragma foreign_keys = off",
    "pragma cache_size = 100",
    "pragma database_list",
    "select count(*) from dbstat",
];

/// What any user may do.
const ALLOWED: &[&str] = &[
    "pragma table_info(kept)",
    "select name from pragma_table_info('kept')",
    "pragma integrity_check",
    "pragma journal_mode",
    "pragma user_version = 7",
    "pragma synchronous = full",
    "vacuum",
    "analyze",
    "reindex",
    "alter table kept rename to kept2",
    "alter table kept2 add column c text default 'c'",
    "alter table kept2 rename column c to d",
    "alter table kept2 drop column d",
    "alter table kept2 rename to kept",
    "create virtual table words using fts5(a)",
    "insert into words values ('one two')",
    "select highlight(words, 0, '<', '>') from words where words match 'two'",
    "drop table words",
    "create view seen as select version(), pg_backend_pid(), current_setting('lock_timeout')",
    "select * from seen",
    "drop view seen",
    "create table pgbench_x (a integer)",
    "drop table pgbench_x",
    "select json_extract('{\"a\": 1}', '$.a')",
];

#[track_caller]
fn refused(client: &mut Wire, sql: &str, code: &str) {
    let answer = client.query(sql);
    let error = answer.errors.first().unwrap_or_else(|| panic!("{sql}: {answer:?}"));
    assert_eq!(error.code(), code, "{sql}: {error:?}");
}

#[test]
fn what_endangers_the_file_is_refused_to_all() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let (mut admin, mut user) = (server.admin(), server.user("ann"));
        user.ok("create table kept (a integer)");
        for (sql, code) in NEVER {
            refused(&mut user, sql, code);
            refused(&mut admin, sql, code);
            user.parse("", sql, &[]);
            user.sync();
            let parsed = user.finish();
            let late = parsed.errors.is_empty();
            assert!(late || parsed.error().code() == *code, "{sql}: {parsed:?}");
        }
        for sql in ADMINS {
            // The administrator comes first: its compiled statement must not serve the user.
            admin.ok(sql);
            refused(&mut user, sql, "42501");
        }
        for sql in ALLOWED {
            user.ok(sql);
        }
    }
}

/// Triggers and views run with the rights of the one who uses their table.
#[test]
fn no_trap_acts_for_an_administrator() {
    let server = Server::start("on", &[]);
    let (mut admin, mut user) = (server.admin(), server.user("ann"));
    let mut victim = server.user("bob");
    let id = victim.session();
    user.ok("create table bait (a integer)");
    for call in [
        format!("pg_terminate_session(0, {id})"),
        format!("pg_cancel_session(0, {id})"),
        "pg_terminate_backend(1)".into(),
        "pg_cancel_backend(1)".into(),
        "set_config('lock_timeout', '1', false)".into(),
        "pg_sleep(1)".into(),
    ] {
        // SQLite refuses some of them when they are made, and the others when they are used.
        for (make, using) in [
            (format!("create view trap as select {call} as a"), "select * from trap"),
            (
                format!("create trigger trap after insert on bait begin select {call}; end"),
                "insert into bait values (1)",
            ),
            (
                format!("create table trap (a, b default ({call}))"),
                "insert into trap (a) values (1)",
            ),
        ] {
            if user.query(&make).errors.is_empty() {
                refused(&mut admin, using, "42501");
                let kind = make.split(' ').nth(1).unwrap_or_default();
                user.ok(&format!("drop {kind} trap"));
            }
        }
    }
    victim.ok("select 1");
}

/// SQLite compiles views and triggers within each other, on the stack of the thread.
#[test]
fn long_chains_end_with_an_error() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut user = server.user("ann");
    user.ok("begin; create table c0 (a integer primary key)");
    for at in 1..100 {
        let before = at - 1;
        user.ok(&format!(
            "create table c{at} (a integer primary key references c{before} on delete cascade); \
             create trigger t{before} after insert on c{before} \
             begin insert into c{at} values (1); end"
        ));
    }
    user.ok("commit");
    let deep = |open: &str, close: &str, count: usize| {
        format!("select {}1{}", open.repeat(count), close.repeat(count))
    };
    let chain: String =
        (1..3000).map(|n| format!(", a{n} as (select * from a{})", n - 1)).collect();
    for sql in [
        "insert into c0 values (1)".into(),
        "delete from c0".into(),
        deep("(", ")", 400_000),
        deep("not ", "", 200_000),
        deep("(select ", ")", 90_000),
        deep("case when 1 then ", " end", 20_000),
        format!("select 1{}", "+1".repeat(400_000)),
        format!("select * from {}(select 1){}", "(select * from ".repeat(900), ")".repeat(900)),
        format!("with a0 as (select 1) {chain} select * from a2999"),
    ] {
        refused(&mut user, &sql, "54001");
    }
    server.user("bob").ok("select count(*) from c0");
}
