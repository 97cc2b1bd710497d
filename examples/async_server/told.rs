//! What a client is told.

use crate::types::SqlError;
use pgwire::error::{ErrorInfo, PgWireError};
use safepoint::{Interrupt, SessionId, sql};

/// What the client of that session is told of its interrupt.
pub(crate) fn report(session: SessionId, interrupt: &Interrupt) -> ErrorInfo {
    let (severity, sqlstate) = (interrupt.severity().into(), interrupt.sqlstate().into());
    let mut info = ErrorInfo::new(severity, sqlstate, interrupt.message().into());
    info.detail = interrupt.detail(session);
    info
}

pub(crate) fn interrupted(session: SessionId, interrupt: &Interrupt) -> PgWireError {
    PgWireError::UserError(Box::new(report(session, interrupt)))
}

/// An error, after which the session goes on.
pub(crate) struct Failed(Box<ErrorInfo>);

impl Failed {
    pub(crate) fn new(sqlstate: &str, message: impl Into<String>) -> Failed {
        Failed(Box::new(ErrorInfo::new("ERROR".into(), sqlstate.into(), message.into())))
    }
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Failed {
        Failed::new(error.sqlstate, error.message)
    }
}

impl From<sql::SqlError> for Failed {
    fn from(error: sql::SqlError) -> Failed {
        let Failed(mut info) = Failed::new(error.sqlstate, error.message);
        info.hint = error.hint.map(String::from);
        Failed(info)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        crate::sqlite_error::of(&error).into()
    }
}

impl From<Failed> for PgWireError {
    fn from(Failed(info): Failed) -> PgWireError {
        PgWireError::UserError(info)
    }
}
