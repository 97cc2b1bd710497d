//! What a connection does with its portals: fetches, cursors, and the ends of transactions.

use super::Connection;
use super::portal::{Portal, Progress, exists, no_cursor, start};
use crate::cursors::{ALL, Cursor, Declare, Rows as Which};
use crate::plan::{Plan, query_of};
use crate::run::{Answer, Failure, Rows};
use crate::suspended::Sqlite;
use crate::transaction::Control;
use crate::types::Format;
use crate::wire::Fields;
use rusqlite::types::Value;
use safepoint::Attached;

impl Connection {
    /// Sends the next rows of a portal, and how they end.
    pub(super) fn fetch(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        portal: &mut Portal,
        few: Option<u64>,
    ) -> Result<(), Failure> {
        let prepared = portal.prepared.clone();
        let formats = portal.formats.clone();
        let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
        let which = Which::Forward(few.unwrap_or(ALL));
        let fetched = portal.walk(session, sqlite, name, which, &mut |found| {
            answer.row(session, &prepared.columns, &formats, |at| found.value(at))
        });
        for notice in sqlite.take_notices() {
            self.outgoing.notice(&notice);
        }
        let count = fetched?;
        if few == Some(count) {
            self.outgoing.portal_suspended();
        } else {
            self.outgoing.command_complete(&prepared.tag(count));
            // The next messages have a statement timeout of their own.
            self.period = None;
        }
        Ok(())
    }

