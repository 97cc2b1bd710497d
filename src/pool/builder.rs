//! The settings of a pool.

#[cfg(not(safepoint_shuttle))]
use crate::pool::layout::{GroupLayout, ThreadLayout};
use crate::pool::queue::Size;
use std::time::Duration;

/// A builder for a [`Pool`](crate::pool::Pool): the number of workers and groups, their CPUs, and
/// the limit of the queue.
///
/// One group whose workers are not bound to CPUs:
///
/// ```
/// use safepoint::pool::PoolBuilder;
/// let config = PoolBuilder::new(4).max_workers(64);
/// ```
///
/// From openGauss's `thread_pool_attr`:
///
/// ```
/// use safepoint::pool::{PoolBuilder, ThreadPoolAttr};
/// let attr: ThreadPoolAttr = "16, 2, (nobind)".parse()?;
/// let config = PoolBuilder::from(attr.layout()?).max_workers(64);
/// # Ok::<(), safepoint::pool::InvalidAttrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolBuilder {
    groups: Vec<Share>,
    max_workers: usize,
    max_queue: usize,
    close_abandoned: Option<Duration>,
    idle_thread_timeout: Duration,
}

/// How long an added thread is kept, if nothing else is asked for.
const IDLE_THREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// So that it can be added to any moment: `Duration::MAX` is accepted too.
const LONGEST_IDLE_THREAD_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The share of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    workers: usize,
    cpus: Cpus,
}

/// The sets of CPUs that the workers of a group take in turn: each worker is bound to one set.
/// Empty if the workers are not bound.
pub(super) type Cpus = Vec<Vec<usize>>;

impl PoolBuilder {
    /// Creates a builder for a pool of `workers` threads in one group, at least one thread. No
    /// workers are added later unless [`max_workers`](Self::max_workers) is set.
    #[must_use]
    pub fn new(workers: usize) -> PoolBuilder {
        PoolBuilder::of(vec![Share { workers: workers.max(1), cpus: Cpus::new() }])
    }

    fn of(groups: Vec<Share>) -> PoolBuilder {
        PoolBuilder {
            groups,
            max_workers: 0,
            max_queue: usize::MAX,
            close_abandoned: None,
            idle_thread_timeout: IDLE_THREAD_TIMEOUT,
        }
    }

    /// Sets the maximum number of workers, of all groups together. Workers are added when sessions
    /// wait and all workers are stuck. Each group may always have the workers that it starts with.
    #[must_use]
    pub fn max_workers(self, max_workers: usize) -> PoolBuilder {
        PoolBuilder { max_workers, ..self }
    }

    /// Rejects a new connection while this many sessions of its group wait for a worker. There is
    /// no limit by default. With 0 every connection is rejected.
    #[must_use]
    pub fn max_queue(self, max_queue: usize) -> PoolBuilder {
        PoolBuilder { max_queue, ..self }
    }

    /// Closes a queued session whose peer has closed its side of the connection, with
    /// [`CloseReason::Abandoned`](crate::pool::CloseReason::Abandoned), if no worker of the group
    /// has taken a session for this time. Its command does not run, and it does not count for
    /// [`max_queue`](Self::max_queue) any more. By default such a session waits for a worker.
    ///
    /// A peer that closes only its sending side, and waits for an answer, looks the same. So set this
    /// only for a protocol whose peers keep both sides open.
    #[must_use]
    pub fn close_abandoned(self, after: Duration) -> PoolBuilder {
        PoolBuilder { close_abandoned: Some(after), ..self }
    }

    /// Ends a thread that the pool has added, a worker or a thread of the emergency lane, if it has had
    /// nothing to do for this time. It is ten seconds by default, and at most a day: a longer time
    /// counts as a day. The workers that the pool starts with stay.
    #[must_use]
    pub fn idle_thread_timeout(self, timeout: Duration) -> PoolBuilder {
        PoolBuilder { idle_thread_timeout: timeout.min(LONGEST_IDLE_THREAD_TIMEOUT), ..self }
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_thread_timeout
    }

    /// Returns the time after which an abandoned session is closed.
    pub(super) fn abandoned_after(&self) -> Option<Duration> {
        self.close_abandoned
    }

    /// Returns the number of workers that the pool starts with.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.groups.iter().map(|group| group.workers).sum()
    }

    /// Returns the share of each group. The workers that may be added are divided in the ratio of
    /// the first workers.
    pub(super) fn shares(&self) -> impl Iterator<Item = (Size, Cpus)> {
        let (all, max_workers) = (self.workers(), self.max_workers);
        self.groups.iter().map(move |Share { workers: min, cpus }| {
            // Computed in 128 bits: the product may overflow, since `usize::MAX` means no limit.
            let max = max_workers as u128 * *min as u128 / all as u128;
            let max = usize::try_from(max).unwrap_or(usize::MAX).max(*min);
            (Size { min: *min, max, queue: self.max_queue }, cpus.clone())
        })
    }
}

#[cfg(not(safepoint_shuttle))]
impl From<ThreadLayout> for PoolBuilder {
    fn from(layout: ThreadLayout) -> PoolBuilder {
        let share = |group: &GroupLayout| Share { workers: group.threads(), cpus: group.turns() };
        PoolBuilder::of(layout.groups().iter().map(share).collect())
    }
}

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests {
    use super::*;
    use crate::pool::ThreadPoolAttr;

    fn sizes(config: &PoolBuilder) -> Vec<(usize, usize)> {
        config.shares().map(|(size, _)| (size.min, size.max)).collect()
    }

    #[test]
    fn added_threads_are_kept_for_ten_seconds_or_as_asked() {
        let kept = |ask: fn(PoolBuilder) -> PoolBuilder| ask(PoolBuilder::new(1)).idle_timeout();
        assert_eq!(kept(|builder| builder).as_secs(), 10);
        assert_eq!(kept(|builder| builder.idle_thread_timeout(Duration::ZERO)), Duration::ZERO);
        let longest = kept(|builder| builder.idle_thread_timeout(Duration::MAX));
        assert_eq!(longest.as_secs(), 24 * 60 * 60);
    }

    #[test]
    fn groups_share_the_workers() {
        let config = |attr: &str| {
            PoolBuilder::from(attr.parse::<ThreadPoolAttr>().unwrap().layout().unwrap())
        };
        assert_eq!(sizes(&config("6, 2").max_workers(20)), [(3, 10), (3, 10)]);
        assert_eq!(sizes(&config("6, 2")), [(3, 3), (3, 3)]);
        assert_eq!(sizes(&PoolBuilder::new(0).max_workers(7)), [(1, 7)]);
        assert_eq!(sizes(&PoolBuilder::new(2).max_workers(usize::MAX)), [(2, usize::MAX)]);
        let half = usize::MAX / 2;
        assert_eq!(sizes(&config("6, 2").max_workers(half)), [(3, half / 2), (3, half / 2)]);
        assert!(config("6, 2").shares().all(|(_, cpus)| cpus.is_empty()));
    }
}
