//! `ledger task set-priority`.

use ledger_core::event::Priority;
use ledger_core::ids::Id;

use super::retry::print;
use crate::api::wire::PriorityRequest;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task
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
    let receipt = node.wait(node.client().set_priority(&args.id, &request))?;
    let what = if receipt.replayed { "was" } else { "is now" };
    let (level, name) = (args.priority.level(), args.priority);
    let what = format!("task {} {what} in queue {level} ({name})", args.id);
    print(globals, &what, &receipt)
}
