//! The result of a run: a table for people, JSON for programs.

use crate::args::Args;
use crate::measure::{Errors, Latencies};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) errors: Errors,
}

/// One thing that was measured.
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) latencies: Latencies,
    pub(crate) per_second: Option<f64>,
    /// Further values, with their names in JSON.
    pub(crate) notes: Vec<(&'static str, Value)>,
}

impl Row {
    pub(crate) fn new(measure: impl Into<String>, latencies: Latencies) -> Row {
        Row { measure: measure.into(), latencies, per_second: None, notes: Vec::new() }
    }

    fn markdown(&self, server: &str) -> String {
        let times = &self.latencies;
        let rate = self.per_second.map(|rate| format!("{rate:.0}")).unwrap_or_default();
        let notes = self.notes.iter().map(|(name, value)| note(name, value));
        let [p50, p99, max] = [times.percentile(50.0), times.percentile(99.0), times.max()]
            .map(|time| if times.count() == 0 { String::new() } else { shown(time) });
        format!(
            "| {server} | {} | {} | {rate} | {p50} | {p99} | {max} | {} |",
            self.measure,
            times.count(),
            notes.collect::<Vec<_>>().join("; "),
        )
    }

    fn json(&self) -> Value {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let mut row = json!({
            "measure": self.measure,
            "count": self.latencies.count(),
            "p50_us": micros(self.latencies.percentile(50.0)),
            "p99_us": micros(self.latencies.percentile(99.0)),
            "max_us": micros(self.latencies.max()),
        });
        if let Some(rate) = self.per_second {
            row["per_second"] = json!(rate);
        }
        for (name, value) in &self.notes {
            row[*name] = value.clone();
        }
        row
    }
}

impl Report {
    pub(crate) fn markdown(&self, args: &Args) -> String {
        let mut lines = vec![
            "| server | measure | count | per second | p50 | p99 | max | notes |".to_string(),
            "|---|---|--:|--:|--:|--:|--:|---|".to_string(),
        ];
        lines.extend(self.rows.iter().map(|row| row.markdown(&args.label())));
        lines.join("\n")
    }

    pub(crate) fn json(&self, args: &Args) -> Value {
        json!({
            "server": args.label(),
            "scenario": args.scenario.name(),
            "idle": args.idle,
            "busy": args.busy,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "errors": { "count": self.errors.count, "first": self.errors.first },
        })
    }
}

fn note(name: &str, value: &Value) -> String {
    let name = name.replace('_', " ");
    match value {
        Value::Object(counts) => {
            let counts = counts.iter().map(|(what, count)| format!("{count} × {what}"));
            format!("{name}: {}", counts.collect::<Vec<_>>().join(", "))
        }
        Value::Number(n) if n.is_f64() => format!("{name}: {:.1}", n.as_f64().unwrap_or_default()),
        value => format!("{name}: {value}"),
    }
}

/// Three digits, and a unit.
fn shown(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (nanos, text) in [
            (1_234, "1.23 µs"),
            (56_789, "56.8 µs"),
            (123_456, "123 µs"),
            (50_400_000, "50.4 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(shown(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn a_row_says_what_was_measured() {
        let mut times = Latencies::new();
        times.record(Duration::from_millis(2));
        let mut row = Row::new("kill, idle", times);
        row.notes.push(("told", json!({ "FATAL 57P01": 1 })));
        let line = row.markdown("here");
        assert!(line.starts_with("| here | kill, idle | 1 |  | 2.00 ms |"), "{line}");
        assert!(line.ends_with("| told: 1 × FATAL 57P01 |"), "{line}");
        assert_eq!(row.json()["told"]["FATAL 57P01"], 1);
        assert!(Row::new("nothing", Latencies::new()).markdown("here").contains("| 0 |  |  |  |"));
    }
}
