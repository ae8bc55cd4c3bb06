//! `ledger checkpoint create`.

use ledger_core::ids::Id;
use serde_json::Value;

use crate::api::wire::{ApiError, CheckpointRequest, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::units::{count_of, format_duration, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name [default: made from the time]
    #[arg(value_name = "NAME")]
    name: Option<Id>,
    /// What is kept with it: any JSON of at most 16 KiB
    #[arg(long, value_name = "JSON")]
    extra: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let extra: Option<Value> = match &args.extra {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|e| {
            ApiError::new(ErrorCode::Usage, "--extra is no JSON")
                .because(e)
                .hint("a text is JSON in quotes: --extra '\"before the upgrade\"'")
        })?),
    };
    let node = Node::require(&globals.data_dir()?)?;
    let request = CheckpointRequest {
        name: args.name,
        extra,
    };
    let receipt = node.wait(node.client().checkpoint(&request))?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&receipt)?;
    } else {
        let facts = &receipt.facts;
        let took = facts.took_us.map_or_else(String::new, format_duration);
        out.wrapped(format_args!(
            "{}: {} up to seq {}, made in {took}; read back and verified",
            out.paint.strong(&receipt.checkpoint),
            format_size(facts.bytes),
            facts.seq
        ))?;
        out.line(format_args!("sha256 {}", facts.sha256))?;
        if !receipt.pruned.is_empty() {
            let pruned = count_of(receipt.pruned.len() as u64, "old checkpoint");
            out.line(format_args!("removed {pruned}"))?;
        }
    }
    out.finish()?;
    Ok(Exit::OK)
}
