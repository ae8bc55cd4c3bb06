//! `ledger snapshot`: copies of sets of files. With a node what was done is recorded in the ledger;
//! without one it can't be, and that is said.

mod list;
mod restore;
mod run;
mod verify;

use std::time::{Duration, Instant};

use clap::Subcommand;
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use projections::status::{SetFacts, SnapshotFacts, Status};

use super::backup::record;
use super::blob::of_blob;
use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::output::escape::escape;
use super::output::note;
use super::source::Source;
use super::task::view::fold;
use crate::api::wire::{ApiError, ErrorCode, NoteRequest, SnapshotNote};
use crate::config::{SnapshotConfig, SnapshotSets, nearest};
use crate::snapshots::{Listed, Locked, Manifest, ManifestError, SnapshotError, Snapshots};

/// How long somebody else may be at it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy the files of sets now
    Run(run::Args),
    /// List the snapshots there are
    List(list::Args),
    /// Check that snapshots are what was copied
    Verify(verify::Args),
    /// Bring the files of a snapshot back
    Restore(restore::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(globals, &args),
        Command::List(args) => list::run(globals, &args),
        Command::Verify(args) => verify::run(globals, &args),
        Command::Restore(args) => restore::run(globals, &args),
    }
}

/// What the ledger says of snapshots.
fn facts(source: &Source) -> Result<SnapshotFacts, Failure> {
    match source {
        Source::Node(node) => Ok(node.wait(node.client().status(None))?.report.snapshots),
        Source::Files(files) => Ok(fold::<Status>(&**files, None)?.state().snapshots().clone()),
    }
}

/// Takes the lock; waits a while for whoever has it.
fn lock(snapshots: &Snapshots) -> Result<Locked, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match snapshots.lock() {
            Err(SnapshotError::InUse(_)) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            locked => return Ok(locked?),
        }
    }
}

/// The set of this name.
fn configured<'s>(sets: &'s SnapshotSets, name: &Id) -> Result<&'s SnapshotConfig, ApiError> {
    sets.get(name).ok_or_else(|| {
        let message = format!("there is no set {name}");
        let hint = match nearest(name, sets.keys().map(|set| &**set)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "sets are defined in ledger.toml: [snapshots.NAME] with files = [\"…\"]".into(),
        };
        ApiError::new(ErrorCode::NotFound, message).hint(hint)
    })
}

/// The manifest of a snapshot and its hash, if it is the one that was recorded.
fn checked(listed: Listed, facts: Option<&SetFacts>) -> Result<(Manifest, Hash), SnapshotError> {
    let Listed {
        set,
        name,
        manifest,
    } = listed;
    let (manifest, found) = match manifest {
        Ok(read) => read,
        Err(error) => return Err(SnapshotError::Manifest { set, name, error }),
    };
    match facts.and_then(|facts| facts.kept.get(&name)) {
        Some(&recorded) if recorded != found => Err(SnapshotError::Changed {
            set,
            name,
            recorded,
            found,
        }),
        Some(_) => Ok((manifest, found)),
        None => Ok((manifest, found)),
    }
}

/// Has recorded what was done, if there is a node to do it.
fn tell(source: &Source, set: &Id, did: SnapshotNote) -> Result<(), Failure> {
    let what = match did {
        SnapshotNote::Created(_) => "snapshot",
        SnapshotNote::Failed(_) => "failure",
        SnapshotNote::Pruned(_) => "removal",
        SnapshotNote::Restored(_) => "restore",
    };
    let request = NoteRequest::Snapshot {
        set: set.clone(),
        did,
    };
    record(source, what, &request)
}

/// Names what was not copied, or not for certain.
fn remarks(manifest: &Manifest) {
    let set = &manifest.set;
    for skipped in &manifest.skipped {
        let path = escape(&skipped.path);
        let reason = skipped.reason.to_string();
        note(format_args!(
            "{set}: not copied: {path}: {}",
            escape(&reason)
        ));
    }
    for file in manifest.files.iter().filter(|file| file.changing) {
        note(format_args!(
            "{set}: {} changed each time it was read: its copy may be of no moment",
            escape(&file.path)
        ));
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let message = error.to_string();
        match error {
            SnapshotError::InUse(_) => {
                ApiError::new(ErrorCode::Refused, message).hint("try again in a moment")
            }
            SnapshotError::Io { error, .. } => of_io(message, &error),
            SnapshotError::Blob(error) => return of_blob(error),
            SnapshotError::Misplaced(_) => ApiError::new(ErrorCode::Usage, message)
                .hint("name another place: with --into, or as root of the set in ledger.toml"),
            SnapshotError::NoFiles(_) => ApiError::new(ErrorCode::NotFound, message)
                .hint("see root and files of the set in ledger.toml"),
            SnapshotError::TooMany { .. } | SnapshotError::TooLarge { .. } => {
                ApiError::new(ErrorCode::Failed, message)
                    .hint("narrow the patterns, or raise max_files or max_size of the set")
            }
            SnapshotError::NoSet(_) => ApiError::new(ErrorCode::NotFound, message)
                .hint("`ledger snapshot list` shows the sets there are; `ledger snapshot run` copies them"),
            SnapshotError::Missing { .. } => ApiError::new(ErrorCode::NotFound, message)
                .hint("`ledger snapshot list` shows those there are"),
            SnapshotError::Manifest { error, .. } => match error {
                ManifestError::Io(error) => of_io(message, &error),
                ManifestError::Newer(_) => ApiError::new(ErrorCode::Refused, message)
                    .hint("use the version of `ledger` that made it, or a later one"),
                ManifestError::Damaged(_) => ApiError::new(ErrorCode::Tampered, message)
                    .hint("`ledger snapshot list` shows the others"),
            },
            SnapshotError::Changed { .. } | SnapshotError::Content { .. } => {
                ApiError::new(ErrorCode::Tampered, message)
                    .because("nothing of it was restored")
                    .hint("`ledger snapshot verify` says which snapshots are whole")
            }
            SnapshotError::Blocked { .. } => ApiError::new(ErrorCode::Conflict, message)
                .hint("move away what is there, or restore into another directory with --into"),
        }
        .into()
    }
}
