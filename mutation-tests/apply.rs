//! Applies the table of mistakes to a copy of the library's sources. Part of the build scripts.

#[path = "format.rs"]
pub(crate) mod format;
#[path = "names.rs"]
mod names;
#[path = "table.rs"]
pub(crate) mod table;

use format::{Edit, Mutation};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place of a file, and what each mistake writes there.
type Places = BTreeMap<(usize, usize), Mistakes>;

/// The names of mistakes, and what each writes.
type Mistakes = Vec<(&'static str, &'static str)>;

/// Writes the sources with all mistakes built in to `$OUT_DIR/src`, their root as `root.rs` for an
/// `include!`, and the module `mutation` as `$OUT_DIR/mutation.rs`. `change` is asked for each file
/// that was copied, by its name from `src/` on.
///
/// Panics, and so fails the build, if a mistake does not fit the sources, or names a model or a
/// scene that does not exist.
pub(crate) fn apply(change: impl Fn(&str, String) -> String) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("mutation-tests").is_dir());
    let root = root.expect("the workspace");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    for watched in ["src", "docs", "README.md", "mutation-tests/table.rs", "mutation-tests/table"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    for tests in ["loom-tests/state_models.rs", "loom-tests/tests", "shuttle-tests/tests"] {
        println!("cargo:rerun-if-changed={}", root.join(tests).display());
    }
    for script in ["apply.rs", "format.rs", "names.rs", "switch.rs"] {
        println!("cargo:rerun-if-changed={}", root.join("mutation-tests").join(script).display());
    }

    let mut places: BTreeMap<&str, Places> = BTreeMap::new();
    let mut problems = Vec::new();
    for mutation in table::mutations() {
        assert_tests_exist(root, mutation);
        for edit in mutation.edits {
            let source = root.join("src").join(edit.file);
            let text = fs::read_to_string(&source).unwrap_or_else(|error| {
                panic!("{}: {}: {error}", mutation.name, edit.file);
            });
            if is_binding(edit.find) {
                problems.push(format!("{}: a binding would end with its switch", mutation.name));
                continue;
            }
            match place_of(&text, edit) {
                Ok(place) => {
                    let at = places.entry(edit.file).or_default();
                    let at = at.entry((place.start, place.end)).or_default();
                    at.push((mutation.name, edit.replace));
                }
                Err(problem) => {
                    problems.push(format!("{}: {}: {problem}", mutation.name, edit.file));
                }
            }
        }
    }
    assert!(problems.is_empty(), "mistakes that do not fit:\n{}", problems.join("\n"));

    // What an earlier version of the sources left here.
    let sources = files(&root.join("src"));
    if out.join("src").is_dir() {
        for old in files(&out.join("src")) {
            if !sources.contains(&old) && old != Path::new("root.rs") {
                fs::remove_file(out.join("src").join(old)).expect("an old copy goes");
            }
        }
    }
    let none = Places::new();
    for file in sources {
        let name = file.to_str().expect("a name in UTF-8").to_owned();
        let text = fs::read_to_string(root.join("src").join(&file)).expect("a source file");
        let text = with_switches(&name, &text, places.get(name.as_str()).unwrap_or(&none));
        let text = change(&name, text);
        if name == "lib.rs" {
            write(&out.join("src/root.rs"), &without_inner_attributes(&text));
        } else {
            write(&out.join("src").join(file), &text);
        }
    }
    // What the documentation of the library includes.
    for page in files(&root.join("docs")).into_iter().map(|page| Path::new("docs").join(page)) {
        if let Ok(text) = fs::read_to_string(root.join(&page)) {
            write(&out.join(page), &text);
        }
    }
    write(&out.join("mutation.rs"), &module());
}

/// Returns whether the code is one binding. A switch is a block, at whose end the value would be dropped,
/// without the mistake too.
fn is_binding(code: &str) -> bool {
    let code = code.trim();
    code.starts_with("let ")
        && !code.starts_with("let _ ")
        && code.find(';') == Some(code.len() - 1)
}

/// Panics if a mistake names a model or a scene that does not exist: no test would refute it.
fn assert_tests_exist(root: &Path, mutation: &Mutation) {
    type FileOf = fn(&Path, &str) -> PathBuf;
    let kinds = [(mutation.loom, names::models as FileOf), (mutation.shuttle, names::scenes)];
    for (tests, file_of) in kinds {
        for test in tests {
            let (module, name) = test.rsplit_once("::").expect("module::test");
            let file = file_of(root, module);
            let exists = names::has_test(&file, name);
            assert!(exists, "{}: {} has no test {name}", mutation.name, file.display());
        }
    }
}

/// All files below a folder, by their names from there on.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = inner.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                folders.push(name);
            } else {
                found.push(name);
            }
        }
    }
    found
}

/// Writes a file only where its text has changed, so that cargo builds no more than it has to.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
    fs::write(path, text).expect("the file is written");
}

/// An included file may have neither its own documentation nor attributes of the whole crate.
fn without_inner_attributes(text: &str) -> String {
    let kept = text.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#!["));
    kept.collect::<Vec<_>>().join("\n")
}

