//! `ledger job`: what runs by the clock.

mod list;
mod pause;
mod resume;
mod run;
mod show;
pub(crate) mod view;

use clap::Subcommand;

pub(crate) use list::until;

use super::error::{Exit, Failure};
use super::globals::Globals;

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List jobs with their last runs and when they are due next
    List(list::Args),
    /// Show one job with its latest runs
    Show(show::Args),
    /// Submit a run of a job now, whatever its schedule says
    Run(run::Args),
    /// Submit a job no more when it is due
    Pause(pause::Args),
    /// Submit a paused job again, from the next time on that it is due
    Resume(resume::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => list::run(globals, &args),
        Command::Show(args) => show::run(globals, &args),
        Command::Run(args) => run::run(globals, &args),
        Command::Pause(args) => pause::run(globals, args),
        Command::Resume(args) => resume::run(globals, &args),
    }
}
