//! `ledger checkpoint`: make, list, show, verify and remove checkpoints.

mod create;
mod list;
mod prune;
mod show;
mod verify;

use clap::Subcommand;
use ledger_core::ids::Id;
use projections::checkpoints::{Checkpoint, Checkpoints};

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::source::Source;
use super::task::view::fold;
use crate::api::listed_checkpoints;
use crate::api::wire::{ApiError, CheckpointList, ErrorCode};

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a checkpoint now
    Create(create::Args),
    /// List the checkpoints there are
    List(list::Args),
    /// Show one checkpoint, and what is in it
    Show(show::Args),
    /// Check that checkpoints are what was written
    Verify(verify::Args),
    /// Remove checkpoints by age and number
    Prune(prune::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Create(args) => create::run(globals, args),
        Command::List(args) => list::run(globals, &args),
        Command::Show(args) => show::run(globals, &args),
        Command::Verify(args) => verify::run(globals, &args),
        Command::Prune(args) => prune::run(globals, &args),
    }
}

/// All that is known of checkpoints: from the node, or folded from the files.
///
/// # Errors
/// [`Failure`] if the ledger can't be read.
pub(crate) fn checkpoints(source: &Source) -> Result<CheckpointList, Failure> {
    match source {
        Source::Node(node) => node.wait(node.client().checkpoints()),
        Source::Files(_) => {
            let folded = fold::<Checkpoints>(source.reader(), None)?;
            Ok(listed_checkpoints(folded.state()))
        }
    }
}

/// The one of this name.
fn named<'a>(list: &'a CheckpointList, name: &Id) -> Result<&'a Checkpoint, ApiError> {
    let found = list.checkpoints.iter().find(|one| one.name == *name);
    found.ok_or_else(|| {
        let missing = ApiError::new(
            ErrorCode::NotFound,
            format!("there is no checkpoint {name}"),
        );
        match list.gone.iter().rev().find(|gone| gone.name == *name) {
            Some(gone) => missing.because(format!("it was removed at {}", gone.at)),
            None => missing,
        }
        .hint("see `ledger checkpoint list` for those there are")
    })
}