/// The text with each mistake behind its switch.
fn with_switches(file: &str, text: &str, places: &Places) -> String {
    // The outer of two places that begin together comes first.
    let mut places: Vec<_> =
        places.iter().map(|((start, end), wrong)| (*start..*end, wrong)).collect();
    places.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
    within(file, text, 0..text.len(), &places)
}

/// What stands at `part`, with the switches of the places in it, and of those in these.
fn within(
    file: &str,
    text: &str,
    part: Range<usize>,
    places: &[(Range<usize>, &Mistakes)],
) -> String {
    let (mut changed, mut done, mut places) = (String::new(), part.start, places);
    while let Some(((place, mistakes), rest)) = places.split_first() {
        let inner = rest.iter().take_while(|(other, _)| other.start < place.end).count();
        let (inner, after) = rest.split_at(inner);
        let fits = |(other, _): &(Range<usize>, &Mistakes)| other.end <= place.end;
        let names = || mistakes.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        assert!(inner.iter().all(fits), "{file}: a place overlaps that of {}", names());
        let right = within(file, text, place.clone(), inner);
        let statement = text[place.clone()].ends_with([';', '}']);
        changed += &text[done..place.start];
        if !statement {
            changed.push('(');
        }
        // Several may write the same there.
        let mut written: Vec<&str> = Vec::new();
        for (_, wrong) in *mistakes {
            if written.contains(wrong) {
                continue;
            }
            written.push(*wrong);
            let same = mistakes.iter().filter(|(_, other)| other == wrong);
            let on = |name| format!("crate::mutation::on(crate::mutation::Mutation::{name})");
            let any: Vec<_> = same.map(|(name, _)| on(name)).collect();
            let _ = write!(changed, "if {} {{ {wrong} }} else ", any.join(" || "));
        }
        let _ = write!(changed, "{{ {right} }}");
        if !statement {
            changed.push(')');
        }
        (done, places) = (place.end, after);
    }
    changed + &text[done..part.end]
}

/// Where the edit's place is.
fn place_of(text: &str, edit: &Edit) -> Result<Range<usize>, String> {
    let code = code_only(text);
    let mut inside = 0..text.len();
    for item in edit.within.split(" => ").filter(|item| !item.is_empty()) {
        let found: Vec<_> = code[inside.clone()]
            .match_indices(item)
            .map(|(at, _)| inside.start + at)
            .filter(|at| {
                let next = code[at + item.len()..].chars().next().unwrap_or(' ');
                !(item.ends_with(|c: char| c.is_alphanumeric())
                    && (next.is_alphanumeric() || next == '_'))
            })
            .collect();
        let [start] = found[..] else {
            return Err(format!("{} items start with {item:?}", found.len()));
        };
        inside = start..end_of_item(&code, start);
    }
    // Compared without blanks.
    let wanted: String = edit.find.chars().filter(|c| !c.is_whitespace()).collect();
    if wanted.is_empty() {
        return Err("there is nothing to find".to_owned());
    }
    let dense: Vec<(usize, char)> =
        text[inside.clone()].char_indices().filter(|(_, c)| !c.is_whitespace()).collect();
    let all: String = dense.iter().map(|(_, c)| c).collect();
    let places: Vec<_> = all.match_indices(&wanted).map(|(at, _)| at).collect();
    let [at] = places[..] else {
        return Err(format!(
            "{:?} is found {} times in {:?}, and is to be found once",
            edit.find,
            places.len(),
            edit.within
        ));
    };
    // The match counts bytes, and the list characters.
    let first = all[..at].chars().count();
    let (last_at, last) = dense[first + wanted.chars().count() - 1];
    Ok(inside.start + dense[first].0..inside.start + last_at + last.len_utf8())
}

/// The end of the item that starts at `start`: its closing brace.
fn end_of_item(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The text with comments, strings and characters blanked out, so that braces can be counted.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut blank = |range: Range<usize>| {
        for byte in &mut code[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + text[at..].find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with(b"r\"") || rest.starts_with(b"r#\"") {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            let close = format!("\"{}", "#".repeat(hashes));
            let from = at + 2 + hashes;
            from + text[from..].find(&close).expect("a raw string ends") + close.len()
        } else if rest[0] == b'"' {
            let mut end = at + 1;
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            end + 1
        } else if rest[0] == b'\'' {
            // A character, or a lifetime.
            if rest.get(1) == Some(&b'\\') {
                at + 2 + text[at + 2..].find('\'').expect("a character ends") + 1
            } else {
                let length = text[at + 1..].chars().next().map_or(1, char::len_utf8);
                if rest.get(1 + length) == Some(&b'\'') { at + length + 2 } else { at }
            }
        } else {
            at
        };
        if end > at {
            blank(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(code).expect("only whole characters are blanked out")
}

/// The text of the module `mutation`: the names, and what the table says of them.
fn module() -> String {
    let mut names = String::new();
    for Mutation { name, about, .. } in table::mutations() {
        let _ = writeln!(names, "    /// {about}\n    {name},");
    }
    let mut rows = String::new();
    for Mutation { name, loom, shuttle, .. } in table::mutations() {
        let _ = writeln!(rows, "    (Mutation::{name}, {name:?}, &{loom:?}, &{shuttle:?}),");
    }
    include_str!("switch.rs").replace("// NAMES", &names).replace("// ROWS", &rows)
}
