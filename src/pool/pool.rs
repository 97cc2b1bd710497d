//! The pool: starts its groups, accepts connections, and shuts down.

use crate::manager::drain::{DrainOptions, DrainReport};
use crate::manager::manager::SessionManager;
use crate::pool::builder::PoolBuilder;
use crate::pool::connection::Connection;
use crate::pool::group::slot::ConnectionSlot;
use crate::pool::group::{ConnectionTable, Group};
use crate::pool::poller::{HangUps, Poller};
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
/// closes the idle and queued sessions on the dropping thread, and each running session when its
/// worker is done with it. Prefer [`shutdown`](Self::shutdown).
#[must_use = "dropping a `Pool` stops it"]
pub struct Pool<C: Connection> {
    manager: SessionManager,
    groups: Vec<Arc<Group<C>>>,
}

/// The error of a session that the pool did not accept. It returns the connection. The session has
/// ended.
#[non_exhaustive]
pub struct ServeError<C> {
    /// The connection. Its [`on_close`](Connection::on_close) has not been called.
    pub connection: C,
    /// The kind of the error.
    pub kind: ServeErrorKind,
}

/// The kind of a [`ServeError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeErrorKind {
    /// The number of sessions that wait for a worker has reached [`PoolBuilder::max_queue`].
    Overloaded,
    /// The system cannot poll the connection's file descriptor.
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
    /// Returns [`StartError`] if the manager was created with [another model](crate::ThreadModel),
    /// if the system gives no thread or no poller, or if the manager cannot register the threads.
    pub fn start<C: Connection>(&self, manager: SessionManager) -> Result<Pool<C>, StartError> {
        Pool::start(manager, self)
    }
}

impl<C: Connection> Pool<C> {
    fn start(manager: SessionManager, builder: &PoolBuilder) -> Result<Pool<C>, StartError> {
        if manager.model() != ThreadModel::Pool {
            return Err(StartError::WrongModel);
        }
        let mut pool = Pool { manager, groups: Vec::new() };
        let shares: Vec<_> = builder.shares().collect();
        let alone = shares.len() == 1;
        for (number, (size, cpus)) in shares.into_iter().enumerate() {
            let group = Arc::new(Group {
                number,
                alone,
                manager: pool.manager.clone(),
                queue: Queue::new(size, builder.idle_timeout()),
                poller: Poller::new()?,
                hang_ups: match builder.abandoned_after() {
                    Some(after) => Some((HangUps::new()?, after)),
                    None => None,
                },
                slots: Mutex::new(ConnectionTable { slab: Slab::new(), last_serial: 0 }),
                size,
                cpus,
                workers: Mutex::default(),
                last_worker: AtomicU64::new(0),
            });
            // If a thread cannot start, dropping the pool stops the other threads.
            pool.groups.push(group.clone());
            listener::start(&group)?;
            group.queue.first_workers();
            for started in 0..size.min {
                worker::start(&group).inspect_err(|_| {
                    // The remaining workers are counted already.
                    (started + 1..size.min).for_each(|_| group.queue.worker_started(false));
                })?;
            }
            lane::start(&group)?;
        }
        Ok(pool)
    }

    /// Accepts a session and its connection. The connection is served when its socket is readable.
    /// It belongs to the group with the fewest sessions, among the groups that serve.
    ///
    /// # Errors
    /// Returns [`ServeError`] with the connection if the queue is full, or if the socket cannot be
    /// polled. Then the session has ended.
    pub fn serve(&self, session: Session, connection: C) -> Result<(), ServeError<C>> {
        // There is at least one group.
        let best = self.groups.iter().min_by_key(|group| group.load());
        let Some(group) = best else { return Ok(()) };
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
    /// and stops the pool's threads. Blocks until the sessions and the threads have ended, for at
    /// most the grace and the timeout of the options. A worker that is stuck then ends later.
    pub fn shutdown(&self, options: DrainOptions) -> DrainReport {
        let deadline = options.deadline();
        let report = self.manager.drain(options);
        self.stop();
        if report.remaining == 0 {
            self.groups.iter().for_each(|group| group.queue.wait_for_threads(deadline));
        }
        report
    }

    fn stop(&self) {
        for group in &self.groups {
            // Closed first: a thread that puts a session back after this checks it, and closes the
            // session.
            group.queue.close();
            let slots: Vec<_> =
                group.slots.lock().slab.iter().map(|(_, slot)| slot.clone()).collect();
            slots.iter().for_each(|slot| slot.close());
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
    /// Sets the gauges `safepoint_queue_length` and `safepoint_workers`, both by `group`. The queue
    /// length is the number of sessions that wait for a worker. Call this when the metrics are
    /// collected.
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
