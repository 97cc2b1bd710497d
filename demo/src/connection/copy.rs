//! `COPY table FROM STDIN`.

use super::Connection;
use crate::compat::CopyDecoder;
use crate::run::{Answer, Failure, Runner};
use crate::wire::Fields;
use pgwire::messages::PgWireFrontendMessage as Message;
use rusqlite::params_from_iter;
use safepoint::Attached;

impl Connection {
    /// Loads what the client sends, all or nothing, and returns the command tag.
    pub(super) fn copy_in(
        &mut self,
        session: &Attached<'_>,
        runner: &Runner,
        table: &str,
        columns: &[String],
    ) -> Result<String, Failure> {
        let list =
            if columns.is_empty() { String::new() } else { format!("({})", columns.join(", ")) };
        let width = if columns.is_empty() {
            let all = format!("SELECT * FROM {table} LIMIT 0");
            let connection = &runner.engine.connection;
            connection.prepare(&all).map_err(|e| runner.engine.error(&e))?.column_count()
        } else {
            columns.len()
        };
        let places = vec!["?"; width].join(", ");
        let insert = format!("INSERT INTO {table}{list} VALUES ({places})");
        runner.writes(session, "COPY FROM", &insert)?;
        self.outgoing.copy_in_response(width);
        Answer { stream: &self.stream, outgoing: &mut self.outgoing }.send()?;
        // The client sends its rows once it has read this.
        self.stream.send_all(session)??;

        let rows = self.load(session, runner, &insert, width)?;
        Ok(format!("COPY {rows}"))
    }

    fn load(
        &mut self,
        session: &Attached<'_>,
        runner: &Runner,
        insert: &str,
        width: usize,
    ) -> Result<u64, Failure> {
        let mut decoder = CopyDecoder::new();
        let mut rows = 0;
        runner.takes_lock(insert)?;
        if !runner.engine.in_transaction() {
            runner.execute(session, "BEGIN")?;
        }
        loop {
            session.check()?;
            let done = match self.copy_message(session)? {
                Message::CopyData(data) => {
                    decoder.feed(&data.data);
                    false
                }
                Message::CopyDone(_) => {
                    decoder.finish();
                    true
                }
                Message::CopyFail(failed) => {
                    let message = format!("COPY from stdin failed: {}", failed.message);
                    return Err(Fields::new("ERROR", "57014", message).into());
                }
                Message::Flush(_) | Message::Sync(_) => continue,
                _ => {
                    let message = "unexpected message during COPY from stdin";
                    return Err(Fields::new("ERROR", "08P01", message).into());
                }
            };
            while let Some(row) =
                decoder.next_row().map_err(|error| Failure::new(session, error))?
            {
                // A client may send a million rows in one message.
                session.check()?;
                if row.len() != width {
                    let message = format!(
                        "line {} of COPY has {} columns, expected {width}",
                        decoder.line(),
                        row.len()
                    );
                    return Err(Fields::new("ERROR", "22P04", message).into());
                }
                let mut statement = runner
                    .engine
                    .connection
                    .prepare_cached(insert)
                    .map_err(|e| runner.engine.error(&e))?;
                if let Err(error) = statement.execute(params_from_iter(row)) {
                    return Err(runner.failure(session, &error));
                }
                if !runner.backend.has_lock() {
                    runner.backend.settle_lock(|| runner.engine.holds_lock());
                }
                rows += 1;
            }
            if done {
                return Ok(rows);
            }
        }
    }

    fn copy_message(&mut self, session: &Attached<'_>) -> Result<Message, Failure> {
        loop {
            let next = match self.ahead.pop_front() {
                Some(message) => message.map(Some),
                None => self.incoming.next(),
            };
            match next {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(error.fields().into()),
            }
            if !self.read(session)? {
                return Err(Failure::Gone);
            }
        }
    }
}
