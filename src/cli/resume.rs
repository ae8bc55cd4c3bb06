//! `ledger resume`: starts what waits, in a ledger that was restored, imported or salvaged.

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::source::Node;
use super::task::retry;
use crate::api::wire::ResumeRequest;

/// What whoever hands over work meanwhile is told.
pub(crate) const PAUSED: &str =
    "the ledger is paused: the task waits until somebody says `ledger resume`";

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Why, for whoever reads the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let request = ResumeRequest {
        reason: args.reason.clone(),
    };
    let receipt = node.wait(node.client().resume(&request))?;
    let what = if receipt.replayed {
        "the ledger is not paused: nothing changes"
    } else {
        "the ledger is resumed: tasks are started again"
    };
    retry::print(globals, what, &receipt)
}
