//! `ledger task set-priority`.

use ledger_core::event::Priority;
use ledger_core::ids::Id;

use super::retry::print;
use super::view::meant;
use crate::api::wire::PriorityRequest;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task: its id, or at least 8 characters that no other begins with
    #[arg(value_name = "ID")]
    id: Id,
    /// Its new queue: 0 (interactive), 1 (standard) or 2 (background)
    #[arg(value_name = "N")]
    priority: Priority,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let request = PriorityRequest {
        priority: args.priority,
    };
    let id = meant(&node, &args.id)?;
    let receipt = node.wait(node.client().set_priority(&id, &request))?;
    let queue = format!("queue {} ({})", args.priority.level(), args.priority);
    let what = if receipt.replayed {
        format!("task {id} is in {queue} already: nothing changes")
    } else {
        format!("task {id} is now in {queue}")
    };
    print(globals, &what, &receipt)
}
