//! The extended query protocol: Parse, Bind, Describe, Execute, Close.

use super::Connection;
use super::portal::{Portal, Progress, cannot_run, exists};
use crate::cursors::Cursor;
use crate::plan::{self, Plan, Prepared, is_way_out};
use crate::run::{Answer, Done, Failure, Kept};
use crate::settings::SETTINGS;
use crate::split;
use crate::suspended::Sqlite;
use crate::types::{Format, PgType, decode_param};
use crate::wire::Fields;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::extendedquery::{Bind, Parse};
use safepoint::Attached;
use safepoint::request::InterruptReason;
use std::sync::Arc;
use std::time::Instant;

impl Portal {
    /// Returns the statement that an Execute runs.
    pub(super) fn text(&self) -> &str {
        &self.prepared.text
    }
}

impl Connection {
    pub(super) fn extended(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        message: Message,
    ) -> Result<(), Failure> {
        self.in_time(session)?;
        // A time that began without a limit begins anew, under a limit that was set since.
        if self.period.is_none() || session.timeouts().statement().is_none() {
            self.follow_settings(session)?;
            self.period = Some(Instant::now());
        }
        match message {
            Message::Parse(parse) => self.parse(session, sqlite, &parse),
            Message::Bind(bind) => self.bind(session, sqlite, &bind),
            Message::Describe(describe) => {
                let name = describe.name.as_deref().unwrap_or_default();
                self.describe(describe.target_type, name)
            }
            Message::Execute(execute) => {
                let name = execute.name.as_deref().unwrap_or_default();
                self.execute(session, sqlite, name, execute.max_rows)
            }
            Message::Close(close) => {
                let name = close.name.as_deref().unwrap_or_default();
                match close.target_type {
                    b'S' => drop(self.prepared.remove(name)),
                    _ => {
                        self.portals.remove(name);
                        sqlite.close(name);
                    }
                }
                self.outgoing.close_complete();
                Ok(())
            }
            _ => Err(Fields::new("ERROR", "08P01", "unexpected message").into()),
        }
    }

    /// Returns the error of a timeout that has expired since an earlier message. While a statement
    /// runs, its own timeout is in force.
    pub(super) fn in_time(&self, session: &Attached<'_>) -> Result<(), Failure> {
        let limit = self.period.and(session.timeouts().statement());
        let expired = |limit| self.period.is_some_and(|begun| begun.elapsed() >= limit);
        if !limit.is_some_and(expired) {
            return Ok(());
        }
        let message = InterruptReason::StatementTimeout.message();
        Err(Fields::new("ERROR", "57014", message).into())
    }

