//! `ledger projections …`.

mod list;

use clap::Subcommand;

pub(crate) use list::snapshots;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::rebuild;

/// What to do with projections.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the projections with position and digest
    #[command(visible_alias = "status")]
    List(list::Args),
    /// Fold projections anew, or check them against a new fold
    Rebuild(rebuild::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => list::run(globals, &args),
        Command::Rebuild(args) => rebuild::run(globals, &args),
    }
}
