//! The bars that the figures have to clear.

use crate::results::Results;
use crate::text::{Unit, grouped, ratio};
use safepoint_benches::figures::Role;

/// The promise for one of this library's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// At most so many times the floor.
    OfFloor { ours: &'static str, at: &'static str, most: f64 },
    /// At most so many times from the first column to the second. `below`: not even that.
    Growth { ours: &'static str, from: &'static str, to: &'static str, most: f64, below: bool },
    /// At most so much.
    Most { ours: &'static str, at: &'static str, most: f64, unit: Unit },
    /// Faster than each peer, except peers that keep no record of the session.
    AheadOfPeers { ours: &'static str, at: &'static str },
    /// The figure is one thread's, the columns count threads; more are done by more threads.
    Throughput { ours: &'static str, from: u32, to: u32 },
}

/// A bar and what was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) bar: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// Peers have this in their names.
fn keeps_a_record(peer: &str) -> bool {
    !peer.ends_with("(no record)") && !peer.ends_with("(handle only)")
}

/// Numbers carry their units.
pub(crate) fn column(counted: &str, at: &str) -> String {
    let counted = if at.parse::<u64>().is_ok() { counted } else { "" };
    format!("{counted}{}", grouped(at))
}

impl Bar {
    /// `None` where the question was not asked.
    pub(crate) fn judge(self, results: &Results, counted: &str) -> Option<Verdict> {
        let get = |ours: &str, at: &str| results.get(Role::Ours, ours, at);
        let of = |ours: &str, at: &str| match column(counted, at) {
            at if at.is_empty() => ours.to_string(),
            at => format!("{ours}, {at}"),
        };
        Some(match self {
            Bar::OfFloor { ours, at, most } => {
                let found = get(ours, at)? / results.floor(at)?;
                let bar = format!("{} ≤ {most} × floor", of(ours, at));
                Verdict { bar, found: ratio(found), met: found <= most }
            }
            Bar::Growth { ours, from, to, most, below } => {
                let found = get(ours, to)? / get(ours, from)?;
                let sign = if below { "<" } else { "≤" };
                let bar = format!(
                    "{ours}: {} {sign} {most} × {}",
                    column(counted, to),
                    column(counted, from)
                );
                let met = if below { found < most } else { found <= most };
                Verdict { bar, found: ratio(found), met }
            }
            Bar::Most { ours, at, most, unit } => {
                let found = get(ours, at)?;
                let bar = format!("{} ≤ {}", of(ours, at), unit.show(most));
                Verdict { bar, found: unit.show(found), met: found <= most }
            }
            Bar::AheadOfPeers { ours, at } => {
                get(ours, at)?;
                let ahead = results.ahead(ours, at);
                let ahead: Vec<_> = ahead.into_iter().filter(|name| keeps_a_record(name)).collect();
                let met = ahead.is_empty();
                let found =
                    if met { "it is".into() } else { format!("behind {}", ahead.join(", ")) };
                let bar = format!("{}: ahead of each peer that keeps a record", of(ours, at));
                Verdict { bar, found, met }
            }
            Bar::Throughput { ours, from, to } => {
                let many =
                    |threads: u32| Some(f64::from(threads) / get(ours, &threads.to_string())?);
                let found = many(to)? / many(from)?;
                let bar = format!("{ours}: {to} threads do more than {from}");
                Verdict { bar, found: ratio(found), met: found > 1.0 }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safepoint_benches::figures::Figure;

    #[test]
    fn bars_are_judged() {
        let figures = [
            ("floor: least", "1", 100.0),
            ("ours: it", "1", 121.0),
            ("ours: it", "2", 200.0),
            ("peer: quick (no record)", "1", 50.0),
            ("peer: quick", "1", 110.0),
        ];
        let figures = figures.map(|(label, at, value)| Figure::new(label, at, value).unwrap());
        let results = Results::new(figures.into(), "it");
        let judge =
            |bar: Bar| bar.judge(&results, "threads: ").map(|verdict| (verdict.found, verdict.met));
        let missed = Some(("1.21 ×".into(), false));
        assert_eq!(judge(Bar::OfFloor { ours: "it", at: "1", most: 1.2 }), missed);
        assert_eq!(
            judge(Bar::AheadOfPeers { ours: "it", at: "1" }),
            Some(("behind quick".into(), false))
        );
        let more = Bar::Throughput { ours: "it", from: 1, to: 2 };
        assert_eq!(judge(more), Some(("1.21 ×".into(), true)));
        let grows = Bar::Growth { ours: "it", from: "1", to: "2", most: 1.7, below: true };
        assert_eq!(judge(grows), Some(("1.65 ×".into(), true)));
        let most = Bar::Most { ours: "it", at: "1", most: 121.0, unit: Unit::Bytes };
        assert_eq!(judge(most), Some(("121 bytes".into(), true)));
        assert_eq!(judge(Bar::OfFloor { ours: "it", at: "3", most: 1.2 }), None);
    }
}
