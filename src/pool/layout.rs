//! The layout of a pool on this machine, computed from a `thread_pool_attr`: the threads of each
//! group, and the CPUs that they are bound to.

use crate::pool::attr::{
    CpuBinding, InvalidAttrError, MAX_GROUPS, MAX_THREADS, ThreadPoolAttr, numbers,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::read_to_string;
use std::io;

/// The folder in which Linux lists the NUMA nodes and their CPUs.
const NODES: &str = "/sys/devices/system/node";

/// The groups of a pool on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    groups: Vec<GroupLayout>,
    warning: Option<&'static str>,
}

/// One group of a [`ThreadLayout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLayout {
    threads: usize,
    /// `None` if the threads are not bound.
    cpus: Option<Vec<usize>>,
    /// Whether each thread is bound to all CPUs of the group, and not to one of them.
    whole_group: bool,
}

/// A NUMA node and its CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    number: usize,
    cpus: Vec<usize>,
}

impl ThreadPoolAttr {
    /// Computes the layout for this machine. It uses only the CPUs that the calling thread may run
    /// on.
    ///
    /// As in openGauss, each group belongs to one NUMA node. So threads are bound only if there are
    /// as many groups as nodes with usable CPUs. Otherwise they are not bound, and
    /// [`ThreadLayout::warning`] returns a warning.
    ///
    /// # Errors
    /// Returns [`InvalidAttrError`] if the machine does not have a CPU or node that the setting
    /// names, or if no usable CPU is left to bind threads to. The same error is returned for more
    /// threads than [`MAX_THREADS`], and for more groups than [`MAX_GROUPS`].
    pub fn layout(&self) -> Result<ThreadLayout, InvalidAttrError> {
        let allowed = allowed_cpus().unwrap_or_default();
        self.layout_on(&nodes(&allowed), &allowed)
    }

    fn layout_on(
        &self,
        nodes: &[Node],
        allowed: &[usize],
    ) -> Result<ThreadLayout, InvalidAttrError> {
        for (what, number, largest) in [
            ("thread_num", self.thread_num, MAX_THREADS),
            ("group_num", self.group_num, MAX_GROUPS),
        ] {
            if number > largest {
                return Err(InvalidAttrError::out_of_range(what, number, largest));
            }
        }
        let largest_cpu = nodes.iter().flat_map(|node| &node.cpus).chain(allowed).max();
        let largest_node = nodes.iter().map(|node| node.number).max();
        let check = |what, named: &[usize], largest: Option<usize>| {
            let largest = largest.unwrap_or_default();
            match named.iter().find(|number| **number > largest) {
                Some(number) => Err(InvalidAttrError::out_of_range(what, number, largest)),
                None => Ok(()),
            }
        };
        match &self.binding {
            CpuBinding::None | CpuBinding::All => {}
            CpuBinding::Cpus(cpus) => check("cpubind", cpus, largest_cpu.copied())?,
            CpuBinding::Numa(cpus) => check("numabind", cpus, largest_cpu.copied())?,
            CpuBinding::Nodes(nodes) => check("nodebind", nodes, largest_node)?,
        }
        let is_used = |node: usize, cpu: &usize| {
            allowed.contains(cpu)
                && match &self.binding {
                    CpuBinding::None | CpuBinding::All => true,
                    CpuBinding::Cpus(cpus) | CpuBinding::Numa(cpus) => cpus.contains(cpu),
                    CpuBinding::Nodes(nodes) => nodes.contains(&node),
                }
        };
        let used = nodes.iter().map(|node| {
            let cpus = node.cpus.iter().copied();
            cpus.filter(|cpu| is_used(node.number, cpu)).collect::<Vec<_>>()
        });
        let used: Vec<_> = used.filter(|cpus| !cpus.is_empty()).collect();
        let all: usize = used.iter().map(Vec::len).sum();
        let binds = self.binding != CpuBinding::None;
        if binds && all == 0 {
            return Err(InvalidAttrError::no_cpu());
        }

        let groups = if self.group_num == 0 { used.len().max(1) } else { self.group_num };
        let threads = if self.thread_num == 0 { all.max(1) } else { self.thread_num };
        let fits = groups == used.len();
        let whole_group = matches!(self.binding, CpuBinding::Numa(_));
        let share = |cpus: &Vec<usize>| GroupLayout {
            threads: ((threads as f64) * (cpus.len() as f64) / (all as f64)).round().max(1.0)
                as usize,
            cpus: Some(cpus.clone()),
            whole_group,
        };
        let unbound = GroupLayout { threads: (threads / groups).max(1), cpus: None, whole_group };
        Ok(ThreadLayout {
            groups: if binds && fits {
                used.iter().map(share).collect()
            } else {
                vec![unbound; groups]
            },
            warning: (binds && !fits).then_some(
                "Can not bind worker thread to CPU because the thread group num must equal to \
                 active NUMA num.",
            ),
        })
    }
}

