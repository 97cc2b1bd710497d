//! The extended query protocol: Parse, Bind, Describe, Execute, Close.

use super::Connection;
use crate::plan::{self, Plan, Prepared};
use crate::run::{Answer, Done, Failure, Rows, SEND_AT};
use crate::settings::SETTINGS;
use crate::split;
use crate::types::{Format, PgType, decode_param};
use crate::wire::Fields;
use bytes::BytesMut;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::extendedquery::{Bind, Parse};
use rusqlite::types::Value;
use safepoint::Attached;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<Value>,
    formats: Vec<Format>,
    /// The rows that a client with a row limit has not received yet, and the tag. A statement runs
    /// to its end with the first fetch, since SQLite's cursors cannot outlive the call.
    rest: Option<(VecDeque<BytesMut>, String)>,
    /// Whether the client has received all rows, and the tag.
    done: bool,
}

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
        message: Message,
    ) -> Result<(), Failure> {
        match message {
            Message::Parse(parse) => self.parse(session, &parse),
            Message::Bind(bind) => self.bind(session, &bind),
            Message::Describe(describe) => {
                let name = describe.name.as_deref().unwrap_or_default();
                self.describe(describe.target_type, name)
            }
            Message::Execute(execute) => {
                let name = execute.name.as_deref().unwrap_or_default();
                self.execute(session, name, execute.max_rows)
            }
            Message::Close(close) => {
                let name = close.name.as_deref().unwrap_or_default();
                match close.target_type {
                    b'S' => drop(self.prepared.remove(name)),
                    _ => drop(self.portals.remove(name)),
                }
                self.outgoing.close_complete();
                Ok(())
            }
            _ => Err(Fields::new("ERROR", "08P01", "unexpected message").into()),
        }
    }

    fn parse(&mut self, session: &mut Attached<'_>, parse: &Parse) -> Result<(), Failure> {
        let name = parse.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            self.prepared.remove(name);
        }
        if !name.is_empty() && self.prepared.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Fields::new("ERROR", "42P05", message).into());
        }
        let statement = session.begin()?.with_text(&parse.query);
        if self.transaction.has_failed() {
            // A syntax error comes first, and any other after the rejection.
            let statements = split::split(&parse.query);
            let plans = self.plans(&statement, &statements)?;
            let ends = plans.iter().all(|plan| plan.as_ref().is_ok_and(Plan::ends_failure));
            self.transaction.accepts(ends)?;
        }
        let runner = self.runner()?;
        let oids = parse.type_oids.clone();
        let prepared = match plan::prepare(&runner.engine, &parse.query, oids) {
            Ok(prepared) => prepared,
            Err(fields) => {
                // If the error is an interrupt, the interrupt is reported.
                statement.check()?;
                return Err(fields.into());
            }
        };
        self.transaction.accepts(prepared.ends_failure())?;
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

    fn bind(&mut self, session: &Attached<'_>, bind: &Bind) -> Result<(), Failure> {
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
        let portal = Portal { prepared, values, formats: results, rest: None, done: false };
        let name = bind.portal_name.clone().unwrap_or_default();
        if !name.is_empty() && self.portals.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Fields::new("ERROR", "42P03", message).into());
        }
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
        name: &str,
        max_rows: i32,
    ) -> Result<(), Failure> {
        self.runner()?;
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let prepared = portal.prepared.clone();
        let Some(plan) = &prepared.plan else {
            self.outgoing.empty_query();
            return Ok(());
        };
        let few = usize::try_from(max_rows).ok().filter(|few| *few > 0);
        self.transaction.accepts(plan.ends_failure())?;
        if portal.done {
            if prepared.columns.is_empty() {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Fields::new("ERROR", "55000", message).into());
            }
            self.outgoing.command_complete(&split::command_tag(&prepared.text, 0));
            return Ok(());
        }
        if portal.rest.is_none() {
            let statement = session.begin()?.with_text(&prepared.text);
            let mut kept = VecDeque::new();
            let rows = Rows::Bound {
                columns: &prepared.columns,
                formats: &portal.formats,
                values: &portal.values,
                kept: few.is_some().then_some(&mut kept),
            };
            let Some(runner) = &mut self.runner else { return Err(Failure::Gone) };
            // Rows are kept separate from messages that wait for sending already.
            let mut apart = crate::wire::Outgoing::new();
            let outgoing = if few.is_some() { &mut apart } else { &mut self.outgoing };
            let mut answer = Answer { stream: &self.stream, outgoing };
            let transaction = &mut self.transaction;
            let text = &prepared.text;
            let done = runner.run(&statement, transaction, text, plan, rows, &mut answer);
            if few.is_some() {
                self.outgoing.buf.unsplit(apart.buf);
            }
            match done? {
                Done::Tag(tag) => {
                    portal.rest = Some((kept, tag));
                    // The statement ends after the client has received its first rows.
                    return self.fetch(&statement, name, few);
                }
                Done::EndsItself => {
                    statement.finish()?;
                    return Ok(());
                }
                Done::Tidy(setting) => {
                    drop(statement);
                    self.tidy(&setting)?;
                    self.outgoing.command_complete(setting.tag());
                    return Ok(());
                }
                Done::Copy { table, columns } => {
                    portal.done = true;
                    let tag = self.copy_in(&statement, &table, &columns)?;
                    self.outgoing.command_complete(&tag);
                    return Ok(());
                }
            }
        }
        self.fetch(session, name, few)
    }

    /// Sends the next rows of a portal.
    fn fetch(
        &mut self,
        session: &Attached<'_>,
        name: &str,
        few: Option<usize>,
    ) -> Result<(), Failure> {
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let Some((rest, tag)) = &mut portal.rest else { return Ok(()) };
        for _ in 0..few.unwrap_or(usize::MAX).min(rest.len()) {
            if let Some(row) = rest.pop_front() {
                self.outgoing.buf.extend_from_slice(&row);
            }
            if self.outgoing.buf.len() >= SEND_AT {
                let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
                answer.send(session)?;
            }
        }
        if rest.is_empty() {
            self.outgoing.command_complete(tag);
            portal.done = true;
        } else {
            self.outgoing.portal_suspended();
        }
        Ok(())
    }
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
