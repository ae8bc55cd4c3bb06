//! `ledger job resume`.

use ledger_core::ids::Id;

use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;
use crate::cli::task::retry::print;
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
    let receipt = node.wait(node.client().resume_job(&args.name))?;
    let what = if receipt.replayed {
        "is not paused: nothing changes"
    } else {
        "is submitted again when due"
    };
    print(globals, &format!("job {} {what}", args.name), &receipt)
}
