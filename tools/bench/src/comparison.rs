//! One figure against one peer, as a row of the table and as a line of JSON.

use serde::Serialize;
use serde_json::{Map, Value};

/// What a ratio is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// The ratio should not be lower: rates.
    AtLeast(f64),
    /// The ratio should not be higher: costs.
    AtMost(f64),
}

/// One figure of ours beside the same figure of a peer, measured in the same run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Which figure.
    pub(crate) figure: &'static str,
    /// What it depends on.
    pub(crate) params: Map<String, Value>,
    /// Ours, in `unit`.
    pub(crate) ours: f64,
    /// Whom we are compared with.
    pub(crate) peer: &'static str,
    /// Theirs, in `unit`.
    pub(crate) theirs: f64,
    /// Unit of both.
    pub(crate) unit: &'static str,
    /// Ours over theirs.
    pub(crate) ratio: f64,
    /// What the ratio is held against.
    #[serde(skip)]
    pub(crate) bar: Option<Bar>,
    /// Lowest and highest ratio of a single round: how far to trust the median.
    #[serde(skip)]
    pub(crate) spread: (f64, f64),
}

impl Comparison {
    /// Compares the medians of paired rounds.
    ///
    /// # Panics
    /// If there are no rounds.
    pub(crate) fn of_rounds(
        (figure, unit): (&'static str, &'static str),
        params: Map<String, Value>,
        ours: &[f64],
        (peer, theirs): (&'static str, &[f64]),
        bar: Option<Bar>,
    ) -> Self {
        let ratios = ours.iter().zip(theirs).map(|(a, b)| a / b);
        let spread = ratios.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        let (ours, theirs) = (median(ours), median(theirs));
        Self {
            figure,
            params,
            ours: round(ours, 2),
            peer,
            theirs: round(theirs, 2),
            unit,
            ratio: round(ours / theirs, 4),
            bar,
            spread,
        }
    }

    /// The ratio over its bar: for [`Bar::AtLeast`] 1 or more is good, for [`Bar::AtMost`] 1 or
    /// less.
    pub(crate) fn to_bar(&self) -> Option<f64> {
        self.bar.map(|bar| match bar {
            Bar::AtLeast(limit) | Bar::AtMost(limit) => self.ratio / limit,
        })
    }
}

/// The middle value; of an even number the mean of the two in the middle.
///
/// # Panics
/// If there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[half - 1], sorted[half])
    } else {
        sorted[half]
    }
}

/// Parameters of a figure.
pub(crate) fn params<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Rounds to so many decimals, for output.
pub(crate) fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn a_line_of_json_has_exactly_the_fields_of_its_format() {
        let comparison = Comparison::of_rounds(
            ("append", "events/s"),
            params([("producers", 64.into())]),
            &[100.0, 300.0, 200.0],
            ("file", &[400.0, 400.0, 800.0]),
            Some(Bar::AtLeast(0.25)),
        );
        let line = serde_json::to_string(&comparison).unwrap();
        let expected = r#"{"figure":"append","params":{"producers":64},"ours":200.0,"peer":"file","theirs":400.0,"unit":"events/s","ratio":0.5}"#;
        assert_eq!(line, expected);
        assert_eq!(comparison.spread, (0.25, 0.75));
        assert_eq!(comparison.to_bar(), Some(2.0));
    }
}
