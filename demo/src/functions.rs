//! The SQL functions.

mod define;

pub(crate) use define::{Define, Left, Number, number};

use crate::activity;
use crate::backends::{self, Owner, Wait};
use crate::compat::{CAST, CASTS};
use crate::plan::sql_error;
use crate::settings::{SETTINGS, Settings};
use crate::shared::Shared;
use crate::sqlite_error::interrupted;
use crate::test_functions;
use crate::times;
use crate::types::{INET, NAME, OID, PgType, XID, cast, timestamptz};
use crate::wire::Fields;
use jiff::Timestamp;
use rusqlite::functions::Context;
use rusqlite::types::Value;
use rusqlite::{Connection, Error};
use safepoint::id::ThreadId;
use safepoint::request::{RequestError, SessionEnd, Target};
use safepoint::sql;
use safepoint::sql::{SessionAddress, SqlError};
use safepoint::{Cancel, Receipt, Requester, SessionId, Terminate, TerminateMode, current};
use std::sync::Arc;
use std::time::Duration;

/// Returns the type of a function of this file.
pub(crate) fn returns(name: &str) -> Option<PgType> {
    Some(match name {
        "pg_backend_pid" => PgType::Int4,
        "safepoint_int4" => PgType::Other(PgType::Int4.oid()),
        "pg_blocking_pids" => PgType::Int4Array,
        "safepoint_name" | "current_database" => PgType::Other(NAME),
        "safepoint_oid" => PgType::Other(OID),
        "safepoint_xid" => PgType::Other(XID),
        "safepoint_inet" => PgType::Other(INET),
        "pg_current_sessid" => PgType::Int8,
        "pg_cancel_backend"
        | "pg_terminate_backend"
        | "pg_terminate_session"
        | "pg_cancel_session"
        | "pg_reload_conf"
        | "safepoint_bool" => PgType::Bool,
        "pg_why_not_yet"
        | "pg_sleep"
        | "version"
        | "current_schema"
        | "current_setting"
        | "set_config"
        | "pg_advisory_unlock_all"
        | "current_user"
        | "session_user"
        | "current_role" => PgType::Text,
        "now" | "transaction_timestamp" | "clock_timestamp" => PgType::Timestamptz,
        _ => {
            let kind = name.strip_prefix(CAST);
            let cast = kind.and_then(|kind| CASTS.iter().find(|(name, _)| *name == kind));
            return cast.map_or_else(|| times::returns(name), |(_, ty)| Some(*ty));
        }
    })
}

