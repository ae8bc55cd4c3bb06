//! The one table that people see: machine facts in its header, a row a comparison.

use std::fmt::Write;

use crate::comparison::{Bar, Comparison};
use crate::machine::Machine;

const HEADINGS: [&str; 10] = [
    "figure",
    "params",
    "ours",
    "peer",
    "theirs",
    "unit",
    "ratio",
    "in single rounds",
    "bar",
    "ratio/bar",
];

/// Columns that hold numbers stand to the right.
const RIGHT: [bool; 10] = [
    false, false, true, false, true, false, true, true, true, true,
];

/// All comparisons as one table under the facts of the machine.
pub(crate) fn render(machine: &Machine, comparisons: &[Comparison]) -> String {
    let rows: Vec<[String; 10]> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(comparisons.iter().map(row))
        .collect();
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = machine.to_string();
    for (i, row) in rows.iter().enumerate() {
        push_row(&mut out, row, &widths);
        if i == 0 {
            push_row(&mut out, &widths.map(|width| "-".repeat(width)), &widths);
        }
    }
    out
}

fn push_row(out: &mut String, row: &[String; 10], widths: &[usize; 10]) {
    let mut line = String::new();
    for ((cell, &width), right) in row.iter().zip(widths).zip(RIGHT) {
        // Writing to a string can't fail.
        let _ = if right {
            write!(line, "{cell:>width$}  ")
        } else {
            write!(line, "{cell:<width$}  ")
        };
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn row(c: &Comparison) -> [String; 10] {
    let params: Vec<_> = c.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let bar = match c.bar {
        None => String::new(),
        Some(Bar::AtLeast(limit)) => format!(">= {limit}"),
        Some(Bar::AtMost(limit)) => format!("<= {limit}"),
    };
    [
        c.figure.to_owned(),
        params.join(" "),
        number(c.ours),
        c.peer.to_owned(),
        number(c.theirs),
        c.unit.to_owned(),
        format!("{:.2}", c.ratio),
        format!("{:.2}-{:.2}", c.spread.0, c.spread.1),
        bar,
        c.to_bar().map(|r| format!("{r:.2}")).unwrap_or_default(),
    ]
}

/// Large numbers without decimals and in groups of three, small ones with two decimals.
fn number(value: f64) -> String {
    if value < 1000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::params;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(0.123), "0.12");
        assert_eq!(number(999.0), "999.00");
        assert_eq!(number(1000.0), "1 000");
        assert_eq!(number(1_234_567.8), "1 234 568");
    }

    #[test]
    fn a_row_says_how_far_the_bar_is() {
        let comparison = Comparison::of_rounds(
            ("idle", "% of a core"),
            params([]),
            &[0.5],
            ("limit", &[1.0]),
            Some(Bar::AtMost(1.0)),
        );
        let row = row(&comparison);
        assert_eq!(row[6..], ["0.50", "0.50-0.50", "<= 1", "0.50"]);
    }
}
