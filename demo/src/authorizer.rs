//! What a client may do with SQLite, beyond what PostgreSQL has tables for: a list of what is
//! harmless. All else is refused with SQLSTATE 42501, or 42939 for a reserved name.
//!
//! SQLite asks the authorizer when it compiles a statement, also for its own statements within
//! `VACUUM` and `ALTER TABLE`. Some things are for administrators only. What could make the file
//! unreadable, or reach another file, is refused to all.
//!
//! Two rules are not the authorizer's. SQLite itself refuses writes to its schema table while
//! `SQLITE_DBCONFIG_DEFENSIVE` is on. Functions in views and triggers must be marked as harmless
//! (see `functions.rs`), because they run with the rights of whoever reads the table.

use crate::functions::Left;
use crate::split::{Token, tokens};
use crate::wire::Fields;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};
use safepoint::current;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The schema of the system views.
const CATALOG: &str = "pg_catalog";

/// What any user may ask by a PRAGMA: without a value, or with the name of a table or index.
const READ_PRAGMAS: &[&str] = &[
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What any user may ask, and not set.
const SHOW_PRAGMAS: &[&str] = &[
    "auto_vacuum",
    "busy_timeout",
    "cache_size",
    "encoding",
    "foreign_keys",
    "ignore_check_constraints",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "max_page_count",
    "mmap_size",
    "page_size",
    "schema_version",
    "secure_delete",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
    "writable_schema",
];

/// What any user may set. It holds for the own session, or is data of the file, like a row.
const USER_PRAGMAS: &[&str] = &[
    "application_id",
    "automatic_index",
    "defer_foreign_keys",
    "optimize",
    "query_only",
    "recursive_triggers",
    "reverse_unordered_selects",
    "shrink_memory",
    "user_version",
];

/// What only an administrator may ask or set.
const ADMIN_PRAGMAS: &[&str] = &[
    "analysis_limit",
    "cache_size",
    "database_list",
    "foreign_keys",
    "ignore_check_constraints",
    "incremental_vacuum",
    "wal_checkpoint",
];

/// The values of `PRAGMA synchronous` with which the file survives a loss of power.
const SYNCHRONOUS: &[&str] = &["normal", "full", "extra", "1", "2", "3"];

/// The modules of virtual tables that a client may create.
const MODULES: &[&str] = &["fts3", "fts4", "fts5", "fts5vocab", "rtree", "rtree_i32"];

/// SQLite's functions that are harmless. A function that a later version of SQLite adds is refused
/// until it is in this list.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "->", "->>", "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "avg", "bm25",
    "ceil", "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "cos", "cosh", "count",
    "cume_dist", "current_date", "current_time", "current_timestamp", "date", "datetime", "degrees",
    "dense_rank", "exp", "first_value", "floor", "format", "fts5_source_id", "glob", "group_concat",
    "hex", "highlight", "if", "ifnull", "iif", "instr", "json", "json_array", "json_array_insert",
    "json_array_length", "json_error_position", "json_extract", "json_group_array",
    "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty", "json_quote",
    "json_remove", "json_replace", "json_set", "json_type", "json_valid", "jsonb", "jsonb_array",
    "jsonb_array_insert", "jsonb_extract", "jsonb_group_array", "jsonb_group_object",
    "jsonb_insert", "jsonb_object", "jsonb_patch", "jsonb_remove", "jsonb_replace", "jsonb_set",
    "julianday", "lag", "last_insert_rowid", "last_value", "lead", "length", "like", "likelihood",
    "likely", "ln", "log", "log10", "log2", "lower", "ltrim", "match", "matchinfo", "max", "min",
    "mod", "nth_value", "ntile", "nullif", "octet_length", "offsets", "optimize", "percent_rank",
    "pi", "pow", "power", "printf", "quote", "radians", "random", "randomblob", "rank", "replace",
    "round", "row_number", "rtreecheck", "rtreedepth", "rtreenode", "rtrim", "sign", "sin", "sinh",
    "snippet", "soundex", "sqlite_compileoption_get", "sqlite_compileoption_used",
    "sqlite_source_id", "sqlite_version", "sqrt", "strftime", "string_agg", "substr", "substring",
    "subtype", "sum", "tan", "tanh", "time", "timediff", "total", "total_changes", "trim", "trunc",
    "typeof", "unhex", "unicode", "unistr", "unistr_quote", "unixepoch", "unlikely", "upper",
    "zeroblob",
];

