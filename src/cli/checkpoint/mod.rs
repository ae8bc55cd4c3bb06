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
use super::output::escape::escape;
use super::output::note;
use super::source::Source;
use super::task::view::fold;
use crate::api::listed_checkpoints;
use crate::api::wire::{ApiError, CheckpointList, ErrorCode};
use crate::node::checkpoints::{
    CHECKPOINT_DIR, CheckpointDir, CheckpointFile, Files as _, Presence,
};

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

/// What there is of a checkpoint, by the looks of its file.
fn there_is(one: &Checkpoint, dir: &CheckpointDir) -> (CheckpointFile, Presence) {
    let file = CheckpointFile {
        seq: one.facts.seq,
        name: one.name.clone(),
    };
    let presence = dir.presence(&file, one.facts.bytes);
    (file, presence)
}

/// Most strangers that are named.
const STRANGERS: usize = 5;

/// Names what is in the directory and is no checkpoint of this ledger: by its name, or because no event
/// tells of it, or because it was set aside. That the directory can't be read is said of those in it.
fn strangers(dir: &CheckpointDir, list: &CheckpointList) {
    let told = |file: &CheckpointFile| {
        let mut kept = list.checkpoints.iter();
        kept.any(|one| one.name == file.name && one.facts.seq == file.seq)
    };
    let named = dir.strangers().unwrap_or_default().into_iter().map(|name| {
        let path = format!("{CHECKPOINT_DIR}/{}", name.to_string_lossy());
        format!("{path} is not a checkpoint by its name, and nobody uses it")
    });
    let unknown = dir.list().unwrap_or_default().into_iter();
    let unknown = unknown.filter(|file| !told(file)).map(|file| {
        format!(
            "checkpoint {} of seq {} is passed over: no event of this ledger tells of it",
            file.name, file.seq
        )
    });
    let aside = dir.set_aside().unwrap_or_default().into_iter();
    let aside = aside.filter(|file| !told(file)).map(|file| {
        let mut refused = list.refused.iter().rev();
        let why = refused.find(|refused| refused.name == file.name);
        let why = why.map_or_else(String::new, |refused| format!(": {}", refused.reason));
        format!(
            "checkpoint {} of seq {} is set aside{why}",
            file.name, file.seq
        )
    });
    let all: Vec<String> = named.chain(unknown).chain(aside).collect();
    for one in all.iter().take(STRANGERS) {
        note(escape(one));
    }
    if let Some(more) = all.len().checked_sub(STRANGERS).filter(|more| *more > 0) {
        note(format_args!("and {more} more in {CHECKPOINT_DIR}/"));
    }
}