    /// Runs a statement about a cursor, and returns its tag.
    pub(super) fn cursor(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        cursor: &Cursor,
        values: &[Value],
        rows: Rows<'_>,
    ) -> Result<String, Failure> {
        match cursor {
            Cursor::Declare(declare) => self.declare(session, sqlite, declare, values)?,
            Cursor::Close(name) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
                sqlite.close(name);
            }
            Cursor::Fetch { name, rows: which, moves } => {
                let portal = self.portals.get_mut(name).ok_or_else(|| no_cursor(name))?;
                portal.runs(name)?;
                if let Progress::Fresh = portal.progress {
                    start(portal, session, sqlite, &mut self.transaction, name, false)?;
                }
                let prepared = portal.prepared.clone();
                let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
                let binary = portal.cursor.as_ref().is_some_and(|cursor| cursor.binary);
                let own = if binary { &[Format::Binary][..] } else { &[] };
                let (columns, formats, mut kept) = match rows {
                    _ if *moves => (&prepared.columns[..], own, None),
                    Rows::Described => {
                        answer.outgoing.row_description(&prepared.columns, own);
                        (&prepared.columns[..], own, None)
                    }
                    Rows::Bound { columns, formats, kept, .. } => (columns, formats, kept),
                };
                if columns.len() != prepared.columns.len() {
                    let message = "cached plan must not change result type";
                    return Err(Fields::new("ERROR", "0A000", message).into());
                }
                let width = columns.len();
                let walked = portal.walk(session, sqlite, name, *which, &mut |found| {
                    if *moves {
                        return Ok(());
                    }
                    match &mut kept {
                        Some(kept) => {
                            kept.push_back(found.values(width)?);
                            Ok(())
                        }
                        None => answer.row(session, columns, formats, |at| found.value(at)),
                    }
                });
                for notice in sqlite.take_notices() {
                    self.outgoing.notice(&notice);
                }
                return Ok(cursor.tag(walked?));
            }
        }
        Ok(cursor.tag(0))
    }

    fn declare(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        declare: &Declare,
        values: &[Value],
    ) -> Result<(), Failure> {
        let name = &declare.name;
        if !declare.hold && !self.transaction.is_shared() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Fields::new("ERROR", "25P01", message).into());
        }
        if self.portals.contains_key(name) {
            return Err(exists(name).into());
        }
        let prepared = query_of(&sqlite.runner()?.engine, declare, Vec::new());
        // If the error is an interrupt, the interrupt is reported.
        session.check()?;
        let prepared = prepared?;
        if values.len() < prepared.parameters.count() {
            let message = "there is no parameter $1: a simple query has none";
            return Err(Fields::new("ERROR", "42P02", message).into());
        }
        let depth = self.transaction.depth();
        let mut portal = Portal::declared(declare, prepared, values.to_vec(), depth);
        start(&mut portal, session, sqlite, &mut self.transaction, name, true)?;
        self.portals.insert(name.clone(), portal);
        Ok(())
    }

    /// Starts a portal of Execute whose rows are computed as they are fetched.
    pub(super) fn start_portal(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        portal: &mut Portal,
    ) -> Result<(), Failure> {
        session.check()?;
        self.transaction.statement_begins();
        let started = start(portal, session, sqlite, &mut self.transaction, name, false);
        self.show_transaction(session, sqlite);
        started
    }

    /// Prepares the portals for a statement that follows: what it changes must not show in them, and
    /// a commit ends most of them.
    pub(super) fn before(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let is_rejected = self.transaction.has_failed() && !plan.ends_failure();
        if self.portals.is_empty() || is_rejected {
            return Ok(());
        }
        match plan {
            Plan::Control(Control::Commit { .. }) if !self.transaction.has_failed() => {
                self.hold(session, sqlite)?;
                self.end_portals(sqlite);
            }
            Plan::Control(Control::Commit { .. } | Control::Rollback { .. }) => {
                self.end_portals(sqlite);
            }
            // A rollback to a savepoint undoes no change that a suspended statement could have seen.
            Plan::Copy { .. } => self.keep_rows(session, sqlite)?,
            Plan::Sqlite(statements) => {
                let connection = &sqlite.runner()?.engine.connection;
                // A statement that cannot be compiled changes nothing.
                let changes = |text: &String| {
                    connection.prepare_cached(text).is_ok_and(|compiled| !compiled.readonly())
                };
                if statements.iter().any(changes) {
                    self.keep_rows(session, sqlite)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets the portals that are open read what is there before a change.
    fn keep_rows(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
    ) -> Result<(), Failure> {
        for (name, portal) in &mut self.portals {
            if matches!(portal.progress, Progress::Fresh) && portal.query().is_some() {
                let transaction = &mut self.transaction;
                if start(portal, session, sqlite, transaction, name, true).is_err() {
                    // The error comes when it runs.
                    portal.progress = Progress::Fresh;
                }
            }
        }
        for name in sqlite.sharing() {
            if let Some(portal) = self.portals.get_mut(&name) {
                portal.keep(session, sqlite, &name)?;
            }
        }
        Ok(())
    }

    /// Reads the rows of the cursors that outlive their transaction, before its commit.
    pub(super) fn hold(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
    ) -> Result<(), Failure> {
        for (name, portal) in &mut self.portals {
            if portal.is_held()
                && let Err(error) = portal.keep(session, sqlite, name)
            {
                // A commit that fails ends the transaction.
                self.transaction.commit_failed();
                return Err(error);
            }
        }
        for portal in self.portals.values_mut() {
            if portal.is_held()
                && let Some(cursor) = &mut portal.cursor
            {
                cursor.outlives = true;
            }
        }
        Ok(())
    }

    /// Ends the portals that end with the transaction.
    pub(super) fn end_portals(&mut self, sqlite: &mut Sqlite<'_>) {
        self.retain_portals(sqlite, |portal| portal.outlives());
    }

    /// Lets the portals follow a statement that has run: those of a savepoint end with it.
    pub(super) fn after(&mut self, sqlite: &mut Sqlite<'_>, plan: &Plan) {
        let depth = self.transaction.depth();
        match plan {
            Plan::Control(Control::Release(_)) => {
                for portal in self.portals.values_mut() {
                    portal.depth = portal.depth.min(depth);
                }
            }
            Plan::Control(Control::RollbackTo(_)) => {
                self.retain_portals(sqlite, |portal| portal.outlives() || portal.depth < depth);
            }
            _ => {}
        }
    }

    /// Ends the portals that an error ends. In a block their names are known until the block ends, or
    /// goes back to a savepoint.
    pub(super) fn fail_portals(&mut self, sqlite: &mut Sqlite<'_>) {
        if !self.transaction.is_block() {
            return self.end_portals(sqlite);
        }
        let depth = self.transaction.depth();
        for (name, portal) in &mut self.portals {
            if !portal.outlives() && portal.depth >= depth {
                portal.progress = Progress::Failed;
                sqlite.close(name);
            }
        }
    }

    pub(super) fn close_portals(&mut self, sqlite: &mut Sqlite<'_>) {
        self.retain_portals(sqlite, |_| false);
    }

    fn retain_portals(&mut self, sqlite: &mut Sqlite<'_>, keep: impl Fn(&Portal) -> bool) {
        self.portals.retain(|_, portal| keep(portal));
        sqlite.retain(|name| self.portals.contains_key(name));
    }
}
