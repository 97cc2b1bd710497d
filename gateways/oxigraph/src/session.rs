//! Gives each request a session, which runs as a task.

use crate::evaluate::{self, Error, Result};
use oxigraph::store::Store;
use safepoint::session::{StatementHandle, Timeouts};
use safepoint::task::RunError;
use safepoint::{ClientInfo, Session, SessionManager, ThreadModel};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};

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

/// A part of an answer. If there is no `End`, the answer is not complete.
pub(crate) enum Part {
    Begin(&'static str),
    Bytes(Vec<u8>),
    End,
    Failed(Error),
}

/// An answer that is being computed. Dropping it ends its session: the client has gone.
pub(crate) struct Answer {
    pub(crate) parts: Receiver<Part>,
    _session: JoinSet<()>,
}

impl Service {
    pub(crate) fn new(store: Store, threads: usize, timeout: Option<Duration>) -> Service {
        let (manager, writer) = (SessionManager::new(ThreadModel::Pool), Arc::default());
        Service { manager, store, timeout, threads: Arc::new(Semaphore::new(threads)), writer }
    }

    /// Starts an operation in a session of its own.
    pub(crate) fn start(self: &Arc<Self>, client: ClientInfo, work: Operation) -> Result<Answer> {
        let session = self.manager.open(client)?;
        let timeout = self.timeout.into_iter().chain(work.timeout).min();
        session.set_timeouts(Timeouts::new().with_statement(timeout))?;
        let (sender, parts) = mpsc::channel(4);
        let mut task = JoinSet::new();
        task.spawn(self.clone().run(session, work, sender));
        Ok(Answer { parts, _session: task })
    }

    /// Runs an operation as a statement. An interrupt ends a query at once; the receipt waits for the thread
    /// that evaluates. An update is waited for: only its thread knows whether it was committed.
    async fn run(self: Arc<Self>, mut session: Session, work: Operation, parts: Sender<Part>) {
        let Operation { text, accept, .. } = work;
        let grace = if accept.is_some() { Duration::ZERO } else { Duration::MAX };
        let (id, store, query, sender) =
            (session.id(), self.store.clone(), text.clone(), parts.clone());
        let evaluate = async move |handle: StatementHandle| -> Result<()> {
            let place = self.place(accept.is_none());
            let place = handle.named("wait for a thread").wrap_future(place).await?;
            let job = handle.named("evaluate").wrap_fn(move || {
                let _place = place;
                match accept {
                    Some(accept) => evaluate::query(&store, &query, &accept, sender),
                    None => evaluate::update(&store, &query),
                }
            });
            spawn_blocking(job).await??
        };
        let result = match session.run_with(evaluate).with_text(&text).with_grace(grace).await {
            Ok(returned) => returned.output,
            Err(RunError::Interrupted(interrupt)) => Err(interrupt.into()),
            Err(error) => Err(error.into()),
        };
        // A client is told of the end when its session is in no list any more.
        session.close();
        match result {
            Ok(()) => drop(parts.send(Part::End).await),
            Err(error) => {
                eprintln!("session {id}: {error}");
                // If the channel is full, the answer has begun. It breaks off.
                drop(parts.try_send(Part::Failed(error)));
            }
        }
    }

    /// Waits for a thread and, for an update, until no other update runs.
    async fn place(self: Arc<Self>, is_update: bool) -> impl Send {
        let writer = if is_update { Some(self.writer.clone().lock_owned().await) } else { None };
        (writer, self.threads.clone().acquire_owned().await)
    }
}
