//! `ledger reap unwatch`.

use ledger_core::ids::Id;

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;
use crate::cli::task::retry::print;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process: its pid, or the subject of its events (process/BOOT.PID.START)
    #[arg(value_name = "PID|SUBJECT")]
    process: String,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let name = args.process.strip_prefix("process/");
    let id = Id::new(name.unwrap_or(&args.process)).map_err(|e| {
        ApiError::new(ErrorCode::Usage, "that is no process")
            .because(e)
            .hint("give a pid, or process/BOOT.PID.START as `ledger ps --json` and events have it")
    })?;
    let receipt = node.wait(node.client().unwatch(&id))?;
    print(
        globals,
        &format!("process {id} is watched no more"),
        &receipt,
    )
}
