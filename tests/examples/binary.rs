//! Where the examples are.

use super::child::run_within;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A build may have to wait for another one.
const BUILD: Duration = Duration::from_secs(900);

/// An example of that name, built from the sources as they are now: `cargo test` itself builds
/// nothing of an example but its own tests. With `--workspace` cargo unifies the features as in `cargo
/// test --workspace`, so no dependency is built twice.
pub(crate) fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.parent().and_then(|deps| deps.parent()).expect("a target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--example", example]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if target.ends_with("release") {
        cargo.arg("--release");
    }
    let built = run_within(BUILD, &mut cargo);
    assert_eq!(built.code, Some(0), "the example {example} can't be built: {}", built.err);
    let program =
        target.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing after its build", program.display());
    program
}
