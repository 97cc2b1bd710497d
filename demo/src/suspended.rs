//! SQLite on the thread that runs a session: the session's engine, and its suspended statements.
//!
//! A portal with a row limit runs as far as its rows are fetched. Between two fetches its statement of
//! SQLite is suspended. Such a statement borrows its engine, and stays on one thread. So a session
//! with a suspended statement keeps its thread until the last of them is closed: it reads from its
//! client by a wait that holds no permit of the pool, and other workers serve the other sessions.
//!
//! In a transaction that has not written, a suspended statement has an engine of its own, with a snapshot
//! of its own. So the session's other statements read what is committed when they begin, and may write
//! what the portal reads. After a change, and in a transaction that reads one snapshot, a suspended
//! statement must see what its transaction sees, and uses the session's engine. Before the next change,
//! its remaining rows are read and kept.

use crate::backends;
use crate::describe::{self, is_shared};
use crate::engine::Engine;
use crate::run::{Failure, Runner, failure};
use crate::shared::Shared;
use crate::transaction::Transaction;
use crate::wire::Fields;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Row};
use safepoint::Attached;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The engines that statements borrow while they are suspended.
pub(crate) struct EngineCells {
    shared: Arc<Shared>,
    runner: OnceCell<Runner>,
    /// The engines of portals.
    first: OnceCell<Box<Node>>,
}

struct Node {
    engine: Box<Engine>,
    next: OnceCell<Box<Node>>,
}

impl EngineCells {
    pub(crate) fn new(shared: &Arc<Shared>, runner: Option<Runner>) -> EngineCells {
        let cell = runner.map_or_else(OnceCell::new, OnceCell::from);
        EngineCells { shared: shared.clone(), runner: cell, first: OnceCell::new() }
    }

    /// Returns the session's own engine. Other sessions may use the engines of its portals.
    pub(crate) fn into_runner(self) -> Option<Runner> {
        let mut next = self.first.into_inner();
        while let Some(node) = next {
            let Node { engine, next: after } = *node;
            if engine.is_reusable() {
                self.shared.engines.put(engine);
            }
            next = after.into_inner();
        }
        self.runner.into_inner()
    }

    fn add(&self) -> rusqlite::Result<&Engine> {
        let mut cell = &self.first;
        while let Some(node) = cell.get() {
            cell = &node.next;
        }
        let engine = self.shared.engines.take().map_or_else(|| Engine::open(&self.shared), Ok)?;
        Ok(&cell.get_or_init(|| Box::new(Node { engine, next: OnceCell::new() })).engine)
    }
}

/// The engine of a session and its suspended statements, for as long as it stays on one thread.
pub(crate) struct Sqlite<'r> {
    engines: &'r EngineCells,
    /// By the names of their portals.
    suspended: HashMap<String, Suspended<'r>>,
    /// Engines whose portals have been closed.
    unused: Vec<&'r Engine>,
    notices: Vec<Fields>,
}

/// Returns what was opened, or why it was not.
fn opened<T>(result: rusqlite::Result<T>) -> Result<T, Failure> {
    result.or_else(|error| {
        // A wait that an interrupt ends is an error of SQLite about a lock.
        safepoint::check()?;
        Err(crate::sqlite_error::of(&error).into())
    })
}

pub(crate) struct Suspended<'r> {
    compiled: CachedStatement<'r>,
    engine: &'r Engine,
    /// Whether the engine is the session's own.
    shares: bool,
    _permit: Permit,
}

impl<'r> Sqlite<'r> {
    pub(crate) fn new(engines: &'r EngineCells) -> Sqlite<'r> {
        Sqlite { engines, suspended: HashMap::new(), unused: Vec::new(), notices: Vec::new() }
    }

    /// Returns the session's runner, or `None` if nothing has needed it yet.
    pub(crate) fn existing(&self) -> Option<&'r Runner> {
        self.engines.runner.get()
    }

    /// Returns the session's runner. It is created here, since an idle connection needs no SQLite.
    pub(crate) fn runner(&self) -> Result<&'r Runner, Failure> {
        let EngineCells { shared, runner, .. } = self.engines;
        if runner.get().is_none() {
            let engine = shared.engines.take().map_or_else(|| Engine::open(shared), Ok);
            let engine = opened(engine)?;
            // The cell is empty.
            let backend = backends::own().ok_or(Failure::Gone)?;
            let _ = runner.set(Runner { shared: shared.clone(), backend, engine });
        }
        runner.get().ok_or(Failure::Gone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.suspended.is_empty()
    }

    /// Compiles the statement of a portal, which reads. Its rows come by [`fetch`](Self::fetch). With
    /// `now` it reads what is committed now, and otherwise what is committed at the first fetch.
    pub(crate) fn open(
        &mut self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        name: &str,
        query: &Query<'_>,
        now: bool,
    ) -> Result<(), Failure> {
        let permit = Permit::take(&self.engines.shared)?;
        let runner = self.runner()?;
        let own = &runner.engine;
        let shares = own.is_writing()
            || transaction.is_snapshot()
            || !is_shared(&own.connection, query.text)
                .map_err(|error| failure(own, session, &error))?;
        runner.begin(session, transaction, query.text, query.text, true)?;
        let engine = match (!shares).then(|| self.unused.pop()) {
            None => own,
            Some(Some(engine)) => engine,
            Some(None) => opened(self.engines.add())?,
        };
        match query.compile(session, engine, now && !shares) {
            Ok(compiled) => {
                let suspended = Suspended { compiled, engine, shares, _permit: permit };
                self.suspended.insert(name.to_string(), suspended);
                Ok(())
            }
            Err(error) => {
                if !shares {
                    self.give_back(engine);
                }
                Err(error)
            }
        }
    }

