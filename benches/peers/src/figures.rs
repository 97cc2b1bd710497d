//! A figure: a measurement of one contestant. Stored as JSON, one file for each question.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The least that any implementation must do.
    Floor,
    /// This library's.
    Ours,
    /// The alternative that a server would use.
    Peer,
}

impl Role {
    /// Returns the prefix of a figure's name.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Role::Floor => "floor",
            Role::Ours => "ours",
            Role::Peer => "peer",
        }
    }

    /// Takes `role: name` apart.
    #[must_use]
    pub fn split(label: &str) -> Option<(Role, &str)> {
        let (role, name) = label.split_once(": ")?;
        let role =
            [Role::Floor, Role::Ours, Role::Peer].into_iter().find(|r| r.prefix() == role)?;
        Some((role, name))
    }
}

/// One figure: nanoseconds, or bytes where the question is about memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Whose.
    pub role: Role,
    /// The subject of the figure.
    pub name: String,
    /// The number of threads or sessions, the percentile; empty where there is nothing to vary.
    pub at: String,
    /// How much.
    pub value: f64,
}

impl Figure {
    /// Creates a figure of `label`, which is `role: name`.
    #[must_use]
    pub fn new(label: &str, at: impl Into<String>, value: f64) -> Option<Figure> {
        let (role, name) = Role::split(label)?;
        Some(Figure { role, name: name.into(), at: at.into(), value })
    }
}

/// Returns the folder in which cargo builds and criterion stores its results.
#[must_use]
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

fn path(question: &str) -> PathBuf {
    target_folder().join("figures").join(format!("{question}.json"))
}

/// Keeps a question's figures for `report`, and prints them.
///
/// # Panics
/// Where the file can't be written.
pub fn save(question: &str, figures: &[Figure]) {
    for figure in figures {
        let Figure { role, name, at, value } = figure;
        println!("{question}: {}: {name} {at}: {value:.1}", role.prefix());
    }
    let rows: Vec<Value> = figures
        .iter()
        .map(|Figure { role, name, at, value }| {
            json!({ "label": format!("{}: {name}", role.prefix()), "at": at, "value": value })
        })
        .collect();
    let path = path(question);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, format!("{:#}\n", Value::from(rows))).expect("a file");
}

/// Loads the figures that [`save`] stored. Returns nothing if the question was not measured yet.
///
/// # Errors
/// Where the file is there and can't be read.
pub fn load(question: &str) -> io::Result<Vec<Figure>> {
    let text = match fs::read_to_string(path(question)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let rows: Vec<Value> = serde_json::from_str(&text)?;
    let figure = |row: &Value| {
        Figure::new(row["label"].as_str()?, row["at"].as_str()?, row["value"].as_f64()?)
    };
    Ok(rows.iter().filter_map(figure).collect())
}
