//! Accepts connections, gives each a session in one of the two thread models, and shuts down
//! in order.

use crate::args::Args;
use crate::connection::Connection;
use crate::engine;
use crate::shared::Shared;
use crate::wire::{Fields, Outgoing};
use safepoint::pool::{Client, Config, End, Pool};
use safepoint::{Author, Description, Drained, Session, Terminate, When};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tempfile::TempDir;

/// How long a shutdown waits for sessions to end that have been told to end at once.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// How long the acceptor pauses where the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Server {
    shared: Arc<Shared>,
    pool: Option<Arc<Pool<Connection>>>,
    address: SocketAddr,
    grace: Duration,
    /// Removed with the server.
    _folder: Option<TempDir>,
}

impl Server {
    /// Listens, and serves from threads of its own.
    pub(crate) fn start(args: &Args) -> Result<Server, String> {
        let (folder, database) = match &args.database {
            Some(file) => (None, file.clone()),
            None => {
                let folder = TempDir::with_prefix("safepoint-")
                    .map_err(|e| format!("no temporary folder: {e}"))?;
                let file = folder.path().join("database.sqlite");
                (Some(folder), file)
            }
        };
        engine::prepare(&database).map_err(|e| format!("{}: {e}", database.display()))?;
        let listener = TcpListener::bind(args.listen)
            .map_err(|e| format!("can't listen on {}: {e}", args.listen))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;

        let shared = Arc::new(Shared::new(args, database));
        let threads = |e: io::Error| format!("can't start threads: {e}");
        let pool = if args.thread_pool {
            let config = Config::new(args.workers).max_workers(args.max_workers);
            let pool = Pool::start(shared.manager.clone(), &config).map_err(threads)?;
            Some(Arc::new(pool))
        } else {
            None
        };
        let server = Server { shared, pool, address, grace: args.grace, _folder: folder };
        let (shared, pool) = (server.shared.clone(), server.pool.clone());
        let registered =
            shared.manager.register_background("listener").map_err(|e| threads(e.into()))?;
        let accept = move || {
            let _registered = registered;
            for socket in listener.incoming() {
                match socket {
                    Ok(socket) => take_in(&shared, pool.as_deref(), socket),
                    Err(_) => std::thread::sleep(ACCEPT_PAUSE),
                }
            }
        };
        Builder::new().name("listener".into()).spawn(accept).map_err(threads)?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// No new sessions; those that exist are told to end, and have the grace to finish their
    /// transactions.
    pub(crate) fn shut_down(self) -> Drained {
        let request = Terminate::new(When::AfterTransaction, Author::system());
        self.shared.manager.drain(&request, self.grace, SHUTDOWN_LIMIT)
    }
}

fn take_in(shared: &Arc<Shared>, pool: Option<&Pool<Connection>>, mut socket: TcpStream) {
    let client = socket.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    let about = Description { client: client.into(), ..Description::default() };
    let session = match shared.manager.open(about) {
        Ok(session) => session,
        Err(_) => return refuse(&mut socket, "57P03", "the database system is shutting down"),
    };
    // A connection that fails here has gone already, or there are no descriptors for it.
    let Ok(connection) = Connection::new(shared.clone(), socket) else { return };
    match pool {
        Some(pool) => drop(pool.serve(session, connection)),
        None => serve_alone(session, connection),
    }
}

/// One thread for one session, for its whole life.
fn serve_alone(mut session: Session, mut connection: Connection) {
    let Some(thread) = session.own_thread() else { return };
    let name = format!("session {}", session.id());
    let serve = move || {
        let result = catch_unwind(AssertUnwindSafe(|| match session.attach(&thread) {
            Ok(mut attached) => connection.serve(&mut attached).map_err(End::Interrupted),
            Err(_) => Ok(()),
        }));
        let why = match result {
            Ok(Ok(())) => End::Closed,
            Ok(Err(end)) => end,
            Err(_) => End::Panicked,
        };
        connection.end(&session, why);
        // The connection is closed before the session: its receipts say that it has ended.
        drop(connection);
        drop(session);
    };
    // Where the system gives no thread, the connection is closed.
    drop(Builder::new().name(name).spawn(serve));
}

fn refuse(socket: &mut TcpStream, sqlstate: &'static str, message: &str) {
    let mut outgoing = Outgoing::new();
    outgoing.error(&Fields::new("FATAL", sqlstate, message));
    // Whoever does not read is not told.
    let _ = socket.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = socket.write_all(&outgoing.buf);
}
