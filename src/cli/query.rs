//! `ledger query`: all events that filters let through, from the first or from the last.

use std::ops::ControlFlow;

use ledger_core::envelope::ChainedEvent;
use serde::Serialize;

use super::error::{Exit, Failure};
use super::filter_args::{FilterArgs, positions};
use super::globals::Globals;
use super::output::event::{EventPrinter, Format};
use super::output::{Buffering, Paging};
use super::source::Source;
use super::source::scan::{last_matches, scan, scan_back};
use super::tail::Lines;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the latest so many
    #[arg(long, short = 'n', value_name = "N|all")]
    lines: Option<Lines>,
    /// At most so many, the earliest first
    #[arg(long, value_name = "N", conflicts_with_all = ["lines", "reverse"])]
    limit: Option<u64>,
    /// The latest first
    #[arg(long, short = 'r')]
    reverse: bool,
    /// Only say how many there are
    #[arg(long, conflicts_with_all = ["output", "reverse"])]
    count: bool,
    /// How to show events
    #[arg(
        long,
        short = 'o',
        value_name = "FORMAT",
        default_value = "short",
        value_enum
    )]
    output: Format,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Serialize)]
struct Count {
    count: u64,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let filter = args.filter.filter()?;
    let source = Source::open(&globals.data_dir()?)?;
    let (reader, range) = (source.reader(), positions(source.reader(), &filter)?);
    let format = match args.output {
        Format::Short if globals.json => Format::Json,
        format => format,
    };
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    let mut printer = EventPrinter::new(format);
    let (latest, range) = match args.lines {
        None | Some(Lines::All) => (u64::MAX, range),
        // From the other end the latest are simply the first.
        Some(Lines::Last(n)) if args.reverse => (n, range),
        Some(Lines::Last(n)) => (n, last_matches(reader, range, &filter, n)?),
    };
    let limit = args.limit.unwrap_or(u64::MAX).min(latest);
    let mut count = 0;
    let mut take = |event: &ChainedEvent<'_>| {
        count += 1;
        if !args.count {
            printer.print(&mut out, event)?;
        }
        Ok(if count == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    match (limit, args.reverse) {
        (0, _) => {}
        (_, true) => scan_back(reader, range, &filter, &mut take)?,
        (_, false) => scan(reader, range, &filter, &mut take)?,
    }
    match (args.count, globals.json) {
        (true, true) => out.json(&Count { count })?,
        (true, false) => out.line(count)?,
        (false, _) => printer.finish(&mut out)?,
    }
    out.finish()?;
    Ok(Exit::OK)
}
