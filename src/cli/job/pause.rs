//! `ledger job pause`.

use ledger_core::ids::Id;

use crate::api::wire::PauseRequest;
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
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let request = PauseRequest {
        reason: args.reason,
    };
    let receipt = node.wait(node.client().pause_job(&args.name, &request))?;
    let what = if receipt.replayed {
        "is paused already: nothing changes"
    } else {
        "is paused"
    };
    print(globals, &format!("job {} {what}", args.name), &receipt)
}