    fn parse(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        parse: &Parse,
    ) -> Result<(), Failure> {
        let name = parse.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            self.prepared.remove(name);
        }
        if !name.is_empty() && self.prepared.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Fields::new("ERROR", "42P05", message).into());
        }
        if is_way_out(&parse.query) {
            session.discard_reserved();
        }
        let statement = session.begin()?.with_text(&parse.query);
        self.period.inspect(|begun| statement.count_timeout_from(*begun));
        if self.transaction.has_failed() {
            // A syntax error comes first, and any other after the rejection.
            let statements = split::split(&parse.query);
            let plans = self.plans(&statement, sqlite, &statements)?;
            let ends = plans.iter().all(|plan| plan.as_ref().is_ok_and(Plan::ends_failure));
            self.transaction.accepts(ends)?;
        }
        let runner = sqlite.runner()?;
        let oids = parse.type_oids.clone();
        let mut prepared = match plan::prepare(&runner.engine, &parse.query, oids) {
            Ok(prepared) => prepared,
            Err(fields) => {
                // If the error is an interrupt, the interrupt is reported.
                statement.check()?;
                return Err(fields.into());
            }
        };
        self.transaction.accepts(prepared.ends_failure())?;
        if let Some(Plan::Cursor(Cursor::Fetch { name, moves: false, .. })) = &prepared.plan {
            // Without such a cursor it fails when it runs.
            let columns = self.portals.get(name).map(|portal| portal.prepared.columns.clone());
            prepared.columns = columns.unwrap_or_default();
        }
        self.prepared.insert(name.to_string(), Arc::new(prepared));
        self.outgoing.parse_complete();
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<&Arc<Prepared>, Failure> {
        self.prepared.get(name).ok_or_else(|| {
            let message = format!("prepared statement \"{name}\" does not exist");
            Failure::Error(Fields::new("ERROR", "26000", message))
        })
    }

    fn bind(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        bind: &Bind,
    ) -> Result<(), Failure> {
        let prepared = self.statement(bind.statement_name.as_deref().unwrap_or_default())?.clone();
        self.transaction.accepts(prepared.ends_failure())?;
        let (given, wanted) = (bind.parameters.len(), prepared.parameters.count());
        if given != wanted {
            let message = format!(
                "bind message supplies {given} parameters, but the prepared statement requires {wanted}"
            );
            return Err(Fields::new("ERROR", "08P01", message).into());
        }
        let formats = formats(&bind.parameter_format_codes, given, "parameters")?;
        let results = formats_for(&bind.result_column_format_codes, prepared.columns.len())?;
        let zone = match prepared.oids.contains(&PgType::Timestamptz.oid()) {
            true => SETTINGS.with_borrow(|all| all.get("timezone").map(str::to_string))?,
            false => String::new(),
        };
        let values = bind.parameters.iter().enumerate().map(|(at, bytes)| {
            let oid = prepared.oids.get(at).copied().unwrap_or(0);
            decode_param(bytes.as_deref(), oid, Format::pick(&formats, at), &zone)
        });
        let values = values.collect::<Result<Vec<_>, _>>();
        let values = values.map_err(|error| Failure::new(session, error))?;
        let portal = Portal::new(prepared, values, results, self.transaction.depth());
        let name = bind.portal_name.clone().unwrap_or_default();
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(exists(&name).into());
        }
        sqlite.close(&name);
        self.portals.insert(name, portal);
        self.outgoing.bind_complete();
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &str) -> Result<(), Failure> {
        let (prepared, formats) = if kind == b'S' {
            let prepared = self.statement(name)?.clone();
            let unknown = PgType::Text.oid();
            let oids = prepared.oids.iter().map(|oid| if *oid == 0 { unknown } else { *oid });
            self.outgoing.parameter_description(&oids.collect::<Vec<_>>());
            (prepared, Vec::new())
        } else {
            let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
            (portal.prepared.clone(), portal.formats.clone())
        };
        self.transaction.accepts(prepared.columns.is_empty())?;
        if prepared.columns.is_empty() {
            self.outgoing.no_data();
        } else {
            self.outgoing.row_description(&prepared.columns, &formats);
        }
        Ok(())
    }

    fn execute(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        max_rows: i32,
    ) -> Result<(), Failure> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let prepared = portal.prepared.clone();
        let Some(plan) = &prepared.plan else {
            self.outgoing.empty_query();
            return Ok(());
        };
        self.transaction.accepts(plan.ends_failure())?;
        portal.runs(name)?;
        if matches!(portal.progress, Progress::Done) && prepared.columns.is_empty() {
            return Err(cannot_run(name).into());
        }
        if is_way_out(&prepared.text) {
            session.discard_reserved();
        }
        let statement = session.begin()?.with_text(&prepared.text);
        self.period.inspect(|begun| statement.count_timeout_from(*begun));
        // Its own end of the transaction does not end it.
        let Some(mut portal) = self.portals.remove(name) else { return Ok(()) };
        let few = u64::try_from(max_rows).ok().filter(|few| *few > 0);
        let ran = self.run_portal(&statement, sqlite, name, &mut portal, plan, few);
        if ran.is_err() {
            portal.progress = Progress::Failed;
        }
        self.portals.insert(name.to_string(), portal);
        match ran? {
            Ended::Itself => statement.finish()?,
            Ended::Fetch => self.end_or_suspend(statement),
        }
        Ok(())
    }

    /// Runs a portal up to its row limit, or to its end, and tells the client which of them it is.
    fn run_portal(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        name: &str,
        portal: &mut Portal,
        plan: &Plan,
        few: Option<u64>,
    ) -> Result<Ended, Failure> {
        if !matches!(portal.progress, Progress::Fresh) {
            session.check()?;
            self.fetch(session, sqlite, name, portal, few)?;
            return Ok(Ended::Fetch);
        }
        if few.is_some() && portal.query().is_some() {
            self.start_portal(session, sqlite, name, portal)?;
            self.fetch(session, sqlite, name, portal, few)?;
            return Ok(Ended::Fetch);
        }
        self.before(session, sqlite, plan)?;
        let prepared = portal.prepared.clone();
        let mut kept = Kept::new();
        let rows = portal.bound(&prepared, few.is_some().then_some(&mut kept));
        let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
        let (transaction, text) = (&mut self.transaction, &prepared.text);
        let runner = sqlite.runner()?;
        let tag = match runner.run(session, transaction, text, plan, rows, &mut answer)? {
            Done::Tag(tag) => tag,
            Done::Cursor(cursor) => {
                let rows = portal.bound(&prepared, few.is_some().then_some(&mut kept));
                self.cursor(session, sqlite, &cursor, &portal.values, rows)?
            }
            Done::EndsItself => return Ok(Ended::Itself),
            Done::Tidy(setting) => {
                self.tidy(sqlite, &setting)?;
                setting.tag().to_string()
            }
            Done::Copy { table, columns } => self.copy_in(session, runner, &table, &columns)?,
        };
        self.after(sqlite, plan);
        portal.progress = Progress::Done;
        if few.is_some() && !prepared.columns.is_empty() {
            portal.progress = Progress::Kept(kept);
            self.fetch(session, sqlite, name, portal, few)?;
        } else {
            self.outgoing.command_complete(&tag);
            self.period = None;
        }
        Ok(Ended::Fetch)
    }
}

/// How an Execute has ended.
enum Ended {
    Fetch,
    /// The statement has terminated its own session.
    Itself,
}

fn no_portal(name: &str) -> Failure {
    Failure::Error(Fields::new("ERROR", "34000", format!("portal \"{name}\" does not exist")))
}

fn formats(codes: &[i16], count: usize, what: &str) -> Result<Vec<Format>, Failure> {
    if codes.len() > 1 && codes.len() != count {
        let message = format!("bind message has {} formats but {count} {what}", codes.len());
        return Err(Fields::new("ERROR", "08P01", message).into());
    }
    Ok(codes.iter().map(|code| Format::from_code(*code)).collect::<Result<_, _>>()?)
}

fn formats_for(codes: &[i16], columns: usize) -> Result<Vec<Format>, Failure> {
    formats(codes, columns, "result columns")
}
