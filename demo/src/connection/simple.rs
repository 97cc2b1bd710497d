//! Simple queries, and what they share with the extended protocol.

use super::Connection;
use crate::cursors::Cursor;
use crate::plan::{Plan, is_way_out, plan as plan_of};
use crate::run::{Answer, Done, Failure, Rows};
use crate::settings::Setting;
use crate::split;
use crate::suspended::Sqlite;
use crate::wire::Fields;
use safepoint::Attached;

const SYNTAX_ERROR: &str = "42601";

impl Connection {
    /// Plans the statements of a message. As in PostgreSQL, none of them runs if one has a syntax error;
    /// other errors, such as a missing table, come when the statement runs.
    pub(super) fn plans(
        &mut self,
        session: &Attached<'_>,
        sqlite: &Sqlite<'_>,
        statements: &[&str],
    ) -> Result<Vec<Result<Plan, Fields>>, Failure> {
        let plans: Vec<_> = statements.iter().map(|text| plan_of(text)).collect();
        // A failed block would reject the statement before SQLite parses it.
        if plans.len() == 1 && !self.transaction.has_failed() {
            return Ok(plans);
        }
        for plan in &plans {
            let query = match plan {
                Ok(Plan::Cursor(Cursor::Declare(declare))) => Some(plan_of(&declare.query)),
                _ => None,
            };
            match query.as_ref().unwrap_or(plan) {
                Err(error) if error.sqlstate == SYNTAX_ERROR => return Err(error.clone().into()),
                Ok(Plan::Sqlite(statements)) => {
                    for text in statements {
                        session.check()?;
                        let error = sqlite.runner()?.engine.error_of(text);
                        if let Some(error) = error.filter(|e| e.sqlstate == SYNTAX_ERROR) {
                            return Err(error.into());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(plans)
    }

    pub(super) fn simple_query(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        text: &str,
    ) -> Result<(), Failure> {
        self.period = None;
        if is_way_out(text) {
            session.discard_reserved();
        }
        let statement = session.begin()?.with_text(text);
        let statements = split::split(text);
        statement.check()?;
        if statements.is_empty() {
            self.outgoing.empty_query();
        }
        self.close_unnamed(sqlite);
        let plans = self.plans(&statement, sqlite, &statements)?;
        self.transaction.message_begins(statements.len());
        let mut last: Option<String> = None;
        let mut is_final = false;
        for (text, plan) in statements.iter().zip(plans) {
            if let Some(tag) = last.take() {
                self.outgoing.command_complete(&tag);
                self.follow_settings(&statement)?;
                statement.restart_timeout();
            }
            let plan = plan?;
            self.before(&statement, sqlite, &plan)?;
            let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
            let (transaction, rows) = (&mut self.transaction, Rows::Described);
            let runner = sqlite.runner()?;
            match runner.run(&statement, transaction, text, &plan, rows, &mut answer)? {
                Done::Tag(tag) => last = Some(tag),
                Done::EndsItself => {
                    statement.finish()?;
                    // The safe point before the next message reports the termination.
                    return Ok(());
                }
                Done::Copy { table, columns } => {
                    last = Some(self.copy_in(&statement, runner, &table, &columns)?);
                }
                Done::Tidy(setting) => {
                    self.tidy(sqlite, &setting)?;
                    last = Some(setting.tag().to_string());
                }
                Done::Cursor(cursor) => {
                    let rows = Rows::Described;
                    last = Some(self.cursor(&statement, sqlite, &cursor, &[], rows)?);
                }
            }
            self.after(sqlite, &plan);
            is_final = matches!(plan, Plan::Control(_) | Plan::Kill(_));
        }
        // The commit comes before the last tag. Nothing comes between them, or a client would be told
        // of an error although all has been done. After a COMMIT of its own, all has been done already.
        if !is_final {
            statement.check()?;
        }
        let held = statement.hold_off("commit");
        self.end_unit(&statement, sqlite)?;
        if let Some(tag) = last {
            self.outgoing.command_complete(&tag);
        }
        drop(held);
        // A termination after the statement is reported after the client has received its rows.
        self.end_or_suspend(statement);
        self.ready(session, sqlite);
        Ok(())
    }

    /// Closes the prepared statement and the portal without a name.
    fn close_unnamed(&mut self, sqlite: &mut Sqlite<'_>) {
        // A key costs more to hash than all else here.
        if !self.prepared.is_empty() {
            self.prepared.remove("");
        }
        if !self.portals.is_empty() {
            self.portals.remove("");
        }
        sqlite.close("");
    }

    /// Forgets what a statement names: prepared statements, portals, temporary tables.
    pub(super) fn tidy(
        &mut self,
        sqlite: &mut Sqlite<'_>,
        setting: &Setting,
    ) -> Result<(), Failure> {
        let (all, temporary) = match setting {
            Setting::DiscardAll => (true, true),
            Setting::DiscardTemporary => (false, true),
            Setting::Deallocate(None) => (true, false),
            Setting::Deallocate(Some(name)) => {
                if self.prepared.remove(name).is_none() {
                    let message = format!("prepared statement \"{name}\" does not exist");
                    return Err(Fields::new("ERROR", "26000", message).into());
                }
                return Ok(());
            }
            Setting::CloseAll => {
                self.close_portals(sqlite);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if all {
            self.prepared.clear();
        }
        if matches!(setting, Setting::DiscardAll) {
            self.close_portals(sqlite);
        }
        if temporary {
            self.discards = true;
        }
        Ok(())
    }
}
