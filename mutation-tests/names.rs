//! Finds the models and scenes that the table names. Part of the build scripts, and of the page.

use std::fs;
use std::path::{Path, PathBuf};

/// The module of `loom-tests` whose models are unit tests of the library's copy.
pub(crate) const STATE_MODELS: &str = "core::state::models";

/// Returns the file of a module of models.
pub(crate) fn models(root: &Path, module: &str) -> PathBuf {
    match module {
        STATE_MODELS => root.join("loom-tests/state_models.rs"),
        module => root.join(format!("loom-tests/tests/models/{module}.rs")),
    }
}

/// Returns the file of a module of scenes.
pub(crate) fn scenes(root: &Path, module: &str) -> PathBuf {
    root.join(format!("shuttle-tests/tests/scenes/{module}.rs"))
}

/// Returns the names of the functions with the attribute `#[test]`.
pub(crate) fn tests_in(text: &str) -> Vec<&str> {
    let after = text.split("#[test]").skip(1);
    let names = after.filter_map(|text| text.split_once("fn ")?.1.split_once('('));
    names.map(|(name, _)| name).collect()
}

/// Returns whether the file has a test of that name.
#[allow(dead_code, reason = "for the build scripts")]
pub(crate) fn has_test(file: &Path, name: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| tests_in(&text).contains(&name))
}
