//! Gives each request a session, which runs as a task.

use crate::evaluate::{self, Rest, Result};
use oxigraph::store::Store;
use safepoint::session::{StatementHandle, Timeouts};
use safepoint::task::RunError;
use safepoint::{ClientInfo, SessionManager, ThreadModel};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;

/// The service that all requests share.
pub(crate) struct Service {
    pub(crate) manager: SessionManager,
    store: Store,
    /// The longest time of a query or an update.
    timeout: Option<Duration>,
    /// A permit for each thread that evaluates. A task waits for it, and an interrupt ends the wait.
    threads: Arc<Semaphore>,
    /// The store has one writer, and the wait for its own lock cannot be interrupted.
    writer: Arc<Mutex<()>>,
}

/// A query or an update.
pub(crate) struct Operation {
    pub(crate) text: String,
    /// The media types that the client accepts, or `None` for an update.
    pub(crate) accept: Option<String>,
    pub(crate) timeout: Option<Duration>,
}

/// A part of an answer that is sent while it is computed. If there is no `End`, it is not complete.
pub(crate) enum Part {
    Begin(&'static str),
    Bytes(Vec<u8>),
    End,
}

impl Service {
    pub(crate) fn new(store: Store, threads: usize, timeout: Option<Duration>) -> Service {
        let (manager, writer) = (SessionManager::new(ThreadModel::Pool), Arc::default());
        Service { manager, store, timeout, threads: Arc::new(Semaphore::new(threads)), writer }
    }

    /// Runs an operation as the statement of a session, which ends if the future is dropped. Sends a
    /// long answer in parts, and returns the rest.
    ///
    /// An interrupt ends a query at once, and the receipt waits for the thread that evaluates. An update
    /// is waited for: only its thread knows whether it was committed.
    pub(crate) async fn run(
        self: Arc<Self>,
        client: ClientInfo,
        Operation { text, accept, timeout }: Operation,
        parts: Sender<Part>,
    ) -> Result<Rest> {
        let mut session = self.manager.open(client)?;
        let timeout = self.timeout.into_iter().chain(timeout).min();
        session.set_timeouts(Timeouts::new().with_statement(timeout))?;
        let grace = if accept.is_some() { Duration::ZERO } else { Duration::MAX };
        let (store, query) = (self.store.clone(), text.clone());
        let evaluate = async move |handle: StatementHandle| -> Result<Rest> {
            let place = self.place(accept.is_none());
            let place = handle.named("wait for a thread").wrap_future(place).await?;
            let job = handle.named("evaluate").wrap_fn(move || {
                let _place = place;
                match accept {
                    Some(accept) => evaluate::query(&store, &query, &accept, parts),
                    None => evaluate::update(&store, &query).map(|()| (None, Vec::new())),
                }
            });
            spawn_blocking(job).await??
        };
        let result = session.run_with(evaluate).with_text(&text).with_grace(grace).await;
        // A client gets its answer when its session is in no list any more.
        session.close();
        match result {
            Ok(returned) => returned.output,
            Err(RunError::Interrupted(interrupt)) => Err(interrupt.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a thread and, for an update, until no other update runs.
    async fn place(self: Arc<Self>, is_update: bool) -> impl Send {
        let writer = if is_update { Some(self.writer.clone().lock_owned().await) } else { None };
        (writer, self.threads.clone().acquire_owned().await)
    }
}
