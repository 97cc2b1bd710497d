//! What pgwire's handlers want: statements described, and their answers, which have been made by
//! the time that they ask.

use crate::Client;
use crate::describe::Column;
use crate::engine::{Engine, Plan, Prepared, Ran, make_database};
use crate::split::split;
use crate::told::{Failed, interrupted};
use crate::types::Format;
use async_trait::async_trait;
use futures::stream;
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::cancel::CancelHandler;
use pgwire::api::portal::{self, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, NoopHandler, PgWireConnectionState, Type,
};
use pgwire::error::PgWireResult;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::data::DataRow;
use pgwire::messages::startup::SecretKey;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::process_message;
use rusqlite::types::Value;
use safepoint::{Author, Cancel, SessionId, SessionManager, SessionRow, ThreadModel, sql};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subtle::ConstantTimeEq;
use tokio::task::block_in_place;

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
    engine: Arc<Engine>,
    answer: Mutex<Option<PgWireResult<Vec<Response>>>>,
    pid: Mutex<Option<i32>>,
}

/// A message that runs something.
pub(crate) enum Asked {
    Query(String),
    Execute(Arc<Portal<Arc<Prepared>>>),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(database: PathBuf) -> rusqlite::Result<Server> {
        make_database(&database)?;
        let manager = SessionManager::new(ThreadModel::Pool);
        Ok(Server { manager, database, keys: Mutex::default() })
    }
}

impl Asked {
    /// `None` where the message runs nothing.
    pub(crate) fn of(message: &PgWireFrontendMessage, client: &Client) -> Option<Asked> {
        // After an error pgwire discards all up to the next Sync.
        if matches!(client.state(), PgWireConnectionState::AwaitingSync) {
            return None;
        }
        match message {
            PgWireFrontendMessage::Query(query) => Some(Asked::Query(query.query.clone())),
            PgWireFrontendMessage::Execute(execute) => {
                let name = execute.name.as_deref().unwrap_or(DEFAULT_NAME);
                let portal = client.portal_store().get_portal(name)?.value()?.clone();
                let state = portal.state();
                // Later on it is fetched from.
                let fresh = matches!(*state.try_lock().ok()?, PortalExecutionState::Initial);
                fresh.then_some(Asked::Execute(portal))
            }
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Asked::Query(text) => text,
            Asked::Execute(portal) => &portal.statement.statement.text,
        }
    }
}

impl Backend {
    pub(crate) fn new(server: Arc<Server>, session: SessionId) -> rusqlite::Result<Backend> {
        let engine = Arc::new(Engine::open(&server.database)?);
        let (answer, pid) = (Mutex::default(), Mutex::default());
        Ok(Backend { server, session, engine, answer, pid })
    }

    /// Runs what was asked, within its session.
    pub(crate) async fn run(&self, asked: &Asked) -> PgWireResult<Vec<Response>> {
        let mut responses = Vec::new();
        match asked {
            Asked::Query(text) => {
                for statement in split(text) {
                    let prepared = block_in_place(|| self.engine.prepare(statement, Vec::new()));
                    self.check()?;
                    if let Some(prepared) = prepared? {
                        responses.push(self.execute(&prepared, &[], &[]).await?);
                    }
                }
            }
            Asked::Execute(portal) => {
                let prepared = &portal.statement.statement;
                let formats = formats(&portal.parameter_format, portal.parameters.len())?;
                let values = prepared.decode(&portal.parameters, &formats)?;
                let formats = formats_of(&portal.result_column_format, prepared)?;
                responses.push(self.execute(prepared, &values, &formats).await?);
            }
        }
        Ok(responses)
    }

    async fn execute(
        &self,
        prepared: &Prepared,
        values: &[Value],
        formats: &[Format],
    ) -> PgWireResult<Response> {
        let rows = match &prepared.plan {
            Plan::Kill(command) => vec![self.kill(*command)?],
            Plan::Sleep(time) => {
                // The task waits, and no thread does.
                tokio::time::sleep(*time).await;
                vec![vec![Value::Text(String::new())]]
            }
            Plan::Sessions => self.server.manager.sessions().map(session).collect(),
            Plan::Sqlite(statements) => {
                // On this thread, which meanwhile is not tokio's.
                let run = || self.engine.run(statements, prepared, values, formats);
                let ran = block_in_place(run);
                // SQLite only says that it was interrupted.
                self.check()?;
                return Ok(response(prepared, formats, ran?));
            }
        };
        let row = |row: &Vec<Value>| prepared.row(formats, |at| Ok((&row[at]).into()));
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(rows_response(prepared, formats, "SELECT".into(), rows))
    }

    fn kill(&self, command: sql::Command) -> PgWireResult<Vec<Value>> {
        let author = safepoint::current_author().expect("this is its statement");
        sql::execute(&self.server.manager, command, author).map_err(Failed::from)?;
        // Who kills itself sees no row.
        self.check()?;
        Ok(vec![Value::Integer(1)])
    }

    fn check(&self) -> PgWireResult<()> {
        safepoint::check().map_err(|told| interrupted(self.session, &told))
    }

