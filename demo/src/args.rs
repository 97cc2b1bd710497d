//! The command line.

use safepoint::pool::{InvalidAttrError, MAX_THREADS, PoolBuilder, ThreadPoolAttr};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
SQLite behind the PostgreSQL protocol, with sessions that can be killed

usage: server [OPTION]...

  --listen ADDRESS:PORT     the address to listen on; port 0 picks a free one [127.0.0.1:5433]
  --insecure                allow an address that is not a loopback address, although no client has
                            to prove who it is
  --backlog N               the number of clients that wait in the system until the server accepts
                            them; the system may allow fewer (net.core.somaxconn) [4096]
  --thread-pool on|off      share worker threads, or one thread for each session [on]
  --workers N               the number of workers [one per core]
  --thread-pool-attr TEXT   the workers in openGauss's form: 'thread_num, group_num, (binding)'
  --max-workers N           the maximum number of workers if all are blocked [8 x the workers]
  --max-queue N             reject new clients while N sessions of a group wait for a worker
                            [no limit]
  --max-portals N           the maximum number of suspended portals and cursors; a session with one
                            keeps a thread, and each may keep a connection to SQLite [100]
  --temp-dir FOLDER         the folder for the rest of answers that clients read slowly [the system's
                            folder for temporary files]
  --grace SECONDS           the time after which SIGTERM ends transactions; it ends idle sessions at
                            once [SIGTERM waits until all clients have left]
  --max-connections N       the maximum number of clients [10000]
  --reserved-connections K  the number of these connections reserved for administrators [3]
  --authentication-timeout SECONDS
                            the time in which a client must send its startup message [60]
  --watchdog MILLISECONDS   report sessions that run for longer without a safe point; 0 means never
                            [1000]
  --overdue MILLISECONDS    report kills and cancels that have been due for longer, and why their
                            targets have not ended; 0 means never [10000]
  --database FILE           the SQLite database [a file in a temporary folder]
  --config FILE             the settings with which sessions begin, in lines of name = value; SIGHUP
                            and pg_reload_conf() read them again
  --admin USER              an administrator; may be given several times [omm]
  --owner DATABASE=USER     a database, and a user who may end the sessions in it; may be given
                            several times. The others are postgres, and one with each user's name
  --signaller USER          a user who may end any session except an administrator's; may be given
                            several times
  --reader USER             a user who may see what others do, as with pg_read_all_stats; may be given
                            several times
  --hide-sessions           show users only the sessions that they may end
  --transcript              play the reference page's example against this server, and exit
  --test-functions          add safepoint_test_panic(), safepoint_test_stall(milliseconds), and
                            safepoint_test_stall(), which writes a line to standard error and
                            blocks until safepoint_test_release() is called; and
                            safepoint_test_parallel(n), which adds the numbers up to n on two threads
  -h, --help                print this help

SIGTERM lets no new client in and waits until the clients have left, or for --grace. SIGINT ends
all sessions, SIGQUIT the process. SIGHUP reads the file of --config again.
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) listen: SocketAddr,
    pub(crate) thread_pool: bool,
    pub(crate) workers: ThreadPoolAttr,
    pub(crate) max_workers: usize,
    pub(crate) max_queue: usize,
    pub(crate) max_portals: usize,
    pub(crate) temp_dir: Option<PathBuf>,
    /// How long SIGTERM waits for transactions; `None` means until the clients have left.
    pub(crate) grace: Option<Duration>,
    pub(crate) backlog: i32,
    pub(crate) config: Option<PathBuf>,
    pub(crate) max_connections: usize,
    pub(crate) reserved_connections: usize,
    pub(crate) authentication_timeout: Duration,
    /// How long a session may run without a safe point; `None` means without limit.
    pub(crate) watchdog: Option<Duration>,
    /// How long a request may be due; `None` means without limit.
    pub(crate) overdue: Option<Duration>,
    pub(crate) database: Option<PathBuf>,
    pub(crate) admins: Vec<String>,
    /// The databases, and their owners.
    pub(crate) owners: Vec<(String, String)>,
    pub(crate) signallers: Vec<String>,
    pub(crate) readers: Vec<String>,
    pub(crate) hide_sessions: bool,
    pub(crate) transcript: bool,
    pub(crate) test_functions: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
            thread_pool: true,
            workers: workers(0),
            max_workers: 0,
            max_queue: usize::MAX,
            max_portals: 100,
            temp_dir: None,
            grace: None,
            backlog: 4096,
            config: None,
            max_connections: 10_000,
            reserved_connections: 3,
            authentication_timeout: Duration::from_secs(60),
            watchdog: Some(Duration::from_secs(1)),
            overdue: Some(Duration::from_secs(10)),
            database: None,
            admins: Vec::new(),
            owners: Vec::new(),
            signallers: Vec::new(),
            readers: Vec::new(),
            hide_sessions: false,
            transcript: false,
            test_functions: false,
        }
    }
}

