//! File snapshots: named sets of files that are copied at the start of a node and by the clock, so that
//! what was changed or lost can be brought back by one command.
//!
//! ```text
//! root/conf/a.toml ──walk──> read, hashed ──> snapshots/blobs/ab/cdef…     content, by its BLAKE3
//!                                        └──> snapshots/sets/SET/NAME       manifest: path, mode, hash
//!                                                    └──> snapshot.created  the manifest's hash
//! snapshots/…  ──read, hashed──> root/conf/.ledger-new-… ──synced──> renamed to a.toml
//! ```
//! | what holds | by what |
//! |---|---|
//! | a manifest never names content that is not durably there | content is synced, name and all, before the manifest gets its name, and that before the event |
//! | what is damaged is never restored | the manifest is held against the hash in the ledger, every content against its own, before the first file is touched |
//! | nothing outside the root is read, nothing outside the target written | every name is opened through the directory before, and no link is followed (`beneath`) |
//! | a file is the old one or the new one | it is written beside its place, synced and renamed |
//! | a copy that may never have been says so | a file that changed each time it was read is marked |
//! | no secret of the ledger is copied | what belongs to it is told by inode and left out (`walk`) |
//!
//! Where nothing has changed since the latest snapshot of a set, none is made: five that are the same
//! would push out the ones that differ. What a crash leaves is removed by whoever takes the lock next.

mod beneath;
mod copy;
mod glob;
mod manifest;
mod restore;
mod store;
mod walk;

#[cfg(test)]
mod tests;

pub use glob::PathGlob;
pub use manifest::{FileEntry, Manifest, ManifestError, PathFault, SkipReason, Skipped};
pub use restore::{Change, Plan, Planned, Restored};
pub use store::{Listed, Locked, Made, Outcome, Request, Snapshots};

use std::path::PathBuf;

use ledger_core::blobs::{BlobError, BlobFault};
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use ledger_core::time::Millis;

/// A set of files, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// Its name.
    pub name: Id,
    /// The directory that the patterns go out from.
    pub root: PathBuf,
    /// Which files.
    pub files: Vec<PathGlob>,
    /// Most files in a snapshot.
    pub max_files: u64,
    /// Most bytes of all files of a snapshot together.
    pub max_bytes: u64,
    /// What is kept.
    pub keep: Keep,
}

/// Which snapshots of a set are kept: those that neither age nor number lets go, and the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// How long.
    pub keep_for: Millis,
    /// How many, at least 1.
    pub newest: usize,
}

/// Why something could not be done with snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Somebody else is at it.
    #[error("{0} is in use: somebody makes, checks or restores a snapshot")]
    InUse(PathBuf),
    /// The file system failed.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Content could not be stored or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The root lies in the ledger's own parts.
    #[error("{0} is a part of the ledger, for which there are backups")]
    Misplaced(PathBuf),
    /// No file fits.
    #[error("no file beneath {0} fits the patterns")]
    NoFiles(PathBuf),
    /// A limit was reached.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The files are too large.
    #[error("the files have more than {limit} bytes together")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// There is no snapshot of such a set.
    #[error("there is no snapshot of a set {0}")]
    NoSet(Id),
    /// There is no such snapshot.
    #[error("there is no snapshot {name} of {set}")]
    Missing {
        /// The set.
        set: Id,
        /// What was asked for.
        name: String,
    },
    /// The manifest can't be used.
    #[error("snapshot {name} of {set} can't be used: {error}")]
    Manifest {
        /// The set.
        set: Id,
        /// The snapshot.
        name: Id,
        /// Why.
        error: ManifestError,
    },
    /// The manifest is not the one that was recorded.
    #[error(
        "snapshot {name} of {set} was changed: its manifest has hash {found}, recorded is {recorded}"
    )]
    Changed {
        /// The set.
        set: Id,
        /// The snapshot.
        name: Id,
        /// The hash in the ledger.
        recorded: Hash,
        /// The hash of what is there.
        found: Hash,
    },
    /// Content is not there as it was stored.
    #[error("the content of {path} is damaged: {fault}")]
    Content {
        /// Which file, by its path in the snapshot.
        path: String,
        /// What is wrong.
        fault: BlobFault,
    },
    /// Something in the target is in the way.
    #[error("{path} can't be restored: {why}")]
    Blocked {
        /// Which file, by its path in the snapshot.
        path: String,
        /// Why.
        why: String,
    },
}
