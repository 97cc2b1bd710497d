//! Statements that mean harm, at random from a grammar. After each round a new client is served, the
//! file is intact, and no other file has appeared. After some rounds a server starts on the file.
//!
//! `AUTHORIZER_ROUNDS=3000` plays so many rounds, and `SOAK_SEED` chooses them.

use crate::support::{MODELS, Server, Wire};
use rusqlite::{Connection, OpenFlags};
use std::env;
use std::path::Path;

const STATEMENTS: u64 = 12;

/// The number of rounds after which the server is killed, and another one starts on the file.
const RESTART: u64 = 10;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn of(&mut self, list: &'static str) -> &'static str {
        let words: Vec<_> = list.split('|').map(str::trim).collect();
        words[self.below(words.len() as u64) as usize]
    }

    fn table(&mut self) -> &'static str {
        self.of("t1 | t2 | t1 | t2 | v1 | v2 | words | box | words_data | words_config | box_node \
                 | sqlite_master | sqlite_schema | main.sqlite_master | temp.sqlite_master \
                 | sqlite_temp_schema | sqlite_sequence | sqlite_stat1 | sqlite_stat4 | temp.t1 \
                 | pg_stat_activity | pg_catalog.pg_stat_activity | pg_catalog.sqlite_master \
                 | dbstat | pragma_table_info | json_each | sqlite_dbpage | \"t 3\" | 't1' | [t2]")
    }

    fn new_name(&mut self) -> &'static str {
        self.of("t1 | t2 | v1 | v2 | t1 | t2 | v1 | v2 | pg_stat_activity | pragma_table_xinfo \
                 | json_each | dbstat | sqlite_x | \"t 3\" | temp.t1 | main.t2 | pg_catalog.t1 \
                 | pragma_index_list | threadpool_status | \"\" | 'pg_x' | \"a\"\"b\" | pg_class")
    }

    fn expression(&mut self) -> String {
        let value = self.value();
        match self.below(30) {
            0 => format!("randomblob({value})"),
            1 => format!("zeroblob({value})"),
            2 => format!("printf('%*c', {value}, 'x')"),
            3 => format!("printf('%.{value}f', 1.0)"),
            4 => format!("hex(zeroblob({value}))"),
            5 => format!("replace(hex(zeroblob(20000)), '0', {value})"),
            6 => format!("load_extension({value})"),
            7 => format!("fts3_tokenizer('simple', {value})"),
            8 => format!("readfile({value})"),
            9 => format!("writefile('never', {value})"),
            10 => format!("a like '%{}'", "_%".repeat(self.below(300) as usize)),
            11 => format!("{}1{}", "(".repeat(200), ")".repeat(200)),
            12 => format!("json('{}')", "[".repeat(self.below(3000) as usize)),
            13 => format!("set_config('lock_timeout', {value}, false)"),
            14 => "pg_terminate_backend(1)".into(),
            15 => "pg_terminate_session(0, pg_current_sessid() + 1)".into(),
            16 => format!("sqlite_log(1, {value})"),
            17 => "rtreecheck('main', 'box')".into(),
            18 => format!("rtreenode(2, {value})"),
            19 => "matchinfo(words, 'pcxnal')".into(),
            20 => format!("substr({value}, -9223372036854775808, 9223372036854775807)"),
            21 => format!("char({value})"),
            22 => format!("strftime('%Y-%s', {value}, '+9999999 years')"),
            23 => format!("(select count(*) from {})", self.table()),
            24 => format!("sqlite_rename_table('main', 't', 't', {value}, 'a', 'b', 0)"),
            25 => format!("current_setting({value})"),
            _ => value,
        }
    }

    fn value(&mut self) -> String {
        self.of("0 | 1 | -1 | on | off | 'on' | 1000000000 | 9223372036854775807 | 2147483647 \
                 | 'x' | x'00ff' | null | delete | wal | memory | exclusive | 512 | 65536 | '/' \
                 | 'UTF-16' | full | (1) | 4294967296 | 1e308 | t1 | 'never' | '/tmp/never' | 256")
            .into()
    }

    fn pragma(&mut self) -> String {
        let schema = self.of(" | | main. | temp. | pg_catalog.");
        let name = self.of(
            "writable_schema | journal_mode | page_size | locking_mode | mmap_size | auto_vacuum \
             | temp_store_directory | data_store_directory | hard_heap_limit | soft_heap_limit \
             | wal_autocheckpoint | wal_checkpoint | schema_version | user_version | encoding \
             | synchronous | trusted_schema | case_sensitive_like | max_page_count | cache_size \
             | journal_size_limit | secure_delete | legacy_alter_table | legacy_file_format \
             | foreign_keys | defer_foreign_keys | ignore_check_constraints | query_only \
             | recursive_triggers | temp_store | threads | optimize | incremental_vacuum \
             | integrity_check | quick_check | table_info | index_list | database_list | busy_timeout \
             | application_id | cell_size_check | checkpoint_fullfsync | default_cache_size \
             | full_column_names | short_column_names | count_changes | empty_result_callbacks \
             | read_uncommitted | reverse_unordered_selects | shrink_memory | analysis_limit \
             | automatic_index | cache_spill | data_version | freelist_count | page_count | nothing",
        );
        let value = self.value();
        match self.below(4) {
            0 => format!("pragma {schema}{name}"),
            1 => format!("pragma {schema}{name}({value})"),
            2 => format!("select * from pragma_{name}({value})"),
            _ => format!("pragma {schema}{name} = {value}"),
        }
    }

    fn definition(&mut self) -> String {
        let (name, table, value) = (self.new_name(), self.table(), self.expression());
        let temp = self.of(" | | | temp");
        match self.below(14) {
            0 => format!("create {temp} table {name} (a, b default ({value}))"),
            1 => format!("create {temp} table {name} (a integer primary key autoincrement, b as ({value}))"),
            2 => format!("create table {name} (a check ({value}), b text collate nothing)"),
            3 => format!("create {temp} view {name} as select *, {value} from {table}"),
            4 => format!("create index i{} on {table} (a, ({value}))", self.below(3)),
            5 => format!(
                "create {temp} trigger r{} {} insert on {table} begin {}; end",
                self.below(3),
                self.of("after | before | instead of"),
                self.write()
            ),
            6 => format!("alter table {table} rename to {name}"),
            7 => format!("alter table {table} add column {name} text default {value}"),
            8 => format!("alter table {table} rename column a to {name}"),
            9 => format!("alter table {table} drop column {}", self.of("a | b | pg_x")),
            10 => format!(
                "create virtual table {name} using {}",
                self.of("fts5(a) | fts4(a) | fts3tokenize | dbstat | rtree(i, x, y) | csv('x') \
                         | fts5vocab(words, 'row') | fts5(a, content='sqlite_master') \
                         | fts4(content='sqlite_master', sql) | json_each | series")
            ),
            11 => format!(
                "drop {} if exists {}",
                self.of("table | view | index | trigger"),
                self.of("t1 | t2 | v1 | v2 | i1 | r1 | words | sqlite_master | sqlite_stat1 | words_data \
                         | pg_catalog.pg_stat_activity | temp.t1 | box")
            ),
            12 => format!("create table {name} as select {value} as a, 1 as b"),
            _ => format!("create table {name} (a references {table} on delete cascade, b)"),
        }
    }

    fn write(&mut self) -> String {
        let (table, value, other) = (self.table(), self.expression(), self.table());
        match self.below(12) {
            0 => format!("update {table} set a = {value}"),
            1 => format!("update {table} set sql = {value}, rootpage = 1"),
            2 => format!("delete from {table}"),
            3 => format!("insert into {table} values ('table', 't9', 't9', 2, {value})"),
            4 => format!("insert into {table} values (1, {value})"),
            5 => format!("insert or replace into {table} select * from {other}"),
            6 => format!("insert into words(words, rank) values ({}, {value})", self.of(
                "'rebuild' | 'optimize' | 'integrity-check' | 'pgsz' | 'automerge' | 'delete-all' | 'merge'")),
            7 => format!("insert into {table}(a) values ({value}) returning {}", self.expression()),
            8 => format!("replace into sqlite_stat1 values ('t1', null, {value})"),
            9 => format!("delete from {table} where a = {value}"),
            10 => format!("insert into box values (1, {value}, {value})"),
            _ => format!("select {value} from {table}, {other} limit 100"),
        }
    }

    fn statement(&mut self) -> String {
        let statement = match self.below(16) {
            0..=3 => self.pragma(),
            4..=6 => self.definition(),
            7..=9 => self.write(),
            10 => format!("select {}", self.expression()),
            11 => match self.below(4) {
                0 => format!(
                    "attach {} as {}",
                    self.value(),
                    self.of("x | main | temp | pg_catalog")
                ),
                1 => format!("detach {}", self.of("x | main | temp | pg_catalog | vacuum_db")),
                2 => {
                    format!("attach database '{}' as y", self.of("never | | :memory: | file:never"))
                }
                _ => "attach 'never' || '1' as z".into(),
            },
            12 => match self.below(4) {
                0 => "vacuum".into(),
                1 => format!("vacuum {} into {}", self.of(" | main | temp"), self.value()),
                2 => format!("vacuum {}", self.of("main | temp | pg_catalog | into 'never'")),
                _ => format!("vacuum into {}", self.expression()),
            },
            13 => self
                .of("begin | commit | rollback | savepoint a | rollback to a | release a \
                           | begin immediate | begin exclusive")
                .into(),
            14 => format!(
                "{} {}",
                self.of("analyze | reindex"),
                self.of(" | t1 | main | sqlite_master | pg_catalog | words | i1 | temp")
            ),
            _ => format!("{}; {}", self.write(), self.write()),
        };
        match self.below(12) {
            0 => format!("explain {statement}"),
            1 => format!("/* x */ {}", statement.to_uppercase()),
            2 => statement.replacen(' ', " /* */\n ", 1),
            _ => statement,
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn connect(server: &Server, user: &str) -> Wire {
    let options = "-c statement_timeout=5s -c lock_timeout=5s";
    Wire::connect_as(server.address, &[("user", user), ("options", options)])
}

/// Sends the statement, and returns whether the session goes on.
fn send(random: &mut Random, client: &mut Wire, sql: &str, context: &str) {
    let answer = if random.one_in(4) {
        client.parse("", sql, &[]);
        client.bind("", "", &[], &[]);
        client.execute("", 0);
        client.sync();
        client.finish()
    } else {
        client.query(sql)
    };
    for error in &answer.errors {
        // PostgreSQL's classes of what must not happen: an internal error, a file that is not intact.
        let bad = error.code().starts_with("XX") || error.code().starts_with("58");
        assert!(!bad && error.severity() == "ERROR", "{context}: {error:?}");
    }
    assert!(answer.status.is_some(), "{context}: {answer:?}");
}

fn check(server: &Server, file: &Path, context: &str) {
    let mut other = connect(server, "bob");
    other.ok("create table probe (a integer); insert into probe values (1)");
    assert_eq!(other.ok("select count(*) from probe").value(), "1", "{context}");
    other.ok("drop table probe");
    // The system view is not hidden, and can be described.
    let own = "select usename from pg_stat_activity where sessionid = pg_current_sessid() limit 1";
    assert_eq!(other.ok(own).value(), "bob", "{context}");

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let read = Connection::open_with_flags(file, flags).expect("the file opens");
    let mut check = read.prepare("pragma integrity_check").expect("the schema is readable");
    let lines: rusqlite::Result<Vec<String>> =
        check.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    let lines = lines.unwrap_or_else(|error| panic!("{context}: {error}"));
    // What an administrator did with constraints switched off is no damage of the file.
    let damage = |line: &&String| {
        *line != "ok"
            && !line.starts_with("CHECK constraint")
            && !line.starts_with("NULL value")
            // An index over another table's content has what its user puts in.
            && (!line.starts_with("malformed inverted index") || line.ends_with(" main.words"))
    };
    assert_eq!(lines.iter().find(damage), None, "{context}: {lines:?}");
    let folder = file.parent().expect("a folder");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(name.starts_with("file.sqlite"), "{context}: {name}");
    }
}

#[test]
fn no_statement_makes_the_file_unreadable() {
    let (rounds, seed) = (number("AUTHORIZER_ROUNDS", 20), number("SOAK_SEED", 1));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file.sqlite");
    let path = file.to_str().expect("text").to_string();
    let start = |at: u64| {
        let model = MODELS[(at / RESTART % 2) as usize];
        Server::start_in(folder.path(), model, &["--database", &path])
    };
    let mut server = start(0);
    let (mut refused, mut sent) = (0, 0);
    for at in 0..rounds {
        let mut random = Random((seed + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        let mut setup = connect(&server, "ann");
        for sql in [
            "create table if not exists t1 (a integer primary key, b text)",
            "create table if not exists t2 (a text, b text)",
            "create virtual table if not exists words using fts5(a)",
            "create virtual table if not exists box using rtree(id, x1, x2)",
            "insert into t1 (b) values ('x')",
        ] {
            setup.query(sql);
        }
        drop(setup);
        let user = if random.one_in(5) { "omm" } else { "ann" };
        let mut client = connect(&server, user);
        let mut said = format!("SOAK_SEED={} AUTHORIZER_ROUNDS=1, {user}", seed + at);
        for _ in 0..STATEMENTS {
            let sql = random.statement();
            let short: String = sql.chars().take(300).collect();
            said = format!("{said}\n  {short}");
            send(&mut random, &mut client, &sql, &said);
            sent += 1;
        }
        refused += client.query("select 1").errors.len();
        drop(client);
        check(&server, &file, &said);
        if at % RESTART == RESTART - 1 {
            drop(server);
            server = start(at + 1);
            check(&server, &file, &said);
        }
    }
    println!("{sent} statements, {refused} blocks left failed");
    drop(server);
    check(&start(0), &file, "the end");
}