/// Parses the arguments. Returns `None` if only the usage was requested.
pub(crate) fn parse(
    words: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Option<Args>, String> {
    use lexopt::ValueExt;
    use lexopt::prelude::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(words);
    let mut args = Args::default();
    let mut insecure = false;
    let mut workers_said = 0;
    while let Some(word) = parser.next().map_err(|e| e.to_string())? {
        let option = match word {
            Long(option) => option.to_string(),
            Short('h') => return Ok(None),
            Value(word) => return Err(format!("unexpected word {word:?}")),
            other => return Err(other.unexpected().to_string()),
        };
        let mut value = || {
            let value = parser.value().map_err(|e| e.to_string())?;
            value.string().map_err(|e| format!("--{option}: {e}"))
        };
        let expected = |what: &str, got: &str| format!("--{option}: expected {what}, got {got:?}");
        match option.as_str() {
            "listen" => {
                let text = value()?;
                let what = "an address and a port such as 127.0.0.1:5433";
                args.listen = text.parse().map_err(|_| expected(what, &text))?;
            }
            "insecure" => insecure = true,
            "backlog" => args.backlog = number(&option, &value()?, 1..=1_000_000)? as i32,
            "config" => {
                args.config = Some(parser.value().map_err(|e| e.to_string())?.into());
            }
            "thread-pool" => {
                args.thread_pool = match value()?.as_str() {
                    "on" => true,
                    "off" => false,
                    other => return Err(expected("on or off", other)),
                };
            }
            "workers" => {
                args.workers = workers(number(&option, &value()?, 1..=MAX_THREADS)?);
                workers_said += 1;
            }
            "thread-pool-attr" => {
                let said = value()?.parse();
                args.workers = said.map_err(|e: InvalidAttrError| invalid(&e))?;
                workers_said += 1;
            }
            "max-queue" => args.max_queue = number(&option, &value()?, 1..=1_000_000)?,
            "max-portals" => args.max_portals = number(&option, &value()?, 0..=10_000)?,
            "temp-dir" => args.temp_dir = Some(folder(&option, value()?.into())?),
            "max-workers" => args.max_workers = number(&option, &value()?, 1..=4096)?,
            "grace" => {
                let text = value()?;
                let seconds = text.parse().map_err(|_| expected("a number of seconds", &text))?;
                args.grace = Some(Duration::from_secs(seconds));
            }
            "max-connections" => {
                args.max_connections = number(&option, &value()?, 1..=1_000_000)?;
            }
            "reserved-connections" => {
                args.reserved_connections = number(&option, &value()?, 0..=1_000_000)?;
            }
            "authentication-timeout" => {
                let seconds = number(&option, &value()?, 1..=600)?;
                args.authentication_timeout = Duration::from_secs(seconds as u64);
            }
            "watchdog" => args.watchdog = limit(&option, &value()?)?,
            "overdue" => args.overdue = limit(&option, &value()?)?,
            "database" => {
                args.database = Some(parser.value().map_err(|e| e.to_string())?.into());
            }
            "admin" => args.admins.push(value()?),
            "owner" => {
                let text = value()?;
                let said = text
                    .split_once('=')
                    .filter(|(database, user)| !database.is_empty() && !user.is_empty());
                let (database, user) = said.ok_or_else(|| expected("DATABASE=USER", &text))?;
                args.owners.push((database.into(), user.into()));
            }
            "signaller" => args.signallers.push(value()?),
            "reader" => args.readers.push(value()?),
            "hide-sessions" => args.hide_sessions = true,
            "transcript" => args.transcript = true,
            "test-functions" => args.test_functions = true,
            "help" => return Ok(None),
            other => return Err(format!("no such option: --{other}")),
        }
    }
    if !insecure && !is_loopback(args.listen.ip()) {
        return Err(format!(
            "--listen: expected a loopback address such as 127.0.0.1 or [::1], got {}; other machines \
             can reach that, and no client has to prove who it is: --insecure allows it",
            args.listen.ip()
        ));
    }
    if workers_said > 1 {
        return Err("--workers and --thread-pool-attr say the same: expected one of them".into());
    }
    if args.reserved_connections >= args.max_connections {
        return Err(format!(
            "--reserved-connections: expected fewer than --max-connections, got {} of {}",
            args.reserved_connections, args.max_connections
        ));
    }
    if args.thread_pool && args.max_workers > 0 {
        let layout = args.workers.layout().map_err(|e| invalid(&e))?;
        let workers = PoolBuilder::from(layout).workers();
        if args.max_workers < workers {
            return Err(format!(
                "--max-workers: expected at least {workers}, the number of workers, got {}",
                args.max_workers
            ));
        }
    }
    if args.admins.is_empty() {
        args.admins.push("omm".into());
    }
    Ok(Some(args))
}

/// Returns one group with this number of workers; 0 means one per core.
fn workers(thread_num: usize) -> ThreadPoolAttr {
    ThreadPoolAttr::new().with_thread_num(thread_num).with_group_num(1)
}

pub(crate) fn invalid(error: &InvalidAttrError) -> String {
    format!("{error} {}", error.detail())
}

/// Returns the folder, if it is one.
fn folder(option: &str, path: PathBuf) -> Result<PathBuf, String> {
    if path.is_dir() {
        Ok(path)
    } else {
        Err(format!("--{option}: {} is not a folder", path.display()))
    }
}

fn number(option: &str, text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let (least, most) = (range.start(), range.end());
    number.ok_or_else(|| {
        format!("--{option}: expected a number from {least} to {most}, got {text:?}")
    })
}

/// Parses a limit in milliseconds, of which 0 means none.
fn limit(option: &str, text: &str) -> Result<Option<Duration>, String> {
    let limit = number(option, text, 0..=3_600_000)?;
    Ok((limit > 0).then(|| Duration::from_millis(limit as u64)))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Option<Args>, String> {
        parse(words.split_whitespace().map(Into::into))
    }

    #[test]
    fn arguments_are_parsed() {
        let args = parsed("--listen 127.0.0.1:0 --thread-pool=off --workers 3 --admin a --admin b");
        let args = args.unwrap().unwrap();
        assert_eq!((args.listen.port(), args.thread_pool), (0, false));
        assert_eq!(args.workers.to_string(), "3, 1, (nobind)");
        assert_eq!(args.admins, ["a", "b"]);
        assert_eq!(parsed("").unwrap().unwrap().admins, ["omm"]);
        let args = parsed("--owner shop=ann --signaller eve --hide-sessions").unwrap().unwrap();
        assert_eq!(args.owners, [("shop".to_string(), "ann".to_string())]);
        assert_eq!((args.signallers, args.hide_sessions), (vec!["eve".to_string()], true));
        let limits = |words| {
            let args = parsed(words).unwrap().unwrap();
            [args.watchdog, args.overdue].map(|limit| limit.map_or(0, |limit| limit.as_millis()))
        };
        assert_eq!(limits(""), [1000, 10_000]);
        assert_eq!(limits("--watchdog 250 --overdue 300"), [250, 300]);
        assert_eq!(limits("--watchdog 0 --overdue 0"), [0, 0]);
        assert_eq!(parsed("--help"), Ok(None));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (words, said) in [
            ("--listen here", "--listen: expected an address"),
            ("--thread-pool maybe", "expected on or off"),
            ("--workers 0", "expected a number from 1"),
            ("--owner shop", "--owner: expected DATABASE=USER"),
            ("--owner =ann", "--owner: expected DATABASE=USER"),
            ("--workers", "missing argument"),
            ("--max-connections 0", "expected a number from 1 to 1000000"),
            ("--max-connections 3", "--reserved-connections: expected fewer than"),
            ("--reserved-connections -1", "expected a number from 0"),
            ("--watchdog -1", "expected a number from 0 to 3600000"),
            ("--overdue soon", "--overdue: expected a number from 0 to 3600000"),
            ("--authentication-timeout 0", "expected a number from 1 to 600"),
            ("--wrong", "--wrong"),
            ("--backlog 0", "expected a number from 1 to 1000000"),
            ("word", "unexpected word"),
            ("--listen 0.0.0.0:5433", "--insecure"),
            ("--listen [::]:5433", "--insecure"),
        ] {
            let error = parsed(words).expect_err(words);
            assert!(error.contains(said), "{words}: {error}");
        }
        assert!(parsed("--listen 0.0.0.0:1 --insecure").is_ok());
        assert!(parsed("--listen [::1]:1").is_ok());
    }
}
