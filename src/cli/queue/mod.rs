//! `ledger queue …`.

mod hold;
mod list;

use clap::Subcommand;

use super::error::{Exit, Failure};
use super::globals::Globals;

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the queues: what waits, what is held and why, what runs
    List(list::Args),
    /// Start nothing more from a queue; what runs goes on
    Pause(hold::Args),
    /// Start tasks of a queue again
    Resume(hold::Args),
}

pub(crate) fn run(globals: &Globals, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => list::run(globals, args),
        Command::Pause(args) => hold::pause(globals, args),
        Command::Resume(args) => hold::resume(globals, args),
    }
}
