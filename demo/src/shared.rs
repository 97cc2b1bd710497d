//! The state that all sessions of the server share.

use crate::Pool;
use crate::args::Args;
use crate::backends::Backends;
use crate::checkpointer::Checkpointer;
use crate::engine::Engines;
use crate::keys::{CancelKeys, Found};
use crate::settings::Defaults;
use crate::test_functions::Stalls;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;
use safepoint::policy::Roles;
use safepoint::sql::{SessionAddress, SqlError};
use safepoint::{Cancel, Requester, SessionManager, ThreadModel};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

pub(crate) struct Shared {
    pub(crate) manager: SessionManager,
    pub(crate) keys: CancelKeys,
    pub(crate) backends: Arc<Backends>,
    pub(crate) engines: Engines,
    pub(crate) database: PathBuf,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) admins: Vec<String>,
    /// The names of the databases that all users have.
    databases: Vec<String>,
    /// The settings with which sessions begin.
    pub(crate) defaults: Defaults,
    pub(crate) max_connections: usize,
    /// The time in which a client must send its startup message.
    pub(crate) authentication_timeout: Duration,
    pub(crate) test_functions: bool,
    pub(crate) stalls: Arc<Stalls>,
    /// The maximum number of suspended statements, and their present number.
    pub(crate) max_portals: usize,
    /// For the rest of answers; `None` means the system's folder for temporary files.
    pub(crate) temp_dir: Option<PathBuf>,
    pub(crate) portals: AtomicUsize,
    /// A weak reference, since the pool's connections refer to this struct.
    pub(crate) pool: OnceLock<Weak<Pool>>,
}

impl Shared {
    pub(crate) fn new(args: &Args, database: PathBuf) -> Result<Shared, String> {
        let model = if args.thread_pool { ThreadModel::Pool } else { ThreadModel::PerSession };
        let mut policy = Roles::new();
        for (database, user) in &args.owners {
            policy = policy.owner(&**database, &**user);
        }
        for user in &args.signallers {
            policy = policy.signaller(&**user);
        }
        for user in &args.readers {
            policy = policy.reader(&**user);
        }
        if args.hide_sessions {
            policy = policy.hide_others();
        }
        let mut builder = SessionManager::builder(model);
        if args.transcript {
            // The same ids in each run, as the README shows them.
            builder = builder.first_serial(1);
        }
        let manager = builder
            .policy(policy)
            .max_sessions(args.max_connections)
            .reserved_for_admins(args.reserved_connections)
            .build();
        Ok(Shared {
            checkpointer: Checkpointer::start(&manager, &database)?,
            manager,
            max_connections: args.max_connections,
            keys: CancelKeys::default(),
            backends: Arc::default(),
            engines: Engines::default(),
            database,
            admins: args.admins.clone(),
            databases: args.owners.iter().map(|(database, _)| database.clone()).collect(),
            defaults: Defaults::open(args.config.clone())?,
            authentication_timeout: args.authentication_timeout,
            test_functions: args.test_functions,
            stalls: Arc::default(),
            max_portals: args.max_portals,
            temp_dir: args.temp_dir.clone(),
            portals: AtomicUsize::new(0),
            pool: OnceLock::new(),
        })
    }

    pub(crate) fn has_pool(&self) -> bool {
        self.manager.model() == ThreadModel::Pool
    }

    /// Returns the session of two numbers of the activity view.
    pub(crate) fn address(&self, thread: i64, session: i64) -> Result<SessionAddress, SqlError> {
        self.backends.address(self.manager.model(), thread, session)
    }

    pub(crate) fn is_admin(&self, user: &str) -> bool {
        self.admins.iter().any(|admin| admin == user)
    }

    /// Returns whether this user may connect to a database of this name. psql asks for a database with
    /// the user's name unless told otherwise, so each user has one.
    pub(crate) fn has_database(&self, user: &str, name: &str) -> bool {
        name == "postgres" || name == user || self.databases.iter().any(|known| known == name)
    }

    /// Returns the user of the server's own threads: the first administrator.
    pub(crate) fn owner(&self) -> &str {
        self.admins.first().map_or("", String::as_str)
    }

    /// Handles a wire cancel request. It names a session, and cancels the statement that runs or is
    /// queued there. The key alone grants permission. The sender gets no answer, with a right or a
    /// wrong key.
    pub(crate) fn cancel(&self, request: &CancelRequest, from: IpAddr) {
        let pid = request.pid;
        let key = match &request.secret_key {
            SecretKey::I32(key) => key.to_be_bytes().to_vec(),
            SecretKey::Bytes(key) => key.to_vec(),
        };
        let session = match self.keys.find(from, pid, &key, Instant::now()) {
            Found::Session(session) => session,
            Found::WrongKey { wrong, unlogged, last } => {
                let then = if last { "; its next ones are not logged for a while" } else { "" };
                eprintln!(
                    "cancel request with a wrong key for pid {pid} from {from} \
                     ({wrong} wrong so far, {unlogged} of them not logged){then}"
                );
                return;
            }
            Found::Ended | Found::Unlogged => return,
        };
        let Some(row) = self.manager.session_info(session) else { return };
        let author = Requester::new(row.client.user()).with_address(from.to_string());
        let cancel = match row.statement_id {
            Some(statement) => Cancel::statement(statement, author),
            None => Cancel::running(author),
        };
        // If no statement runs, there is nothing to cancel.
        let _ = self.manager.cancel(session, cancel);
    }
}
