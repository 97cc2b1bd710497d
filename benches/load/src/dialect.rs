//! The commands that differ between the kinds of servers.

use crate::args::{Args, KillWith, Protocol};
use crate::client::Client;
use crate::postgres::APPLICATION;
use crate::wire::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `ALTER SYSTEM KILL SESSION 'thread, session'`; with a thread pool the thread is 0.
    Sessid {
        pool: bool,
    },
    Backend,
    Mysql,
}

/// Whom a kill names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    thread: u64,
    session: u64,
}

impl Dialect {
    pub(crate) fn of(args: &Args, admin: &mut Client) -> Result<Dialect, Failure> {
        match (args.kill_with, args.protocol) {
            (Some(KillWith::Mysql), _) | (None, Protocol::Mysql) => return Ok(Dialect::Mysql),
            (Some(KillWith::Backend), _) => return Ok(Dialect::Backend),
            (Some(KillWith::Sessid), _) | (None, Protocol::Postgres) => {}
        }
        match admin.query("select pg_current_sessid()") {
            Ok(_) => {
                let setting = admin.query("show enable_thread_pool")?;
                let pool = setting.first().is_some_and(|setting| setting == "on");
                Ok(Dialect::Sessid { pool })
            }
            Err(Failure::Server(_)) if args.kill_with.is_none() => Ok(Dialect::Backend),
            Err(failure) => Err(failure),
        }
    }

    /// Asks the server where the client itself does not know.
    pub(crate) fn victim(self, client: &mut Client) -> Result<Victim, Failure> {
        let Dialect::Sessid { pool } = self else {
            return Ok(Victim { thread: 0, session: client.id });
        };
        let thread = if pool { 0 } else { client.number("select pg_backend_pid()")? };
        Ok(Victim { thread, session: client.number("select pg_current_sessid()")? })
    }

    pub(crate) fn kill(self, Victim { thread, session }: Victim) -> String {
        match self {
            Dialect::Sessid { .. } => {
                format!("ALTER SYSTEM KILL SESSION '{thread}, {session}' IMMEDIATE")
            }
            Dialect::Backend => format!("select pg_terminate_backend({session})"),
            Dialect::Mysql => format!("KILL CONNECTION {session}"),
        }
    }

    /// One statement for all sessions of this run but the administrator's, where there is one.
    pub(crate) fn kill_all(self) -> Option<String> {
        match self {
            Dialect::Sessid { .. } => Some(format!(
                "select pg_terminate_session(pid, sessionid) from pg_stat_activity \
                 where application_name = '{APPLICATION}' and sessionid <> pg_current_sessid()"
            )),
            Dialect::Backend => Some(format!(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where application_name = '{APPLICATION}' and pid <> pg_backend_pid()"
            )),
            Dialect::Mysql => None,
        }
    }

    /// Asks how many sessions run a statement or wait to, the asking one among them.
    pub(crate) fn active(self) -> &'static str {
        match self {
            Dialect::Sessid { .. } => {
                "select count(*) from pg_stat_activity where state in ('active', 'queued')"
            }
            Dialect::Backend => {
                "select count(*) from pg_stat_activity \
                 where state = 'active' and backend_type = 'client backend'"
            }
            Dialect::Mysql => {
                "select count(*) from information_schema.processlist where command = 'Query'"
            }
        }
    }

    /// Keeps a processor busy for longer than any run, and takes no memory to speak of.
    pub(crate) fn endless(self) -> &'static str {
        match self {
            Dialect::Sessid { .. } => {
                "with recursive c(x) as (values(1) union all select x + 1 from c) \
                 select count(*) from c"
            }
            Dialect::Backend => {
                "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b"
            }
            Dialect::Mysql => "select benchmark(1000000000000, sha2('load', 512))",
        }
    }
}
