//! Numbers as people read them, and text that is safe in Markdown and SVG.

/// Three significant digits.
fn three(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// The meaning of a question's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanos,
    Bytes,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        let (steps, factor): (&[&str], f64) = match self {
            Unit::Nanos => (&["ns", "µs", "ms", "s"], 1000.0),
            Unit::Bytes => (&["bytes", "kB", "MB", "GB"], 1000.0),
        };
        let mut value = value;
        let mut names = steps.iter();
        let mut name = names.next().copied().unwrap_or_default();
        while value >= 999.5 {
            let Some(next) = names.next() else { break };
            (value, name) = (value / factor, next);
        }
        format!("{} {name}", three(value))
    }
}

/// A ratio, such as `1.25 ×`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{} ×", three(value))
}

/// Formats `1000` as `1,000`. A text that is not a number is returned unchanged.
pub(crate) fn grouped(text: &str) -> String {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.into();
    }
    let groups: Vec<_> = text.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// For text and attributes in SVG.
pub(crate) fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// For a cell of a Markdown table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_the_unit_that_fits() {
        let shown = [0.2817, 4.5518, 36.364, 99.96, 616.0, 999.7, 24978.0, 280_259_989.0, 6.1e10];
        let shown = shown.map(|value| Unit::Nanos.show(value));
        let expected = [
            "0.28 ns", "4.55 ns", "36.4 ns", "100 ns", "616 ns", "1.00 µs", "25.0 µs", "280 ms",
            "61.0 s",
        ];
        assert_eq!(shown, expected);
        assert_eq!(Unit::Bytes.show(360.8), "361 bytes");
        assert_eq!(Unit::Bytes.show(378_527_744.0), "379 MB");
        assert_eq!(Unit::Nanos.show(1e13), "10000 s", "there is no larger unit");
        assert_eq!(ratio(1.049), "1.05 ×");
        assert_eq!(ratio(161.7), "162 ×");
        let grouped = ["1", "1000", "10000", "1000000", "p99, walk", ""].map(grouped);
        assert_eq!(grouped, ["1", "1,000", "10,000", "1,000,000", "p99, walk", ""]);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            xml("Mutex<Slab<Arc<_>>> & \"x\""),
            "Mutex&lt;Slab&lt;Arc&lt;_&gt;&gt;&gt; &amp; &quot;x&quot;"
        );
        assert_eq!(cell("a|b <c> *d*"), "a\\|b &lt;c> \\*d\\*");
    }
}
