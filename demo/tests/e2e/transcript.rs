//! The transcript in `demo/README.md`.

use crate::support::{binary, run};
use std::process::Command;

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = include_str!("../../README.md");
    let (_, shown) = readme.split_once("```text\n").expect("a transcript");
    let (shown, _) = shown.split_once("```").expect("its end");
    let ran = run(Command::new(binary()).arg("--transcript"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (_, pool) = ran.out.split_once("-- with a thread pool").expect("both models");
    // Numbers are as wide as the widest of their column.
    let plain = |text: &str| {
        let text = text.replace(|c: char| c.is_ascii_digit(), "").replace(['-', '+'], "");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(plain(pool).contains(&plain(shown)), "{pool}");
}
