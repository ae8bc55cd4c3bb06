//! `ledger backup`: make, list, verify and remove backups. With a node what was done is recorded in
//! the ledger; without one it can't be, and that is said.

mod create;
mod list;
mod prune;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ledger_core::backup::{BackupError, Catalog, ManifestError};

use super::blob::of_blob;
use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::output::ask::Question;
use super::output::note;
use super::source::{Node, Source};
use crate::api::wire::{ApiError, ErrorCode, NoteRequest};
use crate::config::Config;

/// Options.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    create: create::Args,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a backup, which is what `ledger backup` alone does too
    Create(create::Args),
    /// List the backups there are
    List(list::Args),
    /// Check that a backup is what was written, up to its head
    Verify(verify::Args),
    /// Remove backups by age, number and size
    Prune(prune::Args),
}

/// Where backups are.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DirArg {
    /// The directory of backups [default: backup.dir of the configuration, or `backups` in the
    /// data directory]
    #[arg(long, visible_alias = "to", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DirArg {
    /// The backups of the directory that is meant. Where one is named the settings are not asked for it:
    /// what is wrong with them keeps nobody from a backup.
    pub(crate) fn catalog(&self, globals: &Globals, data_dir: &Path) -> Result<Catalog, Failure> {
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir).map_err(|e| {
                ApiError::new(ErrorCode::Failed, "the current directory can't be told").because(e)
            })?,
            None => data_dir.join(place(globals, data_dir)?),
        };
        Ok(Catalog::new(&dir))
    }
}

/// Where backups are by the settings.
fn place(globals: &Globals, data_dir: &Path) -> Result<PathBuf, Failure> {
    match Config::load(data_dir, globals.config.as_deref()) {
        Ok(config) => Ok(config.backup.dir),
        Err(error) => match Failure::from(error) {
            Failure::Error(error) => {
                let hint = "mend the settings, or name the directory of backups with --dir";
                Err(error.hint(hint).into())
            }
            other => Err(other),
        },
    }
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        None => create::run(globals, &args.create),
        Some(Verb::Create(args)) => create::run(globals, args),
        Some(Verb::List(args)) => list::run(globals, args),
        Some(Verb::Verify(args)) => verify::run(globals, args),
        Some(Verb::Prune(args)) => prune::run(globals, args),
    }
}

/// Has something recorded if there is a node to do it, and says so if there is none.
pub(crate) fn record(source: &Source, what: &str, request: &NoteRequest) -> Result<(), Failure> {
    match source {
        Source::Node(node) => record_by(node, request),
        Source::Files(_) => {
            note(format_args!(
                "no node runs, so the {what} is not recorded in the ledger"
            ));
            Ok(())
        }
    }
}

fn record_by(node: &Node, request: &NoteRequest) -> Result<(), Failure> {
    node.wait(node.client().note(request)).map(drop)
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        match error {
            BackupError::Missing { .. } => ApiError::new(ErrorCode::NotFound, message)
                .hint("`ledger backup list` shows those there are; --dir names another directory"),
            BackupError::Misplaced(_) => ApiError::new(ErrorCode::Usage, message)
                .hint("name a directory outside of the data directory, best on another disk"),
            BackupError::InUse(_) => {
                ApiError::new(ErrorCode::Refused, message).hint("try again in a moment")
            }
            BackupError::Io { error, .. } => of_io(message, &error),
            BackupError::Manifest { error, .. } => return of_manifest(message, &error).into(),
            BackupError::Blob(error) => return of_blob(error),
            BackupError::Read(error) => return error.into(),
            BackupError::NotGood(_) => ApiError::new(ErrorCode::Tampered, message)
                .hint("it was removed again; the disk that it was written to may be failing"),
        }
        .into()
    }
}

/// What a manifest that can't be used means.
pub(crate) fn of_manifest(message: String, error: &ManifestError) -> ApiError {
    match error {
        ManifestError::Io(e) if e.kind() == std::io::ErrorKind::NotFound => {
            ApiError::new(ErrorCode::NotFound, message).hint("is this the directory of a backup?")
        }
        ManifestError::Io(_) => ApiError::new(ErrorCode::Failed, message),
        ManifestError::Newer(_) => ApiError::new(ErrorCode::Refused, message)
            .hint("use the version of `ledger` that made it, or a later one"),
        ManifestError::Damaged(_) => ApiError::new(ErrorCode::Tampered, message)
            .hint("`ledger backup list` shows the others"),
    }
}

/// Asks before something is removed.
///
/// # Errors
/// [`ErrorCode::Refused`] if the answer is no, [`ErrorCode::Usage`] if there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    Question {
        ask: question,
        act: "this removes something",
        refused: "nothing was removed",
    }
    .confirm()
}
