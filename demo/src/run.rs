//! Runs statements for a session.

mod own_statements;
mod stoppable;

pub(crate) use own_statements::{apply, limit};
use stoppable::{counts_rows, stoppable};

use crate::backends::Backend;
use crate::cursors::Cursor;
use crate::describe::{self, Column};
use crate::engine::Engine;
use crate::plan::Plan;
use crate::settings::{SETTINGS, Setting};
use crate::shared::Shared;
use crate::split;
use crate::stream::{SendError, Stream};
use crate::transaction::Transaction;
use crate::types::{Format, SqlError, encode};
use crate::wire::{Fields, Outgoing};
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use safepoint::{Attached, Interrupt};
use std::collections::VecDeque;
use std::sync::Arc;

/// The number of bytes of rows that are collected before they are sent.
pub(crate) const SEND_AT: usize = 32 * 1024;

/// Why a statement failed.
pub(crate) enum Failure {
    /// The client receives the error, and the session continues.
    Error(Fields),
    Interrupt(Interrupt),
    /// The client has disconnected.
    Gone,
}

impl Failure {
    /// Reports an error with a value. If the error was an interrupt, this safe point returns the
    /// interrupt.
    pub(crate) fn new(session: &Attached<'_>, error: SqlError) -> Failure {
        session.check().map_or_else(Failure::Interrupt, |()| error.into())
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Failure {
        Failure::Interrupt(interrupt)
    }
}

impl From<Fields> for Failure {
    fn from(fields: Fields) -> Failure {
        Failure::Error(fields)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Error(error.into())
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Gone => Failure::Gone,
            SendError::NotKept(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Failure {
        Failure::Gone
    }
}

/// The state that the statements of one session share.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) engine: Box<Engine>,
}

/// The destination of the client's answer.
pub(crate) struct Answer<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) outgoing: &'a mut Outgoing,
}

impl Answer<'_> {
    /// Adds a row, and sends what has been collected if it is much.
    pub(crate) fn row<'v>(
        &mut self,
        session: &Attached<'_>,
        columns: &[Column],
        formats: &[Format],
        value: impl Fn(usize) -> ValueRef<'v>,
    ) -> Result<(), Failure> {
        let done = self.outgoing.data_row(columns.len(), |out| {
            columns.iter().enumerate().try_for_each(|(at, column)| {
                encode(value(at), column.ty, Format::pick(formats, at), out)
            })
        });
        done.map_err(|error| Failure::new(session, error))?;
        if self.outgoing.buf.len() >= SEND_AT {
            self.send()?;
        }
        Ok(())
    }

    /// Sends what the socket takes. The stream keeps the rest.
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        if !self.outgoing.buf.is_empty() {
            let sent = self.stream.send(&self.outgoing.buf);
            self.outgoing.buf.clear();
            sent?;
        }
        Ok(())
    }
}

/// How the rows of a statement are sent.
pub(crate) enum Rows<'a> {
    /// Simple protocol: with a description, in text format.
    Described,
    /// Extended protocol: without a description, in the formats of Bind.
    Bound {
        columns: &'a [Column],
        formats: &'a [Format],
        values: &'a [Value],
        kept: Option<&'a mut Kept>,
    },
}

/// Rows that wait for a later fetch.
pub(crate) type Kept = VecDeque<Vec<Value>>;

/// The outcome of a statement.
pub(crate) enum Done {
    /// The command tag of a finished statement.
    Tag(String),
    /// The statement has terminated its own session, whose FATAL message replaces the answer.
    EndsItself,
    Copy {
        table: String,
        columns: Vec<String>,
    },
    /// The connection does the rest: it has what the statement is about.
    Tidy(Setting),
    Cursor(Cursor),
}

