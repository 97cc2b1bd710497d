//! Portals: statements whose rows a client fetches bit by bit, by Execute or by FETCH.

use crate::cursors::{ALL, Declare, Rows as Which};
use crate::plan::{Plan, Prepared};
use crate::run::{Failure, Kept, Rows, owned, value_of};
use crate::suspended::{Query, Sqlite};
use crate::transaction::Transaction;
use crate::types::{Format, SqlError};
use crate::wire::Fields;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use safepoint::Attached;
use std::sync::Arc;

/// The most bytes of rows that are kept for one portal.
const KEPT_BYTES: usize = 64 << 20;

pub(crate) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) values: Vec<Value>,
    pub(super) formats: Vec<Format>,
    pub(super) progress: Progress,
    /// The number of savepoints when it was created, as far as they are left. A rollback to an earlier
    /// one ends it.
    pub(super) depth: usize,
    /// `None` for a portal of Bind.
    pub(super) cursor: Option<Declared>,
}

/// How far a portal has run.
pub(super) enum Progress {
    Fresh,
    /// Its statement of SQLite waits for the next fetch.
    Suspended,
    /// It has run to its end, and these rows are left.
    Kept(Kept),
    Done,
    Failed,
}

/// What a cursor has that a portal of Bind has not.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) binary: bool,
    scroll: Option<bool>,
    hold: bool,
    /// Whether the transaction that created it has been committed.
    pub(super) outlives: bool,
    /// The number of the present row, from 1; 0 before the first row.
    position: u64,
    /// The present row, and with `SCROLL` all rows that were read.
    rows: Vec<Vec<Value>>,
    /// Whether `rows` are all there are, with `SCROLL`.
    complete: bool,
    bytes: usize,
}

/// A row of a portal.
pub(super) enum Found<'a> {
    Row(&'a Row<'a>),
    Kept(&'a [Value]),
}

impl<'a> Found<'a> {
    pub(super) fn value(&self, at: usize) -> ValueRef<'a> {
        match self {
            Found::Row(row) => value_of(row, at),
            Found::Kept(row) => row.get(at).map_or(ValueRef::Null, ValueRef::from),
        }
    }

    pub(super) fn values(&self, width: usize) -> Result<Vec<Value>, SqlError> {
        (0..width).map(|at| owned(self.value(at))).collect()
    }
}

pub(super) type Each<'a> = dyn FnMut(&Found<'_>) -> Result<(), Failure> + 'a;

impl Portal {
    pub(super) fn new(
        prepared: Arc<Prepared>,
        values: Vec<Value>,
        formats: Vec<Format>,
        depth: usize,
    ) -> Portal {
        Portal { prepared, values, formats, progress: Progress::Fresh, depth, cursor: None }
    }

    /// Creates the portal of a cursor.
    pub(super) fn declared(
        declare: &Declare,
        prepared: Prepared,
        values: Vec<Value>,
        depth: usize,
    ) -> Portal {
        let mut portal = Portal::new(Arc::new(prepared), values, Vec::new(), depth);
        let (binary, scroll, hold) = (declare.binary, declare.scroll, declare.hold);
        portal.cursor = Some(Declared { binary, scroll, hold, ..Declared::default() });
        portal
    }

    /// Returns the text for SQLite of a portal whose rows are computed as they are fetched.
    pub(super) fn query(&self) -> Option<&str> {
        let reads = self.prepared.plan.as_ref().and_then(Plan::query);
        reads.filter(|_| !self.prepared.columns.is_empty())
    }

