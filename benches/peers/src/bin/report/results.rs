//! The measurements: criterion's estimates, and the figures that the other benches stored.

use safepoint_benches::figures::{self, Figure, Role};
use serde_json::Value;
use std::path::Path;
use std::{fs, io};

/// All figures of one question, in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Figure>);

impl Results {
    /// Criterion's, or the kept ones where criterion has none.
    pub(crate) fn read(question: &str, ours: &str, scale: f64) -> io::Result<Results> {
        let mut all = Vec::new();
        let folder = figures::target_folder().join("criterion").join(question);
        if folder.is_dir() {
            walk(&folder, &mut all)?;
        } else {
            all = figures::load(question)?;
        }
        all.iter_mut().for_each(|figure| figure.value *= scale);
        Ok(Results::new(all, ours))
    }

    /// `ours` is the row that peers stand against, the first of ours.
    pub(crate) fn new(mut all: Vec<Figure>, ours: &str) -> Results {
        // Numbers by size; other columns stay as they were kept. Rows from fast to slow.
        all.sort_by_key(|figure| figure.at.parse::<u64>().unwrap_or_default());
        let first = |figure: &Figure| {
            let same = |other: &&Figure| (other.role, &other.name) == (figure.role, &figure.name);
            all.iter().find(same).map_or(0.0, |found| found.value)
        };
        let mut ranked: Vec<_> = all.iter().map(|figure| (first(figure), figure.clone())).collect();
        ranked.sort_by(|(value, figure), (other_value, other)| {
            let order = figure.role.cmp(&other.role);
            let order = order.then((figure.name != ours).cmp(&(other.name != ours)));
            order.then(value.total_cmp(other_value))
        });
        Results(ranked.into_iter().map(|(_, figure)| figure).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for Figure { at, .. } in &self.0 {
            if !columns.contains(&at.as_str()) {
                columns.push(at);
            }
        }
        if columns.iter().all(|at| at.parse::<u64>().is_ok()) {
            columns.sort_by_key(|at| at.parse::<u64>().unwrap_or_default());
        }
        columns
    }

    /// The rows.
    pub(crate) fn rows(&self) -> Vec<(Role, &str)> {
        let mut rows = Vec::new();
        for Figure { role, name, .. } in &self.0 {
            if !rows.contains(&(*role, name.as_str())) {
                rows.push((*role, name.as_str()));
            }
        }
        rows
    }

    pub(crate) fn get(&self, role: Role, name: &str, at: &str) -> Option<f64> {
        let same = |f: &&Figure| f.role == role && f.name == name && f.at == at;
        self.0.iter().find(same).map(|figure| figure.value)
    }

    pub(crate) fn floor(&self, at: &str) -> Option<f64> {
        let same = |f: &&Figure| f.role == Role::Floor && f.at == at;
        self.0.iter().find(same).map(|figure| figure.value)
    }

    /// The peers that are faster, or smaller, than `ours`, and not by chance.
    pub(crate) fn ahead<'a>(&'a self, ours: &str, at: &str) -> Vec<&'a str> {
        let Some(ours) = self.get(Role::Ours, ours, at) else { return Vec::new() };
        let ahead = |f: &&Figure| f.role == Role::Peer && f.at == at && f.value < ours * 0.98;
        self.0.iter().filter(ahead).map(|figure| figure.name.as_str()).collect()
    }

    pub(crate) fn column<'a>(&'a self, at: &'a str) -> impl Iterator<Item = &'a Figure> {
        self.0.iter().filter(move |figure| figure.at == at)
    }
}

fn read(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// Criterion's folders: `NAME/new`, or `NAME/PARAMETER/new`.
fn walk(folder: &Path, all: &mut Vec<Figure>) -> io::Result<()> {
    let new = folder.join("new");
    if new.is_dir() {
        let (about, estimates) =
            (read(&new.join("benchmark.json"))?, read(&new.join("estimates.json"))?);
        let at = about["value_str"].as_str().unwrap_or_default();
        let median = estimates["median"]["point_estimate"].as_f64();
        let label = about["function_id"].as_str();
        all.extend(label.zip(median).and_then(|(label, median)| Figure::new(label, at, median)));
        return Ok(());
    }
    let mut inner: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    inner.sort_by_key(fs::DirEntry::file_name);
    for entry in inner {
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_order_and_who_is_ahead_is_found() {
        let figures = [
            ("peer: slow", "1000", 9.0),
            ("peer: quick", "1000", 1.0),
            ("peer: quick", "200", 3.0),
            ("ours: it", "1000", 4.0),
            ("ours: it", "200", 2.0),
            ("floor: least", "1000", 2.0),
        ];
        let figures = figures.map(|(label, at, value)| Figure::new(label, at, value).unwrap());
        let results = Results::new(figures.into(), "it");
        assert_eq!(results.columns(), ["200", "1000"]);
        let names: Vec<_> = results.rows().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["least", "it", "quick", "slow"]);
        assert_eq!(results.ahead("it", "1000"), ["quick"]);
        assert!(results.ahead("it", "200").is_empty());
        assert_eq!(results.floor("1000"), Some(2.0));
    }
}