pub(crate) fn define(
    connection: &Connection,
    shared: &Arc<Shared>,
    left: &Arc<Left>,
) -> rusqlite::Result<()> {
    let define = Define { connection, left };
    times::define(&define)?;
    define.harmless("pg_backend_pid", 0, |_, _| Ok(backends::own().map(|own| own.pid)))?;
    // These give a column of the view its type.
    for kind in ["bool", "inet", "int4", "name", "oid", "xid"] {
        define.harmless(&format!("safepoint_{kind}"), 1, |call, _| call.get::<Value>(0))?;
    }
    define.harmless("pg_current_sessid", 0, |_, _| {
        Ok(current::session_id().map(|id| id.get() as i64))
    })?;
    define.harmless("version", 0, |_, _| {
        Ok(format!(
            "PostgreSQL 15.0 protocol, served by safepoint {} over SQLite {}",
            env!("CARGO_PKG_VERSION"),
            rusqlite::version()
        ))
    })?;
    define.harmless("current_database", 0, |_, _| {
        Ok(current::client_info().map(|client| client.database().to_string()))
    })?;
    for arguments in [1, 2] {
        define.harmless("current_setting", arguments, |call, left| {
            let Some(name) = text(call, 0) else { return Ok(None) };
            let missing_ok = call.len() == 2 && matches!(number(call, 1)?, Number::Int(1));
            match SETTINGS.with_borrow(|all| all.get(&name).map(str::to_string)) {
                Ok(value) => Ok(Some(value)),
                Err(_) if missing_ok => Ok(None),
                Err(error) => left.fail(error.sqlstate, &error.message),
            }
        })?;
    }
    define.function("set_config", 3, |call, left| {
        let Some(name) = text(call, 0) else {
            return left.fail("22004", "SET requires parameter name");
        };
        let local = matches!(number(call, 2)?, Number::Int(1));
        let value = text(call, 1);
        // The end of the statement applies it.
        match SETTINGS.with_borrow_mut(|all| all.set(&name, value.as_deref(), local)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => left.fail(error.sqlstate, &error.message),
        }
    })?;
    for name in ["current_user", "session_user", "current_role"] {
        define.harmless(name, 0, |_, _| {
            Ok(current::client_info().map(|client| client.user().to_string()))
        })?;
    }
    for name in ["now", "transaction_timestamp"] {
        define.harmless(name, 0, |_, _| {
            Ok(timestamptz(SETTINGS.with_borrow(Settings::unit_began)))
        })?;
    }
    define.harmless("clock_timestamp", 0, |_, _| Ok(timestamptz(Timestamp::now())))?;
    for (kind, ty) in CASTS {
        let name = format!("{CAST}{kind}");
        let texts = matches!(ty, PgType::Varchar);
        for arguments in [1].into_iter().chain(texts.then_some(2)) {
            define.pure(&name, arguments, move |call, left| {
                let length = if call.len() == 2 { call.get::<i64>(1).ok() } else { None };
                let length = length.and_then(|length| usize::try_from(length).ok());
                let zone = SETTINGS.with_borrow(|all| match ty {
                    PgType::Timestamptz => all.get("timezone").map(str::to_string),
                    _ => Ok(String::new()),
                });
                let zone = zone.unwrap_or_default();
                cast(call.get_raw(0), ty, length, &zone)
                    .or_else(|error| left.fail(error.sqlstate, &error.message))
            })?;
        }
    }
    // There are no advisory locks, so none is left.
    define.function("pg_advisory_unlock_all", 0, |_, _| Ok(""))?;
    define.harmless("current_schema", 0, |_, _| Ok("main"))?;
    define.function("pg_sleep", 1, |call, left| match number(call, 0)? {
        Number::Null => Ok(None),
        Number::Real(seconds) => sleep(seconds, left).map(Some),
        Number::Int(seconds) => sleep(seconds as f64, left).map(Some),
    })?;
    let at = shared.clone();
    define.harmless("safepoint_activity", 0, move |_, _| {
        activity::snapshot(&at, &author()).map_err(|why| Error::UserFunctionError(why.into()))
    })?;
    let at = shared.clone();
    define.harmless("safepoint_helpers", 0, move |_, _| {
        activity::helpers(&at, &author()).map_err(|why| Error::UserFunctionError(why.into()))
    })?;
    let at = shared.clone();
    define.harmless("safepoint_threadpool", 0, move |_, _| Ok(activity::pool(&at, &author())))?;
    // The optional third argument is the requester's comment for the target.
    for arguments in [2, 3] {
        let at = shared.clone();
        define.function("pg_terminate_session", arguments, move |call, left| {
            let (author, why) = (author(), text(call, 2));
            answer(&at, call, left, |session| {
                sql::terminate_session(&at.manager, session, author, why.as_deref()).map(drop)
            })
        })?;
        let at = shared.clone();
        define.function("pg_cancel_session", arguments, move |call, left| {
            let (author, why) = (author(), text(call, 2));
            answer(&at, call, left, |session| {
                sql::cancel_session(&at.manager, session, author, why.as_deref()).map(drop)
            })
        })?;
    }
    let at = shared.clone();
    define.function("pg_cancel_backend", 1, move |call, left| {
        let Number::Int(pid) = number(call, 0)? else { return Ok(None) };
        let cancelled = match at.backends.owner(pid) {
            // Also a command that is queued, as `pg_cancel_session` does.
            Some(Owner::Session(session)) => at
                .address(pid, session.into())
                .and_then(|session| sql::cancel_session(&at.manager, session, author(), None))
                .map_err(warning),
            owner => target(pid, owner).and_then(|target| {
                at.manager.cancel(target, Cancel::running(author())).map_err(rejected)
            }),
        };
        Ok(Some(accepted(cancelled.map(drop), left)))
    })?;
    for arguments in [1, 2] {
        let at = shared.clone();
        define.function("pg_terminate_backend", arguments, move |call, left| {
            let Number::Int(pid) = number(call, 0)? else { return Ok(None) };
            let limit = match call.len() {
                1 => 0,
                _ => match number(call, 1)? {
                    Number::Int(limit) => limit,
                    _ => return Ok(None),
                },
            };
            let Ok(limit) = u64::try_from(limit) else {
                return left.fail("22003", "\"timeout\" must not be negative");
            };
            let request = Terminate::new(TerminateMode::Immediate, author());
            let told = target(pid, at.backends.owner(pid))
                .and_then(|target| at.manager.terminate(target, request).map_err(rejected));
            match told {
                Ok(receipt) if limit > 0 => wait(receipt, limit, left).map(Some),
                told => Ok(Some(accepted(told.map(drop), left))),
            }
        })?;
    }
    let at = shared.clone();
    define.harmless("pg_blocking_pids", 1, move |call, _| {
        let Number::Int(pid) = number(call, 0)? else { return Ok(None) };
        let blocker = activity::blocker(&at, pid, &author());
        Ok(Some(blocker.map_or("{}".to_string(), |pid| format!("{{{pid}}}"))))
    })?;
    let at = shared.clone();
    define.function("pg_why_not_yet", 1, move |call, _| {
        let Number::Int(id) = number(call, 0)? else { return Ok(None) };
        let id = match at.backends.owner(id) {
            Some(Owner::Session(id)) => Some(id),
            _ => u64::try_from(id).ok().and_then(|id| SessionId::try_from(id).ok()),
        };
        let shown = |id: &SessionId| {
            let row = at.manager.session_info_visible_to(*id, &author());
            row.is_some_and(|row| row.is_disclosed)
        };
        let why = id.filter(shown).and_then(|id| at.manager.pending_reason(id));
        Ok(why.map(|why| why.to_string()))
    })?;
    let at = shared.clone();
    define.function("pg_reload_conf", 0, move |_, left| {
        if !current::client_info().is_some_and(|client| client.is_admin()) {
            return left.fail("42501", "permission denied for function pg_reload_conf");
        }
        at.defaults.reload();
        Ok(true)
    })?;
    if shared.test_functions {
        test_functions::define(&define, &shared.stalls)?;
    }
    Ok(())
}

