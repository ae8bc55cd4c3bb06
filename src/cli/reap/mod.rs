//! `ledger reap`: sweep now, and watch processes that somebody else started.

mod sweep;
mod unwatch;
mod watch;

use clap::Subcommand;

use super::error::{Exit, Failure};
use super::globals::Globals;

/// Options.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    sweep: sweep::Args,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Watch a process that somebody else started, and end it when it is past its limit
    Watch(watch::Args),
    /// Watch a process no more
    Unwatch(unwatch::Args),
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        None => sweep::run(globals, &args.sweep),
        Some(Verb::Watch(args)) => watch::run(globals, args),
        Some(Verb::Unwatch(args)) => unwatch::run(globals, args),
    }
}
