//! `ledger reap watch`.

use ledger_core::time::Millis;

use crate::api::wire::{WatchReceipt, WatchRequest};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::cli::tail::duration;
use crate::cli::task::retry::recorded;
use crate::units::{format_duration, format_limit};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// How long it may run, counted from its start
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_runtime: Millis,
    /// How long it may go without using the CPU [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    stall_after: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Millis>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let request = WatchRequest {
        pid: args.pid,
        max_runtime_ms: args.max_runtime,
        stall_after_ms: args.stall_after,
        grace_ms: args.grace,
    };
    let receipt = node.wait(node.client().watch(&request))?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&receipt)?;
    } else {
        let WatchReceipt {
            pid,
            command,
            runtime_us,
            seq,
            term,
            hash,
            ..
        } = &receipt;
        out.line(format_args!(
            "process {pid} is watched: it may run {}, and has run {}\n{}\n{}",
            format_limit(args.max_runtime),
            format_duration(*runtime_us),
            escape(command),
            recorded(*seq, *term, hash)
        ))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}
