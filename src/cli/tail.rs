//! `ledger tail`: the latest events, and what comes after them.

use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use ledger_core::envelope::ChainedEvent;
use ledger_core::time::Millis;

use super::error::{Exit, Failure};
use super::filter_args::{FilterArgs, positions};
use super::globals::Globals;
use super::output::event::{EventPrinter, Format};
use super::output::{Buffering, Out, Paging};
use super::source::Source;
use super::source::follow::{Ended, follow};
use super::source::scan::{last_matches, scan, scan_back};
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::{Filter, SeqRange};
use crate::units::{UnitError, parse_duration};

/// Events shown if nothing was said.
const DEFAULT_LINES: u64 = 20;

/// How many events to show first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// The latest so many.
    Last(u64),
    /// All of them.
    All,
}

impl FromStr for Lines {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            n => n
                .parse()
                .map(Self::Last)
                .map_err(|_| "write a number or `all`".to_owned()),
        }
    }
}

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many events to show [default: 20, or all if --since or --seq says where to begin]
    #[arg(long, short = 'n', value_name = "N|all")]
    lines: Option<Lines>,
    /// Go on with what is recorded from now on
    #[arg(long, short = 'f')]
    follow: bool,
    /// The latest first
    #[arg(long, short = 'r', conflicts_with = "follow")]
    reverse: bool,
    /// How to show events
    #[arg(
        long,
        short = 'o',
        value_name = "FORMAT",
        default_value = "short",
        value_enum
    )]
    output: Format,
    /// End after the first event that this matches: a kind, or words such as
    /// `task.completed subject=task/x data.attempt=1`; also among those shown first
    #[arg(long, value_name = "FILTER", requires = "follow")]
    until_match: Option<String>,
    /// Stop following after so long, with exit code 124
    #[arg(long, value_name = "DURATION", requires = "follow", value_parser = duration)]
    timeout: Option<Millis>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// A duration as clap wants its parser.
pub(crate) fn duration(text: &str) -> Result<Millis, UnitError> {
    parse_duration(text)
}

/// Prints events and looks for the one that ends it.
struct Printing<'a> {
    out: Out,
    printer: EventPrinter,
    filter: &'a Filter,
    until: Option<&'a Filter>,
}

impl Printing<'_> {
    /// Takes an event; breaks off after the one that was waited for.
    fn take(&mut self, event: &ChainedEvent<'_>) -> Result<ControlFlow<()>, Failure> {
        if self.filter.matches(event) {
            self.printer.print(&mut self.out, event)?;
        }
        Ok(match self.until {
            Some(until) if until.matches(event) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let filter = args.filter.filter()?;
    let until = args
        .until_match
        .as_deref()
        .map(str::parse::<Filter>)
        .transpose()?;
    let format = format(globals, args)?;
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let reader = source.reader();
    let head = reader.head()?;
    let mut range = positions(reader, &filter)?;
    range.last = range.last.min(head.seq);
    let lines = args.lines.unwrap_or(if args.filter.has_beginning() {
        Lines::All
    } else {
        Lines::Last(DEFAULT_LINES)
    });
    let (paging, buffering) = if args.follow {
        (Paging::Never, Buffering::Lines)
    } else {
        (Paging::Allowed, Buffering::Full)
    };
    let mut printing = Printing {
        out: globals.out(paging, buffering),
        printer: EventPrinter::new(format),
        filter: &filter,
        until: until.as_ref(),
    };
    if args.reverse {
        let mut left = match lines {
            Lines::All => u64::MAX,
            Lines::Last(n) => n,
        };
        if left > 0 {
            scan_back(reader, range, &filter, &mut |event| {
                left -= 1;
                let taken = printing.take(event)?;
                Ok(if left == 0 {
                    ControlFlow::Break(())
                } else {
                    taken
                })
            })?;
        }
    } else {
        let range = match lines {
            Lines::All => range,
            Lines::Last(n) => last_matches(reader, range, &filter, n)?,
        };
        if shows_the_end(&mut printing, reader, range)? {
            printing.printer.finish(&mut printing.out)?;
            return Ok(Exit::OK);
        }
    }
    if !args.follow {
        printing.printer.finish(&mut printing.out)?;
        return Ok(Exit::OK);
    }
    let ledger_id = reader.ledger_id();
    drop(source);
    let limit = args.timeout.map(|limit| Duration::from_millis(limit.0));
    let ended = follow(&data_dir, ledger_id, head, limit, &mut |event| {
        printing.take(event)
    })?;
    printing.printer.finish(&mut printing.out)?;
    match ended {
        Ended::Satisfied => Ok(Exit::OK),
        Ended::TimedOut => Ok(Exit(ErrorCode::Timeout.exit_code())),
    }
}

/// Shows what is there; whether the event that ends it was among that.
fn shows_the_end(
    printing: &mut Printing<'_>,
    reader: &dyn ledger_core::store::LogReader,
    range: SeqRange,
) -> Result<bool, Failure> {
    let mut ended = false;
    let filter = printing.filter;
    scan(reader, range, filter, &mut |event| {
        let taken = printing.take(event)?;
        ended = taken.is_break();
        Ok(taken)
    })?;
    Ok(ended)
}

/// `--json` is `-o json`, which needs an end, or `-o jsonl` where there is none.
fn format(globals: &Globals, args: &Args) -> Result<Format, Failure> {
    match (args.output, args.follow) {
        (Format::Json, true) => Err(ApiError::new(ErrorCode::Usage, "-o json can't be followed")
            .because("one JSON array has an end")
            .hint("use -o jsonl")
            .into()),
        (Format::Short, true) if globals.json => Ok(Format::Jsonl),
        (Format::Short, false) if globals.json => Ok(Format::Json),
        (format, _) => Ok(format),
    }
}
