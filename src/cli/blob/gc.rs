//! `ledger blob gc`. Which blobs go is decided by the node, which knows what is about to be named.

use std::io::{self, BufRead, IsTerminal, Write};

use ledger_core::time::Millis;

use crate::api::wire::{ApiError, CollectReport, CollectRequest, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::units::{count_of, format_size, parse_duration};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that were stored or named longer ago than this [default: blobs.grace of the
    /// configuration, or 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Millis>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let ask = |dry_run| {
        let request = CollectRequest {
            grace_ms: args.grace,
            dry_run,
        };
        node.wait(async { node.client().collect_blobs(&request).await })
    };
    if !args.dry_run && !args.yes {
        let would = ask(true)?;
        if would.removed > 0 && !confirmed(&would)? {
            return Err(ApiError::new(ErrorCode::Refused, "nothing was removed").into());
        }
    }
    let report = ask(args.dry_run)?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&report)?;
    } else {
        let verb = if report.dry_run {
            "would go"
        } else {
            "removed"
        };
        out.line(format_args!(
            "{verb}: {}, {}",
            count_of(report.removed, "blob"),
            format_size(report.removed_bytes)
        ))?;
        out.line(format_args!(
            "kept: {} named by events, {} too young, {} about to be named",
            report.named, report.young, report.leased
        ))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// Asks on the terminal; without one nobody can be asked.
fn confirmed(would: &CollectReport) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(ApiError::new(
            ErrorCode::Usage,
            "blobs are removed only if it is confirmed",
        )
        .because("standard input is not a terminal, so nobody can be asked")
        .hint("--yes removes them, --dry-run says what would go")
        .into());
    }
    let mut stderr = io::stderr().lock();
    let asked = write!(
        stderr,
        "remove {}, {}? [y/N] ",
        count_of(would.removed, "blob"),
        format_size(would.removed_bytes)
    );
    let mut answer = String::new();
    asked
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|e| Failure::of_output(&e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
