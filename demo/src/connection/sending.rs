//! Answers that the client has not read yet: their statements are complete, and suspended until all is sent. So a deferred
//! termination waits for the client, an immediate one does not, and a cancel comes too late.

use super::Connection;
use crate::limits;
use crate::run::limit;
use crate::settings::SETTINGS;
use crate::stream::SendError;
use crate::wire::Outgoing;
use safepoint::session::WaitMode;
use safepoint::{Attached, Interrupt, Statement};

/// How far the answer has been sent.
pub(super) enum Sent {
    All,
    Some,
    /// The client has disconnected.
    Gone,
}

impl Connection {
    /// Ends a statement, or suspends it if its client has not read all rows.
    pub(super) fn end_or_suspend(&mut self, statement: Statement<'_>) {
        if self.stream.has_unsent() {
            self.sending = Some(statement.suspend(WaitMode::Killable));
        }
    }

    /// Ends the statement whose answer is being sent, since the next one begins.
    pub(super) fn end_sending(&mut self, session: &mut Attached<'_>) -> Result<(), Interrupt> {
        match resumed(self.sending.take(), session)? {
            Some(statement) => statement.finish(),
            None => Ok(()),
        }
    }

    /// Sends the rest of the answer, on a thread that waits for the client. Returns `false` if the client has left.
    pub(super) fn send_all(&mut self, session: &mut Attached<'_>) -> Result<bool, Interrupt> {
        if !self.stream.has_unsent() {
            return self.end_sending(session).map(|()| true);
        }
        self.waits_for_reader(session);
        let suspended = self.sending.take();
        if suspended.is_some()
            && let Some(statement) = resumed(suspended, session)?
        {
            let sent = self.stream.send_all(&statement)?;
            self.has_been_read(&statement);
            statement.finish()?;
            return Ok(sent.is_ok());
        }
        let sent = self.stream.send_all(session)?;
        self.has_been_read(session);
        Ok(sent.is_ok())
    }

    /// Sends what the socket takes of the rest of the answer.
    pub(super) fn send_more(&mut self, session: &mut Attached<'_>) -> Result<Sent, Interrupt> {
        let sent = match self.stream.send_more() {
            Ok(true) => Sent::All,
            Ok(false) => Sent::Some,
            Err(SendError::Gone | SendError::NotKept(_)) => Sent::Gone,
        };
        if let Some(statement) = resumed(self.sending.take(), session)? {
            if matches!(sent, Sent::Some) {
                self.sending = Some(statement.suspend(WaitMode::Killable));
            } else {
                statement.finish()?;
            }
        }
        if matches!(sent, Sent::All) {
            self.has_been_read(session);
        }
        Ok(sent)
    }

    fn has_been_read(&self, session: &Attached<'_>) {
        self.show_sending(false);
        // The system gave a thread for the timer before.
        let _ = limit(session, &self.stream);
    }

    /// Notes that the session waits until the client reads, which is no idleness.
    pub(super) fn waits_for_reader(&mut self, session: &Attached<'_>) {
        self.show_sending(true);
        // Empty, and as large as the rows that were collected.
        self.outgoing = Outgoing::new();
        if self.sending.is_none() {
            let limits = SETTINGS.with_borrow(limits::while_sending);
            let _ = session.set_timeouts(limits);
        }
    }

    fn show_sending(&self, sending: bool) {
        if let Some(backend) = &self.backend {
            backend.set_sending(sending);
        }
    }
}

/// Resumes the statement, if there is one that has not ended.
fn resumed<'a>(
    suspended: Option<safepoint::session::SuspendedStatement>,
    session: &'a mut Attached<'_>,
) -> Result<Option<Statement<'a>>, Interrupt> {
    match suspended.map(|suspended| session.resume(suspended)) {
        None => Ok(None),
        Some(Ok(statement)) => Ok(Some(statement)),
        Some(Err(interrupt)) if interrupt.is_terminate() => Err(interrupt),
        Some(Err(_)) => Ok(None),
    }
}
