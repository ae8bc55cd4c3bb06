//! `ledger status --watch`: the screen again and again, in place on a terminal and one behind the other
//! elsewhere.
//!
//! In place it is what fits: what does not is counted, and shown once the terminal is larger.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anstream::adapter::strip_str;
use ledger_core::time::Millis;

use super::{Args, look, screen};
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::lease::{self, Leaderless};
use crate::cli::output::Out;
use crate::cli::output::escape::escape;
use crate::cli::output::keys::{Came, Keys};
use crate::cli::output::text::{width, wrap};
use crate::cli::source::runtime;
use crate::units::{count_of, format_limit, parse_duration};

/// Oftener, a node would do nothing else.
const SHORTEST: Millis = Millis(100);
/// Rarer, nobody looks.
const LONGEST: Millis = Millis(24 * 3_600_000);

/// How often, as clap wants its parser.
pub(super) fn interval(text: &str) -> Result<Millis, String> {
    let interval = parse_duration(text).map_err(|e| e.to_string())?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        return Ok(interval);
    }
    let (least, most) = (format_limit(SHORTEST), format_limit(LONGEST));
    Err(format!("it is {least} to {most}"))
}

/// Shows it until it is interrupted, `q` is pressed or nobody reads any more.
pub(super) fn run(
    globals: &Globals,
    args: &Args,
    data_dir: &Path,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let interval = Duration::from_millis(args.interval.0);
    if globals.json || !std::io::stdout().is_terminal() {
        loop {
            if let Some(lines) = glance(globals, args, data_dir, out)? {
                out.lines(lines)?;
                out.finish()?;
            }
            std::thread::sleep(interval);
        }
    }
    let mut keys = Keys::take()?;
    out.raw("\x1b[2J")?;
    loop {
        let (columns, rows) = out.measure();
        let lines = glance(globals, args, data_dir, out)?.unwrap_or_default();
        let lines = frame(lines, columns, rows);
        show(out, &lines, rows)?;
        if keys.wait(interval) == Came::Quit {
            if lines.len() >= rows {
                out.raw("\n")?;
            }
            out.finish()?;
            return Ok(Exit::OK);
        }
    }
}

/// A ledger with nodes of which none leads, right now.
fn leaderless(data_dir: &Path) -> Result<Option<Leaderless>, Failure> {
    let nodes = runtime()?.block_on(lease::nodes(data_dir))?;
    let led = nodes.is_empty() || lease::leader(&nodes).is_some();
    Ok((!led).then(|| Leaderless::of(data_dir, nodes)))
}

/// What there is to show now; nothing where that is one line of JSON, which is written.
fn glance(
    globals: &Globals,
    args: &Args,
    data_dir: &Path,
    out: &mut Out,
) -> Result<Option<Vec<String>>, Failure> {
    // To look on where nodes are and none leads would be to wait for one, and nothing would move.
    let nobody = match globals.json {
        true => None,
        false => leaderless(data_dir)?,
    };
    if let Some(nobody) = nobody {
        return Ok(Some(nobody.lines(out)));
    }
    match look(globals, args, data_dir) {
        Ok(status) if globals.json => {
            out.json_line(&status)?;
            out.finish()?;
            Ok(None)
        }
        Ok(status) => Ok(Some(screen::lines(out, &status))),
        // A node that starts or stops: there will be something to show.
        Err(Failure::Error(error)) if is_passing(&error) => {
            let line = || vec![escape(&error.to_string()).into_owned()];
            Ok((!globals.json).then(line))
        }
        Err(failure) => Err(failure),
    }
}

const fn is_passing(error: &ApiError) -> bool {
    matches!(
        error.code,
        ErrorCode::Refused | ErrorCode::NotLeader | ErrorCode::Lost | ErrorCode::Timeout
    )
}

/// The lines that fit: long ones go on in the next, and what has no room is counted in the last.
fn frame(lines: Vec<String>, columns: usize, rows: usize) -> Vec<String> {
    let fold = |line: String| match width(&strip_str(&line).to_string()) > columns {
        true => wrap(&line, columns),
        false => vec![line],
    };
    let mut shown: Vec<String> = lines.into_iter().flat_map(fold).collect();
    if shown.len() > rows {
        let room = rows.saturating_sub(1);
        let left_out = count_of((shown.len() - room) as u64, "more line");
        shown.truncate(room);
        shown.push(format!("… {left_out}"));
    }
    shown
}

/// Over what was there, line by line, so that nothing flickers. Each is one row, whatever its width;
/// where the last row is taken nothing may follow, or all would move up.
fn show(out: &mut Out, lines: &[String], rows: usize) -> Result<(), Failure> {
    out.raw("\x1b[H\x1b[?7l")?;
    for (n, line) in lines.iter().enumerate() {
        let next = if n == 0 { "" } else { "\n" };
        // Erased before and not behind: that would take the last column of a row that is full.
        out.raw(&format!("{next}\x1b[K{line}"))?;
    }
    out.raw(if lines.len() < rows {
        "\x1b[?7h\n\x1b[J"
    } else {
        "\x1b[?7h"
    })?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: usize) -> Vec<String> {
        (1..=n).map(|n| format!("line {n}")).collect()
    }

    #[test]
    fn what_has_no_room_is_counted() {
        assert_eq!(frame(lines(3), 80, 3), lines(3));
        assert_eq!(
            frame(lines(5), 80, 3),
            ["line 1", "line 2", "… 3 more lines"]
        );
        assert_eq!(frame(lines(2), 80, 1), ["… 2 more lines"]);
        // Colors take no room, long lines take several rows.
        let painted = vec!["\x1b[31mred\x1b[0m".to_owned(), "ab cd ef".to_owned()];
        assert_eq!(frame(painted, 5, 9), ["\x1b[31mred\x1b[0m", "ab cd", "ef"]);
    }

    #[test]
    fn an_interval_has_bounds_that_are_named() {
        assert_eq!(interval("100ms"), Ok(Millis(100)));
        for text in ["0s", "99ms", "2d"] {
            assert_eq!(
                interval(text),
                Err("it is 100ms to 1d".to_owned()),
                "{text}"
            );
        }
    }
}