    /// What the handlers answer the next message with.
    pub(crate) fn leave_answer(&self, answer: PgWireResult<Vec<Response>>) {
        *locked(&self.answer) = Some(answer);
    }

    fn take_answer(&self) -> PgWireResult<Vec<Response>> {
        locked(&self.answer).take().expect("a message that runs something was run first")
    }

    /// Answers a message.
    pub(crate) async fn process(
        self: &Arc<Self>,
        message: PgWireFrontendMessage,
        client: &mut Client,
    ) -> PgWireResult<()> {
        // COPY is left to examples/server.
        let copy = Arc::new(NoopHandler);
        let [startup, query, extended, cancel] = [(); 4].map(|()| self.clone());
        process_message(message, client, startup, query, extended, copy, cancel).await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(pid) = locked(&self.pid).take() {
            locked(&self.server.keys).remove(&pid);
        }
    }
}

fn session(row: SessionRow) -> Vec<Value> {
    let thread = row.thread.map_or(0, |thread| thread.get());
    let (user, state) = (row.description.user.to_string(), row.doing.to_string());
    let number = |number: u64| Value::Integer(number as i64);
    let [user, state, text] = [user, state, row.text].map(Value::Text);
    vec![number(thread), number(row.session.get()), user, state, text]
}

fn formats(given: &portal::Format, count: usize) -> Result<Vec<Format>, Failed> {
    let codes = match given {
        portal::Format::UnifiedText => return Ok(vec![Format::Text]),
        portal::Format::UnifiedBinary => return Ok(vec![Format::Binary]),
        portal::Format::Individual(codes) => codes,
    };
    if codes.len() != count {
        let message = format!("bind message has {} formats, where {count} are due", codes.len());
        return Err(Failed::new("08P01", message));
    }
    Ok(codes.iter().map(|code| Format::from_code(*code)).collect::<Result<_, _>>()?)
}

fn formats_of(given: &portal::Format, prepared: &Prepared) -> Result<Vec<Format>, Failed> {
    formats(given, prepared.columns.len())
}

fn fields(prepared: &Prepared, formats: &[Format]) -> Vec<FieldInfo> {
    let field = |(at, Column { name, ty }): (usize, &Column)| {
        let format = FieldFormat::from(Format::pick(formats, at).code());
        let datatype = Type::from_oid(ty.oid()).unwrap_or(Type::TEXT);
        FieldInfo::new(name.clone(), None, None, datatype, format).with_type_size(ty.len())
    };
    prepared.columns.iter().enumerate().map(field).collect()
}

fn response(prepared: &Prepared, formats: &[Format], ran: Ran) -> Response {
    let Ran { rows, tag, transaction } = ran;
    match transaction {
        (false, true) => Response::TransactionStart(Tag::new(&tag)),
        (true, false) => Response::TransactionEnd(Tag::new(&tag)),
        _ if prepared.columns.is_empty() => Response::Execution(Tag::new(&tag)),
        _ => {
            // pgwire counts the rows itself.
            let verb = tag.rsplit_once(' ').map_or(tag.as_str(), |(verb, _)| verb);
            rows_response(prepared, formats, verb.into(), rows)
        }
    }
}

fn rows_response(
    prepared: &Prepared,
    formats: &[Format],
    verb: String,
    rows: Vec<DataRow>,
) -> Response {
    let rows = stream::iter(rows.into_iter().map(Ok));
    let mut response = QueryResponse::new(Arc::new(fields(prepared, formats)), rows);
    response.set_command_tag(&verb);
    Response::Query(response)
}

#[async_trait]
impl SimpleQueryHandler for Backend {
    async fn do_query<C>(&self, _client: &mut C, _query: &str) -> PgWireResult<Vec<Response>>
    where
        C: Unpin + Send + Sync,
    {
        self.take_answer()
    }
}

#[async_trait]
impl ExtendedQueryHandler for Backend {
    type Statement = Arc<Prepared>;
    type QueryParser = Engine;

    fn query_parser(&self) -> Arc<Engine> {
        self.engine.clone()
    }

    async fn do_query<C>(
        &self,
        _client: &mut C,
        _portal: &Portal<Arc<Prepared>>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: Unpin + Send + Sync,
    {
        Ok(self.take_answer()?.pop().unwrap_or(Response::EmptyQuery))
    }
}

#[async_trait]
impl QueryParser for Engine {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Option<Arc<Prepared>>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let oids = types.iter().map(|ty| ty.as_ref().map_or(0, Type::oid)).collect();
        Ok(block_in_place(|| self.prepare(sql, oids))?.map(Arc::new))
    }

    fn get_parameter_types(&self, prepared: &Arc<Prepared>) -> PgWireResult<Vec<Type>> {
        let ty = |oid: &u32| Type::from_oid(*oid).unwrap_or(Type::TEXT);
        Ok(prepared.oids.iter().map(ty).collect())
    }

    fn get_result_schema(
        &self,
        prepared: &Arc<Prepared>,
        given: Option<&portal::Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let formats = given.map(|given| formats_of(given, prepared)).transpose()?;
        Ok(fields(prepared, &formats.unwrap_or_default()))
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
