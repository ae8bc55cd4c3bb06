//! `ledger job run`.

use ledger_core::ids::Id;

use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::note;
use crate::cli::output::{Buffering, Paging};
use crate::cli::resume::PAUSED;
use crate::cli::source::Node;
use crate::cli::task::submit;
use crate::names::name;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "NAME", value_parser = name)]
    name: Id,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let receipt = node.wait(node.client().run_job(&args.name))?;
    if receipt.paused {
        note(PAUSED);
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&receipt)?;
    } else {
        submit::show(&mut out, &receipt, None)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}
