//! Plans of statements, before they are executed.

use crate::authorizer;
use crate::compat::{self, Rewrite};
use crate::cursors::{self, Cursor, Declare};
use crate::describe::{self, Column, Parameters};
use crate::engine::Engine;
use crate::settings::{self, Setting};
use crate::split;
use crate::times;
use crate::transaction::Control;
use crate::types::PgType;
use crate::wire::Fields;
use safepoint::sql;
use std::borrow::Cow;

#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Kill(sql::Command),
    Setting(Setting),
    Control(Control),
    Copy { table: String, columns: Vec<String> },
    Cursor(Cursor),
    Sqlite(Vec<String>),
}

/// A statement that is ready for execution.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// `None` for the empty statement.
    pub(crate) plan: Option<Plan>,
    pub(crate) columns: Vec<Column>,
    pub(crate) parameters: Parameters,
    /// The types that the client has declared, or else those that are inferred, or 0.
    pub(crate) oids: Vec<u32>,
}

/// The first words of most statements. No statement of another kind begins with them.
const QUERIES: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES"];

pub(crate) fn plan(statement: &str) -> Result<Plan, Fields> {
    let verb = split::words(statement).next().unwrap_or_default();
    if QUERIES.iter().any(|word| verb.eq_ignore_ascii_case(word)) {
        let text = times::rewrite(statement);
        return Ok(Plan::Sqlite(vec![compat::translate(&text)?.into_owned()]));
    }
    let command = sql::parse(statement).map_err(|error| sql_error("ERROR", &error))?;
    if let Some(command) = command {
        return Ok(Plan::Kill(command));
    }
    if let Some(setting) = settings::parse(statement) {
        return Ok(Plan::Setting(setting?));
    }
    if let Some(cursor) = cursors::parse(statement) {
        return Ok(Plan::Cursor(cursor?));
    }
    if let Some(error) = authorizer::refuse(statement) {
        return Err(error);
    }
    let statements = match compat::rewrite(statement) {
        Rewrite::Same => vec![times::rewrite(statement).into_owned()],
        Rewrite::Statements(statements) => statements,
        Rewrite::Control(control) => return Ok(Plan::Control(control)),
        Rewrite::Copy { table, columns } => {
            let columns = columns.into_iter().map(str::to_string).collect();
            return Ok(Plan::Copy { table: table.to_string(), columns });
        }
        Rewrite::Unsupported(error) => return Err(error.into()),
    };
    // SQLite has forms of these that are none of PostgreSQL's, and would leave the transaction
    // unknown.
    if CONTROL.iter().any(|word| verb.eq_ignore_ascii_case(word)) {
        let last = statement.split_whitespace().next_back().unwrap_or_default();
        return Err(Fields::new("ERROR", "42601", format!("syntax error at or near \"{last}\"")));
    }
    let translated = statements.iter().map(|text| compat::translate(text).map(Cow::into_owned));
    Ok(Plan::Sqlite(translated.collect::<Result<_, _>>()?))
}

/// The first words of statements that begin, end or divide a transaction.
const CONTROL: [&str; 8] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];

pub(crate) fn sql_error(severity: &'static str, error: &sql::SqlError) -> Fields {
    let mut fields = Fields::new(severity, error.sqlstate(), error.message());
    fields.hint = error.hint().map(str::to_string);
    fields
}

/// The first words of statements by which a client gets out of what it is in.
const WAYS_OUT: [&str; 10] = [
    "ROLLBACK",
    "COMMIT",
    "END",
    "ABORT",
    "RELEASE",
    "SET",
    "RESET",
    "DISCARD",
    "DEALLOCATE",
    "CLOSE",
];

/// Returns whether a client gets out of its transaction, or of its settings, by these statements. A
/// cancel or a timeout that comes before they begin does not stop them.
pub(crate) fn is_way_out(text: &str) -> bool {
    let leaves = |one: &str| {
        let first = split::words(one).next().unwrap_or_default();
        WAYS_OUT.iter().any(|word| first.eq_ignore_ascii_case(word))
    };
    // Most texts are decided by their first word.
    leaves(text) && split::split(text).into_iter().all(leaves)
}

impl Plan {
    pub(crate) fn ends_failure(&self) -> bool {
        matches!(self, Plan::Control(control) if control.ends_failure())
    }

    /// Returns the text for SQLite, if the statement is a query, which only reads.
    pub(crate) fn query(&self) -> Option<&str> {
        let Plan::Sqlite(statements) = self else { return None };
        let [one] = statements.as_slice() else { return None };
        let selects = split::command_tag(one, 0).starts_with("SELECT");
        (selects && !split::starts_with(one, &["PRAGMA"])).then_some(one)
    }

