//! SQLite, with safe points and interruptible lock waits.

use crate::activity;
use crate::authorizer::Authorizer;
use crate::backends;
use crate::describe::{Column, Known, Parameters, describe, writes_main};
use crate::functions::{self, Left};
use crate::limits::lock_wait;
use crate::shared::Shared;
use crate::split::words;
use crate::sqlite_error;
use crate::types::MAX_VALUE;
use crate::wire::Fields;
use rusqlite::hooks::Wal;
use rusqlite::limits::Limit;
use rusqlite::{Connection, Error, OpenFlags, Statement};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of SQLite's virtual machine instructions between two safe points, which take some ten
/// microseconds.
const SAFE_POINT_EVERY: i32 = 1000;

/// SQLite processes such an input without a safe point, so its length limits the time.
const LIMITS: [(Limit, i32); 3] = [
    (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 10_000),
];

/// The number of prepared statements that SQLite keeps for a session.
const CACHED_STATEMENTS: usize = 64;

/// Engines that no session uses. Engines that have left nothing are interchangeable. They have
/// descriptors and memory, so thousands of idle connections share a few.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they move from session to session, and one is large")]
pub(crate) struct Engines(Mutex<Vec<Box<Engine>>>);

/// The maximum number of unused engines.
const ENGINES: usize = 64;

impl Engines {
    #[expect(clippy::vec_box, reason = "as above")]
    fn lock(&self) -> MutexGuard<'_, Vec<Box<Engine>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Option<Box<Engine>> {
        self.lock().pop()
    }

    pub(crate) fn put(&self, engine: Box<Engine>) {
        let mut engines = self.lock();
        if engines.len() < ENGINES {
            engines.push(engine);
        } else {
            drop(engines);
            drop(engine);
        }
    }
}

pub(crate) struct Engine {
    pub(crate) connection: Connection,
    pub(crate) left: Arc<Left>,
    known: Known,
    /// Whether a statement has left something in the connection that belongs to its session.
    keep: Arc<AtomicBool>,
}

/// Prepares the database file for many connections.
pub(crate) fn prepare(database: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(database)?;
    // Readers and the one writer do not wait for each other.
    connection.pragma_update(None, "journal_mode", "wal")
}

impl Engine {
    /// Opens an engine. Its safe points and waits check the session that the calling thread
    /// runs.
    pub(crate) fn open(shared: &Arc<Shared>) -> rusqlite::Result<Box<Engine>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&shared.database, flags)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value)?;
        }
        connection.busy_handler(Some(lock_wait))?;
        connection.pragma_update(None, "synchronous", "normal")?;
        let left = Arc::default();
        let keep = Arc::<AtomicBool>::default();
        let authorizer = Authorizer::new(&connection, &left, &keep)?;
        functions::define(&connection, shared, &left)?;
        connection.execute_batch(activity::VIEWS)?;
        connection.progress_handler(
            SAFE_POINT_EVERY,
            Some(|| {
                backends::statement_runs();
                safepoint::check().is_err()
            }),
        )?;
        let checkpointer = shared.checkpointer.clone();
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            checkpointer.committed(pages);
            Ok(())
        }))?;
        authorizer.install(&mut connection)?;
        Ok(Box::new(Engine { connection, left, keep, known: Known::default() }))
    }

    /// Returns the columns of the result of `statement`, which was prepared from `sql`, and the types
    /// of its parameters, of which the client has declared those that are not 0.
    pub(crate) fn describe(
        &self,
        statement: &Statement<'_>,
        sql: &str,
        parameters: &Parameters,
        declared: &[u32],
    ) -> rusqlite::Result<(Vec<Column>, Vec<u32>)> {
        let (connection, known) = (&self.connection, &self.known);
        describe(connection, statement, sql, &functions::returns, known, parameters, declared)
    }

    pub(crate) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Returns whether the engine is like a new one, so that another session can use it.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.keep.load(Ordering::Relaxed) && !self.in_transaction()
    }

    /// Returns whether the engine holds the lock for which other writers wait.
    pub(crate) fn is_writing(&self) -> bool {
        self.in_transaction()
            && self
                .connection
                .transaction_state(None::<&str>)
                .is_ok_and(|state| state == rusqlite::TransactionState::Write)
    }

    /// Returns whether a statement that writes needs the write lock of the database: temporary tables
    /// are in another database.
    pub(crate) fn locks(&self, statement: &str) -> rusqlite::Result<bool> {
        let creates = words(statement).any(|word| {
            word.eq_ignore_ascii_case("TEMP") || word.eq_ignore_ascii_case("TEMPORARY")
        });
        let exists = "SELECT 1 FROM temp.sqlite_schema LIMIT 1";
        if creates || self.connection.prepare_cached(exists)?.exists([])? {
            return writes_main(&self.connection, statement);
        }
        Ok(true)
    }

    /// Returns whether the engine has the write lock of the database.
    pub(crate) fn holds_lock(&self) -> bool {
        self.in_transaction()
            && self
                .connection
                .transaction_state(Some("main"))
                .is_ok_and(|state| state == rusqlite::TransactionState::Write)
    }

    /// Returns the error of a statement that cannot be prepared.
    pub(crate) fn error_of(&self, statement: &str) -> Option<Fields> {
        self.connection.prepare_cached(statement).err().map(|error| self.error(&error))
    }

    /// Translates an error for the client, in PostgreSQL's terms.
    pub(crate) fn error(&self, error: &Error) -> Fields {
        self.left.take_error().unwrap_or_else(|| sqlite_error::of(error).into())
    }
}
