//! SQLite, as pgwire's handlers want it. Nothing here is handed a session: the thread that polls
//! runs one.

use crate::Client;
use async_trait::async_trait;
use futures::stream;
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::cancel::CancelHandler;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::{ClientInfo, NoopHandler, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::process_message;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};
use safepoint::{Author, Cancel, Interrupt, SessionId, SessionManager, ThreadModel, sql};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::task::block_in_place;

/// How many of SQLite's instructions lie between two safe points.
const SAFE_POINT_EVERY: i32 = 1000;
/// How long a session that finds the database locked sleeps before it tries again.
const LOCK_WAIT: Duration = Duration::from_millis(2);

pub(crate) struct Server {
    pub(crate) manager: SessionManager,
    database: PathBuf,
    /// By process id, what a cancel request has to know.
    keys: Mutex<HashMap<i32, (SecretKey, SessionId)>>,
}

/// What one client's messages are for.
pub(crate) struct Backend {
    server: Arc<Server>,
    session: SessionId,
    engine: Mutex<Connection>,
    pid: Mutex<Option<i32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the client of that session is told.
pub(crate) fn report(session: SessionId, interrupt: &Interrupt) -> ErrorInfo {
    let (severity, sqlstate) = (interrupt.severity().into(), interrupt.sqlstate().into());
    let mut info = ErrorInfo::new(severity, sqlstate, interrupt.message().into());
    info.detail = interrupt.detail(session);
    info
}

fn failed(sqlstate: &str, message: String, hint: Option<&str>) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".into(), sqlstate.into(), message);
    info.hint = hint.map(String::from);
    PgWireError::UserError(Box::new(info))
}

fn refused(error: sql::SqlError) -> PgWireError {
    failed(error.sqlstate, error.message.into_owned(), error.hint)
}

impl Server {
    pub(crate) fn new(database: PathBuf) -> rusqlite::Result<Server> {
        Connection::open(&database)?.pragma_update(None, "journal_mode", "wal")?;
        let manager = SessionManager::new(ThreadModel::Pool);
        Ok(Server { manager, database, keys: Mutex::default() })
    }
}

impl Backend {
    pub(crate) fn new(server: Arc<Server>, session: SessionId) -> rusqlite::Result<Backend> {
        let mut engine = Connection::open(&server.database)?;
        engine.progress_handler(SAFE_POINT_EVERY, Some(|| safepoint::check().is_err()))?;
        engine.busy_handler(Some(|_| safepoint::sleep(LOCK_WAIT).is_ok()))?;
        Ok(Backend { server, session, engine: Mutex::new(engine), pid: Mutex::default() })
    }

    pub(crate) async fn process(
        self: &Arc<Self>,
        message: PgWireFrontendMessage,
        client: &mut Client,
    ) -> PgWireResult<()> {
        // The extended protocol and COPY are left to examples/server.
        let not_here = Arc::new(NoopHandler);
        let [startup, query, cancel] = [(); 3].map(|()| self.clone());
        process_message(message, client, startup, query, not_here.clone(), not_here, cancel).await
    }

    fn check(&self) -> PgWireResult<()> {
        let told = |told| PgWireError::UserError(Box::new(report(self.session, &told)));
        safepoint::check().map_err(told)
    }

    fn show_sessions(&self) -> PgWireResult<Response> {
        let columns = ["pid", "sessionid", "usename", "state", "query"].map(String::from).to_vec();
        let row = |row: safepoint::SessionRow| {
            let thread = row.thread.map_or(0, |thread| thread.get());
            let (user, text) = (row.description.user.to_string(), row.text);
            let (id, doing) = (row.session.to_string(), row.doing.to_string());
            [thread.to_string(), id, user, doing, text].map(Some).to_vec()
        };
        rows(&columns, self.server.manager.sessions().map(row).collect())
    }

    fn kill(&self, command: sql::Command) -> PgWireResult<Response> {
        let author = safepoint::current_author().expect("this is its statement");
        sql::execute(&self.server.manager, command, author).map_err(refused)?;
        // Who kills itself sees no row.
        self.check()?;
        rows(&[sql::ANSWER_COLUMN.into()], vec![vec![Some("t".into())]])
    }

