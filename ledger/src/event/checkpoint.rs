//! `checkpoint.*`: snapshots of decision state, tied to a position and a content hash so that a
//! changed file is found out from the ledger itself. Subject `checkpoint/NAME`.

use serde::{Deserialize, Serialize};

use super::family;
use crate::hash::Hash;
use crate::ids::Seq;

/// Written, synced and verified by restoring it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointCreated {
    /// The position it stands for.
    pub seq: Seq,
    /// Chain hash at that position.
    pub hash: Hash,
    /// SHA-256 of the file, 64 hex digits.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
}

/// Found damaged or not of this history; passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRejected {
    /// What is wrong with it.
    pub reason: String,
}

/// Removed by the retention rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPruned {}

family!(
    /// Checkpoints.
    CheckpointEvent {
        /// Written.
        Created(CheckpointCreated) = "checkpoint.created",
        /// Passed over.
        Rejected(CheckpointRejected) = "checkpoint.rejected",
        /// Removed.
        Pruned(CheckpointPruned) = "checkpoint.pruned",
    }
);
