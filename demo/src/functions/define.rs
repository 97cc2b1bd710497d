//! How SQL functions are defined, and what they leave for the session that called them.

use crate::backends;
use crate::wire::Fields;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Connection, Error};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// The results that functions leave for the session that called them.
#[derive(Default)]
pub(crate) struct Left {
    notices: Mutex<Vec<Fields>>,
    error: Mutex<Option<Fields>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Left {
    pub(crate) fn take_notices(&self) -> Vec<Fields> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take_error(&self) -> Option<Fields> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn warn(&self, warning: Fields) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    /// Stores an error that is reported instead of SQLite's own.
    pub(crate) fn refuse(&self, error: Fields) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Fails a function with an error that is reported instead of SQLite's own.
    pub(crate) fn fail<T>(&self, sqlstate: &'static str, message: &str) -> rusqlite::Result<T> {
        self.refuse(Fields::new("ERROR", sqlstate, message));
        Err(Error::UserFunctionError(message.into()))
    }
}

pub(crate) struct Define<'a> {
    pub(super) connection: &'a Connection,
    pub(super) left: &'a Arc<Left>,
}

impl Define<'_> {
    /// Defines a function whose result depends on its arguments only.
    pub(super) fn pure<T: ToSql + 'static>(
        &self,
        name: &str,
        arguments: i32,
        call: impl Fn(&Context<'_>, &Left) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<()> {
        // Only in statements: a definition that the file keeps must work in other programs too.
        let only = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
        self.define(name, arguments, only, call)
    }

    /// Defines a function for statements only. In a view or a trigger it would act with the rights of
    /// another user, who only reads or writes a table.
    pub(crate) fn function<T: ToSql + 'static>(
        &self,
        name: &'static str,
        arguments: i32,
        call: impl Fn(&Context<'_>, &Left) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<()> {
        self.define(name, arguments, FunctionFlags::SQLITE_DIRECTONLY, call)
    }

    /// Defines a function that has no effect, for statements and also for views and triggers.
    pub(crate) fn harmless<T: ToSql + 'static>(
        &self,
        name: &str,
        arguments: i32,
        call: impl Fn(&Context<'_>, &Left) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<()> {
        self.define(name, arguments, FunctionFlags::SQLITE_INNOCUOUS, call)
    }

    /// Defines a function. If `call` panics, the panic is stored, and resumed on the session's own
    /// thread.
    fn define<T: ToSql + 'static>(
        &self,
        name: &str,
        arguments: i32,
        flags: FunctionFlags,
        call: impl Fn(&Context<'_>, &Left) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<()> {
        let left = self.left.clone();
        let flags = flags | FunctionFlags::SQLITE_UTF8;
        self.connection.create_scalar_function(name, arguments, flags, move |context| {
            backends::statement_runs();
            catch_unwind(AssertUnwindSafe(|| call(context, &left))).unwrap_or_else(|panic| {
                *left.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                Err(Error::UserFunctionError("a function panicked".into()))
            })
        })
    }
}

pub(crate) enum Number {
    Null,
    Int(i64),
    Real(f64),
}

/// Parses a number, which may also be text: openGauss's own statement passes text.
pub(crate) fn number(call: &Context<'_>, at: usize) -> rusqlite::Result<Number> {
    let text = match call.get_raw(at) {
        ValueRef::Null => return Ok(Number::Null),
        ValueRef::Integer(n) => return Ok(Number::Int(n)),
        ValueRef::Real(n) => return Ok(Number::Real(n)),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text),
    };
    let text = text.trim();
    let number = text.parse().map(Number::Int).or_else(|_| text.parse().map(Number::Real));
    number.map_err(|_| {
        Error::UserFunctionError(format!("invalid input syntax for a number: \"{text}\"").into())
    })
}
