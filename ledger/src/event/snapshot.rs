//! `snapshot.*`: copies of sets of files, tied to the hash of their manifest so that a changed one is
//! found out from the ledger itself. Subject `snapshot/SET`.

use serde::{Deserialize, Serialize};

use super::family;
use crate::hash::Hash;
use crate::ids::{Entity, Id};

/// The latest of its set, written and synced. The same again says that it still is what the files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotCreated {
    /// Its name.
    pub snapshot: Id,
    /// BLAKE3 of its manifest, which names every file with its hash.
    pub manifest: Hash,
    /// How many files it holds.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that were written for it; the content of the others was there.
    pub written: u64,
    /// Files that should be in it and could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Files that changed each time they were read, so that their copies may never have been.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changing: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// None could be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFailed {
    /// Why.
    pub reason: String,
}

/// Removed by age or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPruned {
    /// Their names, oldest first.
    pub snapshots: Vec<Id>,
}

/// The files of one were brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRestored {
    /// Which.
    pub snapshot: Id,
    /// The hash of its manifest.
    pub manifest: Hash,
    /// Beneath which directory.
    pub into: String,
    /// How many files were written.
    pub files: u64,
    /// How many of them took the place of others.
    pub replaced: u64,
}

/// The subject of a set's events.
pub fn snapshot_subject(set: &Id) -> Entity {
    Entity::of("snapshot", set).expect("a set's name is an id")
}

family!(
    /// Snapshots of files.
    SnapshotEvent {
        /// There is one.
        Created(SnapshotCreated) = "snapshot.created",
        /// There is none.
        Failed(SnapshotFailed) = "snapshot.failed",
        /// Removed.
        Pruned(SnapshotPruned) = "snapshot.pruned",
        /// Brought back.
        Restored(SnapshotRestored) = "snapshot.restored",
    }
);
