//! `ledger up`: runs a node in the foreground until it is told to stop.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ledger_core::ids::Id;
use tracing_subscriber::EnvFilter;

use super::error::{Exit, Failure, damaged, of_io};
use super::globals::Globals;
use super::init::of_boot;
use super::output::note;
use crate::api::wire::{ApiError, ErrorCode};
use crate::config::Config;
use crate::names::name;
use crate::node::command::{AppendFailure, StopReason};
use crate::node::{NodeError, NodeOptions, Said, run as run_node};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name [default: node.name of the configuration, or `primary`]
    #[arg(long, value_name = "NAME", value_parser = name)]
    node: Option<Id>,
    /// Let others lead first: set by a node that starts itself anew after it gave up the lease.
    #[arg(long, hide = true)]
    gives_way: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let config = Config::load(&data_dir, globals.config.as_deref())?;
    let node = args
        .node
        .clone()
        .unwrap_or_else(|| config.node.name.clone());
    let exe = std::env::current_exe().map_err(|e| {
        ApiError::new(ErrorCode::Failed, "this program can't be found again").because(e)
    })?;
    let filter = EnvFilter::try_from_env("LEDGER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber in one process can only come from a test.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(globals.stderr_paint().is_active())
        .try_init();
    let options = NodeOptions {
        data_dir,
        node,
        config,
        config_path: globals.config.clone(),
        exe,
        gives_way: args.gives_way,
    };
    let said = |said: &Said| match said {
        Said::StandsBy { socket } => note(format_args!(
            "node {} stands by; its socket is {}",
            options.node,
            socket.display()
        )),
        Said::Leads { socket, head } => note(format_args!(
            "node {} leads in term {}; its socket is {}",
            options.node,
            head.term,
            socket.display()
        )),
    };
    match run_node(&options, said) {
        Ok(()) => Ok(Exit::OK),
        Err(NodeError::SteppedDown(
            reason @ (StopReason::SteppedDown
            | StopReason::LeaseExpired { .. }
            | StopReason::Diverged(_)),
        )) => {
            note(format_args!("{reason}; it stands by from now on"));
            Err(again(&options))
        }
        Err(error) => Err(of_node(error)),
    }
}

/// Starts this program anew in its own place, as a standby: nothing of the term that is over can be
/// left, and a newer version of the program takes effect. Returns only if that fails.
fn again(options: &NodeOptions) -> Failure {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !options.gives_way {
        arguments.push("--gives-way".into());
    }
    let error = Command::new(&options.exe).args(arguments).exec();
    ApiError::new(ErrorCode::Failed, "the node can't start itself anew")
        .because(format!("{}: {error}", options.exe.display()))
        .hint("put the program there, then `ledger up`; what was acknowledged is safe, and what runs goes on")
        .into()
}

fn of_node(error: NodeError) -> Failure {
    let message = error.to_string();
    match error {
        NodeError::Boot(error) => of_boot(error),
        NodeError::Io { error, .. } => of_io(message, &error).into(),
        NodeError::NameTaken(_) => ApiError::new(ErrorCode::Refused, message)
            .hint("start a standby beside it with `ledger up --node NAME`; `ledger lease status` shows the nodes there are")
            .into(),
        NodeError::Name(_) => ApiError::new(ErrorCode::Usage, message)
            .hint("give it a shorter one with --node NAME")
            .into(),
        NodeError::Views(_) => ApiError::new(ErrorCode::Failed, message).into(),
        NodeError::SteppedDown(StopReason::AppendFailed(AppendFailure::Full(_))) => {
            ApiError::new(ErrorCode::Failed, message)
                .hint("what was acknowledged is safe; make room on that file system, then `ledger up`; reading works meanwhile")
                .into()
        }
        NodeError::SteppedDown(StopReason::AppendFailed(AppendFailure::Damaged(_))) => {
            damaged(message).into()
        }
        NodeError::SteppedDown(_) => ApiError::new(ErrorCode::Failed, message)
            .hint("what was acknowledged is safe; mend the cause, then start a node again")
            .into(),
    }
}