impl ThreadLayout {
    /// Returns the groups, at least one.
    #[must_use]
    pub fn groups(&self) -> &[GroupLayout] {
        &self.groups
    }

    /// Returns a warning for the administrator if the setting binds threads but this layout does
    /// not.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.warning
    }
}

impl GroupLayout {
    /// Returns the number of threads that the group starts with.
    ///
    /// Without binding each group has the same number, and the remainder of the division is
    /// dropped. With binding a group's share is proportional to the number of its CPUs. In
    /// openGauss's arithmetic a group may get no thread; here each group has at least one.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns the CPUs that the group's threads are bound to, in order, or `None` if they are not
    /// bound.
    #[must_use]
    pub fn cpus(&self) -> Option<&[usize]> {
        self.cpus.as_deref()
    }

    /// Returns the CPUs that one thread of the group is bound to, or `None` if it is not bound.
    /// Threads are counted from 0, and take the CPUs of the group in turn. With
    /// [`CpuBinding::Numa`] each thread has all of them.
    #[must_use]
    pub fn cpus_of(&self, thread: usize) -> Option<&[usize]> {
        let cpus = self.cpus()?;
        if self.whole_group {
            return Some(cpus);
        }
        let turn = thread.checked_rem(cpus.len())?;
        Some(&cpus[turn..=turn])
    }

    /// Returns the sets of CPUs that the threads take in turn. It is empty if the threads are not
    /// bound.
    pub(super) fn turns(&self) -> Vec<Vec<usize>> {
        match &self.cpus {
            None => Vec::new(),
            Some(all) if self.whole_group => vec![all.clone()],
            Some(each) => each.iter().map(|cpu| vec![*cpu]).collect(),
        }
    }

    /// Binds the calling thread to the CPUs of this thread of the group. Does nothing if the
    /// threads are not bound.
    ///
    /// # Errors
    /// Returns the system's error if it does not bind the thread.
    pub fn bind_this_thread(&self, thread: usize) -> io::Result<()> {
        self.cpus_of(thread).map_or(Ok(()), bind)
    }
}

