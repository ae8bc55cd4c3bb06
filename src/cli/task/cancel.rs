//! `ledger task cancel`.

use ledger_core::ids::Id;
use projections::tasks::StateName;

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
    let text = if receipt.replayed {
        format!("task {id} is being cancelled already")
    } else {
        match node.wait(node.client().task(&id, None))?.state {
            StateName::Cancelled => format!("task {id} is cancelled"),
            StateName::Cancelling => {
                format!("task {id} is to be cancelled: its processes are being ended")
            }
            // Its end came first, and stands.
            state => format!("task {id} is {} all the same", state.as_str()),
        }
    };
    print(globals, &text, &receipt)
}
