//! The memory of the server, where it runs on this machine.

use std::collections::HashMap;
use std::fs;
use std::io;

/// In KiB, of a process and all below it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Each process's own pages; a page that several share counts for each.
    pub(crate) resident: u64,
    /// A page that several share counts in parts.
    pub(crate) proportional: u64,
}

pub(crate) fn of(pid: u32) -> io::Result<Memory> {
    let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The process has ended since `/proc` was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        if let Some(parent) = parent(&stat) {
            below.entry(parent).or_default().push(child);
        }
    }
    let mut sum = of_one(pid)?;
    let mut left = below.remove(&pid).unwrap_or_default();
    while let Some(pid) = left.pop() {
        if let Ok(one) = of_one(pid) {
            sum.resident += one.resident;
            sum.proportional += one.proportional;
        }
        left.extend(below.remove(&pid).unwrap_or_default());
    }
    Ok(sum)
}

fn of_one(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory { resident: field(&text, "Rss:"), proportional: field(&text, "Pss:") })
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The name before it is in parentheses, and may contain parentheses.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        assert_eq!(parent("7 (a) name) S 42 7 7"), Some(42));
        assert_eq!(field("Rss:     123 kB\nPss:  45 kB\n", "Pss:"), 45);
        assert!(of(std::process::id()).unwrap().resident > 0);
    }
}
