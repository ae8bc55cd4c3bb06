//! `ledger queue pause` and `ledger queue resume`.

use ledger_core::event::Priority;

use crate::api::wire::QueueRequest;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;
use crate::cli::task::retry::print;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The queue: interactive (0), standard (1) or background (2)
    #[arg(value_name = "QUEUE", value_parser = queue)]
    queue: Priority,
    /// Why, for whoever finds it so
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A queue by its name or level; other words for a task's priority are names of it too.
fn queue(text: &str) -> Result<Priority, String> {
    let unknown =
        |_| "there is no such queue; there are interactive (0), standard (1) and background (2)";
    text.parse().map_err(unknown).map_err(str::to_owned)
}

impl Args {
    fn request(&self) -> QueueRequest {
        QueueRequest {
            reason: self.reason.clone(),
        }
    }
}

pub(crate) fn pause(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let receipt = node.wait(node.client().pause_queue(args.queue, &args.request()))?;
    let what = if receipt.replayed {
        format!("queue {} is paused already: nothing changes", args.queue)
    } else {
        format!(
            "queue {} is paused until `ledger queue resume {0}`",
            args.queue
        )
    };
    print(globals, &what, &receipt)
}

pub(crate) fn resume(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let receipt = node.wait(node.client().resume_queue(args.queue, &args.request()))?;
    let what = if receipt.replayed {
        format!("queue {} is not paused: nothing changes", args.queue)
    } else {
        format!("queue {} is resumed", args.queue)
    };
    print(globals, &what, &receipt)
}
