//! The command line.

use lexopt::ValueExt;
use lexopt::prelude::{Long, Short, Value};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Opens connections to a server, keeps some busy, kills sessions, and measures what clients see

usage: load SCENARIO [OPTION]...

scenarios:
  throughput        the busy clients run --statement back to back for --seconds
  kill-one-by-one   an administrator kills the victims, each once the one before has ended
  kill-all          an administrator kills all idle and busy sessions at once
  stall             the busy clients run --stall-statement once, then each idle one runs
                    --statement once

options:
  --address ADDRESS:PORT       the server [127.0.0.1:5433]
  --protocol postgres|mysql    what it speaks [postgres]
  --user USER                  who logs in, without a password [omm]
  --database NAME              the database [none named]
  --idle N                     idle connections [100]
  --busy N                     busy connections [2]
  --statement SQL              what is measured [select 1]
  --busy-statement SQL         what busy victims run, over and over [endless work]
  --stall-statement SQL        what stalls a worker [select safepoint_test_stall(2000)]
  --seconds N                  how long throughput is measured [10]
  --victims idle|busy|both     whom kill-one-by-one kills [both]
  --kill-with sessid|backend|mysql
                               ALTER SYSTEM KILL SESSION, pg_terminate_backend, or
                               KILL CONNECTION [what the server knows]
  --drivers N                  threads that share the busy clients of throughput [2]
  --openers N                  threads that open connections [4]
  --timeout SECONDS            how long one answer, or one end, is waited for [60]
  --server-pid PID             report the memory of this process and those below it
  --label TEXT                 what the report calls the server [its address]
  --json FILE                  write the report there too
  -h, --help                   say this
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Throughput,
    KillOneByOne,
    KillAll,
    Stall,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Throughput => "throughput",
            Scenario::KillOneByOne => "kill-one-by-one",
            Scenario::KillAll => "kill-all",
            Scenario::Stall => "stall",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Postgres,
    Mysql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillWith {
    Sessid,
    Backend,
    Mysql,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) scenario: Scenario,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) user: String,
    pub(crate) database: Option<String>,
    pub(crate) idle: usize,
    pub(crate) busy: usize,
    pub(crate) statement: String,
    pub(crate) busy_statement: Option<String>,
    pub(crate) stall_statement: String,
    pub(crate) seconds: u64,
    pub(crate) kill_idle: bool,
    pub(crate) kill_busy: bool,
    pub(crate) kill_with: Option<KillWith>,
    pub(crate) drivers: usize,
    pub(crate) openers: usize,
    pub(crate) timeout: Duration,
    pub(crate) server_pid: Option<u32>,
    pub(crate) label: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Args {
    fn new(scenario: Scenario) -> Args {
        Args {
            scenario,
            address: SocketAddr::from(([127, 0, 0, 1], 5433)),
            protocol: Protocol::Postgres,
            user: "omm".into(),
            database: None,
            idle: 100,
            busy: 2,
            statement: "select 1".into(),
            busy_statement: None,
            stall_statement: "select safepoint_test_stall(2000)".into(),
            seconds: 10,
            kill_idle: true,
            kill_busy: true,
            kill_with: None,
            drivers: 2,
            openers: 4,
            timeout: Duration::from_secs(60),
            server_pid: None,
            label: None,
            json: None,
        }
    }

    pub(crate) fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.address.to_string())
    }
}

