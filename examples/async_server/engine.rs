//! SQLite. Nothing here is handed a session: the thread that polls runs one.

use crate::compat::{Rewrite, rewrite};
use crate::describe::{self, Column, Known, Parameters, columns_of};
use crate::split::{command_tag, split};
use crate::told::Failed;
use crate::types::{Format, MAX_VALUE, PgType, decode_param, encode};
use bytes::{Bytes, BytesMut};
use pgwire::messages::data::DataRow;
use rusqlite::Connection;
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};
use safepoint::sql;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many of SQLite's instructions lie between two safe points.
const SAFE_POINT_EVERY: i32 = 1000;
/// How long a session that finds the database locked sleeps before it tries again.
const LOCK_WAIT: Duration = Duration::from_millis(2);

pub(crate) struct Engine(Mutex<Opened>);

struct Opened {
    connection: Connection,
    known: Known,
}

#[derive(Debug)]
pub(crate) enum Plan {
    Kill(sql::Command),
    /// `select pg_sleep(SECONDS)`.
    Sleep(Duration),
    /// `show sessions`.
    Sessions,
    /// What SQLite runs in its place.
    Sqlite(Vec<String>),
}

/// A statement that has been described, and not run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) text: String,
    pub(crate) columns: Vec<Column>,
    parameters: Parameters,
    /// The types of the parameters, as the client names them, or else the statement, or 0.
    pub(crate) oids: Vec<u32>,
}

/// What a statement has come to.
pub(crate) struct Ran {
    pub(crate) rows: Vec<DataRow>,
    pub(crate) tag: String,
    /// Whether a transaction was open before it, and is now.
    pub(crate) transaction: (bool, bool),
}

pub(crate) fn make_database(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.pragma_update(None, "journal_mode", "wal")
}

fn plan(statement: &str) -> Result<Plan, Failed> {
    if let Some(command) = sql::parse(statement) {
        return Ok(Plan::Kill(command?));
    }
    let text = statement.to_ascii_lowercase();
    let sleep = || {
        let seconds = text.strip_prefix("select pg_sleep(")?.strip_suffix(')')?;
        Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
    };
    if let Some(time) = sleep() {
        return Ok(Plan::Sleep(time));
    }
    if text == "show sessions" {
        return Ok(Plan::Sessions);
    }
    match rewrite(statement) {
        Rewrite::Same => Ok(Plan::Sqlite(vec![statement.to_string()])),
        Rewrite::Statements(statements) => Ok(Plan::Sqlite(statements)),
        Rewrite::Copy { .. } => Err(Failed::new("0A000", "COPY is left to examples/server")),
        Rewrite::Unsupported(error) => Err(error.into()),
    }
}

impl Plan {
    /// Of the rows that are not SQLite's.
    fn own_columns(&self) -> Option<Vec<Column>> {
        use PgType::{Bool, Int8, Text};
        let columns: &[_] = match self {
            Plan::Kill(_) => &[(sql::ANSWER_COLUMN, Bool)],
            Plan::Sleep(_) => &[("pg_sleep", Text)],
            Plan::Sessions => &[
                ("pid", Int8),
                ("sessionid", Int8),
                ("usename", Text),
                ("state", Text),
                ("query", Text),
            ],
            Plan::Sqlite(_) => return None,
        };
        let column = |&(name, ty): &(&str, _)| Column { name: name.into(), ty };
        Some(columns.iter().map(column).collect())
    }
}

