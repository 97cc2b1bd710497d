//! The statements that the server runs without SQLite: `ALTER SYSTEM`, which ends sessions, and the
//! statements about the session's settings.

use super::{Answer, Done, Failure, Rows, Runner, owned};
use crate::limits;
use crate::plan::{Plan, sql_error};
use crate::settings::{SETTINGS, Setting, Settings};
use crate::stream::Stream;
use crate::transaction::Transaction;
use crate::types::{Format, SqlError, encode};
use crate::wire::{Fields, with_cause};
use rusqlite::types::ValueRef;
use safepoint::session::Timeouts;
use safepoint::{Attached, TerminateMode, sql};
use std::error::Error;
use std::time::Duration;

impl Runner {
    pub(super) fn kill(
        &self,
        session: &Attached<'_>,
        command: sql::Command,
        rows: Rows<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<Done, Failure> {
        let address = command.address;
        let mut command = command;
        command.address = self
            .shared
            .address(address.thread().map_or(0, i64::from), address.session().into())
            .map_err(|error| sql_error("ERROR", &error))?;
        let accepted = sql::execute(&self.shared.manager, command, session.requester())
            .map_err(|error| sql_error("ERROR", &error))?;
        session.check()?;
        let waits = command.mode == TerminateMode::AfterTransaction && session.in_transaction();
        if accepted.receipt.session() == session.id() && !waits {
            return Ok(Done::EndsItself);
        }
        answer.outgoing.notice(&Fields::new("NOTICE", "00000", accepted.notice));
        own_rows(&Plan::Kill(command), rows, answer, &[&[ValueRef::Integer(1)]])?;
        Ok(Done::Tag("ALTER SYSTEM".into()))
    }

    pub(super) fn setting(
        &self,
        session: &Attached<'_>,
        transaction: &mut Transaction,
        setting: &Setting,
        rows: Rows<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<Done, Failure> {
        fn text(value: &str) -> ValueRef<'_> {
            ValueRef::Text(value.as_bytes())
        }
        let plan = Plan::Setting(setting.clone());
        match setting {
            Setting::Show(name) => {
                let value = SETTINGS.with_borrow(|all| all.get(name).map(str::to_string))?;
                own_rows(&plan, rows, answer, &[&[text(&value)]])?;
            }
            Setting::ShowAll => SETTINGS.with_borrow(|all| {
                let all: Vec<_> =
                    all.all().map(|(name, value)| [text(name), text(value)]).collect();
                let all: Vec<&[ValueRef<'_>]> = all.iter().map(|row| &row[..]).collect();
                own_rows(&plan, rows, answer, &all)
            })?,
            Setting::Set { name, value, local, .. } => {
                // It holds to the end of the unit, which is this statement.
                if *local && !transaction.is_shared() {
                    answer.outgoing.notice(&outside("SET LOCAL"));
                }
                let value = value.as_deref();
                SETTINGS.with_borrow_mut(|all| all.set(name, value, *local).map(drop))?;
                apply_within(session, answer.stream)?;
            }
            Setting::ResetAll => {
                SETTINGS.with_borrow_mut(Settings::reset);
                apply_within(session, answer.stream)?;
            }
            Setting::Transaction { modes, next: true } => SETTINGS.with_borrow_mut(|all| {
                if let Some(level) = modes.isolation {
                    all.set("default_transaction_isolation", Some(level), false)?;
                }
                if let Some(read_only) = modes.read_only {
                    let value = if read_only { "on" } else { "off" };
                    all.set("default_transaction_read_only", Some(value), false)?;
                }
                Ok::<(), SqlError>(())
            })?,
            Setting::Transaction { .. } if !transaction.is_shared() => {
                answer.outgoing.notice(&outside("SET TRANSACTION"));
            }
            Setting::Transaction { modes, .. } => transaction.set_modes(*modes)?,
            Setting::DiscardAll => {
                transaction.runs_alone("DISCARD ALL")?;
                SETTINGS.with_borrow_mut(Settings::reset);
                apply_within(session, answer.stream)?;
                return Ok(Done::Tidy(setting.clone()));
            }
            // Temporary tables go with their connection to SQLite, and so would all of the block.
            Setting::DiscardTemporary if transaction.is_block() => {
                let message = "DISCARD TEMP is not supported inside a transaction block";
                return Err(Fields::new("ERROR", "0A000", message).into());
            }
            Setting::DiscardTemporary | Setting::Deallocate(_) | Setting::CloseAll => {
                return Ok(Done::Tidy(setting.clone()));
            }
            Setting::Nothing(_) => {}
        }
        Ok(Done::Tag(setting.tag().to_string()))
    }
}

fn outside(what: &str) -> Fields {
    let message = format!("{what} can only be used in transaction blocks");
    Fields::new("WARNING", "25P01", message)
}

/// Sends rows that do not come from SQLite.
fn own_rows(
    plan: &Plan,
    rows: Rows<'_>,
    answer: &mut Answer<'_>,
    values: &[&[ValueRef<'_>]],
) -> Result<(), Failure> {
    let columns = plan.own_columns().unwrap_or_default();
    let (formats, mut kept) = match rows {
        Rows::Described => {
            answer.outgoing.row_description(&columns, &[]);
            (&[][..], None)
        }
        Rows::Bound { formats, kept, .. } => (formats, kept),
    };
    for row in values {
        if let Some(kept) = &mut kept {
            kept.push_back(row.iter().map(|value| owned(*value)).collect::<Result<_, _>>()?);
            continue;
        }
        answer.outgoing.data_row(columns.len(), |out| {
            columns.iter().zip(*row).enumerate().try_for_each(|(at, (column, value))| {
                encode(*value, column.ty, Format::pick(formats, at), out)
            })
        })?;
    }
    Ok(())
}

/// Applies the settings to the session: its timeouts, and the name of its application.
pub(crate) fn apply(session: &Attached<'_>, stream: &Stream) -> Result<(), Fields> {
    limit(session, stream)?;
    name_application(session)
}

/// Applies the settings that a statement has changed. As in PostgreSQL, its own time limit stays what it was
/// when it began.
fn apply_within(session: &Attached<'_>, stream: &Stream) -> Result<(), Fields> {
    let asked = SETTINGS.with_borrow(limits::of);
    // The statement fails if there is no timer for the statements that follow.
    let own = session.timeouts().statement().or(asked.statement().and(Some(FAR)));
    set(session, stream, asked.with_statement(own))?;
    name_application(session)
}

/// A time limit that no statement reaches.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn name_application(session: &Attached<'_>) -> Result<(), Fields> {
    let name = SETTINGS.with_borrow(|all| all.get("application_name").map(str::to_string))?;
    if session.client_info().application() != name {
        session.update_client_info(|client| client.with_application(name));
    }
    Ok(())
}

/// Applies the settings of the session to its timeouts.
pub(crate) fn limit(session: &Attached<'_>, stream: &Stream) -> Result<(), Fields> {
    set(session, stream, SETTINGS.with_borrow(limits::of))
}

fn set(session: &Attached<'_>, stream: &Stream, limits: Timeouts) -> Result<(), Fields> {
    fn fields(error: &dyn Error) -> Fields {
        Fields::new("ERROR", "53000", with_cause(error))
    }
    if limits.client_disconnect().is_some() {
        stream.watch(session).map_err(|error| fields(&error))?;
    }
    session.set_timeouts(limits).map_err(|error| fields(&error))
}