/// `None` where only the usage was asked for.
pub(crate) fn parse(
    words: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Option<Args>, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let scenario = match parser.next().map_err(|e| e.to_string())? {
        Some(Value(word)) => match word.to_str() {
            Some("throughput") => Scenario::Throughput,
            Some("kill-one-by-one") => Scenario::KillOneByOne,
            Some("kill-all") => Scenario::KillAll,
            Some("stall") => Scenario::Stall,
            _ => return Err(format!("no such scenario: {}", word.display())),
        },
        Some(Short('h') | Long("help")) => return Ok(None),
        _ => return Err("a scenario comes first".into()),
    };
    let mut args = Args::new(scenario);
    while let Some(word) = parser.next().map_err(|e| e.to_string())? {
        let option = match word {
            Long(option) => option.to_string(),
            Short('h') => return Ok(None),
            other => return Err(other.unexpected().to_string()),
        };
        if option == "help" {
            return Ok(None);
        }
        let value = parser.value().map_err(|e| e.to_string())?;
        set(&mut args, &option, value)?;
    }
    if matches!(args.scenario, Scenario::Throughput) && args.busy == 0 {
        return Err("--busy: throughput needs a busy client".into());
    }
    Ok(Some(args))
}

fn set(args: &mut Args, option: &str, value: std::ffi::OsString) -> Result<(), String> {
    let value = value.string().map_err(|e| format!("--{option}: {e}"))?;
    let expected = |what: &str| format!("--{option}: expected {what}, got {value:?}");
    let number = |least: usize, most: usize| {
        let number = value.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| expected(&format!("a number from {least} to {most}")))
    };
    match option {
        "address" => {
            let what = "an address and a port such as 127.0.0.1:5433";
            args.address = value.parse().map_err(|_| expected(what))?;
        }
        "protocol" => {
            args.protocol = match value.as_str() {
                "postgres" => Protocol::Postgres,
                "mysql" => Protocol::Mysql,
                _ => return Err(expected("postgres or mysql")),
            };
        }
        "user" => args.user = value,
        "database" => args.database = Some(value),
        "idle" => args.idle = number(0, 100_000)?,
        "busy" => args.busy = number(0, 100_000)?,
        "statement" => args.statement = value,
        "busy-statement" => args.busy_statement = Some(value),
        "stall-statement" => args.stall_statement = value,
        "seconds" => args.seconds = number(1, 86_400)? as u64,
        "victims" => {
            (args.kill_idle, args.kill_busy) = match value.as_str() {
                "idle" => (true, false),
                "busy" => (false, true),
                "both" => (true, true),
                _ => return Err(expected("idle, busy or both")),
            };
        }
        "kill-with" => {
            args.kill_with = Some(match value.as_str() {
                "sessid" => KillWith::Sessid,
                "backend" => KillWith::Backend,
                "mysql" => KillWith::Mysql,
                _ => return Err(expected("sessid, backend or mysql")),
            });
        }
        "drivers" => args.drivers = number(1, 64)?,
        "openers" => args.openers = number(1, 64)?,
        "timeout" => args.timeout = Duration::from_secs(number(1, 86_400)? as u64),
        "server-pid" => args.server_pid = Some(value.parse().map_err(|_| expected("a pid"))?),
        "label" => args.label = Some(value),
        "json" => args.json = Some(value.into()),
        _ => return Err(format!("no such option: --{option}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Option<Args>, String> {
        parse(words.split_whitespace().map(Into::into))
    }

    #[test]
    fn what_is_given_is_taken() {
        let args = parsed("kill-all --protocol mysql --idle 7 --victims busy").unwrap().unwrap();
        assert_eq!((args.scenario, args.protocol), (Scenario::KillAll, Protocol::Mysql));
        assert_eq!((args.idle, args.kill_idle, args.kill_busy), (7, false, true));
        assert_eq!(args.label(), "127.0.0.1:5433");
        assert!(parsed("stall --help").unwrap().is_none());
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, said) in [
            ("", "a scenario comes first"),
            ("everything", "no such scenario"),
            ("kill-all --victims some", "expected idle, busy or both"),
            ("kill-all --drivers 0", "expected a number from 1"),
            ("kill-all --wrong 1", "no such option: --wrong"),
            ("kill-all --idle", "missing argument"),
            ("throughput --busy 0", "needs a busy client"),
        ] {
            let error = parsed(words).expect_err(words);
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
