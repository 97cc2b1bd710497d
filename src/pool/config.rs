//! What a pool is started with.

use super::queue::Size;

/// How many workers a pool has, and how they are grouped.
///
/// ```
/// use safepoint::pool::Config;
/// let config = Config::new(4).max_workers(64).groups(2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    workers: usize,
    max_workers: usize,
    groups: usize,
    max_queue: usize,
    cpus: Vec<Option<Vec<usize>>>,
}

impl Config {
    /// A pool of `workers` threads, at least one, in one group; no more are added.
    #[must_use]
    pub fn new(workers: usize) -> Config {
        let workers = workers.max(1);
        Config { workers, max_workers: workers, groups: 1, max_queue: usize::MAX, cpus: Vec::new() }
    }

    /// How many workers there are at most, in all groups together, where sessions wait and all
    /// workers are stuck.
    #[must_use]
    pub fn max_workers(self, max_workers: usize) -> Config {
        Config { max_workers, ..self }
    }

    /// How many groups there are, each with a share of the sessions, and with workers, a queue
    /// and a listener of its own. Each has at least one worker.
    #[must_use]
    pub fn groups(self, groups: usize) -> Config {
        Config { groups: groups.max(1), ..self }
    }

    /// With so many sessions waiting for a worker of its group, a newcomer is turned away.
    #[must_use]
    pub fn max_queue(self, max_queue: usize) -> Config {
        Config { max_queue, ..self }
    }

    /// The CPUs that the workers of group 0, 1, … are bound to.
    #[must_use]
    pub fn cpus(self, cpus: Vec<Option<Vec<usize>>>) -> Config {
        Config { cpus, ..self }
    }

    pub(super) fn group_count(&self) -> usize {
        self.groups
    }

    /// Each group's share, the remainder going to the first.
    pub(super) fn share(&self, group: usize) -> (Size, Option<Vec<usize>>) {
        let share =
            |total: usize| (total / self.groups + usize::from(group < total % self.groups)).max(1);
        let least = share(self.workers);
        let most = share(self.max_workers).max(least);
        let cpus = self.cpus.get(group).cloned().flatten();
        (Size { least, most, queue: self.max_queue }, cpus)
    }
}

#[cfg(all(test, not(safepoint_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn groups_share_the_workers() {
        let config = Config::new(5).max_workers(9).groups(2);
        let shares = [0, 1].map(|group| config.share(group).0);
        assert_eq!(shares.map(|size| size.least), [3, 2]);
        assert_eq!(shares.map(|size| size.most), [5, 4]);
        let scarce = Config::new(0).groups(3);
        assert!((0..3).all(|group| scarce.share(group).0.least == 1));
        assert!((0..3).all(|group| scarce.share(group).0.most == 1));
    }
}
