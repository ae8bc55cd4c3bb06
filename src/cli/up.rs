//! `ledger up`: runs a node in the foreground until it is told to stop.

use ledger_core::ids::Id;
use tracing_subscriber::EnvFilter;

use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::init::of_boot;
use super::output::note;
use crate::api::wire::{ApiError, ErrorCode};
use crate::config::Config;
use crate::node::command::{AppendFailure, StopReason};
use crate::node::{NodeError, NodeOptions, Ready, run as run_node};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name [default: node.name of the configuration, or `primary`]
    #[arg(long, value_name = "NAME")]
    node: Option<Id>,
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
    };
    let ready = |ready: &Ready| {
        note(format_args!(
            "node {} leads in term {}; its socket is {}",
            options.node,
            ready.head.term,
            ready.socket.display()
        ));
    };
    run_node(&options, ready).map_err(of_node)?;
    Ok(Exit::OK)
}

fn of_node(error: NodeError) -> Failure {
    let message = error.to_string();
    match error {
        NodeError::Boot(error) => of_boot(error),
        NodeError::Io { error, .. } => of_io(message, &error).into(),
        NodeError::Views(_) => ApiError::new(ErrorCode::Failed, message).into(),
        NodeError::SteppedDown(StopReason::AppendFailed(AppendFailure::Full(_))) => {
            ApiError::new(ErrorCode::Failed, message)
                .hint("what was acknowledged is safe; make room on that file system, then `ledger up`; reading works meanwhile")
                .into()
        }
        NodeError::SteppedDown(_) => ApiError::new(ErrorCode::Failed, message)
            .hint("what was acknowledged is safe; mend the cause, then start a node again")
            .into(),
    }
}
