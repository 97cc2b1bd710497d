//! The connection in a pool: what a worker, or the emergency lane, does with what has arrived.

use super::sending::Sent;
use super::{Connection, Flow, fields_of};
use crate::emergency::is_for_emergencies;
use crate::wire::Fields;
use pgwire::messages::PgWireFrontendMessage as Message;
use safepoint::pool;
use safepoint::pool::{Action, CloseReason, Priority};
use safepoint::{Attached, Interrupt, Session};
use std::io::ErrorKind;

/// The number of reads from one client in a row, before other clients are served.
const TURNS: usize = 16;

impl Connection {
    /// Serves the bytes that have arrived, on a worker.
    fn serve_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        let in_lane = std::mem::take(&mut self.in_lane);
        if self.stream.has_unsent() {
            match self.send_more(session)? {
                Sent::All => {}
                Sent::Some => {
                    // What has arrived waits too.
                    session.discard_reserved();
                    return Ok(Action::WaitWritable);
                }
                Sent::Gone => return Ok(Action::Close),
            }
        }
        let mut turns = 0;
        let mut more = true;
        loop {
            match self.work(session)? {
                Flow::Continue => {}
                Flow::Known if self.incoming.is_empty() => return Ok(Action::WaitReadable),
                Flow::Known => return Ok(Action::Yield),
                // The one session for which others may wait keeps its thread, as below.
                Flow::Full if self.is_writing() => {
                    if !self.send_all(session)? {
                        return Ok(Action::Close);
                    }
                    continue;
                }
                Flow::Full => {
                    self.lend_engine();
                    self.waits_for_reader(session);
                    return Ok(Action::WaitWritable);
                }
                Flow::Close => return Ok(Action::Close),
            }
            if self.at_end {
                return Ok(Action::Close);
            }
            // What arrives later may be meant for a worker.
            if in_lane {
                self.lend_engine();
                return Ok(Action::WaitReadable);
            }
            // The one session for which others may wait keeps its thread, so that its COMMIT needs
            // no other worker.
            if self.is_writing() {
                if !self.read(session)? {
                    return Ok(Action::Close);
                }
                continue;
            }
            if !more {
                self.lend_engine();
                return Ok(Action::WaitReadable);
            }
            turns += 1;
            if turns > TURNS {
                return Ok(Action::Yield);
            }
            match self.read_now() {
                Ok(full) => more = full,
                Err(error) if error.kind() == ErrorKind::WouldBlock => more = false,
                Err(_) => return Ok(Action::Close),
            }
        }
    }

    fn is_writing(&self) -> bool {
        self.runner.as_ref().is_some_and(|runner| runner.engine.is_writing())
    }

    /// Returns whether the emergency lane serves the message.
    fn is_for_emergencies(&self, message: &Message) -> bool {
        match message {
            Message::Query(query) => is_for_emergencies(&query.query),
            Message::Parse(parse) => is_for_emergencies(&parse.query),
            Message::Bind(bind) => {
                let name = bind.statement_name.as_deref().unwrap_or_default();
                // A statement that is parsed in the same batch was checked there.
                self.prepared.get(name).is_none_or(|prepared| is_for_emergencies(&prepared.text))
            }
            // With a row limit, the statement keeps its thread between two fetches.
            Message::Execute(execute) if execute.max_rows > 0 => false,
            Message::Execute(execute) => {
                let name = execute.name.as_deref().unwrap_or_default();
                // A portal that is bound in the same batch was checked there.
                self.portals.get(name).is_none_or(|portal| is_for_emergencies(portal.text()))
            }
            _ => true,
        }
    }
}

impl pool::Connection for Connection {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        self.serve_ready(session).inspect_err(|interrupt| self.tell(interrupt, session))
    }

    fn on_close(&mut self, session: &Session, why: CloseReason) {
        let last = match why {
            CloseReason::Interrupted(interrupt) => Some(fields_of(&interrupt, session.id())),
            CloseReason::Panicked => {
                let message = "terminating connection because of an internal error";
                Some(Fields::new("FATAL", "XX000", message))
            }
            _ => None,
        };
        if let Some(last) = last.filter(|_| !self.told) {
            self.say_last(&last);
            self.stream.send_last_now(&self.outgoing.buf);
        }
        self.stream.close();
    }

    fn priority(&self) -> Priority {
        match &self.user {
            Some(user) if !user.admin => Priority::Normal,
            _ => Priority::High,
        }
    }

    fn is_emergency(&mut self) -> bool {
        match &self.user {
            None => return true,
            Some(user) if !user.admin => return false,
            Some(_) => {}
        }
        for _ in 0..TURNS {
            if self.at_end || self.read_now().is_err() {
                break;
            }
        }
        while let Some(next) = self.incoming.next().transpose() {
            let goes_on = next.is_ok();
            self.ahead.push_back(next);
            if !goes_on {
                break;
            }
        }
        let mut ahead = self.ahead.iter().map(Result::as_ref);
        // An error is sent to the client at once, so it needs no worker.
        self.in_lane = !self.ahead.is_empty()
            && ahead.all(|next| next.map_or(true, |message| self.is_for_emergencies(message)));
        self.in_lane
    }
}
