//! `ledger task cancel`.

use ledger_core::ids::Id;

use super::retry::print;
use super::view::meant;
use crate::api::wire::CancelRequest;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task: its id, or at least 8 characters that no other begins with
    #[arg(value_name = "ID")]
    id: Id,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let id = meant(&node, &args.id)?;
    let request = CancelRequest {
        reason: args.reason,
    };
    let receipt = node.wait(node.client().cancel(&id, &request))?;
    let what = if receipt.replayed {
        "was cancelled before"
    } else {
        "is to be cancelled"
    };
    print(globals, &format!("task {id} {what}"), &receipt)
}
