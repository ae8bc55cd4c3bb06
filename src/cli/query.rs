//! `ledger query`: all events that filters let through, from the first.

use std::ops::ControlFlow;

use serde::Serialize;

use super::error::{Exit, Failure};
use super::filter_args::{FilterArgs, positions};
use super::globals::Globals;
use super::output::event::{EventPrinter, Format};
use super::output::{Buffering, Paging};
use super::source::Source;
use super::source::scan::scan;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most so many, the earliest first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only say how many there are
    #[arg(long, conflicts_with = "output")]
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
    let range = positions(source.reader(), &filter)?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let format = match args.output {
        Format::Short if globals.json => Format::Json,
        format => format,
    };
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    let mut printer = EventPrinter::new(format);
    let mut count = 0;
    if limit > 0 {
        scan(source.reader(), range, &filter, &mut |event| {
            count += 1;
            if !args.count {
                printer.print(&mut out, event)?;
            }
            Ok(if count == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
    }
    match (args.count, globals.json) {
        (true, true) => out.json(&Count { count })?,
        (true, false) => out.line(count)?,
        (false, _) => printer.finish(&mut out)?,
    }
    out.finish()?;
    Ok(Exit::OK)
}
