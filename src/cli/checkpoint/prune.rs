//! `ledger checkpoint prune`: what the node does after each checkpoint it makes, now.

use crate::api::wire::PruneRequest;
use crate::cli::backup::confirm;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::units::count_of;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say which would be removed
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let ask = |dry_run| node.wait(node.client().prune_checkpoints(&PruneRequest { dry_run }));
    let mut report = ask(true)?;
    if !args.dry_run && !report.pruned.is_empty() {
        if !args.yes {
            let names: Vec<&str> = report.pruned.iter().map(|name| &**name).collect();
            let checkpoints = count_of(names.len() as u64, "checkpoint");
            confirm(&format!("remove {checkpoints} ({})?", names.join(", ")))?;
        }
        report = ask(false)?;
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&report)?;
    } else {
        let verb = match args.dry_run {
            true => "would be removed",
            false => "removed",
        };
        out.lines(report.pruned.iter().map(|name| format!("{verb}: {name}")))?;
        if report.pruned.is_empty() {
            out.line("nothing is to be removed")?;
        }
    }
    out.finish()?;
    Ok(Exit::OK)
}