/// SQLite compiles a trigger within the trigger that fires it, on the thread's stack. The limits on
/// texts stay SQLite's own: a schema that one session could write, and another not parse, would shut
/// all sessions out.
const LIMITS: [(Limit, i32); 4] = [
    // One for the system views, and one for SQLite's own use in VACUUM.
    (Limit::SQLITE_LIMIT_ATTACHED, 2),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 5_000_000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

const SWITCHES: [(DbConfig, bool); 6] = [
    (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
    (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
    (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
    (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
];

/// Returns the functions of SQLite that no client may call. The connection must not have functions of
/// the server yet.
fn refused_functions(connection: &Connection) -> Result<&'static HashSet<String>> {
    static REFUSED: OnceLock<HashSet<String>> = OnceLock::new();
    if let Some(refused) = REFUSED.get() {
        return Ok(refused);
    }
    let mut all = connection.prepare("SELECT DISTINCT name FROM pragma_function_list")?;
    let mut all = all.query_map([], |row| row.get(0))?.collect::<Result<HashSet<String>>>()?;
    all.retain(|name| !FUNCTIONS.contains(&name.as_str()));
    Ok(REFUSED.get_or_init(|| all))
}

/// The rules of one engine.
pub(crate) struct Authorizer {
    refused: &'static HashSet<String>,
    left: Arc<Left>,
    /// Whether a statement has left something in the connection that belongs to its session.
    keep: Arc<AtomicBool>,
}

impl Authorizer {
    /// Creates the rules of a connection that has no functions of the server yet.
    pub(crate) fn new(
        connection: &Connection,
        left: &Arc<Left>,
        keep: &Arc<AtomicBool>,
    ) -> Result<Authorizer> {
        let refused = refused_functions(connection)?;
        Ok(Authorizer { refused, left: left.clone(), keep: keep.clone() })
    }

    /// Puts the rules, limits and switches into force.
    pub(crate) fn install(self, connection: &mut Connection) -> Result<()> {
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value)?;
        }
        for (switch, on) in SWITCHES {
            connection.set_db_config(switch, on)?;
        }
        connection.authorizer(Some(move |context: AuthContext<'_>| self.authorize(&context)))
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        match self.check(context) {
            Ok(()) => {
                // Relaxed: only the session of this statement reads it.
                self.keep.fetch_or(leaves_something(context), Ordering::Relaxed);
                Authorization::Allow
            }
            Err(fields) => {
                self.left.refuse(fields);
                Authorization::Deny
            }
        }
    }

    fn check(&self, context: &AuthContext<'_>) -> std::result::Result<(), Fields> {
        use AuthAction as A;
        let in_catalog =
            context.database_name.is_some_and(|name| name.eq_ignore_ascii_case(CATALOG));
        match context.action {
            A::Select
            | A::Recursive
            | A::Transaction { .. }
            | A::Savepoint { .. }
            | A::Analyze { .. }
            | A::Reindex { .. } => Ok(()),
            A::Read { table_name, column_name } => self.read(table_name, column_name),
            A::Function { function_name } => self.function(function_name),
            A::Pragma { pragma_name, pragma_value } => self.pragma(pragma_name, pragma_value),
            // VACUUM attaches a temporary file without a name.
            A::Attach { filename: "" } => Ok(()),
            A::Attach { .. } => {
                Err(denied("permission denied: no client may open or write files of the server"))
            }
            A::Detach { .. } => Err(denied("permission denied to detach a database")),
            A::CreateVtable { table_name, module_name } => {
                let module = module_name.to_ascii_lowercase();
                if !MODULES.contains(&module.as_str()) {
                    return Err(denied(format!("permission denied for module {module_name}")));
                }
                self.create(table_name, in_catalog)
            }
            A::CreateTable { table_name }
            | A::CreateTempTable { table_name }
            | A::CreateView { view_name: table_name }
            | A::CreateTempView { view_name: table_name } => self.create(table_name, in_catalog),
            A::Insert { table_name }
            | A::Delete { table_name }
            | A::Update { table_name, .. }
            | A::AlterTable { table_name, .. }
            | A::DropTable { table_name }
            | A::DropView { view_name: table_name }
            | A::DropVtable { table_name, .. }
            | A::CreateIndex { table_name, .. }
            | A::DropIndex { table_name, .. }
            | A::CreateTrigger { table_name, .. }
            | A::DropTrigger { table_name, .. } => match in_catalog && !is_internal(table_name) {
                true => Err(denied(format!("permission denied for view {table_name}"))),
                false => Ok(()),
            },
            A::CreateTempIndex { .. }
            | A::CreateTempTrigger { .. }
            | A::DropTempIndex { .. }
            | A::DropTempTable { .. }
            | A::DropTempTrigger { .. }
            | A::DropTempView { .. } => Ok(()),
            _ => Err(denied("permission denied")),
        }
    }

    /// A table of the name `dbstat` is not told from SQLite's virtual table, which reads all pages.
    fn read(&self, table: &str, column: &str) -> std::result::Result<(), Fields> {
        let path = table.eq_ignore_ascii_case("pragma_database_list") && column != "name";
        if (path || table.eq_ignore_ascii_case("dbstat")) && !self.is_admin() {
            return Err(denied(format!("permission denied for table {table}")));
        }
        Ok(())
    }

    /// Also SQLite's own statements call functions, which no client can name.
    fn function(&self, name: &str) -> std::result::Result<(), Fields> {
        match self.refused.contains(name) {
            true => Err(denied(format!("permission denied for function {name}"))),
            false => Ok(()),
        }
    }

    fn pragma(&self, name: &str, value: Option<&str>) -> std::result::Result<(), Fields> {
        let lower = name.to_ascii_lowercase();
        let is_in = |list: &[&str]| list.contains(&lower.as_str());
        let allowed = is_in(READ_PRAGMAS)
            || is_in(USER_PRAGMAS)
            || (value.is_none() && is_in(SHOW_PRAGMAS))
            || (lower == "synchronous"
                && value.is_some_and(|v| SYNCHRONOUS.iter().any(|s| v.eq_ignore_ascii_case(s))))
            || (is_in(ADMIN_PRAGMAS) && self.is_admin());
        match (allowed, value) {
            (true, _) => Ok(()),
            (false, Some(_)) => {
                Err(denied(format!("permission denied to set parameter \"{name}\"")))
            }
            (false, None) => Err(denied(format!("permission denied for pragma \"{name}\""))),
        }
    }

    fn create(&self, name: &str, in_catalog: bool) -> std::result::Result<(), Fields> {
        if in_catalog && !is_internal(name) {
            return Err(denied(format!("permission denied for schema {CATALOG}")));
        }
        match is_reserved(name) {
            true => Err(reserved(name)),
            false => Ok(()),
        }
    }

    /// Returns whether the session is an administrator's. If so, the engine stays with the session:
    /// its compiled statements are not for others.
    fn is_admin(&self) -> bool {
        let admin = current::client_info().is_some_and(|client| client.is_admin());
        self.keep.fetch_or(admin, Ordering::Relaxed);
        admin
    }
}

/// Refuses what the authorizer cannot see. It is not asked for the new name of a table, nor for the
/// table that a foreign key refers to, and does not tell an unnamed file of a client from that of
/// VACUUM.
pub(crate) fn refuse(statement: &str) -> Option<Fields> {
    let mut all = tokens(statement);
    let first = all.next()?;
    if first.is("ATTACH") {
        return Some(denied("permission denied to attach a database"));
    }
    if !(first.is("ALTER") || first.is("CREATE")) {
        return None;
    }
    let all: Vec<Token<'_>> = all.collect();
    for (at, token) in all.iter().enumerate() {
        // SQLite takes also a string for a name.
        let name = |at: usize| {
            let name = all.get(at).map_or("", |token| token.text);
            name.trim_matches(['"', '\'', '`', '[', ']'])
        };
        // Such a key would be checked when SQLite itself changes the table, in each DROP TABLE.
        if token.is("REFERENCES") && is_internal(name(at + 1)) {
            return Some(denied(format!("permission denied for table {}", name(at + 1))));
        }
        let renames = token.is("RENAME") && all.get(at + 1).is_some_and(|next| next.is("TO"));
        if renames && first.is("ALTER") && is_reserved(name(at + 2)) {
            return Some(reserved(name(at + 2)));
        }
    }
    None
}

fn denied(message: impl Into<String>) -> Fields {
    Fields::new("ERROR", "42501", message.into())
}

fn reserved(name: &str) -> Fields {
    let mut fields = Fields::new("ERROR", "42939", format!("unacceptable table name \"{name}\""));
    fields.detail = Some("The system views and functions have names like this.".into());
    fields
}

/// Returns whether SQLite has created the table for itself.
fn is_internal(name: &str) -> bool {
    has_prefix(name, "sqlite_")
}

/// Virtual tables that exist without a table of their name.
const VIRTUAL: &[&str] =
    &["dbstat", "generate_series", "json_each", "json_tree", "jsonb_each", "jsonb_tree"];

/// Returns whether a table of this name would hide a system view from all clients, or a table that
/// the server or SQLite itself provides.
fn is_reserved(name: &str) -> bool {
    ["pg_", "pragma_", "threadpool_", "safepoint_"].iter().any(|prefix| has_prefix(name, prefix))
        || VIRTUAL.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns whether a statement changes temporary tables, settings, or the results of `changes()`
/// and `last_insert_rowid()`.
fn leaves_something(context: &AuthContext<'_>) -> bool {
    // The server itself asks for the columns of tables by these, with a table as the value.
    if let AuthAction::Pragma { pragma_name, .. } = context.action
        && READ_PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name))
    {
        return false;
    }
    !matches!(
        context.action,
        AuthAction::Select
            | AuthAction::Read { .. }
            | AuthAction::Function { .. }
            | AuthAction::Recursive
            | AuthAction::Transaction { .. }
            | AuthAction::Savepoint { .. }
            | AuthAction::Pragma { pragma_value: None, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const REFUSED: [&str; 7] = [
        "fts3_tokenizer", "fts5", "fts5_get_locale", "fts5_insttoken", "fts5_locale",
        "load_extension", "sqlite_log",
    ];

    /// A new version of SQLite may bring functions, which this test names.
    #[test]
    fn every_function_of_sqlite_is_known() {
        let connection = Connection::open_in_memory().unwrap();
        let mut refused: Vec<_> = refused_functions(&connection).unwrap().iter().collect();
        refused.sort();
        assert_eq!(refused, REFUSED);
        let mut modules = connection.prepare("SELECT name FROM pragma_module_list").unwrap();
        let modules = modules.query_map([], |row| row.get::<_, String>(0)).unwrap();
        for module in modules.map(|module| module.unwrap()) {
            let known = is_reserved(&module)
                || MODULES.contains(&module.as_str())
                || ["fts3tokenize", "fts4aux"].contains(&module.as_str());
            assert!(known, "{module}");
        }
    }

    #[test]
    fn new_names_of_tables_are_checked() {
        for refused in [
            "attach '' as x",
            "/* a */ ATTACH DATABASE 'f' AS g",
            "alter table t rename to pg_stat_activity",
            "ALTER TABLE \"a b\" RENAME TO \"PG_x\"",
            "alter table main.t rename /* */ to 'pragma_table_xinfo'",
            "alter table t rename to [json_each]",
            "create table t (a references sqlite_stat1)",
            "create table t (a, foreign key (a) references \"sqlite_stat1\" (tbl))",
            "alter table t add column b references 'SQLITE_sequence' on delete cascade",
            "alter table t rename to `Threadpool_Status`",
        ] {
            assert!(refuse(refused).is_some(), "{refused}");
        }
        for allowed in [
            "alter table t rename to pgbench",
            "alter table t rename a to pg_a",
            "alter table t rename column a to pg_a",
            "alter table t add column pg_a text",
            "create table t (a text default ' references sqlite_stat1', b references c)",
            "select 'attach'",
            "",
        ] {
            assert!(refuse(allowed).is_none(), "{allowed}");
        }
    }
}
