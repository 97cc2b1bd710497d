//! What a pool is started with.

#[cfg(not(safepoint_shuttle))]
use super::binding::Layout;
use super::queue::Size;

/// How many workers a pool has, in how many groups, and how many may wait for them.
///
/// One group whose workers the system puts where it likes:
///
/// ```
/// use safepoint::pool::Config;
/// let config = Config::new(4).max_workers(64);
/// ```
///
/// As openGauss's `thread_pool_attr` says:
///
/// ```
/// use safepoint::pool::{Config, ThreadPoolAttr};
/// let attr: ThreadPoolAttr = "16, 2, (nobind)".parse()?;
/// let config = Config::from(attr.layout()?).max_workers(64);
/// # Ok::<(), safepoint::pool::InvalidAttr>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    groups: Vec<Share>,
    max_workers: usize,
    max_queue: usize,
}

/// What one group has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    workers: usize,
    cpus: Cpus,
}

/// The CPUs that the workers of a group take in turn: each is bound to one of these sets. None
/// where they are not bound.
pub(super) type Cpus = Vec<Vec<usize>>;

impl Config {
    /// A pool of `workers` threads, at least one, in one group; no more are added.
    #[must_use]
    pub fn new(workers: usize) -> Config {
        Config::of(vec![Share { workers: workers.max(1), cpus: Cpus::new() }])
    }

    fn of(groups: Vec<Share>) -> Config {
        Config { groups, max_workers: 0, max_queue: usize::MAX }
    }

    /// How many workers there are at most, in all groups together, where sessions wait and all
    /// workers are stuck. Each group may always have those that it starts with.
    #[must_use]
    pub fn max_workers(self, max_workers: usize) -> Config {
        Config { max_workers, ..self }
    }

    /// With so many sessions waiting for a worker of its group, a newcomer is turned away. By
    /// default there is no such number; 0 turns everybody away.
    #[must_use]
    pub fn max_queue(self, max_queue: usize) -> Config {
        Config { max_queue, ..self }
    }

    /// How many workers the pool starts with.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.groups.iter().map(|group| group.workers).sum()
    }

    /// What each group has; those that may be added are shared as the first ones are.
    pub(super) fn shares(&self) -> impl Iterator<Item = (Size, Cpus)> {
        let (all, max_workers) = (self.workers(), self.max_workers);
        self.groups.iter().map(move |Share { workers: least, cpus }| {
            // Beyond a machine word where someone means "no limit".
            let most = max_workers as u128 * *least as u128 / all as u128;
            let most = usize::try_from(most).unwrap_or(usize::MAX).max(*least);
            (Size { least: *least, most, queue: self.max_queue }, cpus.clone())
        })
    }
}

#[cfg(not(safepoint_shuttle))]
impl From<Layout> for Config {
    fn from(layout: Layout) -> Config {
        let share = |group| Share {
            workers: layout.threads_of_group(group),
            cpus: layout.turns_of_group(group),
        };
        Config::of((0..layout.groups()).map(share).collect())
    }
}

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests {
    use super::*;
    use crate::pool::ThreadPoolAttr;

    fn sizes(config: &Config) -> Vec<(usize, usize)> {
        config.shares().map(|(size, _)| (size.least, size.most)).collect()
    }

    #[test]
    fn groups_share_the_workers() {
        let config =
            |attr: &str| Config::from(attr.parse::<ThreadPoolAttr>().unwrap().layout().unwrap());
        assert_eq!(sizes(&config("6, 2").max_workers(20)), [(3, 10), (3, 10)]);
        assert_eq!(sizes(&config("6, 2")), [(3, 3), (3, 3)]);
        assert_eq!(sizes(&Config::new(0).max_workers(7)), [(1, 7)]);
        assert_eq!(sizes(&Config::new(2).max_workers(usize::MAX)), [(2, usize::MAX)]);
        let half = usize::MAX / 2;
        assert_eq!(sizes(&config("6, 2").max_workers(half)), [(3, half / 2), (3, half / 2)]);
        assert!(config("6, 2").shares().all(|(_, cpus)| cpus.is_empty()));
    }
}