    fn give_back(&mut self, engine: &'r Engine) {
        // It fails only if SQLite has rolled back already.
        let _ = if engine.in_transaction() {
            engine.connection.execute_batch("ROLLBACK")
        } else {
            Ok(())
        };
        self.unused.push(engine);
    }

    /// Passes the next rows of a portal to `each`, up to `most`. Returns their number, and whether
    /// there may be more. If there are none, or after an error, the statement is closed.
    pub(crate) fn fetch(
        &mut self,
        session: &Attached<'_>,
        name: &str,
        most: u64,
        each: impl FnMut(&Row<'_>) -> Result<(), Failure>,
    ) -> Result<(u64, bool), Failure> {
        let Some(suspended) = self.suspended.get_mut(name) else { return Ok((0, false)) };
        let fetched = suspended.fetch(session, most, each);
        if !matches!(fetched, Ok((_, true))) {
            self.close(name);
        }
        fetched
    }

    /// Returns the messages that the functions of the portals have left for the client.
    pub(crate) fn take_notices(&mut self) -> Vec<Fields> {
        for suspended in self.suspended.values() {
            self.notices.extend(suspended.engine.left.take_notices());
        }
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn close(&mut self, name: &str) {
        let Some(Suspended { engine, shares, .. }) = self.suspended.get(name) else { return };
        let (engine, shares) = (*engine, *shares);
        self.notices.extend(engine.left.take_notices());
        self.suspended.remove(name);
        if !shares {
            self.give_back(engine);
        }
    }

    /// Closes the statements of the portals that are not named by `keep`.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let names: Vec<_> = self.suspended.keys().filter(|name| !keep(name)).cloned().collect();
        for name in names {
            self.close(&name);
        }
    }

    /// Returns the portals that read by the session's own engine.
    pub(crate) fn sharing(&self) -> Vec<String> {
        let shares = self.suspended.iter().filter(|(_, suspended)| suspended.shares);
        shares.map(|(name, _)| name.clone()).collect()
    }
}

/// The statement of a portal.
pub(crate) struct Query<'a> {
    pub(crate) text: &'a str,
    pub(crate) values: &'a [Value],
    /// The number of columns that the client expects.
    pub(crate) width: usize,
}

impl Query<'_> {
    fn compile<'r>(
        &self,
        session: &Attached<'_>,
        engine: &'r Engine,
        snapshot: bool,
    ) -> Result<CachedStatement<'r>, Failure> {
        let fail = |error: rusqlite::Error| failure(engine, session, &error);
        if snapshot {
            let first = "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1";
            engine.connection.execute_batch(first).map_err(fail)?;
        }
        let mut compiled = engine.connection.prepare_cached(self.text).map_err(fail)?;
        let parameters = describe::parameters(&compiled);
        let parameters = parameters.map_err(|error| Failure::new(session, error))?;
        for (index, number) in parameters.bindings() {
            compiled.raw_bind_parameter(index, &self.values[number - 1]).map_err(fail)?;
        }
        if compiled.column_count() != self.width {
            let message = "cached plan must not change result type";
            return Err(Fields::new("ERROR", "0A000", message).into());
        }
        Ok(compiled)
    }
}

impl Suspended<'_> {
    fn fetch(
        &mut self,
        session: &Attached<'_>,
        most: u64,
        mut each: impl FnMut(&Row<'_>) -> Result<(), Failure>,
    ) -> Result<(u64, bool), Failure> {
        let mut rows = self.compiled.raw_query();
        let mut count = 0;
        while count < most {
            match rows.next() {
                Ok(Some(row)) => {
                    // A row that terminates its own session is not sent.
                    session.check()?;
                    each(row)?;
                    count += 1;
                }
                Ok(None) => return Ok((count, false)),
                Err(error) => return Err(failure(self.engine, session, &error)),
            }
        }
        // Dropping it would reset the statement. It owns nothing.
        std::mem::forget(rows);
        Ok((count, true))
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        // Resets the statement, which returns to the cache of its engine.
        drop(self.compiled.raw_query());
    }
}

/// One of the suspended statements that the server allows.
struct Permit(Arc<Shared>);

impl Permit {
    fn take(shared: &Arc<Shared>) -> Result<Permit, Fields> {
        let most = shared.max_portals;
        // Relaxed: only the number matters.
        let taken = shared.portals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < most).then_some(open + 1)
        });
        if taken.is_ok() {
            return Ok(Permit(shared.clone()));
        }
        let message = format!("too many suspended portals: the server allows {most}");
        let mut fields = Fields::new("ERROR", "53400", message);
        fields.hint = Some("Fetch all rows, close portals, or raise --max-portals.".into());
        Err(fields)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.portals.fetch_sub(1, Ordering::Relaxed);
    }
}