    /// Returns how its rows are sent, or kept for later fetches.
    pub(super) fn bound<'a>(
        &'a self,
        prepared: &'a Prepared,
        kept: Option<&'a mut Kept>,
    ) -> Rows<'a> {
        let (formats, values) = (&self.formats, &self.values);
        Rows::Bound { columns: &prepared.columns, formats, values, kept }
    }

    pub(super) fn outlives(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.outlives)
    }

    pub(super) fn is_held(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.hold && !cursor.outlives)
    }

    pub(super) fn runs(&self, name: &str) -> Result<(), Fields> {
        if matches!(self.progress, Progress::Failed) { Err(cannot_run(name)) } else { Ok(()) }
    }

    /// Passes the next rows to `each`, up to `most`. Returns their number, and whether there may be
    /// more.
    fn pull(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        most: u64,
        each: &mut Each<'_>,
    ) -> Result<(u64, bool), Failure> {
        let (count, more) = match &mut self.progress {
            Progress::Suspended => {
                let fetched = sqlite.fetch(session, name, most, |row| each(&Found::Row(row)));
                fetched.inspect_err(|_| self.progress = Progress::Failed)?
            }
            Progress::Kept(rows) => {
                let mut count = 0;
                while count < most
                    && let Some(row) = rows.pop_front()
                {
                    session.check()?;
                    each(&Found::Kept(&row))?;
                    count += 1;
                }
                (count, count == most)
            }
            _ => return Ok((0, false)),
        };
        if !more {
            self.progress = Progress::Done;
        }
        Ok((count, more))
    }

    /// Reads the rows that are left, so that its statement of SQLite is not needed any more.
    pub(super) fn keep(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
    ) -> Result<(), Failure> {
        if !matches!(self.progress, Progress::Suspended) {
            return Ok(());
        }
        let (mut rows, mut bytes, width) = (Kept::new(), 0, self.prepared.columns.len());
        self.pull(session, sqlite, name, ALL, &mut |found| {
            rows.push_back(weighed(found.values(width)?, &mut bytes)?);
            Ok(())
        })?;
        self.progress = Progress::Kept(rows);
        Ok(())
    }

    /// Passes the rows that a cursor's command names to `each`. Returns their number.
    pub(super) fn walk(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        which: Which,
        each: &mut Each<'_>,
    ) -> Result<u64, Failure> {
        let mut cursor = self.cursor.take();
        let walked = match &mut cursor {
            Some(cursor) if cursor.scroll == Some(true) => {
                self.scroll(session, sqlite, name, cursor, which, each)
            }
            Some(cursor) => self.advance(session, sqlite, name, cursor, which, each),
            // A portal of Bind has no present row.
            None => match forward(which, None) {
                Some((skipped, most)) => self
                    .pull_after(session, sqlite, name, skipped, most, each)
                    .map(|(count, _)| count),
                None => Err(only_forward().into()),
            },
        };
        self.cursor = cursor;
        walked.inspect_err(|_| {
            sqlite.close(name);
            self.progress = Progress::Failed;
        })
    }

    fn pull_after(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        skipped: u64,
        most: u64,
        each: &mut Each<'_>,
    ) -> Result<(u64, u64), Failure> {
        let (passed, _) = self.pull(session, sqlite, name, skipped, &mut |_| Ok(()))?;
        let (count, _) = self.pull(session, sqlite, name, most, each)?;
        Ok((count, passed + count))
    }

    /// Moves a cursor that only moves forward.
    fn advance(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        cursor: &mut Declared,
        which: Which,
        each: &mut Each<'_>,
    ) -> Result<u64, Failure> {
        let width = self.prepared.columns.len();
        if matches!(which, Which::Forward(0) | Which::Backward(0) | Which::Relative(0))
            && cursor.scroll.is_none()
        {
            for row in &cursor.rows {
                each(&Found::Kept(row))?;
            }
            return Ok(cursor.rows.len() as u64);
        }
        let (skipped, most) = forward(which, Some(cursor.position)).ok_or_else(only_forward)?;
        let (mut seen, mut last) = (0, None);
        let (count, passed) =
            self.pull_after(session, sqlite, name, skipped, most, &mut |found| {
                each(found)?;
                seen += 1;
                // If there are fewer rows, the cursor is after the last of them.
                if seen == most {
                    last = Some(found.values(width)?);
                }
                Ok(())
            })?;
        cursor.position = cursor.position.saturating_add(passed);
        cursor.rows = last.into_iter().collect();
        Ok(count)
    }

    /// Moves a cursor that goes back too, and keeps what it has read.
    fn scroll(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        cursor: &mut Declared,
        which: Which,
        each: &mut Each<'_>,
    ) -> Result<u64, Failure> {
        let width = self.prepared.columns.len();
        let needed = match which {
            Which::Forward(count) => cursor.position.saturating_add(count),
            Which::Absolute(row) if row < 0 => ALL,
            Which::Absolute(row) => row.unsigned_abs(),
            Which::Relative(rows) => cursor.position.saturating_add_signed(rows),
            Which::Backward(_) => 0,
        };
        let missing = needed.saturating_sub(cursor.rows.len() as u64);
        if missing > 0 && !cursor.complete {
            let (rows, bytes) = (&mut cursor.rows, &mut cursor.bytes);
            let (_, more) = self.pull(session, sqlite, name, missing, &mut |found| {
                rows.push(weighed(found.values(width)?, bytes)?);
                Ok(())
            })?;
            cursor.complete = !more;
        }
        let (rows, position) = which.of(cursor.rows.len() as u64, cursor.position);
        cursor.position = position;
        let mut count = 0;
        for row in rows {
            session.check()?;
            if let Some(row) = usize::try_from(row - 1).ok().and_then(|at| cursor.rows.get(at)) {
                each(&Found::Kept(row))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Returns how many rows to skip and to fetch for a command that only goes forward from `position`,
/// or `None` if it goes back.
fn forward(which: Which, position: Option<u64>) -> Option<(u64, u64)> {
    match which {
        Which::Forward(count @ 1..) => Some((0, count)),
        Which::Relative(rows @ 1..) => Some((rows.unsigned_abs() - 1, 1)),
        Which::Absolute(row @ 1..) => Some((row.unsigned_abs().checked_sub(position? + 1)?, 1)),
        _ => None,
    }
}

fn weighed(row: Vec<Value>, bytes: &mut usize) -> Result<Vec<Value>, Fields> {
    let length = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        _ => 0,
    };
    *bytes += row.iter().map(|value| size_of::<Value>() + length(value)).sum::<usize>();
    if *bytes > KEPT_BYTES {
        let message = "the rows of a cursor need too much memory";
        let mut fields = Fields::new("ERROR", "54000", message);
        fields.detail = Some(format!(
            "Up to {} MiB of rows are kept: for a cursor that scrolls, that is held, or that was \
             opened after a change of its transaction, at the next change.",
            KEPT_BYTES >> 20
        ));
        return Err(fields);
    }
    Ok(row)
}

fn only_forward() -> Fields {
    let mut fields = Fields::new("ERROR", "55000", "cursor can only scan forward");
    fields.hint = Some("Declare it with SCROLL option to enable backward scan.".into());
    fields
}

pub(super) fn cannot_run(name: &str) -> Fields {
    Fields::new("ERROR", "55000", format!("portal \"{name}\" cannot be run"))
}

pub(super) fn no_cursor(name: &str) -> Fields {
    Fields::new("ERROR", "34000", format!("cursor \"{name}\" does not exist"))
}

pub(super) fn start(
    portal: &mut Portal,
    session: &Attached<'_>,
    sqlite: &mut Sqlite<'_>,
    transaction: &mut Transaction,
    name: &str,
    now: bool,
) -> Result<(), Failure> {
    let width = portal.prepared.columns.len();
    let opened = match portal.query() {
        Some(text) => sqlite.open(
            session,
            transaction,
            name,
            &Query { text, values: &portal.values, width },
            now,
        ),
        None => Err(cannot_run(name).into()),
    };
    portal.progress = if opened.is_ok() { Progress::Suspended } else { Progress::Failed };
    opened
}

pub(super) fn exists(name: &str) -> Fields {
    Fields::new("ERROR", "42P03", format!("cursor \"{name}\" already exists"))
}
