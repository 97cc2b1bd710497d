//! Starts the server in one of the two thread models, and shuts down in order.

use crate::args::{self, Args};
use crate::connection;
use crate::door::Door;
use crate::engine;
use crate::shared::Shared;
use crate::wire::with_cause;
use safepoint::diagnose::Watchdog;
use safepoint::manager::{DrainOptions, StartError};
use safepoint::pool::PoolBuilder;
use safepoint::{Requester, SessionManager, Terminate, TerminateMode};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tempfile::TempDir;

/// How a server ends, from the mildest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shutdown {
    /// No new client gets a session. The others leave by themselves, or have the grace to finish
    /// their transactions.
    Smart,
    /// All sessions are terminated.
    Fast,
    /// The process ends, and leaves all else to SQLite's recovery.
    Immediate,
}

impl Shutdown {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shutdown::Smart => "smart",
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        }
    }
}

/// How long a client that has left waits for a worker. PostgreSQL would still run what such a client
/// has sent, so this is longer than a busy server takes.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    grace: Option<Duration>,
    _watchdog: Option<Watchdog>,
    /// Removed with the server.
    _folder: Option<TempDir>,
}

impl Server {
    /// Binds the address, and serves clients on separate threads.
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
        // A longer queue than the standard library asks for: a client for which there is no room
        // tries again after a second, then after two, four and eight.
        rustix::net::listen(&listener, args.backlog).map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;

        let shared = Arc::new(Shared::new(args, database)?);
        let threads = |e: StartError| format!("can't start threads: {}", with_cause(&e));
        let pool = if args.thread_pool {
            let layout = args.workers.layout().map_err(|e| args::invalid(&e))?;
            if let Some(warning) = layout.warning() {
                eprintln!("server: {warning}");
            }
            let config = PoolBuilder::from(layout).max_queue(args.max_queue);
            let config = config.close_abandoned(ABANDONED_AFTER);
            let most = match args.max_workers {
                0 => 8 * config.workers(),
                most => most,
            };
            let config = config.max_workers(most);
            let pool = config.start(shared.manager.clone()).map_err(threads)?;
            let pool = Arc::new(pool);
            // The pool is set once, here.
            let _ = shared.pool.set(Arc::downgrade(&pool));
            Some(pool)
        } else {
            None
        };
        let registered =
            shared.manager.register_background("acceptor").map_err(|e| threads(e.into()))?;
        let door = Door::new(shared.clone(), pool, listener).map_err(|e| e.to_string())?;
        let accept = move || {
            let _registered = registered;
            door.keep();
        };
        Builder::new().name("acceptor".into()).spawn(accept).map_err(|e| threads(e.into()))?;
        let watchdog = watch(&shared.manager, args.watchdog, args.overdue).map_err(threads)?;
        Ok(Server { shared, address, grace: args.grace, _watchdog: watchdog, _folder: folder })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn grace(&self) -> Option<Duration> {
        self.grace
    }

    /// Returns the number of open sessions.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.manager.len()
    }

    /// Reads the defaults of settings again.
    pub(crate) fn reload(&self) {
        self.shared.defaults.reload();
    }

    /// Ends all sessions, and returns how many are left after a minute.
    pub(crate) fn end(self) -> usize {
        let request = Terminate::new(TerminateMode::Immediate, Requester::system());
        let options = DrainOptions::new(request).timeout(Duration::from_secs(60));
        self.shared.manager.drain(options).remaining
    }

    /// Rejects new sessions, and requests the end of those that must not continue.
    pub(crate) fn begin_shutdown(&self, how: Shutdown) {
        let manager = &self.shared.manager;
        let request = |mode| Terminate::new(mode, Requester::system());
        // The sessions are counted, so nothing waits for the receipts.
        let _ = match how {
            Shutdown::Smart if self.grace.is_none() => {
                manager.close();
                Vec::new()
            }
            Shutdown::Smart => manager.shutdown(request(TerminateMode::AfterTransaction)),
            Shutdown::Fast => manager.shutdown(request(TerminateMode::Immediate)),
            Shutdown::Immediate => {
                manager.shutdown(request(TerminateMode::Immediate).comment(connection::AT_ONCE))
            }
        };
    }
}

/// Starts the watchdog, unless it has nothing to report.
fn watch(
    manager: &SessionManager,
    stalled: Option<Duration>,
    overdue: Option<Duration>,
) -> Result<Option<Watchdog>, StartError> {
    if stalled.is_none() && overdue.is_none() {
        return Ok(None);
    }
    // Control characters are replaced, so that a client's statement cannot imitate a line of the
    // log.
    let print = |line: String| eprintln!("watchdog: {}", line.replace(char::is_control, " "));
    let mut watchdog = Watchdog::builder();
    if let Some(limit) = stalled {
        watchdog = watchdog.stalled(limit, move |stalled| print(stalled.to_string()));
    }
    if let Some(limit) = overdue {
        watchdog = watchdog.overdue(limit, move |overdue| print(overdue.to_string()));
    }
    watchdog.start(manager).map(Some)
}
