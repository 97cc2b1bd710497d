//! The source of the rows: a server with PostgreSQL's protocol.

use postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// One session in the server's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionLine {
    pub(crate) pid: i64,
    pub(crate) session: i64,
    pub(crate) user: String,
    pub(crate) application: String,
    pub(crate) client: String,
    pub(crate) state: String,
    /// The time in this state, in seconds.
    pub(crate) seconds: i64,
    pub(crate) query: String,
}

/// One thread of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadLine {
    pub(crate) pid: i64,
    pub(crate) name: String,
    /// The session that the thread runs.
    pub(crate) session: Option<i64>,
}

/// All rows of one query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) own: i64,
    pub(crate) sessions: Vec<SessionLine>,
    pub(crate) threads: Vec<ThreadLine>,
}

/// The session to kill, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) pid: i64,
    pub(crate) session: i64,
    pub(crate) immediate: bool,
}

pub(crate) trait Source {
    fn look(&mut self) -> Result<Look, String>;
    /// Kills the target. Returns the server's answer to an accepted request, or the error.
    fn kill(&mut self, target: &Target) -> Result<String, String>;
}

/// A server at the other end of a connection.
pub(crate) struct Connected {
    client: Client,
    own: i64,
    notices: Arc<Mutex<Vec<String>>>,
}

const SESSIONS: &str = "
    select threadid, sessionid, usename, application_name, client_addr, state, query,
           cast(extract(epoch from clock_timestamp() - state_change) as int)
    from pg_stat_activity where pid <> sessionid";

const THREADS: &str = "
    select t.threadid, t.application_name, s.sessionid
    from pg_stat_activity t
    left join pg_stat_activity s on s.threadid = t.threadid and s.pid <> s.sessionid
    where t.pid = t.sessionid";

impl Connected {
    pub(crate) fn to(address: &str, user: &str) -> Result<Connected, String> {
        let socket: SocketAddr = address
            .parse()
            .map_err(|_| format!("expected an address and a port, got {address:?}"))?;
        let notices = Arc::<Mutex<Vec<String>>>::default();
        let heard = notices.clone();
        let mut client = Config::new()
            .host(&socket.ip().to_string())
            .port(socket.port())
            .user(user)
            .dbname(user)
            .application_name("top")
            .notice_callback(move |notice| {
                let text = notice.message().to_owned();
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            })
            .connect(NoTls)
            .map_err(|e| format!("{address}: {}", said(&e)))?;
        let own = rows(&mut client, "select pg_current_sessid()")?;
        let own = own.first().map_or(0, |row| number(row, 0));
        Ok(Connected { client, own, notices })
    }
}

impl Source for Connected {
    fn look(&mut self) -> Result<Look, String> {
        let sessions = rows(&mut self.client, SESSIONS)?;
        let threads = rows(&mut self.client, THREADS)?;
        let session = |row: &SimpleQueryRow| SessionLine {
            pid: number(row, 0),
            session: number(row, 1),
            user: text(row, 2),
            application: text(row, 3),
            client: text(row, 4),
            state: text(row, 5),
            query: text(row, 6),
            seconds: number(row, 7),
        };
        let thread = |row: &SimpleQueryRow| ThreadLine {
            pid: number(row, 0),
            name: text(row, 1),
            session: row.get(2).and_then(|id| id.parse().ok()),
        };
        Ok(Look {
            own: self.own,
            sessions: sessions.iter().map(session).collect(),
            threads: threads.iter().map(thread).collect(),
        })
    }

    fn kill(&mut self, target: &Target) -> Result<String, String> {
        let Target { pid, session, immediate } = target;
        let immediate = if *immediate { " immediate" } else { "" };
        let notices = |connected: &Connected| {
            let mut heard = connected.notices.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *heard).join(" ")
        };
        let _ = notices(self);
        let kill = format!("alter system kill session '{pid}, {session}'{immediate}");
        match self.client.simple_query(&kill) {
            Ok(_) => Ok(notices(self)),
            Err(error) if is_lost(&error) => Err(trouble(&error)),
            Err(refused) => Err(format!("refused: {}", said(&refused))),
        }
    }
}

fn rows(client: &mut Client, sql: &str) -> Result<Vec<SimpleQueryRow>, String> {
    let messages = client.simple_query(sql).map_err(|e| trouble(&e))?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// Returns whether the connection is closed.
fn is_lost(error: &postgres::Error) -> bool {
    error.as_db_error().is_none_or(|error| error.severity() == "FATAL")
}

fn said(error: &postgres::Error) -> String {
    let cause = || error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    let other = || format!("{error}{}", cause());
    error.as_db_error().map_or_else(other, |error| error.message().to_owned())
}

fn trouble(error: &postgres::Error) -> String {
    let said = said(error);
    if is_lost(error) { format!("the connection is lost: {said}") } else { said }
}

fn text(row: &SimpleQueryRow, at: usize) -> String {
    row.get(at).unwrap_or_default().to_owned()
}

fn number(row: &SimpleQueryRow, at: usize) -> i64 {
    row.get(at).and_then(|text| text.parse().ok()).unwrap_or(0)
}
