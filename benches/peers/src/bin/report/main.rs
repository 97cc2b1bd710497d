//! Writes BENCHMARKS.md and benches/charts/ from what the benches have measured:
//! `scripts/benchmarks.sh` runs them, and then this.
#![forbid(unsafe_code)]

mod bars;
mod chart;
mod questions;
mod results;
mod text;

use bars::Verdict;
use questions::{QUESTIONS, Question};
use results::Results;
use safepoint_benches::figures::Role;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{fs, io};
use text::{cell, ratio};

const INTRO: &str = "\
# Benchmarks

Written by `scripts/benchmarks.sh`, which asks all questions and takes some minutes;
`scripts/benchmarks.sh safe_point` asks one. The benches are in `benches/peers`, a workspace of its
own, so that the peers are nobody's dependency. `docs/contention.md` says on paper what more cores
would make of it.

- The *floor* is the least that any implementation must do, measured in the same run.
- `×` is the ratio to the floor of the same column.
- A peer in **bold** is ahead of this library's figure, the first, by more than 2 %.
- Criterion's figures are medians of its samples; for the first three questions, of the quietest
  20 µs or so of each sample.
";

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let charts = root.join("benches/charts");
    fs::create_dir_all(&charts)?;
    let (mut sections, mut verdicts) = (String::new(), Vec::new());
    for question in &QUESTIONS {
        let results = Results::read(question.id, question.ours, question.scale)?;
        if results.is_empty() {
            eprintln!("not measured yet: {}", question.id);
            continue;
        }
        let found: Vec<_> =
            question.bars.iter().filter_map(|bar| bar.judge(&results, question.columns)).collect();
        sections += &section(question, &results);
        verdicts.extend(found.into_iter().map(|verdict| (question, verdict)));
        let svg = chart(question, &results);
        fs::write(charts.join(format!("{}.svg", question.id)), svg)?;
    }
    let counts = fs::read_to_string(root.join("benches/instructions.txt")).unwrap_or_default();
    let page = format!(
        "{INTRO}\nThis run was on {}.\n\n{}{sections}{}",
        machine(),
        summary(&verdicts),
        instructions(&counts)
    );
    fs::write(root.join("BENCHMARKS.md"), page)
}

fn heading(question: &Question, at: &str) -> String {
    bars::column(question.columns, at)
}

fn chart(question: &Question, results: &Results) -> String {
    let columns =
        if question.charted.is_empty() { results.columns() } else { question.charted.to_vec() };
    let heading = |at: &str| heading(question, at);
    chart::draw(question.title, results, &columns, question.unit, heading)
}

fn summary(verdicts: &[(&Question, Verdict)]) -> String {
    let mut table = String::from("| question | bar | found | |\n|---|---|--:|---|\n");
    for (question, Verdict { bar, found, met }) in verdicts {
        let (id, bar, found) = (question.id, cell(bar), cell(found));
        let met = if *met { "met" } else { "**missed**" };
        let _ = writeln!(table, "| [{id}](#{id}) | {bar} | {found} | {met} |");
    }
    let missed = verdicts.iter().filter(|(_, verdict)| !verdict.met).count();
    format!("{table}\nOf {} bars {missed} are missed.\n\n", verdicts.len())
}

fn section(question: &Question, results: &Results) -> String {
    let Question { id, title, means, unit, ours, .. } = question;
    let columns = results.columns();
    let headings: String =
        columns.iter().map(|at| format!(" {} |", cell(&heading(question, at)))).collect();
    let rule = "--:|".repeat(columns.len());
    let mut text = format!("## {id}\n\n**{title}.** {means}\n\n| |{headings}\n|---|{rule}\n");
    for (role, name) in results.rows() {
        let _ = write!(text, "| {} |", named(role, name));
        for at in &columns {
            let Some(value) = results.get(role, name, at) else {
                text += " – |";
                continue;
            };
            let mut shown = unit.show(value);
            if let (Some(floor), true) = (results.floor(at), role != Role::Floor) {
                let _ = write!(shown, " ({})", ratio(value / floor));
            }
            if role == Role::Peer && results.ahead(ours, at).contains(&name) {
                shown = format!("**{shown}**");
            }
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n![{title}](benches/charts/{id}.svg)\n");
    text += &ahead(question, results, &columns);
    text
}

fn named(role: Role, name: &str) -> String {
    match role {
        Role::Floor => format!("floor: {}", cell(name)),
        Role::Ours => format!("safepoint: {}", cell(name)).replace(": safepoint", ""),
        Role::Peer => cell(name),
    }
}

/// Reports clearly where a peer wins.
fn ahead(question: &Question, results: &Results, columns: &[&str]) -> String {
    let mut peers: Vec<(&str, Vec<String>)> = Vec::new();
    for at in columns {
        for name in results.ahead(question.ours, at) {
            let at = heading(question, at);
            match peers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, places)) => places.push(at),
                None => peers.push((name, vec![at])),
            }
        }
    }
    if !results.rows().iter().any(|(role, _)| *role == Role::Peer) {
        return String::new();
    }
    if peers.is_empty() {
        return "No peer is ahead.\n\n".into();
    }
    let said: Vec<_> = peers
        .into_iter()
        .map(|(name, places)| match places.join("; ") {
            _ if places.len() == columns.len() => cell(name),
            places => format!("{} ({places})", cell(name)),
        })
        .collect();
    format!("Ahead of this library: {}.\n\n", said.join(", "))
}

fn instructions(counts: &str) -> String {
    let rows: String = counts
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| format!("| {name} | {count} |\n"))
        .collect();
    let with = counts.lines().find_map(|line| line.strip_prefix("# rustc ")).unwrap_or_default();
    format!(
        "## Instructions\n\nCounted by callgrind, where a nanosecond is not to be trusted: \
        `scripts/instructions.sh`\ncompares with `benches/instructions.txt`, and CI fails where one \
        has grown by more than 5 %. The loop\naround a safe point is counted with it. rustc {with}.\n\n\
        | operation | instructions |\n|---|--:|\n{rows}"
    )
}

/// In general words: no host's name.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let version = Command::new("rustc").arg("-V").output().ok();
    let version = version.and_then(|out| String::from_utf8(out.stdout).ok()).unwrap_or_default();
    let version = version.split_whitespace().nth(1).unwrap_or("?");
    format!("{cores} cores ({model}), built by rustc {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_a_table() {
        let page = instructions("# Counted\n# rustc 1.0.0, x\nsafe_point 8.0\n");
        assert!(page.ends_with(
            "rustc 1.0.0, x.\n\n| operation | instructions |\n|---|--:|\n| safe_point | 8.0 |\n"
        ));
    }
}
