//! Writes what each model, scene and test module refutes into `docs/verification.md`, between two
//! comments. The rules come from the documentation of the modules, and the numbers from the table.

#[path = "format.rs"]
pub(crate) mod format;
#[path = "names.rs"]
mod names;
#[path = "table.rs"]
pub(crate) mod table;

use format::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/verification.md";
const COMMAND: &str = "cargo run -p mutation-tests -- --table";
const END: &str = "<!-- end of the generated part -->";

/// Rewrites the page.
#[allow(dead_code, reason = "for the command")]
pub(crate) fn write() {
    let page = Path::new(ROOT).join(PAGE);
    fs::write(page, page_with(&generated())).expect("the page is written");
}

/// Panics if the page is out of date.
#[allow(dead_code, reason = "for the test")]
pub(crate) fn assert_up_to_date() {
    let (today, wanted) = (read(&Path::new(ROOT).join(PAGE)), page_with(&generated()));
    if let Some((old, new)) = today.lines().zip(wanted.lines()).find(|(old, new)| old != new) {
        panic!("{PAGE} is out of date; `{COMMAND}` rewrites it\n- {old}\n+ {new}");
    }
    assert!(today == wanted, "{PAGE} is out of date; `{COMMAND}` rewrites it");
}

/// Returns the page with its generated part replaced.
fn page_with(part: &str) -> String {
    let begin = format!("<!-- written by `{COMMAND}` -->");
    let page = read(&Path::new(ROOT).join(PAGE));
    let (before, rest) = page.split_once(&begin).expect("the first comment of the generated part");
    let (_, after) = rest.split_once(END).expect("the last comment of the generated part");
    format!("{before}{begin}\n\n{part}\n{END}{after}")
}

/// What a module refutes.
#[derive(Default)]
struct Module {
    tests: BTreeSet<&'static str>,
    mistakes: BTreeSet<&'static str>,
}

fn generated() -> String {
    let root = Path::new(ROOT);
    let all = table::mutations().count();
    let models = by_module(|mutation| mutation.loom, before_test);
    let scenes = by_module(|mutation| mutation.shuttle, before_test);
    let tests = by_module(|mutation| mutation.tests, test_module);
    let total = |of: fn(&Mutation) -> bool| table::mutations().filter(|m| of(m)).count();
    let [of_models, of_scenes, of_tests] = [
        total(|m| !m.loom.is_empty()),
        total(|m| !m.shuttle.is_empty()),
        total(|m| !m.tests.is_empty()),
    ];
    let count = |modules: &BTreeMap<String, Module>| -> usize {
        modules.values().map(|module| module.tests.len()).sum()
    };
    let mut models_there: usize = 0;
    let mut scenes_there: usize = 0;

    let mut rows = String::from("### Models\n\n");
    rows +=
        "| rule | module in `loom-tests/tests/models/` | at the same time | models | mistakes |\n";
    rows += "|---|---|---|---|---|\n";
    let files = modules_in(&root.join("loom-tests/tests/models"));
    for name in files.iter().map(String::as_str).chain([names::STATE_MODELS]) {
        let file = names::models(root, name);
        let shown = match name {
            names::STATE_MODELS => "`loom-tests/state_models.rs`".to_owned(),
            name => format!("`{name}`"),
        };
        models_there += row(&mut rows, &file, &shown, models.get(name));
    }
    rows += "\n### Scenes\n\n";
    rows += "| rule | module in `shuttle-tests/tests/scenes/` | at the same time | scenes | mistakes |\n";
    rows += "|---|---|---|---|---|\n";
    for name in modules_in(&root.join("shuttle-tests/tests/scenes")) {
        let file = names::scenes(root, &name);
        scenes_there += row(&mut rows, &file, &format!("`{name}`"), scenes.get(&name));
    }
    rows += "\n### Tests of the library\n\nOnly tests that the table of mistakes names.\n\n";
    rows += "| what is tested | module | tests | mistakes |\n|---|---|---|---|\n";
    for (name, module) in &tests {
        let file = test_file(root, name);
        let text = read(&file);
        let doc = paragraphs(&text).into_iter().next().unwrap_or_default();
        let what = doc.split_once(". ").map_or(doc.as_str(), |(first, _)| first);
        let shown = file.strip_prefix(root).expect("a file of the workspace").display().to_string();
        let shown = shown.strip_suffix("mod.rs").unwrap_or(&shown);
        let (tests, mistakes) = (module.tests.len(), module.mistakes.len());
        let _ = writeln!(rows, "| {} | `{shown}` | {tests} | {mistakes} |", cell(what));
    }

    format!(
        "### Totals\n\n\
         The table has {all} mistakes. A mistake that several kinds of tests refute counts for each kind.\n\n\
         | kind | tests | tests that refute a mistake | mistakes |\n|---|---|---|---|\n\
         | models | {models_there} | {} | {of_models} |\n\
         | scenes | {scenes_there} | {} | {of_scenes} |\n\
         | tests of the library | | {} | {of_tests} |\n\n{rows}",
        count(&models),
        count(&scenes),
        count(&tests),
    )
}