impl Engine {
    pub(crate) fn open(database: &Path) -> rusqlite::Result<Engine> {
        let mut connection = Connection::open(database)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.progress_handler(SAFE_POINT_EVERY, Some(|| safepoint::check().is_err()))?;
        connection.busy_handler(Some(|_| safepoint::sleep(LOCK_WAIT).is_ok()))?;
        Ok(Engine(Mutex::new(Opened { connection, known: Known::default() })))
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One statement, or `None` for the empty one.
    pub(crate) fn prepare(
        &self,
        text: &str,
        mut oids: Vec<u32>,
    ) -> Result<Option<Prepared>, Failed> {
        let statement = match split(text).as_slice() {
            [] => return Ok(None),
            [one] => *one,
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(Failed::new("42601", message));
            }
        };
        let (plan, parameters) = (plan(statement)?, Parameters::default());
        let columns = plan.own_columns().unwrap_or_default();
        let mut prepared =
            Prepared { plan, text: statement.into(), columns, parameters, oids: Vec::new() };
        if let Plan::Sqlite(statements) = &prepared.plan
            && let [one] = statements.as_slice()
        {
            let Opened { connection, known } = &*self.opened();
            let compiled = connection.prepare_cached(one)?;
            prepared.columns = columns_of(connection, &compiled, one, &|_| None, known)?;
            prepared.parameters = describe::parameters(&compiled)?;
        }
        oids.resize(prepared.parameters.count(), 0);
        for (oid, cast) in oids.iter_mut().zip(prepared.parameters.oids()) {
            *oid = if *oid == 0 { *cast } else { *oid };
        }
        prepared.oids = oids;
        Ok(Some(prepared))
    }

    /// A plan that is SQLite's.
    pub(crate) fn run(
        &self,
        statements: &[String],
        prepared: &Prepared,
        values: &[Value],
        formats: &[Format],
    ) -> Result<Ran, Failed> {
        let connection = &self.opened().connection;
        let was_open = !connection.is_autocommit();
        let mut rows = Ok(Vec::new());
        for statement in statements {
            rows = query(connection, statement, prepared, values, formats);
            if rows.is_err() {
                break;
            }
        }
        let open = !connection.is_autocommit();
        safepoint::set_transaction(open);
        let rows = rows?;
        let returned = rows.len() as u64;
        let count = if prepared.columns.is_empty() { connection.changes() } else { returned };
        let tag = command_tag(&prepared.text, count);
        Ok(Ran { rows, tag, transaction: (was_open, open) })
    }
}

fn query(
    connection: &Connection,
    statement: &str,
    prepared: &Prepared,
    values: &[Value],
    formats: &[Format],
) -> Result<Vec<DataRow>, Failed> {
    let mut statement = connection.prepare_cached(statement)?;
    for (index, number) in prepared.parameters.bindings() {
        // Of a simple query there are none.
        let value = values
            .get(number - 1)
            .ok_or_else(|| Failed::new("42P02", format!("there is no parameter ${number}")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        found.push(prepared.row(formats, |at| Ok(row.get_ref(at)?))?);
    }
    Ok(found)
}

impl Prepared {
    pub(crate) fn row<'v>(
        &self,
        formats: &[Format],
        value: impl Fn(usize) -> Result<ValueRef<'v>, Failed>,
    ) -> Result<DataRow, Failed> {
        let mut data = BytesMut::new();
        for (at, column) in self.columns.iter().enumerate() {
            encode(value(at)?, column.ty, Format::pick(formats, at), &mut data)?;
        }
        // SQLite has two thousand columns at most.
        Ok(DataRow::new(data, self.columns.len() as i16))
    }

    /// The values that a Bind brings.
    pub(crate) fn decode(
        &self,
        given: &[Option<Bytes>],
        formats: &[Format],
    ) -> Result<Vec<Value>, Failed> {
        let (count, wanted) = (given.len(), self.oids.len());
        if count != wanted {
            let message = format!(
                "bind message supplies {count} parameters, but the prepared statement requires {wanted}"
            );
            return Err(Failed::new("08P01", message));
        }
        let value = |(at, (bytes, oid)): (usize, (&Option<Bytes>, &u32))| {
            Ok(decode_param(bytes.as_deref(), *oid, Format::pick(formats, at))?)
        };
        given.iter().zip(&self.oids).enumerate().map(value).collect()
    }
}
