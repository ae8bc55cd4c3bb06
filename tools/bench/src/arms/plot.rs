//! Waits of interactive tasks as a plot of characters: a line an arm, time to the right on a logarithmic
//! scale, the median, the 95th and the 99th percentile on it.

use std::fmt::{self, Write};

use super::ARMS;
use super::report::Setting;
use super::table::name;

/// Columns of a power of ten.
const DECADE: f64 = 11.0;
/// The powers of ten at both ends, of seconds.
const FROM: i32 = -2;
const TO: i32 = 4;
/// Columns of the plot.
const WIDTH: usize = 67;

/// Draws the waits of a setting.
pub(super) fn waits(out: &mut String, setting: &Setting) -> fmt::Result {
    writeln!(
        out,
        "wait of interactive tasks: 5 half of them, + 95 of 100, * 99 of 100"
    )?;
    for (n, arm) in ARMS.iter().enumerate() {
        let at = |p: usize| setting.figure(n, |f| f.waits_s[0][p]).median;
        writeln!(out, "{:<12}|{}", name(arm), line([at(0), at(1), at(2)]))?;
    }
    let mut scale = vec![b' '; WIDTH + 6];
    for (step, power) in (FROM..=TO).enumerate() {
        let label = match power {
            -2 => "10ms",
            -1 => "0.1s",
            0 => "1s",
            1 => "10s",
            2 => "100s",
            3 => "1000s",
            _ => "",
        };
        let from = step * 11;
        scale[from..from + label.len()].copy_from_slice(label.as_bytes());
    }
    let scale = String::from_utf8_lossy(&scale).trim_end().to_owned();
    writeln!(out, "{:<12}|{scale}", "")
}

/// One line: what is 10 ms and below stands at its beginning.
fn line(percentiles: [f64; 3]) -> String {
    let mut cells = [' '; WIDTH];
    let places = percentiles.map(place);
    cells[..places[2]].fill('-');
    // The median is drawn last: where two fall together, it is the one that more tasks are at.
    for (place, mark) in places.into_iter().zip(['5', '+', '*']).rev() {
        cells[place] = mark;
    }
    cells.iter().collect::<String>().trim_end().to_owned()
}

fn place(seconds: f64) -> usize {
    let decades = seconds.max(1e-9).log10() - f64::from(FROM);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is clamped to the width first"
    )]
    let place = (decades * DECADE).round().clamp(0.0, (WIDTH - 1) as f64) as usize;
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_their_times_are() {
        assert_eq!(line([0.0, 0.0, 0.0]), "5");
        assert_eq!(line([0.1, 1.0, 10.0]), "-----------5----------+----------*");
        assert_eq!(line([0.1, 0.1, 1e9]).len(), WIDTH);
        assert_eq!(line([f64::NAN, 0.0, 0.0]), "5");
    }
}