    /// Each statement of the text, on this thread, which meanwhile is not tokio's.
    fn run(&self, text: &str) -> PgWireResult<Vec<Response>> {
        let engine = locked(&self.engine);
        let mut responses = Vec::new();
        let mut batch = Batch::new(&engine, text);
        loop {
            let was_open = !engine.is_autocommit();
            let ran = batch.next().and_then(|statement| statement.map(query).transpose());
            let open = !engine.is_autocommit();
            safepoint::set_transaction(open);
            // SQLite only says that it was interrupted.
            self.check()?;
            let Some((columns, found)) =
                ran.map_err(|error| failed("XX000", error.to_string(), None))?
            else {
                return Ok(responses);
            };
            responses.push(match (was_open, open) {
                (false, true) => Response::TransactionStart(Tag::new("BEGIN")),
                (true, false) => Response::TransactionEnd(Tag::new("COMMIT")),
                _ if columns.is_empty() => Response::Execution(Tag::new("OK")),
                _ => rows(&columns, found)?,
            });
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(pid) = locked(&self.pid).take() {
            locked(&self.server.keys).remove(&pid);
        }
    }
}

type Rows = Vec<Vec<Option<String>>>;

fn query(mut statement: rusqlite::Statement<'_>) -> rusqlite::Result<(Vec<String>, Rows)> {
    let columns: Vec<String> = statement.column_names().map(String::from).collect();
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        use rusqlite::types::ValueRef::{Blob, Integer, Null, Real, Text};
        let text = |index| {
            Ok(match row.get_ref(index)? {
                Null => None,
                Integer(number) => Some(number.to_string()),
                Real(number) => Some(number.to_string()),
                Text(bytes) | Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            })
        };
        found.push((0..columns.len()).map(text).collect::<rusqlite::Result<_>>()?);
    }
    Ok((columns, found))
}

fn rows(columns: &[String], rows: Rows) -> PgWireResult<Response> {
    let field =
        |name: &String| FieldInfo::new(name.clone(), None, None, Type::TEXT, FieldFormat::Text);
    let fields = Arc::new(columns.iter().map(field).collect::<Vec<_>>());
    let mut encoder = DataRowEncoder::new(fields.clone());
    let encoded: Vec<_> = rows
        .into_iter()
        .map(|row| {
            row.iter().try_for_each(|value| encoder.encode_field(value))?;
            Ok(encoder.take_row())
        })
        .collect();
    Ok(Response::Query(QueryResponse::new(fields, stream::iter(encoded))))
}

/// `select pg_sleep(SECONDS)`.
fn sleep_of(text: &str) -> Option<Duration> {
    let text = text.trim().trim_end_matches(';').to_ascii_lowercase();
    let seconds = text.strip_prefix("select pg_sleep(")?.strip_suffix(')')?;
    Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
}

#[async_trait]
impl SimpleQueryHandler for Backend {
    async fn do_query<C>(&self, _client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: Unpin + Send + Sync,
    {
        if let Some(command) = sql::parse(query) {
            return Ok(vec![self.kill(command.map_err(refused)?)?]);
        }
        if let Some(time) = sleep_of(query) {
            // The task waits, and no thread does.
            tokio::time::sleep(time).await;
            return Ok(vec![rows(&["pg_sleep".into()], vec![vec![Some(String::new())]])?]);
        }
        if query.trim().trim_end_matches(';').eq_ignore_ascii_case("show sessions") {
            return Ok(vec![self.show_sessions()?]);
        }
        block_in_place(|| self.run(query))
    }
}

#[async_trait]
impl NoopStartupHandler for Backend {
    async fn post_startup<C>(
        &self,
        client: &mut C,
        _message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + futures::Sink<PgWireBackendMessage> + Unpin + Send,
    {
        let (pid, key) = client.pid_and_secret_key();
        *locked(&self.pid) = Some(pid);
        locked(&self.server.keys).insert(pid, (key, self.session));
        Ok(())
    }
}

#[async_trait]
impl CancelHandler for Backend {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let known = locked(&self.server.keys).get(&request.pid).cloned();
        let Some((key, session)) = known else { return };
        if key.to_bytes().ct_eq(&request.secret_key.to_bytes()).into() {
            // Where nothing runs, it comes too late. Nobody is told in either case.
            let _ = self.server.manager.cancel(session, Cancel::running(Author::system()));
        }
    }
}
