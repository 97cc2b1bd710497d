//! A question's chart: horizontal bars with their values, readable on light and dark grounds.

use crate::results::Results;
use crate::text::{Unit, xml};
use safepoint_benches::figures::Role;
use std::fmt::Write;

const WIDTH: f64 = 820.0;
const BARS_FROM: f64 = 350.0;
const BARS_TO: f64 = 720.0;
const ROW: f64 = 22.0;
/// From where on lengths are logarithms: where the longest bar is so many times the shortest.
const LOG_FROM: f64 = 15.0;

/// Browsers apply the reader's scheme to an SVG in an `<img>` too. It brings its own ground, in
/// case the page's is not of that scheme.
const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 } .dim { fill: #59636e } \
    .head { font-weight: 600 } .ground { fill: #ffffff } .line { stroke: #d1d9e0 } \
    .floor { fill: #8c959f } .ours { fill: #0969da } .peer { fill: #d4a72c } \
    @media (prefers-color-scheme: dark) { \
    text { fill: #f0f6fc } .dim { fill: #9198a1 } .ground { fill: #0d1117 } \
    .line { stroke: #3d444d } .floor { fill: #656c76 } .ours { fill: #4493f8 } \
    .peer { fill: #9e6a03 } }";

/// Returns the position of a value on the scale, from 0 to 1.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear { most: f64 },
    Log { least: f64, most: f64 },
}

impl Scale {
    fn of(values: &[f64]) -> Scale {
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let least = values.iter().copied().fold(most, f64::min).max(most * 1e-12);
        if most / least < LOG_FROM {
            return Scale::Linear { most };
        }
        // So that the shortest bar can be seen.
        Scale::Log { least: 10f64.powf((least / 2.0).log10().floor()), most }
    }

    fn share(self, value: f64) -> f64 {
        match self {
            Scale::Linear { most } => value / most,
            Scale::Log { least, most } => (value / least).max(1.0).ln() / (most / least).ln(),
        }
    }

    fn x(self, value: f64) -> f64 {
        BARS_FROM + (BARS_TO - BARS_FROM) * self.share(value)
    }

    /// Powers of ten, each a line on the chart.
    fn tens(self) -> Vec<f64> {
        let Scale::Log { least, most } = self else { return Vec::new() };
        std::iter::successors(Some(least), |ten| Some(ten * 10.0))
            .take_while(|ten| *ten <= most)
            .collect()
    }
}

/// The chart of one question; `heading` names a column.
pub(crate) fn draw(
    title: &str,
    results: &Results,
    columns: &[&str],
    unit: Unit,
    heading: impl Fn(&str) -> String,
) -> String {
    let shown = |at| results.column(at);
    let values: Vec<f64> = columns.iter().flat_map(|at| shown(at)).map(|f| f.value).collect();
    let scale = Scale::of(&values);
    let (mut body, mut y) = (String::new(), 78.0);
    for at in columns {
        let heading = heading(at);
        if !heading.is_empty() {
            let _ = writeln!(body, r#"<text class="head" x="16" y="{y}">{}</text>"#, xml(&heading));
            y += ROW;
        }
        for figure in shown(at) {
            let (role, x) = (figure.role.prefix(), scale.x(figure.value));
            let width = (x - BARS_FROM).max(1.0);
            let name = match figure.role {
                Role::Floor => format!("floor: {}", figure.name),
                Role::Ours | Role::Peer => figure.name.clone(),
            };
            let _ = writeln!(
                body,
                r#"<text x="{:.0}" y="{y}" text-anchor="end">{}</text><rect class="{role}" x="{BARS_FROM}" y="{:.0}" width="{width:.1}" height="14" rx="2"/><text class="dim" x="{:.1}" y="{y}">{}</text>"#,
                BARS_FROM - 8.0,
                xml(&name),
                y - 11.0,
                x + 6.0,
                xml(&unit.show(figure.value)),
            );
            y += ROW;
        }
        y += 10.0;
    }
    let height = y - 6.0;
    let mut lines = String::new();
    for ten in scale.tens() {
        let x = scale.x(ten);
        let _ = writeln!(
            lines,
            r#"<line class="line" x1="{x:.1}" x2="{x:.1}" y1="60" y2="{:.0}"/>"#,
            height - 10.0
        );
    }
    let logarithmic = match scale {
        Scale::Log { .. } => ", logarithmic: a line is ten times the one before",
        Scale::Linear { .. } => "",
    };
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{title}">
<style>{STYLE}</style>
<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>
<text class="head" x="16" y="26">{title}</text><text class="dim" x="16" y="46">shorter is better{logarithmic}</text>
{lines}{body}</svg>
"#,
        title = xml(title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_or_logarithms() {
        let linear = Scale::of(&[10.0, 100.0]);
        assert_eq!((linear.share(50.0), linear.share(100.0)), (0.5, 1.0));
        assert!(linear.tens().is_empty());
        let log = Scale::of(&[10.0, 1e5]);
        assert_eq!(log.tens().len(), 6, "from 1 to 100,000");
        assert!((log.share(1e5) - 1.0).abs() < 1e-9);
        assert!(log.share(10.0) > 0.1, "the shortest can be seen");
        Scale::of(&[]).share(0.0);
    }
}
