//! Statements that leave their thread, and continue later.

use crate::core::record::check::statement_ended;
use crate::session::attached::{Attached, Statement};
use crate::session::current::complete;
use crate::session::wait::WaitMode;
use crate::types::id::{SessionId, StatementId};
use crate::types::interrupt::Interrupt;
use std::panic::Location;
use std::task::Waker;

/// A statement that was [suspended](Statement::suspend). [`Attached::resume`] continues it, on any thread that the
/// session is attached to.
///
/// It borrows nothing, so that it can be kept next to the session. Dropping it does nothing.
#[must_use = "a suspended statement continues only if it is resumed"]
#[derive(Debug)]
pub struct SuspendedStatement {
    session: SessionId,
    statement: StatementId,
    described: bool,
}

impl SuspendedStatement {
    /// Returns the statement's id, which a cancel may name.
    #[must_use]
    pub fn statement_id(&self) -> StatementId {
        self.statement
    }
}

impl Statement<'_> {
    /// Suspends the statement, so that the session can leave its thread in the middle of it, by
    /// [`Attached::detach_suspended`]. Use it if the statement has to wait for something outside, such as a client that
    /// reads slowly, and no thread must wait with it. With [`WaitMode::Killable`] a cancel does not end the suspension:
    /// the first safe point after the [`resume`](Attached::resume) reports it, as after a killable wait. The statement continues: it can be seen, cancelled, terminated and
    /// timed out, and its helpers continue.
    ///
    /// If the session is detached in any other way, or begins another statement, the suspended statement ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// use safepoint::session::WaitMode;
    ///
    /// let manager = SessionManager::new(ThreadModel::Pool);
    /// let worker = manager.register_worker("worker 1")?;
    /// let mut session = manager.open(ClientInfo::default())?;
    ///
    /// let mut attached = session.attach(&worker)?;
    /// let statement = attached.begin()?.with_text("select * from big");
    /// // The rows so far fill the client's buffer.
    /// let suspended = statement.suspend(WaitMode::Interruptible);
    /// let queue_it = safepoint::session::waker_fn(|| println!("resume it now: an interrupt is due"));
    /// attached.detach_suspended(&suspended, &queue_it)?;
    ///
    /// // The client has read. Any worker continues.
    /// let mut attached = session.attach(&worker)?;
    /// let statement = attached.resume(suspended)?;
    /// statement.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn suspend(self, mode: WaitMode) -> SuspendedStatement {
        let (session, statement) = (self.id(), self.statement_id());
        let described = self.described;
        self.attached.record.suspend_statement(mode.is_killable());
        std::mem::forget(self);
        SuspendedStatement { session, statement, described }
    }
}

impl Attached<'_> {
    /// Detaches the session in the middle of its suspended statement. `wake` is woken on the requester's thread when an
    /// interrupt falls due. It must lead to a [`resume`](Self::resume). If
    /// [`Session::check`](crate::Session::check) returns a termination, the session may also end without a resume.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off. The session is detached in any case, and the statement
    /// has ended. Also returns an error with the reason
    /// [`StatementEnded`](crate::request::InterruptReason::StatementEnded) if `suspended` is not the session's present
    /// statement.
    #[track_caller]
    pub fn detach_suspended(
        self,
        suspended: &SuspendedStatement,
        wake: &Waker,
    ) -> Result<(), Interrupt> {
        if !self.has(suspended) {
            return self.detach().and(Err(statement_ended()));
        }
        let (record, at) = (self.record, Location::caller());
        if !self.suspend(wake, at) {
            return Ok(());
        }
        let due = record.due(at);
        if due.is_err() {
            let left = record.end_suspended(complete);
            if suspended.described {
                record.metadata(|metadata| metadata.statement_ends());
            }
            complete(record.cancel_finished(left));
            // A termination that was deferred to the end of the statement.
            record.due_termination(at)?;
        }
        due
    }

    /// Continues a suspended statement. This is a safe point.
    ///
    /// # Errors
    /// Returns the [`Interrupt`] that is due and not held off. Then the statement has ended. Also returns an error with
    /// the reason [`StatementEnded`](crate::request::InterruptReason::StatementEnded) if `suspended` is not the
    /// session's present statement.
    #[track_caller]
    pub fn resume(&mut self, suspended: SuspendedStatement) -> Result<Statement<'_>, Interrupt> {
        if !self.has(&suspended) {
            return Err(statement_ended());
        }
        let SuspendedStatement { described, .. } = suspended;
        self.record.resume_statement(Location::caller(), complete).inspect_err(|_| {
            if described {
                self.record.metadata(|metadata| metadata.statement_ends());
            }
        })?;
        Ok(Statement { attached: self, described })
    }

    fn has(&self, suspended: &SuspendedStatement) -> bool {
        suspended.session == self.id() && self.record.has_suspended(suspended.statement)
    }
}
