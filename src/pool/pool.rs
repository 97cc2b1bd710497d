//! The pool: starts its groups, takes connections in, and shuts down.

use crate::manager::drain::{DrainOptions, DrainReport};
use crate::manager::manager::SessionManager;
use crate::pool::builder::PoolBuilder;
use crate::pool::connection::Connection;
use crate::pool::group::slot::ConnectionSlot;
use crate::pool::group::{ConnectionTable, Group};
use crate::pool::poller::Poller;
use crate::pool::queue::Queue;
use crate::pool::status::GroupStatus;
use crate::pool::{lane, listener, worker};
use crate::session::session::Session;
use crate::sync::{AtomicU64, Mutex};
use crate::types::error::StartError;
use crate::types::model::ThreadModel;
use slab::Slab;
use std::sync::Arc;
use std::{fmt, io};

/// A thread pool for connections. Its threads run until it is shut down or dropped. Dropping it
/// closes each session that no worker runs, on the dropping thread, and the others when their
/// workers are done; prefer [`shutdown`](Self::shutdown).
#[must_use = "dropping a `Pool` stops it"]
pub struct Pool<C: Connection> {
    manager: SessionManager,
    groups: Vec<Arc<Group<C>>>,
}

/// The reason for which a pool did not accept a session, whose connection comes back. The session has
/// ended.
#[non_exhaustive]
pub struct ServeError<C> {
    /// The connection. Its [`on_close`](Connection::on_close) has not been called.
    pub connection: C,
    /// The reason.
    pub kind: ServeErrorKind,
}

/// The kind of a [`ServeError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeErrorKind {
    /// As many sessions wait for a worker already as [`PoolBuilder::max_queue`] allows.
    Overloaded,
    /// The system cannot watch the descriptor.
    Io(io::Error),
}

impl<C> fmt::Debug for ServeError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<C> fmt::Display for ServeError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ServeErrorKind::Overloaded => "too many sessions wait for a worker already",
            ServeErrorKind::Io(_) => "the connection cannot be watched",
        })
    }
}

impl<C> std::error::Error for ServeError<C> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ServeErrorKind::Overloaded => None,
            ServeErrorKind::Io(error) => Some(error),
        }
    }
}

impl PoolBuilder {
    /// Starts the workers, and for each group the listener and the emergency lane.
    ///
    /// # Errors
    /// [`StartError`] if the manager was created with [another model](crate::ThreadModel), the
    /// system gives no thread or no poller, or the manager cannot register the threads.
    pub fn start<C: Connection>(&self, manager: SessionManager) -> Result<Pool<C>, StartError> {
        Pool::start(manager, self)
    }
}

impl<C: Connection> Pool<C> {
    fn start(manager: SessionManager, config: &PoolBuilder) -> Result<Pool<C>, StartError> {
        if manager.model() != ThreadModel::Pool {
            return Err(StartError::WrongModel);
        }
        let mut pool = Pool { manager, groups: Vec::new() };
        let shares: Vec<_> = config.shares().collect();
        let alone = shares.len() == 1;
        for (number, (size, cpus)) in shares.into_iter().enumerate() {
            let group = Arc::new(Group {
                number,
                alone,
                manager: pool.manager.clone(),
                queue: Queue::new(size),
                poller: Poller::new()?,
                seats: Mutex::new(ConnectionTable { slab: Slab::new(), last_serial: 0 }),
                size,
                cpus,
                workers: Mutex::default(),
                last_worker: AtomicU64::new(0),
            });
            // If a thread can't start, dropping the pool stops the others.
            pool.groups.push(group.clone());
            listener::start(&group)?;
            group.queue.first_workers();
            for started in 0..size.least {
                worker::start(&group).inspect_err(|_| {
                    // The rest counts already.
                    (started + 1..size.least).for_each(|_| group.queue.worker_started(false));
                })?;
            }
            lane::start(&group)?;
        }
        Ok(pool)
    }

    /// Accepts a session and its connection. It is served when there is something to read.
    ///
    /// # Errors
    /// [`ServeError`] with the connection. Then the session has ended.
    pub fn serve(&self, session: Session, connection: C) -> Result<(), ServeError<C>> {
        let group = self.groups.iter().min_by_key(|group| group.sessions());
        // There is at least one.
        let Some(group) = group else { return Ok(()) };
        if group.queue.is_full() {
            return Err(ServeError { connection, kind: ServeErrorKind::Overloaded });
        }
        ConnectionSlot::take_in(group, session, connection).map_err(|(connection, error)| {
            ServeError { connection, kind: ServeErrorKind::Io(error) }
        })
    }

    /// Returns the status of each group.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups.iter().map(|group| group.status()).collect()
    }

    /// Stops opening sessions, requests the termination of all as [`SessionManager::drain`] does,
    /// and stops the pool's threads. Blocks until the sessions and the threads have ended, within
    /// the limits of the options. A worker that is stuck ends when it can.
    pub fn shutdown(&self, options: DrainOptions) -> DrainReport {
        let deadline = options.deadline();
        let drained = self.manager.drain(options);
        self.stop();
        if drained.remaining == 0 {
            self.groups.iter().for_each(|group| group.queue.wait_for_threads(deadline));
        }
        drained
    }

    fn stop(&self) {
        for group in &self.groups {
            // Closed first: a thread that puts a session back after this checks it, and closes the
            // session.
            group.queue.close();
            let seats: Vec<_> =
                group.seats.lock().slab.iter().map(|(_, seat)| seat.clone()).collect();
            seats.iter().for_each(|seat| seat.close());
            group.poller.wake();
        }
    }
}

impl<C: Connection> Drop for Pool<C> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<C: Connection> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

#[cfg(feature = "metrics")]
impl<C: Connection> crate::pool::pool::Pool<C> {
    /// Sets the gauges `safepoint_queue_length`, the number of sessions that wait for a worker, and
    /// `safepoint_workers`, both by `group`. Call it when the metrics are collected.
    pub fn record_metrics(&self) {
        for group in &self.groups {
            let counts = group.queue.counts();
            let number = group.number.to_string();
            let label = || ("group", number.clone());
            metrics::gauge!("safepoint_queue_length", &[label()]).set(counts.queued as f64);
            metrics::gauge!("safepoint_workers", &[label()]).set(counts.workers as f64);
        }
    }
}

#[cfg(all(test, not(safepoint_shuttle)))]
#[path = "pool_tests.rs"]
mod tests;