/// Returns an argument that may be missing or NULL.
fn text(call: &Context<'_>, at: usize) -> Option<String> {
    if at < call.len() { call.get(at).ok() } else { None }
}

fn author() -> Requester {
    current::requester().unwrap_or_default()
}

/// Returns the session of a process id, or of the thread with this id.
fn target(pid: i64, owner: Option<Owner>) -> Result<Target, Fields> {
    let id = match owner {
        Some(Owner::Session(session)) => return Ok(Target::Session(session)),
        Some(Owner::Thread(thread)) => Some(thread),
        None => u64::try_from(pid).ok().and_then(|n| ThreadId::try_from(n).ok()),
    };
    id.map(Target::AttachedTo).ok_or_else(|| {
        let message = format!("PID {pid} is not a server thread that runs a session");
        Fields::new("WARNING", "42704", message)
    })
}

fn warning(error: SqlError) -> Fields {
    sql_error("WARNING", &error)
}

fn rejected(error: RequestError) -> Fields {
    warning(error.into())
}

fn accepted(result: Result<(), Fields>, left: &Left) -> bool {
    result.map_err(|warning| left.warn(warning)).is_ok()
}

fn answer(
    shared: &Shared,
    call: &Context<'_>,
    left: &Left,
    ask: impl FnOnce(SessionAddress) -> Result<(), SqlError>,
) -> rusqlite::Result<Option<bool>> {
    match (number(call, 0)?, number(call, 1)?) {
        (Number::Int(thread), Number::Int(session)) => {
            let asked = shared.address(thread, session).and_then(ask);
            Ok(Some(accepted(asked.map_err(warning), left)))
        }
        (Number::Null, _) | (_, Number::Null) => Ok(None),
        _ => left.fail("42704", "missing or invalid session ID"),
    }
}

fn wait(receipt: Receipt<SessionEnd>, limit: u64, left: &Left) -> rusqlite::Result<bool> {
    let session = receipt.session();
    let _shown = backends::waits(Wait::Termination);
    // The target may need a worker to end, so this one lets another worker run.
    let ended = safepoint::current::block_in_place(|| {
        safepoint::current::block_on_timeout(Duration::from_millis(limit), receipt)
    });
    match ended {
        Ok(Some(_)) => Ok(true),
        Ok(None) => {
            let message =
                format!("session {session} did not terminate within {limit} milliseconds");
            left.warn(Fields::new("WARNING", "01000", message));
            Ok(false)
        }
        Err(interrupt) => Err(interrupted(interrupt)),
    }
}

fn sleep(seconds: f64, left: &Left) -> rusqlite::Result<&'static str> {
    if seconds.is_nan() {
        return left.fail("22003", "pg_sleep: the time is not a number");
    }
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    let _shown = backends::waits(Wait::Sleep);
    safepoint::current::sleep(time).map_err(interrupted)?;
    Ok("")
}
