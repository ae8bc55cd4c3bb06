//! `ledger task report`: what a running task says of itself.

use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use ledger_core::time::Millis;

use super::retry::print;
use crate::api::wire::{ApiError, ErrorCode, TaskReport};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::source::Node;
use crate::cli::tail::duration;
use crate::units::format_limit;

/// Names the task to the processes of its attempts.
const TASK: &str = "LEDGER_TASK_ID";
/// Names the attempt to its processes.
const ATTEMPT: &str = "LEDGER_ATTEMPT";

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start nothing of this task's rate key for so long, because its provider said so
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_after: Millis,
    /// The task that runs [default: LEDGER_TASK_ID, which the node sets for each task]
    #[arg(long, value_name = "ID")]
    task: Option<Id>,
    /// Which run of it [default: LEDGER_ATTEMPT, which the node sets for each task]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let task = args.task.clone().map_or_else(|| from_env(TASK), Ok)?;
    let attempt = args.attempt.map_or_else(|| from_env(ATTEMPT), Ok)?;
    let node = Node::require(&globals.data_dir()?)?;
    let report = TaskReport {
        attempt: Attempt(attempt),
        retry_after_ms: args.retry_after,
    };
    let receipt = node.wait(node.client().report(&task, &report))?;
    let time = format_limit(args.retry_after);
    let what = format!("the rate key of task {task} is held for {time} at least");
    print(globals, &what, &receipt)
}

fn from_env<T: std::str::FromStr>(name: &str) -> Result<T, ApiError> {
    let value = std::env::var(name).ok();
    value.and_then(|value| value.parse().ok()).ok_or_else(|| {
        ApiError::new(ErrorCode::Usage, "it is not known which task reports")
            .because(format!("{name} is not set, or is not what the node sets"))
            .hint("call this from within a task, or name one with --task ID --attempt N")
    })
}