    /// Returns the columns of a result that does not come from SQLite.
    pub(crate) fn own_columns(&self) -> Option<Vec<Column>> {
        let text = |name: &str| Column { name: name.to_string(), ty: PgType::Text };
        match self {
            Plan::Kill(_) => {
                Some(vec![Column { name: sql::RESULT_COLUMN.to_string(), ty: PgType::Bool }])
            }
            Plan::Setting(Setting::Show(name)) => Some(vec![text(name)]),
            Plan::Setting(Setting::ShowAll) => Some(vec![text("name"), text("setting")]),
            Plan::Sqlite(_) => None,
            _ => Some(Vec::new()),
        }
    }
}

impl Prepared {
    /// Returns the command tag after a fetch of so many rows.
    pub(crate) fn tag(&self, rows: u64) -> String {
        match &self.plan {
            Some(Plan::Cursor(cursor)) => cursor.tag(rows),
            Some(Plan::Setting(setting)) => setting.tag().to_string(),
            Some(Plan::Kill(_)) => "ALTER SYSTEM".to_string(),
            _ => split::command_tag(&self.text, rows),
        }
    }

    /// Returns whether a failed block accepts the statement. The empty statement is always accepted.
    pub(crate) fn ends_failure(&self) -> bool {
        self.plan.as_ref().is_none_or(Plan::ends_failure)
    }
}

/// Describes the query of a cursor.
pub(crate) fn query_of(
    engine: &Engine,
    declare: &Declare,
    oids: Vec<u32>,
) -> Result<Prepared, Fields> {
    let query = prepare(engine, &declare.query, oids)?;
    if query.plan.as_ref().and_then(Plan::query).is_some() {
        return Ok(query);
    }
    let word = split::words(&declare.query).next().unwrap_or_default();
    Err(Fields::new("ERROR", "42601", format!("syntax error at or near \"{word}\"")))
}

/// Describes a statement without running it.
pub(crate) fn prepare(engine: &Engine, text: &str, oids: Vec<u32>) -> Result<Prepared, Fields> {
    let mut prepared = Prepared {
        text: text.to_string(),
        plan: None,
        columns: Vec::new(),
        parameters: Parameters::default(),
        oids,
    };
    let statements = split::split(text);
    let statement = match statements.as_slice() {
        [] => return Ok(prepared),
        [one] => *one,
        _ => {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Fields::new("ERROR", "42601", message));
        }
    };
    let plan = plan(statement)?;
    match (plan.own_columns(), &plan) {
        (_, Plan::Cursor(Cursor::Declare(declare))) => {
            let query = query_of(engine, declare, prepared.oids)?;
            (prepared.parameters, prepared.oids) = (query.parameters, query.oids);
        }
        (Some(columns), _) => prepared.columns = columns,
        (None, Plan::Sqlite(statements)) if statements.len() == 1 => {
            let compiled =
                engine.connection.prepare_cached(&statements[0]).map_err(|e| engine.error(&e))?;
            prepared.parameters = describe::parameters(&compiled)?;
            prepared.oids.resize(prepared.parameters.count(), 0);
            let (parameters, declared) = (&prepared.parameters, &prepared.oids);
            let described = engine.describe(&compiled, &statements[0], parameters, declared);
            (prepared.columns, prepared.oids) = described.map_err(|e| engine.error(&e))?;
        }
        _ => {}
    }
    prepared.oids.resize(prepared.parameters.count(), 0);
    prepared.plan = Some(plan);
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_of_no_other_kind() {
        let rests = [
            "SYSTEM KILL SESSION '1, 2'",
            "all",
            "lock_timeout = 1",
            "c cursor for select 1",
            "all in c",
            "transaction",
            "t from stdin",
            "table t (a integer)",
            "database 'x' as y",
        ];
        for word in QUERIES {
            for rest in rests {
                let text = format!("{word} {rest}");
                assert!(sql::parse(&text).unwrap().is_none(), "{text}");
                assert!(settings::parse(&text).is_none(), "{text}");
                assert!(cursors::parse(&text).is_none(), "{text}");
                assert!(authorizer::refuse(&text).is_none(), "{text}");
                assert!(matches!(compat::rewrite(&text), Rewrite::Same), "{text}");
                assert!(matches!(plan(&text), Ok(Plan::Sqlite(_))), "{text}");
            }
            assert!(!CONTROL.contains(&word));
        }
    }
}
