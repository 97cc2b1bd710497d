//! Plays the example of the reference page against this server, with a real PostgreSQL client.

use crate::args::Args;
use crate::server::Server;
use safepoint::pool::ThreadPoolAttr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::runtime::{self, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, SimpleQueryMessage, SimpleQueryRow};

/// How long a killed session may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Plays the example in both thread models.
pub(crate) fn play(args: &Args) -> Result<(), String> {
    for thread_pool in [false, true] {
        let model = if thread_pool { "with a thread pool" } else { "one thread per session" };
        say(format!("-- {model}\n"))?;
        let args = Args {
            thread_pool,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: None,
            // On each machine the same threads are shown.
            workers: ThreadPoolAttr::new().with_thread_num(2).with_group_num(1),
            max_workers: 2,
            admins: vec!["omm".into()],
            ..args.clone()
        };
        let server = Server::start(&args)?;
        let result = example(server.address(), thread_pool).map_err(|wrong| {
            format!("{model}: what the client saw is not what the page promises: {wrong}")
        });
        let left = server.end();
        result?;
        if left > 0 {
            return Err(format!("{model}: a session did not end"));
        }
    }
    Ok(())
}

/// A client that delivers a message that comes just before the end of the connection. The blocking
/// crate `postgres` loses it.
struct Client {
    client: tokio_postgres::Client,
    runtime: Runtime,
}

impl Client {
    fn connect(address: SocketAddr, application: &str) -> Result<Client, String> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        let mut config = tokio_postgres::Config::new();
        config.host(address.ip().to_string()).port(address.port()).user("omm").dbname("postgres");
        let connected = runtime.block_on(config.application_name(application).connect(NoTls));
        let (client, connection) = connected.map_err(|e| format!("connecting: {e}"))?;
        // The requests return the errors of the connection.
        drop(runtime.spawn(connection));
        Ok(Client { client, runtime })
    }

    fn simple_query(
        &mut self,
        text: &str,
    ) -> Result<Vec<SimpleQueryMessage>, tokio_postgres::Error> {
        self.runtime.block_on(self.client.simple_query(text))
    }

    /// Returns the rows of a query that must succeed.
    fn ask(&mut self, text: &str) -> Result<Vec<SimpleQueryRow>, String> {
        let messages = self.simple_query(text).map_err(|e| format!("{text}: {e}"))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}

fn example(address: SocketAddr, thread_pool: bool) -> Result<(), String> {
    let mut client = Client::connect(address, "gsql")?;
    let shown = query(&mut client, "show enable_thread_pool;")?;
    expect(shown == [[if thread_pool { "on" } else { "off" }]], "enable_thread_pool")?;

    let rows = query(
        &mut client,
        "select pid, sessionid, usename, application_name from pg_stat_activity where usename = 'omm';",
    )?;
    let mine: Vec<_> = rows.iter().filter(|row| row[3] == "gsql").collect();
    let [mine] = mine.as_slice() else { return Err(format!("{} rows of gsql", mine.len())) };
    expect(mine[0] != "0" && mine[0] != mine[1], "pid and sessionid of gsql")?;
    let background: Vec<_> = rows.iter().filter(|row| row[3] != "gsql").collect();
    expect(
        !background.is_empty() && background.iter().all(|row| row[0] == row[1]),
        "background threads with pid = sessionid",
    )?;

    let kill = format!("ALTER SYSTEM KILL SESSION '{}, {}';", mine[0], mine[1]);
    say(format!("openGauss=# {kill}"))?;
    let Err(error) = client.simple_query(&kill) else { return Err("no error".into()) };
    let fatal = error.as_db_error().ok_or(format!("no message of the server's: {error}"))?;
    say(format!("{}:  {}", fatal.severity(), fatal.message()))?;
    expect(fatal.severity() == "FATAL", "severity FATAL")?;
    expect(fatal.code() == &SqlState::ADMIN_SHUTDOWN, "SQLSTATE 57P01")?;
    expect(
        fatal.message() == "terminating connection due to administrator command",
        "the text of the FATAL",
    )?;
    expect(client.simple_query("select 1").is_err(), "the connection is closed")?;

    // The page's client reconnects by itself.
    let mut client = Client::connect(address, "gsql")?;
    say("The connection to the server was lost. Attempting reset: Succeeded.\n".into())?;
    let count = format!("select count(*) from pg_stat_activity where sessionid = {};", mine[1]);
    // A session ends after its connection, so shortly after its client is notified.
    let deadline = Instant::now() + END_TIMEOUT;
    while Instant::now() < deadline && values(&client.ask(&count)?) != [["0"]] {
        std::thread::sleep(Duration::from_millis(1));
    }
    let left = query(&mut client, &count)?;
    expect(left == [["0"]], "the session is gone from pg_stat_activity")
}

/// Prints a line. Fails if standard output is closed.
fn say(text: String) -> Result<(), String> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| format!("nobody reads on: {error}"))
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("expected: {what}")) }
}

/// Sends a query, and prints it with its answer, as the page does.
fn query(client: &mut Client, text: &str) -> Result<Vec<Vec<String>>, String> {
    say(format!("openGauss=# {text}"))?;
    let rows = client.ask(text)?;
    let names = rows.first().map_or(&[][..], |row| row.columns());
    let names: Vec<_> = names.iter().map(|column| column.name().to_string()).collect();
    let values = values(&rows);
    say(table(&names, &values))?;
    Ok(values)
}

fn values(rows: &[SimpleQueryRow]) -> Vec<Vec<String>> {
    let value = |row: &SimpleQueryRow, at| row.get(at).unwrap_or_default().to_string();
    rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect()
}

fn table(names: &[String], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        rows.iter().map(|row| row[at].len()).chain([names[at].len()]).max().unwrap_or(0)
    };
    let mut text = String::new();
    let mut line = |cells: &[String], centred: bool| {
        for (at, cell) in cells.iter().enumerate() {
            let width = width(at);
            let bar = if at == 0 { "" } else { "|" };
            let _ = if centred {
                write!(text, "{bar} {cell:^width$} ")
            } else {
                write!(text, "{bar} {cell:<width$} ")
            };
        }
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    };
    line(names, true);
    let rule: Vec<_> = (0..names.len()).map(|at| "-".repeat(width(at) + 2)).collect();
    for row in rows {
        line(row, false);
    }
    let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
    let count = rows.len();
    let plural = if count == 1 { "row" } else { "rows" };
    format!("{head}\n{}\n{body}({count} {plural})\n", rule.join("+"))
}
