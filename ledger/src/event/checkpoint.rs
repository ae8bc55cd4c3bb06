//! `checkpoint.*`: snapshots of decision state, tied to a position and a content hash so that a
//! changed file is found out from the ledger itself. Subject `checkpoint/NAME`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::family;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::time::{Micros, Timestamp};

/// Why a checkpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointCause {
    /// It was due by the clock.
    Schedule,
    /// So many events had been recorded since the one before.
    Events,
    /// Somebody asked for it.
    Operator,
}

impl CheckpointCause {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Events => "events",
            Self::Operator => "operator",
        }
    }
}

/// A part of decision state as of a checkpoint's position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDigest {
    /// The projection that it is.
    pub name: String,
    /// The projection's version.
    pub version: u32,
    /// The digest of its rows.
    pub digest: Hash,
}

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
    /// The term of the event at that position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CheckpointCause>,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Timestamp>,
    /// How long folding, writing and verifying took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<Micros>,
    /// The ledger's name, as it was given when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What it holds, part by part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartDigest>,
    /// How many tasks are in each state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, u64>,
    /// What whoever asked for it wants kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// Found damaged or not of this history; passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRejected {
    /// What is wrong with it.
    pub reason: String,
    /// The position that it claims, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// Could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFailed {
    /// Why it was to be made.
    pub cause: CheckpointCause,
    /// Why it could not be.
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
        /// Not written.
        Failed(CheckpointFailed) = "checkpoint.failed",
        /// Removed.
        Pruned(CheckpointPruned) = "checkpoint.pruned",
    }
);
