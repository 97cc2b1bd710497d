//! Translates SQLite's errors to PostgreSQL's terms, and interrupts to SQLite's errors.

use crate::types::SqlError;
use rusqlite::{Error, ffi};
use safepoint::Interrupt;

pub(crate) fn of(error: &Error) -> SqlError {
    let (code, message) = match error {
        Error::SqliteFailure(code, message) => (code.extended_code, message.clone()),
        Error::UserFunctionError(error) if error.is::<SqlError>() => {
            let known = error.downcast_ref::<SqlError>();
            return known.cloned().unwrap_or_else(|| SqlError::new("XX000", error.to_string()));
        }
        Error::SqlInputError { error, msg, .. } => (error.extended_code, Some(msg.clone())),
        _ => (ffi::SQLITE_ERROR, None),
    };
    let message = message.unwrap_or_else(|| error.to_string());
    SqlError::new(sqlstate(code, &message), message)
}

/// Converts an interrupt to an error. The code that reports the error checks for a due interrupt
/// first.
pub(crate) fn interrupted(interrupt: Interrupt) -> Error {
    Error::UserFunctionError(interrupt.into())
}

fn sqlstate(code: i32, message: &str) -> &'static str {
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "23505",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "23502",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "23503",
        ffi::SQLITE_CONSTRAINT_CHECK => "23514",
        ffi::SQLITE_BUSY_SNAPSHOT => "40001",
        _ => match code & 0xff {
            ffi::SQLITE_CONSTRAINT => "23000",
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => "55P03",
            ffi::SQLITE_INTERRUPT => "57014",
            ffi::SQLITE_AUTH => "42501",
            ffi::SQLITE_READONLY => "25006",
            ffi::SQLITE_FULL => "53100",
            ffi::SQLITE_NOMEM => "53200",
            ffi::SQLITE_TOOBIG => "54000",
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => "58030",
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => "XX001",
            ffi::SQLITE_MISMATCH => "42804",
            ffi::SQLITE_ERROR => by_text(message),
            _ => "XX000",
        },
    }
}

/// Returns the SQLSTATE by the text of an error, since SQLite has one code for all errors of a
/// statement.
fn by_text(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    if has("syntax error") || has("unrecognized token") || has("incomplete input") {
        "42601"
    } else if has("no such table") || has("no such view") || has("no such index") {
        "42P01"
    } else if has("no such column") || has("has no column named") {
        "42703"
    } else if has("no such function") || has("wrong number of arguments") {
        "42883"
    } else if has("already exists") {
        "42P07"
    } else if has("no such savepoint") {
        "3B001"
    } else if has("ambiguous column") {
        "42702"
    } else if has("within a transaction") {
        "25001"
    } else if has("may not be modified") || has("unsafe use of") {
        "42501"
    } else if has("reserved for internal use") {
        "42939"
    } else if has("because it is a view") {
        "55000"
    } else if has("is circularly defined") {
        "42P17"
    } else if [
        "nested too deep",
        "trigger recursion",
        "tree is too large",
        "parser stack",
        "too complex",
        "Recursion limit",
    ]
    .into_iter()
    .any(has)
    {
        "54001"
    } else if has("too many columns") {
        "54011"
    } else if has("too many arguments") {
        "54023"
    } else if has("too many") {
        "54000"
    } else {
        "42000"
    }
}
