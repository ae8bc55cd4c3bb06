//! `ledger reap watch`.

use ledger_core::time::Millis;

use crate::api::wire::{ApiError, ErrorCode, WatchReceipt, WatchRequest};
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
    /// How long it may run, counted from its start [default: 366d, if --stall-after is given]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_runtime: Option<Millis>,
    /// How long it may go without using the CPU [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    stall_after: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Millis>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    if args.max_runtime.is_none() && args.stall_after.is_none() {
        let message = "there is nothing to watch for: no limit is given";
        return Err(ApiError::new(ErrorCode::Usage, message)
            .hint("give --max-runtime, --stall-after or both")
            .into());
    }
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
            "process {pid} is watched: it may {}, and has run {}\n{}\n{}",
            may(args),
            format_duration(*runtime_us),
            escape(command),
            recorded(*seq, *term, hash)
        ))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// What was asked for, in words.
fn may(args: &Args) -> String {
    let run = |limit| format!("run {}", format_limit(limit));
    let rest = |limit| format!("do nothing for {}", format_limit(limit));
    let limits = [args.max_runtime.map(run), args.stall_after.map(rest)];
    limits
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" and ")
}