/// Writes the row of a module of models or scenes. Returns how many tests it has.
fn row(rows: &mut String, file: &Path, shown: &str, module: Option<&Module>) -> usize {
    let text = read(file);
    let paragraphs = paragraphs(&text);
    let rule = paragraphs.first().unwrap_or_else(|| panic!("{} has no doc", file.display()));
    let meeting = paragraphs.iter().find_map(|text| text.strip_prefix("At the same time: "));
    let meeting =
        meeting.unwrap_or_else(|| panic!("{}: what runs at the same time?", file.display()));
    let tests = names::tests_in(&text).len();
    let mistakes = module.map_or(0, |module| module.mistakes.len());
    let (rule, meeting) = (cell(rule), cell(meeting));
    let _ = writeln!(rows, "| {rule} | {shown} | {meeting} | {tests} | {mistakes} |");
    tests
}

/// Groups the tests that the table names by their modules.
fn by_module(
    named: fn(&Mutation) -> &'static [&'static str],
    module: fn(&str) -> String,
) -> BTreeMap<String, Module> {
    let mut modules = BTreeMap::<String, Module>::new();
    for mutation in table::mutations() {
        for test in named(mutation) {
            let module = modules.entry(module(test)).or_default();
            module.tests.insert(test);
            module.mistakes.insert(mutation.name);
        }
    }
    modules
}

fn before_test(test: &str) -> String {
    test.rsplit_once("::").expect("module::test").0.to_owned()
}

/// Returns the first module of a test program, or the module that a unit test belongs to.
fn test_module(test: &str) -> String {
    let path: Vec<_> = test.split("::").collect();
    let end = match path[0] {
        "lib" => path.iter().position(|part| *part == "tests").expect("unit tests are in `tests`"),
        _ => path.len().min(3) - 1,
    };
    path[..end].join("/")
}

fn test_file(root: &Path, module: &str) -> PathBuf {
    let base = match module.strip_prefix("lib/") {
        Some(module) => root.join("src").join(module),
        None => root.join("tests").join(module),
    };
    let file = base.with_extension("rs");
    if file.is_file() { file } else { base.join("mod.rs") }
}

/// Returns the names of the modules that are a file each, in order.
fn modules_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of modules");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "main")
        .collect();
    names.sort();
    names
}

/// Returns the paragraphs of a module's documentation.
fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let paragraphs = lines.split(|line| line.trim().is_empty());
    paragraphs.map(|lines| lines.concat().trim().to_owned()).collect()
}

/// Returns a sentence as the text of a cell, without its full stop.
fn cell(text: &str) -> String {
    text.trim_end_matches('.').replace('|', "\\|")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