impl Runner {
    /// Runs one statement of the session's transaction.
    pub(crate) fn run(
        &self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        text: &str,
        plan: &Plan,
        rows: Rows<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<Done, Failure> {
        session.check()?;
        transaction.accepts(plan.ends_failure())?;
        transaction.statement_begins();
        let result = self.dispatch(session, transaction, text, plan, rows, answer);
        for notice in self.engine.left.take_notices() {
            answer.outgoing.notice(&notice);
        }
        self.shows(session, transaction);
        result
    }

    /// Shows the session as in a transaction, if it is.
    pub(crate) fn shows(&self, session: &Attached<'_>, transaction: &Transaction) {
        session.set_in_transaction(transaction.is_block() || self.engine.in_transaction());
        self.backend.set_failed(transaction.has_failed());
        self.backend.settle_lock(|| self.engine.holds_lock());
    }

    /// Notes that a statement needs SQLite's write lock, unless it writes to temporary tables only.
    pub(crate) fn takes_lock(&self, statement: &str) -> Result<(), Failure> {
        if !self.backend.has_lock()
            && self.engine.locks(statement).map_err(|error| self.engine.error(&error))?
        {
            self.backend.wants_lock();
        }
        Ok(())
    }

    fn dispatch(
        &self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        text: &str,
        plan: &Plan,
        rows: Rows<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<Done, Failure> {
        match plan {
            Plan::Kill(command) => self.kill(session, *command, rows, answer),
            Plan::Setting(setting) => self.setting(session, transaction, setting, rows, answer),
            Plan::Control(control) => {
                let (tag, warning) = transaction.control(self, session, control)?;
                if let Some(warning) = warning {
                    answer.outgoing.notice(&warning);
                }
                let starts = split::starts_with(text, &["START"]);
                Ok(Done::Tag(if starts { "START TRANSACTION" } else { tag }.into()))
            }
            Plan::Copy { table, columns } => {
                Ok(Done::Copy { table: table.clone(), columns: columns.clone() })
            }
            Plan::Cursor(cursor) => Ok(Done::Cursor(cursor.clone())),
            Plan::Sqlite(statements) => {
                let [one] = statements.as_slice() else {
                    for (at, statement) in statements.iter().enumerate() {
                        // A statement may be too short for one of SQLite's safe points.
                        if at > 0 {
                            session.check()?;
                        }
                        let compiled = self.engine.connection.prepare_cached(statement);
                        let reads =
                            compiled.map_err(|error| self.failure(session, &error))?.readonly();
                        self.begin(session, transaction, text, statement, reads)?;
                        self.execute(session, statement)?;
                    }
                    return Ok(Done::Tag(split::command_tag(text, 0)));
                };
                let count = self.query(session, transaction, (text, one), rows, answer)?;
                let tag = split::command_tag(text, count);
                if tag.starts_with("CREATE")
                    && let Some(table) = split::created_from_query(one)
                {
                    // SQLite does not count these rows.
                    let sql = format!("SELECT count(*) FROM {table}");
                    let rows =
                        self.engine.connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
                    let rows = rows.map_err(|error| self.failure(session, &error))?;
                    return Ok(Done::Tag(format!("SELECT {rows}")));
                }
                Ok(Done::Tag(tag))
            }
        }
    }

    /// Rejects a statement that writes, in a transaction that only reads. As in PostgreSQL, such a
    /// transaction may change rows of temporary tables.
    pub(crate) fn writes(
        &self,
        session: &Attached<'_>,
        tag: &str,
        statement: &str,
    ) -> Result<(), Failure> {
        let rejected = match writes(tag) {
            Ok(()) => return Ok(()),
            Err(rejected) => rejected,
        };
        let changes_rows = ["INSERT", "UPDATE", "DELETE", "COPY"];
        if !changes_rows.iter().any(|word| tag.starts_with(word)) {
            return Err(rejected.into());
        }
        let temporary = describe::is_temporary(&self.engine.connection, statement);
        match temporary.map_err(|error| self.failure(session, &error))? {
            true => Ok(()),
            false => Err(rejected.into()),
        }
    }

    /// Begins SQLite's transaction before a statement, if the statement needs it. The client has sent
    /// it as `text`.
    pub(crate) fn begin(
        &self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        text: &str,
        statement: &str,
        reads: bool,
    ) -> Result<(), Failure> {
        transaction.runs();
        if reads && !transaction.is_snapshot() {
            return Ok(());
        }
        let verb = split::words(statement).next().unwrap_or_default().to_ascii_uppercase();
        // PostgreSQL allows these two in a read-only transaction.
        if !reads && !matches!(verb.as_str(), "VACUUM" | "ANALYZE") {
            // The tag of a PRAGMA is SELECT, because it may return rows.
            let tag = if verb == "PRAGMA" { verb.clone() } else { split::command_tag(text, 0) };
            self.writes(session, &tag, statement)?;
        }
        if !reads {
            self.takes_lock(statement)?;
        }
        match verb.as_str() {
            "VACUUM" => Ok(transaction.runs_alone("VACUUM")?),
            "PRAGMA" | "ATTACH" | "DETACH" => Ok(()),
            _ if self.engine.in_transaction() => Ok(()),
            _ => self.execute(session, "BEGIN"),
        }
    }

    /// Converts an error of SQLite. A stored panic is resumed, and a due interrupt takes precedence
    /// over the error.
    pub(crate) fn failure(&self, session: &Attached<'_>, error: &rusqlite::Error) -> Failure {
        failure(&self.engine, session, error)
    }

    /// Runs one statement of SQLite to its end, without its rows.
    pub(crate) fn execute(&self, session: &Attached<'_>, statement: &str) -> Result<(), Failure> {
        let run = || {
            let mut compiled = self.engine.connection.prepare_cached(statement)?;
            let mut rows = compiled.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        };
        run().map_err(|error| self.failure(session, &error))
    }

    fn query(
        &self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        (text, statement): (&str, &str),
        rows: Rows<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<u64, Failure> {
        let connection = &self.engine.connection;
        let fail = |error: rusqlite::Error| self.failure(session, &error);
        let mut compiled = connection.prepare_cached(statement).map_err(fail)?;
        let parameters = describe::parameters(&compiled);
        let parameters = parameters.map_err(|error| Failure::new(session, error))?;
        let described;
        let (columns, formats, mut kept) = match rows {
            Rows::Described => {
                if parameters.count() > 0 {
                    let message = "there is no parameter $1: a simple query has none";
                    return Err(Fields::new("ERROR", "42P02", message).into());
                }
                let all = self.engine.describe(&compiled, statement, &parameters, &[]);
                described = all.map_err(fail)?.0;
                if !described.is_empty() {
                    answer.outgoing.row_description(&described, &[]);
                }
                (described.as_slice(), &[][..], None)
            }
            Rows::Bound { columns, formats, values, kept } => {
                for (index, number) in parameters.bindings() {
                    compiled.raw_bind_parameter(index, &values[number - 1]).map_err(fail)?;
                }
                (columns, formats, kept)
            }
        };
        let width = compiled.column_count();
        if width != columns.len() {
            let message = "cached plan must not change result type";
            return Err(Fields::new("ERROR", "0A000", message).into());
        }
        self.begin(session, transaction, text, statement, compiled.readonly())?;
        let mut count = 0;
        let mut found = compiled.raw_query();
        let mut next = || -> Result<(), Failure> {
            while let Some(row) = found.next().map_err(fail)? {
                // A row that terminates its own session is not sent.
                session.check()?;
                count += 1;
                if let Some(kept) = &mut kept {
                    let row = (0..width).map(|at| owned(value_of(row, at)));
                    let row = row.collect::<Result<_, _>>();
                    kept.push_back(row.map_err(|error| Failure::new(session, error))?);
                    continue;
                }
                answer.row(session, columns, formats, |at| value_of(row, at))?;
            }
            Ok(())
        };
        if counts_rows(statement) {
            stoppable(session, connection, next)??
        } else {
            next()?
        }
        drop(found);
        Ok(if width == 0 { connection.changes() } else { count })
    }
}

/// Converts an error of SQLite. A stored panic is resumed, and a due interrupt takes precedence over
/// the error.
pub(crate) fn failure(engine: &Engine, session: &Attached<'_>, error: &rusqlite::Error) -> Failure {
    if let Some(panic) = engine.left.take_panic() {
        std::panic::resume_unwind(panic);
    }
    // The stored error is taken in either case, since another session may use the engine next.
    let error = engine.error(error);
    session.check().map_or_else(Failure::Interrupt, |()| Failure::Error(error))
}

pub(crate) fn value_of<'r>(row: &'r Row<'_>, at: usize) -> ValueRef<'r> {
    row.get_ref(at).unwrap_or(ValueRef::Null)
}

/// Copies a value, for a row that is kept.
pub(crate) fn owned(value: ValueRef<'_>) -> Result<Value, SqlError> {
    let invalid = "a text value is not valid in encoding \"UTF8\"";
    Value::try_from(value).map_err(|_| SqlError::new("22021", invalid))
}

/// Rejects a statement that writes, in a transaction that only reads.
fn writes(tag: &str) -> Result<(), Fields> {
    if SETTINGS.with_borrow(|all| all.is_on("transaction_read_only")) {
        let what = tag.trim_end_matches(|char: char| char.is_ascii_digit() || char == ' ');
        let message = format!("cannot execute {what} in a read-only transaction");
        return Err(Fields::new("ERROR", "25006", message));
    }
    Ok(())
}
