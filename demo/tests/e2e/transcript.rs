//! The transcript in `demo/README.md`.

use crate::support::{binary, run};
use std::collections::HashSet;
use std::process::Command;

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = include_str!("../../README.md");
    let (_, shown) = readme.split_once("```text\n").expect("a transcript");
    let (shown, _) = shown.split_once("```").expect("its end");
    let ran = run(Command::new(binary()).arg("--transcript"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (_, pool) = ran.out.split_once("-- with a thread pool").expect("both models");
    assert!(plain(pool).contains(&plain(shown)), "{pool}");
}

/// Returns the text without its numbers, which are as wide as the widest of their column, and with one row
/// for all workers and one for all lane threads: on a busy machine there may be more of them.
fn plain(text: &str) -> String {
    let mut threads = HashSet::new();
    let lines = text.lines().filter_map(|line| {
        let line = line.replace(|c: char| c.is_ascii_digit(), "").replace(['-', '+'], "");
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_thread = line.ends_with("| worker") || line.ends_with("| emergency lane");
        (!is_thread || threads.insert(line.clone())).then_some(line)
    });
    lines.collect::<Vec<_>>().join(" ")
}
