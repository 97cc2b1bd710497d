//! SQLite, with safe points and interruptible lock waits.

use crate::activity;
use crate::describe::{Column, Known, columns_of};
use crate::functions::{self, Left};
use crate::limits::lock_wait;
use crate::shared::Shared;
use crate::sqlite_error;
use crate::types::MAX_VALUE;
use crate::wire::Fields;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, Wal};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Error, OpenFlags, Statement};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many of SQLite's virtual machine instructions lie between two safe points: some ten
/// microseconds' worth.
const SAFE_POINT_EVERY: i32 = 1000;

/// What SQLite works through in one go takes as long as its input is.
const LIMITS: [(Limit, i32); 3] = [
    (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 10_000),
];

/// How long a lock wait sleeps between two tries, at first and at most.
pub(crate) const LOCK_WAIT: (Duration, Duration) =
    (Duration::from_micros(200), Duration::from_millis(10));

/// How many prepared statements SQLite keeps for a session.
const CACHED_STATEMENTS: usize = 64;

/// Engines that nobody uses. One that has only read is like any other, and has descriptors and
/// memory that thousands of idle connections had better share.
#[derive(Default)]
pub(crate) struct Engines(Mutex<Vec<Engine>>);

/// How many of them are kept.
const ENGINES: usize = 64;

impl Engines {
    fn lock(&self) -> MutexGuard<'_, Vec<Engine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Option<Engine> {
        self.lock().pop()
    }

    pub(crate) fn put(&self, engine: Engine) {
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
    /// A statement has left something in the connection that is its session's own.
    keep: Arc<AtomicBool>,
}

/// Makes the database file ready for many connections.
pub(crate) fn prepare(database: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(database)?;
    // Readers and the one writer do not wait for each other.
    connection.pragma_update(None, "journal_mode", "wal")
}

impl Engine {
    /// Safe points and waits in it are those of the session that the calling thread runs.
    pub(crate) fn open(shared: &Arc<Shared>) -> rusqlite::Result<Engine> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&shared.database, flags)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value)?;
        }
        connection.busy_handler(Some(lock_wait))?;
        connection.pragma_update(None, "synchronous", "normal")?;
        let left = Arc::default();
        functions::define(&connection, shared, &left)?;
        connection.execute_batch(activity::VIEWS)?;
        connection.progress_handler(SAFE_POINT_EVERY, Some(|| safepoint::check().is_err()))?;
        let checkpointer = shared.checkpointer.clone();
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            checkpointer.committed(pages);
            Ok(())
        }))?;
        let keep = Arc::<AtomicBool>::default();
        let kept = keep.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            // Relaxed: it is read by the session whose statement this is.
            kept.fetch_or(leaves_something(&context), Ordering::Relaxed);
            authorize(context)
        }))?;
        Ok(Engine { connection, left, keep, known: Known::default() })
    }

    /// The columns of the result of `statement`, which was prepared from `sql`.
    pub(crate) fn columns_of(
        &self,
        statement: &Statement<'_>,
        sql: &str,
    ) -> rusqlite::Result<Vec<Column>> {
        columns_of(&self.connection, statement, sql, &functions::returns, &self.known)
    }

    pub(crate) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Whether another session would not know it from a new one.
    pub(crate) fn is_anyones(&self) -> bool {
        !self.keep.load(Ordering::Relaxed) && !self.in_transaction()
    }

    /// Whether it holds the lock that keeps other writers waiting.
    pub(crate) fn is_writing(&self) -> bool {
        self.in_transaction()
            && self
                .connection
                .transaction_state(None::<&str>)
                .is_ok_and(|state| state == rusqlite::TransactionState::Write)
    }

    /// The error for the client, in PostgreSQL's terms.
    pub(crate) fn error(&self, error: &Error) -> Fields {
        self.left.take_error().unwrap_or_else(|| sqlite_error::of(error).into())
    }
}

/// Temporary tables, settings, and what `changes()` and `last_insert_rowid()` return.
fn leaves_something(context: &AuthContext<'_>) -> bool {
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

/// What no client may change: how lock waits are interrupted, who moves the log, and the schema of
/// the views.
fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Pragma { pragma_name, pragma_value: Some(_) }
            if ["busy_timeout", "wal_autocheckpoint"]
                .iter()
                .any(|name| pragma_name.eq_ignore_ascii_case(name)) =>
        {
            Authorization::Deny
        }
        AuthAction::Detach { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}