/// Binds the calling thread to these CPUs.
pub(super) fn bind(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Returns the CPUs that the calling thread may run on.
fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Returns the machine's NUMA nodes. If they cannot be read, all usable CPUs count as one node.
fn nodes(allowed: &[usize]) -> Vec<Node> {
    let list = |file: &str| {
        let text = read_to_string(format!("{NODES}/{file}")).ok()?;
        numbers(file, text.trim()).ok()
    };
    let node = |number| Some(Node { number, cpus: list(&format!("node{number}/cpulist"))? });
    let nodes = || list("online")?.into_iter().map(node).collect::<Option<Vec<_>>>();
    let one = || vec![Node { number: 0, cpus: allowed.to_vec() }];
    nodes().filter(|nodes| !nodes.is_empty()).unwrap_or_else(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two nodes of four CPUs each, whose numbers alternate, and a node without CPUs.
    fn two_nodes() -> Vec<Node> {
        let node = |number, cpus: [usize; 4]| Node { number, cpus: cpus.into() };
        let empty = Node { number: 1, cpus: Vec::new() };
        vec![node(0, [0, 2, 4, 6]), empty, node(2, [1, 3, 5, 7])]
    }

    fn laid_out(text: &str, allowed: &[usize]) -> Result<ThreadLayout, InvalidAttrError> {
        let attr: ThreadPoolAttr = text.parse().unwrap();
        attr.layout_on(&two_nodes(), allowed)
    }

    const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    fn threads(layout: &ThreadLayout) -> Vec<usize> {
        layout.groups().iter().map(GroupLayout::threads).collect()
    }

    fn cpus(layout: &ThreadLayout) -> Vec<Option<Vec<usize>>> {
        layout.groups().iter().map(|group| group.cpus().map(<[_]>::to_vec)).collect()
    }

    #[test]
    fn numbers_too_large_for_a_setting_are_rejected() {
        let attr = ThreadPoolAttr::default();
        for attr in [
            ThreadPoolAttr { group_num: usize::MAX, ..attr.clone() },
            ThreadPoolAttr { thread_num: MAX_THREADS + 1, ..attr },
        ] {
            let refused = attr.layout_on(&two_nodes(), &ALL).unwrap_err();
            assert!(refused.detail().contains("out of valid range"), "{}", refused.detail());
        }
    }

    #[test]
    fn the_largest_numbers_are_in_range() {
        let attr = ThreadPoolAttr {
            thread_num: MAX_THREADS,
            group_num: MAX_GROUPS,
            ..ThreadPoolAttr::default()
        };
        attr.layout_on(&two_nodes(), &ALL).unwrap();
    }

    #[test]
    fn usable_cpus_match_the_system() {
        let status = read_to_string("/proc/thread-self/status").unwrap();
        let named = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let named = numbers("Cpus_allowed_list", named.unwrap().trim()).unwrap();
        assert_eq!(allowed_cpus().unwrap(), named);
    }

    #[test]
    fn nodes_match_the_system() {
        let known = read_to_string(format!("{NODES}/online")).is_ok();
        let found = nodes(&[]);
        assert_eq!(found.iter().any(|node| !node.cpus.is_empty()), known);
    }

    #[test]
    fn threads_are_divided_among_the_groups() {
        for (text, expected) in [
            ("16, 2", &[8, 8][..]),
            ("17, 2", &[8, 8]),
            ("1, 3", &[1, 1, 1]),
            ("0, 2", &[4, 4]),
            ("0, 0", &[4, 4]),
            ("3, 1, (allbind)", &[3]),
            ("16, 2, (allbind)", &[8, 8]),
            ("16, 2, (cpubind: 0,2,4,1)", &[12, 4]),
            ("0, 2, (cpubind: 0,2,4,1)", &[3, 1]),
            ("1, 2, (cpubind: 0,2,4,1)", &[1, 1]),
        ] {
            let layout = laid_out(text, &ALL).unwrap();
            assert_eq!(threads(&layout), expected, "{text}");
        }
        assert_eq!(threads(&laid_out("0, 2", &[0, 1, 2]).unwrap()), [1, 1]);
    }

    #[test]
    fn a_group_has_the_cpus_of_one_node() {
        let bound = |text: &str| {
            let layout = laid_out(text, &ALL).unwrap();
            assert_eq!(layout.warning(), None, "{text}");
            cpus(&layout)
        };
        assert_eq!(bound("16, 2, (nobind)"), [None, None]);
        let both = [Some(vec![0, 2, 4, 6]), Some(vec![1, 3, 5, 7])];
        assert_eq!(bound("16, 2, (allbind)"), both);
        assert_eq!(bound("16, 2, (nodebind: 0, 2)"), both);
        assert_eq!(bound("16, 0, (numabind: 0-7)"), both);
        assert_eq!(bound("16, 0, (cpubind: 0-2)"), [Some(vec![0, 2]), Some(vec![1])]);
        assert_eq!(bound("16, 1, (nodebind: 2)"), [Some(vec![1, 3, 5, 7])]);
    }

    #[test]
    fn only_usable_cpus_are_bound() {
        let layout = laid_out("16, 0, (allbind)", &[2, 3, 6]).unwrap();
        assert_eq!(cpus(&layout), [Some(vec![2, 6]), Some(vec![3])]);
        assert_eq!(threads(&layout), [11, 5]);
        let error = laid_out("16, 2, (cpubind: 0-1)", &[2, 3]).unwrap_err();
        assert!(error.detail().contains("Can not find valid CPU"), "{}", error.detail());
        let error = laid_out("16, 2, (nodebind: 1)", &ALL).unwrap_err();
        assert!(error.detail().contains("Can not find valid CPU"), "{}", error.detail());
    }

    #[test]
    fn errors_name_the_missing_cpu_or_node() {
        for (text, said) in [
            ("16, 2, (cpubind: 8)", "The cpubind attribute 8 is out of valid range [0, 7]"),
            ("16, 2, (numabind: 0-9)", "The numabind attribute 8 is out of valid range [0, 7]"),
            ("16, 2, (nodebind: 3)", "The nodebind attribute 3 is out of valid range [0, 2]"),
        ] {
            assert_eq!(laid_out(text, &ALL).unwrap_err().detail(), said);
        }
    }

    #[test]
    fn a_warning_is_returned_unless_groups_match_nodes() {
        for text in ["16, 1, (allbind)", "16, 3, (numabind: 0-7)", "16, 2, (nodebind: 0)"] {
            let layout = laid_out(text, &ALL).unwrap();
            assert!(cpus(&layout).iter().all(Option::is_none), "{text}");
            assert!(layout.warning().is_some_and(|said| said.contains("group num")), "{text}");
            assert_eq!(layout.groups()[0].cpus_of(0), None);
        }
    }

    #[test]
    fn threads_take_cpus_in_turn_or_all_of_them() {
        let layout = laid_out("16, 2, (allbind)", &ALL).unwrap();
        let taken = (0..6).map(|thread| layout.groups()[1].cpus_of(thread).unwrap()[0]);
        assert_eq!(taken.collect::<Vec<_>>(), [1, 3, 5, 7, 1, 3]);
        let layout = laid_out("16, 2, (numabind: 0-7)", &ALL).unwrap();
        assert_eq!(layout.groups()[1].cpus_of(5), Some(&[1, 3, 5, 7][..]));
    }

    #[test]
    fn workers_take_the_same_cpus_as_threads() {
        for (text, turns) in [("8, 2, (allbind)", 4), ("8, 2, (numabind: 0-7)", 1)] {
            let layout = laid_out(text, &ALL).unwrap();
            assert_eq!(layout.groups().len(), 2);
            for group in layout.groups() {
                let sets = group.turns();
                assert_eq!(sets.len(), turns, "{text}");
                for thread in 0..6 {
                    let expected = group.cpus_of(thread).unwrap();
                    assert_eq!(sets[thread % turns], expected, "{text}");
                }
            }
        }
        assert!(laid_out("8, 2", &ALL).unwrap().groups()[0].turns().is_empty());
    }

    #[test]
    fn a_thread_is_bound_according_to_its_layout() {
        let run = || {
            let allowed = allowed_cpus().unwrap();
            let last = *allowed.last().unwrap();
            let attr: ThreadPoolAttr = format!("1, 0, (cpubind: {last})").parse().unwrap();
            let layout = attr.layout().unwrap();
            assert_eq!(layout.warning(), None);
            layout.groups()[0].bind_this_thread(0).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            // From now on this thread may not run on the other CPUs.
            let all: ThreadPoolAttr = "0, 0, (allbind)".parse().unwrap();
            assert_eq!(all.layout().unwrap().groups()[0].cpus(), Some(&[last][..]));
        };
        // A thread of its own: the binding must not affect the other tests.
        std::thread::spawn(run).join().unwrap();
        // With `numabind` the thread is bound to several CPUs.
        let run = || {
            let allowed = allowed_cpus().unwrap();
            let all: Vec<_> = allowed.iter().map(usize::to_string).collect();
            let attr = format!("1, 0, (numabind: {})", all.join(","));
            let layout = attr.parse::<ThreadPoolAttr>().unwrap().layout().unwrap();
            layout.groups()[0].bind_this_thread(0).unwrap();
            assert_eq!(Some(&*allowed_cpus().unwrap()), layout.groups()[0].cpus());
        };
        std::thread::spawn(run).join().unwrap();
    }
}
